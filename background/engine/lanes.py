"""Own the lanes of a worker: runs that follow each other in one slot of a concurrency key."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from background.execution.runner import Execution

# Seconds for which one lane may be made longer: then its slot and its thread are others' turn.
LANE_LIFE = 1.0


class Lane:
    """The runs of one slot of a key: the first, and what waits for the end of the run before it."""

    __slots__ = ("first", "full", "waiting")

    def __init__(self, first: Execution) -> None:
        self.first = first
        self.waiting: deque[Execution] = deque()
        self.full = 0  # how many waited at most

    @property
    def is_half_done(self) -> bool:
        return self.full > 1 and len(self.waiting) <= self.full // 2

    @property
    def is_short(self) -> bool:
        """Whether it is time to ask for more runs behind it: else its slot would wait for the database."""
        return self.is_half_done and time.monotonic() - self.first.claimed_at <= LANE_LIFE


class Lanes:
    """All lanes of one worker. Thread-safe."""

    def __init__(self) -> None:
        self._lanes: dict[uuid.UUID, Lane] = {}
        self._lock = threading.Lock()

    def queued(self, execution: Execution) -> bool:
        """Put it at the end of its lane, if that has one that is being executed; else it may begin now."""
        if (name := execution.claim.lane) is None:
            return False
        with self._lock:
            if (lane := self._lanes.get(name)) is not None:
                lane.waiting.append(execution)
                lane.full = max(lane.full, len(lane.waiting))
                return True
            self._lanes[name] = Lane(execution)
            return False

    def follow(self, execution: Execution) -> tuple[Execution | None, bool]:
        """Return what follows in its lane one that has ended, and whether the lane has become half empty by that."""
        if (name := execution.claim.lane) is None:
            return None, False
        with self._lock:
            if (found := self._lanes.get(name)) is None or not found.waiting:
                self._lanes.pop(name, None)
                return None, False
            return found.waiting.popleft(), found.is_half_done

    def take_short(self) -> list[Execution]:
        """Return the first of each lane to which more should be added; each is returned once per filling."""
        with self._lock:
            short = [lane for lane in self._lanes.values() if lane.is_short]
            for lane in short:
                lane.full = 0
            return [lane.first for lane in short]

    def take_waiting(self) -> list[Execution]:
        """Return all that waits, and end the lanes."""
        with self._lock:
            lanes, self._lanes = self._lanes, {}
        return [one for lane in lanes.values() for one in lane.waiting]
