"""Own how far a worker reads ahead: what can begin within a tenth of a second, judging by the runs that ended lately."""

from __future__ import annotations

import time

# Seconds of work that may wait on a host; it is handed back if the slots turn out to be busy for longer.
AHEAD = 0.1
# Runs that may wait at most.
MOST = 1000
# A sample of the rate takes at least this long (seconds).
SAMPLE = 0.02


class Lookahead:
    """The pace at which one executor ends runs, and how long runs of a task take."""

    __slots__ = ("_ended", "_rate", "_sampled_at", "_seconds")

    def __init__(self) -> None:
        self._ended = 0
        self._rate = 0.0
        self._sampled_at = time.monotonic()
        self._seconds: dict[str, float] = {}

    def note(self, task: str, seconds: float) -> None:
        """Take note of a run that has ended. Thread-safe as far as it matters: a lost note is a slower start."""
        self._ended += 1
        before = self._seconds.get(task)
        self._seconds[task] = seconds if before is None else max(seconds, 0.8 * before + 0.2 * seconds)

    @property
    def runs(self) -> int:
        """How many runs may wait for a slot."""
        now = time.monotonic()
        if (past := now - self._sampled_at) >= SAMPLE:
            ended, self._ended, self._sampled_at = self._ended, 0, now
            self._rate = (self._rate + ended / past) / 2
        return min(int(self._rate * AHEAD), MOST)

    def depth(self, task: str) -> int:
        """Return how many runs of a task may wait behind one: none while it is not known how long they take."""
        seconds = self._seconds.get(task)
        return 0 if seconds is None else min(int(AHEAD / max(seconds, 0.0001)), MOST)
