"""Own the writing of statistics: what this process has noted of ended runs becomes sums every few seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from background.engine.base import EngineService, HostView
from background.queue import tally

if TYPE_CHECKING:
    from background.stopping import StopToken

# Seconds between two writings: what a SIGKILL may lose of the statistics.
INTERVAL = 5.0
# A job's usual time is computed anew at most so often (seconds), and of so many jobs at a time.
REFRESH, MOST = 60.0, 50


class Statistics(EngineService):
    """Flushes the tally, and keeps the usual running times of the jobs that ran."""

    def __init__(self, host: HostView) -> None:
        super().__init__(host)
        self._ran: dict[int, None] = {}  # jobs whose usual time is to be computed
        self._computed_at: dict[int, float] = {}

    def execute(self, stop: StopToken) -> None:
        tally.keep()
        try:
            super().execute(stop)
        finally:
            tally.let_go()

    def step(self, stop: StopToken) -> float:
        self._ran.update(dict.fromkeys(tally.flush()))
        now = time.monotonic()
        due = [id for id in self._ran if now - self._computed_at.get(id, -REFRESH) >= REFRESH]
        for job_id in due[:MOST]:
            tally.refresh_durations(job_id)
            self._computed_at[job_id] = now
            del self._ran[job_id]
        return INTERVAL

    def last_step(self, stop: StopToken) -> None:
        tally.flush()
