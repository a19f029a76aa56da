"""Own what waits for the slots of an executor, and how its slots serve: one after another, what follows in a lane first."""

from __future__ import annotations

import queue
from collections.abc import Callable

from background.execution.runner import Execution
from background.queue.outcome import Outcome

# Takes what happened, and may return what is to be executed next in the same slot.
Done = Callable[[Execution, Outcome], Execution | None]


class Inbox:
    """The executions that were given to an executor and are not done. Thread-safe."""

    def __init__(self, capacity: int, done: Done) -> None:
        self._capacity = capacity
        self._done = done
        self._waiting: queue.SimpleQueue[Execution | None] = queue.SimpleQueue()
        self._open: dict[Execution, None] = {}  # changed by single steps only, which need no lock

    @property
    def free(self) -> int:
        """Slots without work; negative where more wait than there are slots."""
        return self._capacity - len(self._open)

    def put(self, execution: Execution, open_slot: Callable[[int], object]) -> None:
        """Have it executed by the next free slot; `open_slot` is told how many are needed now. Does not block."""
        self._open[execution] = None
        open_slot(min(len(self._open), self._capacity))
        self._waiting.put(execution)

    def serve(self, call: Callable[[Execution], Outcome | None], seconds: float, idle: Callable[[], object]) -> None:
        """Execute what comes until closed, or until `call` returns None: its slot was given up. Blocks.

        `idle` is called whenever there was nothing for so many seconds.
        """
        while True:
            try:
                execution = self._waiting.get(timeout=seconds)
            except queue.Empty:
                idle()
                continue
            if execution is None:
                return
            while execution is not None:
                if (outcome := call(execution)) is None:
                    return
                execution = self.done(execution, outcome)

    def done(self, execution: Execution, outcome: Outcome) -> Execution | None:
        """Tell what happened; returns what is to be executed next in the slot."""
        self._open.pop(execution, None)
        following = self._done(execution, outcome)
        if following is not None:
            self._open[following] = None
        return following

    def go_on(self, execution: Execution) -> None:
        """Put what `done` returned where another slot takes it: its own was given up."""
        self._waiting.put(execution)

    def take_back(self) -> list[Execution]:
        """Return what no slot has begun."""
        taken = []
        try:
            while True:
                if (execution := self._waiting.get_nowait()) is not None:
                    taken.append(execution)
        except queue.Empty:
            for one in taken:
                self._open.pop(one, None)
        return taken

    def close(self, slots: int) -> None:
        """Let so many slots end when they are free."""
        for _ in range(slots):
            self._waiting.put(None)
