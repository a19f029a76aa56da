"""Own the look-out for hosts that are gone and what they leave behind."""

from __future__ import annotations

import logging
import math
import time
from datetime import datetime
from typing import TYPE_CHECKING

from background.catalog import mark_orphans
from background.conf import get_settings
from background.dialects import dialect
from background.engine.base import EngineService, HostView
from background.queue.rescue import declare_lost, fail_unknown, rescue, sweep_blocked
from background.timing.elapsed import elapsed

if TYPE_CHECKING:
    from background.engine.lookout import Facts
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

# Seconds between two looks for what is not urgent: runs that wait for a slot or for code that knows them; jobs without code.
RARELY, SELDOM = 5.0, 15.0
# Looks that are so far apart are no sign of trouble by themselves (seconds): a small HOST_TIMEOUT on a busy machine.
USUAL = 5.0
# A live host speaks again so soon after the database is back, besides the time between two heartbeats (seconds).
BACK = 3.0


class Rescuer(EngineService):
    """Makes the runs of lost hosts ready again; every host does, by the database's clock, when its look tells of any.

    Where that clock has gone far since the last look, the others could not speak either (the database was away, the machine
    slept), or it was set: they get time to do so before they are judged.
    """

    def __init__(self, host: HostView) -> None:
        super().__init__(host)
        self._facts: Facts | None = None  # not told yet: there may be anything
        self._swept_at = self._marked_at = -math.inf
        self._looked_at: datetime | None = None
        self._patient = False
        self._patient_until = 0.0

    def step(self, stop: StopToken) -> float:
        facts, now = self._facts, time.monotonic()
        if facts is None or facts.host_gone:
            self._rescue(facts)
        if now - self._swept_at >= RARELY:
            self._swept_at = now
            if facts is None or facts.blocked:
                sweep_blocked()
            if facts is None or facts.waiting is not None:
                fail_unknown()
        if now - self._marked_at >= SELDOM:
            self._marked_at = now
            mark_orphans()
        return SELDOM

    def _rescue(self, facts: Facts | None) -> None:
        now = dialect().now()
        if not (self._is_patient(now) if facts is None else self._patient):
            declare_lost(now)
        rescue()

    def hear(self, facts: Facts) -> None:
        self._facts = facts
        self._is_patient(facts.now)
        waits = facts.blocked or facts.waiting is not None
        if facts.host_gone or (waits and time.monotonic() - self._swept_at >= RARELY):
            self.wake()

    def _is_patient(self, now: datetime) -> bool:
        """Tell whether this is no time to judge: never for long, even where each look is long after the one before."""
        conf, before = get_settings(), self._looked_at
        self._looked_at = now
        gap = abs((now - before).total_seconds()) if before else 0
        if gap > max(conf.host_timeout / 2, USUAL) and not self._patient:
            self._patient_until = elapsed() + conf.heartbeat_interval + BACK
            logger.info("the last look was long ago: hosts that were silent meanwhile get time to speak")
        self._patient = elapsed() < self._patient_until
        return self._patient
