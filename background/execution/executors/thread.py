"""Own the threads in which plain functions are called, and how a function is interrupted there."""

from __future__ import annotations

import ctypes
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable

from django.db import connections

from background import registry
from background.compat import Task
from background.exceptions import RunCancelled, RunTimedOut
from background.execution.runner import Execution, failed, run, timed_out
from background.queue.outcome import Outcome
from background.scope import close_connections, closing_on_error, refresh_connections

logger = logging.getLogger("background.execution")

Done = Callable[[Execution, Outcome], None]

# Seconds after which a thread without work looks after its connections.
IDLE = 10.0
# Seconds of deafness after a cancel before RunCancelled is raised in the thread.
PATIENCE = 5.0


class Slot:
    """One thread and what it executes."""

    __slots__ = ("execution", "interrupted", "lock", "started", "thread")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.execution: Execution | None = None
        self.started = 0.0
        self.interrupted = False
        self.thread: threading.Thread | None = None


class ThreadExecutor:
    """A fixed number of threads, started as they are needed."""

    name = "thread"

    def __init__(self, capacity: int, done: Done) -> None:
        self.capacity = capacity
        self._done = done
        self._inbox: queue.SimpleQueue[Execution | None] = queue.SimpleQueue()
        self._slots: list[Slot] = []
        self._pending = 0
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        return self.capacity - self._pending

    def submit(self, execution: Execution) -> None:
        """Have it executed by the next free thread. Does not block."""
        with self._lock:
            self._pending += 1
            if self._pending > len(self._slots):
                self._add_thread()
        self._inbox.put(execution)

    def _add_thread(self) -> None:
        slot = Slot()
        slot.thread = threading.Thread(
            target=self._work, args=(slot,), name=f"background-run-{len(self._slots) + 1}", daemon=True
        )
        self._slots.append(slot)
        slot.thread.start()

    def active(self) -> list[Execution]:
        """Return what is being executed at this moment."""
        return [execution for slot in self._slots if (execution := slot.execution)]

    def _work(self, slot: Slot) -> None:
        try:
            while True:
                try:
                    execution = self._inbox.get(timeout=IDLE)
                except queue.Empty:
                    refresh_connections(idle=IDLE)
                    continue
                if execution is None:
                    return
                outcome = self._call(slot, execution)
                with self._lock:
                    self._pending -= 1
                self._done(execution, outcome)
        finally:
            close_connections()

    def _call(self, slot: Slot, execution: Execution) -> Outcome:
        outcome: Outcome | None = None
        error: BaseException | None = None
        while True:  # an interrupt may arrive at any instruction until `_leave` has shut the door
            try:
                if error is not None:
                    outcome = outcome or execution.stored or failed(execution, _task_of(execution), error)
                else:
                    self._enter(slot, execution)
                    outcome = run(execution)
                self._leave(slot)
                break
            except BaseException as raised:  # noqa: BLE001 - whatever a run raises, its thread goes on
                error = raised
        if slot.interrupted or any(one.in_atomic_block for one in connections.all(initialized_only=True)):
            _drop_connections()
        return outcome

    def _enter(self, slot: Slot, execution: Execution) -> None:
        slot.interrupted, slot.started = False, time.monotonic()
        slot.execution = execution

    def _leave(self, slot: Slot) -> None:
        with slot.lock:
            slot.execution = None

    def enforce(self) -> float | None:
        """Interrupt what is over its time or deaf to a cancel; returns the seconds until the next such moment, if any."""
        nearest: float | None = None
        now = time.monotonic()
        for slot in self._slots:
            execution = slot.execution
            if execution is None or slot.interrupted:
                continue
            left = self._left(slot, execution, now)
            if left is not None and left <= 0:
                self._interrupt(slot, execution)
            elif left is not None:
                nearest = left if nearest is None else min(nearest, left)
        return nearest

    def _left(self, slot: Slot, execution: Execution, now: float) -> float | None:
        limits = []
        if execution.claim.timeout:
            limits.append(slot.started + execution.claim.timeout - now)
        if execution.reason in ("cancelled", "replaced", "host-lost"):
            execution.asked_at = execution.asked_at or now
            limits.append(execution.asked_at + PATIENCE - now)
        return min(limits) if limits else None

    def _interrupt(self, slot: Slot, execution: Execution) -> None:
        """Raise in the thread, unless it has left this execution meanwhile."""
        execution.stop.request("timeout")
        timeout = execution.reason == "timeout"
        words = {"__doc__": timed_out(execution.claim), "__module__": RunTimedOut.__module__}
        error = type("RunTimedOut", (RunTimedOut,), words) if timeout else RunCancelled
        with slot.lock:
            if slot.execution is not execution or slot.thread is None or slot.thread.ident is None:
                return
            slot.interrupted = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(slot.thread.ident), ctypes.py_object(error))
        logger.warning("run %s of %s interrupted: %s", execution.claim.id, execution.claim.task, execution.reason)

    def cancel(self, execution: Execution) -> None:
        """Nothing beyond the stop token: `enforce` follows up."""

    def drain(self) -> list[Execution]:
        """Take back what no thread has begun."""
        taken = []
        while True:
            try:
                execution = self._inbox.get_nowait()
            except queue.Empty:
                break
            if execution is not None:
                taken.append(execution)
        with self._lock:
            self._pending -= len(taken)
        return taken

    def stack_of(self, execution: Execution) -> str:
        """Return where the thread of this execution stands, for the log."""
        for slot in self._slots:
            if slot.execution is execution and slot.thread is not None and slot.thread.ident is not None:
                frame = sys._current_frames().get(slot.thread.ident)
                return "".join(traceback.format_stack(frame)) if frame else ""
        return ""

    def close(self) -> None:
        """Let the threads end when they are free. Does not block."""
        for _ in self._slots:
            self._inbox.put(None)


def _task_of(execution: Execution) -> Task | None:
    return registry.tasks().get(execution.claim.task)


def _drop_connections() -> None:
    """Forget this thread's connections: they were left in the midst of a conversation or of a transaction."""
    for connection in connections.all(initialized_only=True):
        with closing_on_error(connection):
            connection.close()
        del connections[connection.alias]
