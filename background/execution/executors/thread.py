"""Own the threads in which plain functions are called, and how a function is interrupted there."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
import traceback

from django.db import connections

from background import registry
from background.compat import Task
from background.exceptions import RunCancelled, RunTimedOut
from background.execution.executors.inbox import Done, Inbox
from background.execution.runner import Execution, failed, run, timed_out
from background.queue.outcome import Outcome
from background.scope import close_connections, closing_on_error, opened_connections, refresh_connections

logger = logging.getLogger("background.execution")

# Seconds after which a thread without work looks after its connections.
IDLE = 10.0
# Seconds of deafness after a cancel before RunCancelled is raised in the thread.
PATIENCE = 5.0
# Seconds of deafness after that, or after a timeout was raised, before the thread is given up and another takes its place.
GRACE = 5.0


class Slot:
    """One thread and what it executes."""

    __slots__ = ("execution", "given_up", "interrupted", "interrupted_at", "is_open", "lock", "started", "thread")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.execution: Execution | None = None
        self.started = 0.0
        self.interrupted = False
        self.interrupted_at = 0.0
        self.given_up = False  # another thread has taken its place
        self.is_open = False
        self.thread: threading.Thread | None = None

    def __enter__(self) -> None:
        """Open the door: from here the function may be interrupted."""
        self.started = time.monotonic()
        self.is_open = True

    def __exit__(self, *error: object) -> None:
        """Shut the door; what was thrown through it before arrives here at the latest."""
        with self.lock:
            self.is_open = False
        if self.interrupted:
            for _ in range(100):  # each turn lets the interpreter deliver it
                pass


class ThreadExecutor:
    """A fixed number of threads, started as they are needed."""

    name = "thread"

    def __init__(self, capacity: int, done: Done) -> None:
        self.capacity = capacity
        self._inbox = Inbox(capacity, done)
        self._slots: list[Slot] = []
        self._started = 0
        self.deaf: list[Slot] = []  # threads that were given up and still execute

    @property
    def free(self) -> int:
        return self._inbox.free

    def submit(self, execution: Execution) -> None:
        """Have it executed by the next free thread. Does not block."""
        self._inbox.put(execution, self._open_slots)

    def _open_slots(self, needed: int) -> None:
        if needed > len(self._slots):
            self._add_thread()

    def _add_thread(self) -> None:
        slot = Slot()
        self._started += 1
        name = f"background-run-{self._started}"
        slot.thread = threading.Thread(target=self._work, args=(slot,), name=name, daemon=True)
        self._slots.append(slot)
        slot.thread.start()

    def active(self) -> list[Execution]:
        """Return what is being executed at this moment."""
        return [execution for slot in self._slots if (execution := slot.execution)]

    def _work(self, slot: Slot) -> None:
        try:
            self._inbox.serve(lambda one: self._execute(slot, one), IDLE, lambda: refresh_connections(idle=IDLE))
        finally:
            close_connections()

    def _execute(self, slot: Slot, execution: Execution) -> Outcome | None:
        """Return what happened; None where its end was told already, and the slot's place is taken."""
        outcome = self._call(slot, execution)
        if not slot.given_up:
            return outcome
        self.deaf.remove(slot)
        logger.warning("run %s of %s ended after all", execution.claim.id, execution.claim.task)
        return None

    def _call(self, slot: Slot, execution: Execution) -> Outcome:
        outcome: Outcome | None = None
        error: BaseException | None = None
        while True:  # an interrupt may arrive at any instruction until `_leave` has shut the door
            try:
                if error is not None:
                    outcome = outcome or execution.stored or failed(execution, task_of(execution), error)
                else:
                    self._enter(slot, execution)
                    outcome = run(execution)
                self._leave(slot)
                break
            except BaseException as raised:  # noqa: BLE001 - whatever a run raises, its thread goes on
                error = raised
        if slot.interrupted or any(one.in_atomic_block for one in opened_connections()):
            _drop_connections()
        return outcome

    def _enter(self, slot: Slot, execution: Execution) -> None:
        slot.interrupted = slot.is_open = False
        slot.interrupted_at = 0.0
        execution.door = slot
        slot.execution = execution

    def _leave(self, slot: Slot) -> None:
        with slot.lock:
            slot.is_open, slot.execution = False, None

    def enforce(self) -> float | None:
        """Interrupt what is over its time or deaf to a cancel; returns the seconds until the next such moment, if any."""
        nearest: float | None = None
        now = time.monotonic()
        for slot in list(self._slots):
            execution = slot.execution
            if execution is None or not slot.is_open:
                continue
            left = self._left(slot, execution, now)
            if left is not None and left <= 0:
                act = self._give_up if slot.interrupted else self._interrupt
                left = None if act(slot, execution) else 0.001  # soon again
            if left is not None:
                nearest = left if nearest is None else min(nearest, left)
        return nearest

    def _left(self, slot: Slot, execution: Execution, now: float) -> float | None:
        if slot.interrupted:
            return slot.interrupted_at + GRACE - now
        limits = []
        if execution.claim.timeout:
            limits.append(slot.started + execution.claim.timeout - now)
        if execution.reason in ("cancelled", "replaced", "host-lost"):
            execution.asked_at = execution.asked_at or now
            limits.append(execution.asked_at + PATIENCE - now)
        return min(limits) if limits else None

    def _interrupt(self, slot: Slot, execution: Execution) -> bool:
        """Raise in the thread, unless its function has ended meanwhile; False where this is no moment for it."""
        execution.stop.request("timeout")
        error: type[Exception] = RunCancelled
        if execution.reason == "timeout":
            words = {"__doc__": timed_out(execution.claim), "__module__": RunTimedOut.__module__}
            error = type("RunTimedOut", (RunTimedOut,), words)
        with slot.lock:
            if slot.execution is not execution or not slot.is_open or slot.thread is None or slot.thread.ident is None:
                return True
            if _is_logging(slot.thread.ident):
                return False
            slot.interrupted, slot.interrupted_at = True, time.monotonic()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(slot.thread.ident), ctypes.py_object(error))
        logger.warning("run %s of %s interrupted: %s", execution.claim.id, execution.claim.task, execution.reason)
        return True

    def _give_up(self, slot: Slot, execution: Execution) -> bool:
        """End the run whose function hears nothing; its thread, which cannot be killed, is replaced. Always True."""
        with slot.lock:
            if slot.execution is not execution or not slot.is_open:
                return True
            slot.given_up = True
            self.deaf.append(slot)
        stack = self.stack_of(execution)
        logger.error(
            "run %s of %s does not hear that it shall end (%s): it is ended without its thread, which goes on at:\n%s",
            execution.claim.id,
            execution.claim.task,
            execution.reason,
            stack,
        )
        self._slots.remove(slot)
        self._add_thread()
        late = execution.reason == "timeout"
        error = RunTimedOut(f"{timed_out(execution.claim)} Its thread does not hear.") if late else RunCancelled()
        if (following := self._inbox.done(execution, failed(execution, task_of(execution), error))) is not None:
            self._inbox.go_on(following)
        return True

    def cancel(self, execution: Execution) -> None:
        """Nothing beyond the stop token: `enforce` follows up."""

    def cut(self, execution: Execution) -> None:
        """Nothing: a thread cannot be killed."""

    def drain(self) -> list[Execution]:
        """Take back what no thread has begun."""
        return self._inbox.take_back()

    def stack_of(self, execution: Execution) -> str:
        """Return where the thread of this execution stands, for the log."""
        for slot in (*self._slots, *self.deaf):
            if slot.execution is execution and slot.thread is not None and slot.thread.ident is not None:
                frame = sys._current_frames().get(slot.thread.ident)
                return "".join(traceback.format_stack(frame)) if frame else ""
        return ""

    def close(self) -> None:
        """Let the threads end when they are free. Does not block."""
        self._inbox.close(len(self._slots))


def task_of(execution: Execution) -> Task | None:
    return registry.tasks().get(execution.claim.task)


def _is_logging(thread: int) -> bool:
    """Tell whether a thread stands inside `logging`: interrupted there it may keep a handler's lock, and the process hangs.

    Until Python 3.13 `Handler.handle` takes its lock before its `try`.
    """
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_filename == logging.__file__:
            return True
        frame = frame.f_back
    return False


def _drop_connections() -> None:
    """Forget this thread's connections: they were left in the midst of a conversation or of a transaction."""
    for connection in connections.all(initialized_only=True):
        with closing_on_error(connection):
            connection.close()
        del connections[connection.alias]
