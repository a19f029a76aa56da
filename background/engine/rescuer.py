"""Own the look-out for hosts that are gone and what they leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from background.catalog import mark_orphans
from background.engine.base import EngineService
from background.queue.rescue import declare_lost, fail_unknown, rescue, sweep_blocked

if TYPE_CHECKING:
    from background.stopping import StopToken

# Seconds between looks: a part of the two that rescue may take beyond HOST_TIMEOUT.
INTERVAL = 1.0
# Every so many looks, what is not urgent.
RARELY = 5


class Rescuer(EngineService):
    """Makes the runs of lost hosts ready again; every host looks, by the database's clock."""

    _looks = 0

    def step(self, stop: StopToken) -> float:
        declare_lost()
        rescue()
        self._looks += 1
        if self._looks % RARELY == 0:
            sweep_blocked()
            fail_unknown()
            mark_orphans()
        return INTERVAL
