"""Own the decision whether a service whose execute has ended is started again, and when."""

from __future__ import annotations

import time
from enum import Enum

from background.services.base import BackgroundService

# After so many seconds without a failure, the delay before a restart begins small again.
HEALTHY = 60.0


class Verdict(Enum):
    # It is over, as it should be.
    END = "end"
    # Start it again after the delay.
    AGAIN = "again"
    # It failed, and its policy is not to try again, or not so often.
    GIVE_UP = "give up"
    # It failed, and the host should not go on without it.
    STOP_HOST = "stop host"


class Restarts:
    """The restart policy of one service, and what it remembers."""

    def __init__(self, service: BackgroundService) -> None:
        self._service = service
        self._failures: list[float] = []
        self._trouble = 0
        self._began: float | None = None
        self._lasted = 0.0

    def began(self) -> None:
        """Execute begins now."""
        self._began = time.monotonic()

    def ended(self) -> None:
        """Execute is over."""
        self._lasted = 0.0 if self._began is None else time.monotonic() - self._began
        self._began = None

    def judge(self, error: BaseException | None) -> Verdict:
        """Return what follows the end of execute by itself."""
        service = self._service
        if error is None:
            return Verdict.AGAIN if service.restart == "always" else Verdict.END
        if service.restart == "stop-host":
            return Verdict.STOP_HOST
        if service.restart == "never" or self._too_often():
            return Verdict.GIVE_UP
        return Verdict.AGAIN

    def _too_often(self) -> bool:
        now = time.monotonic()
        self._failures = [one for one in self._failures if now - one < self._service.restart_window] + [now]
        most = self._service.max_restarts
        return most is not None and len(self._failures) > most

    def delay(self, error: BaseException | None) -> float:
        """Return the seconds before the next start: growing with each failure, small again after a healthy minute."""
        healthy = error is None or self._lasted >= HEALTHY
        self._trouble = 1 if healthy else self._trouble + 1
        self._lasted = 0.0
        return self._service.backoff.delay(self._trouble)
