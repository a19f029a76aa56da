"""Own the event loop on which coroutine functions are called: one thread, slots with an ORM thread each."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from asyncio import AbstractEventLoop, Task
from collections import deque
from contextlib import suppress

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from background.exceptions import RunCancelled
from background.execution.executors.inbox import Done
from background.execution.executors.thread import GRACE, PATIENCE, task_of
from background.execution.runner import Execution, arun, failed
from background.queue.outcome import Outcome
from background.scope import arefresh_connections, close_connections, fresh_context

logger = logging.getLogger("background.execution")

# Seconds after which a slot without work looks after its connections.
IDLE = 10.0
# Between two looks for coroutines that do not hear that they were cancelled (seconds).
LOOK = 1.0


class LoopExecutor:
    """A fixed number of slots on one loop, opened as they are needed, the last used first."""

    name = "loop"

    def __init__(self, capacity: int, done: Done) -> None:
        self.capacity = capacity
        self._done = done
        self._pending = 0
        self._lock = threading.Lock()
        self._loop: AbstractEventLoop | None = None
        self._waiting: deque[Execution] = deque()  # for a slot
        self._idle: list[asyncio.Queue[Execution | None]] = []
        self._slots = 0
        self._look_at = 0.0
        self._tasks: dict[Execution, Task[Outcome] | None] = {}

    @property
    def free(self) -> int:
        return self.capacity - self._pending

    def submit(self, execution: Execution) -> None:
        """Have it executed by a free slot. Does not block, but for the start of the loop the first time."""
        with self._lock:
            self._pending += 1
            if self._loop is None:
                self._loop = self._start()
        self._tasks[execution] = None
        self._loop.call_soon_threadsafe(self._hand_out, execution)

    def _start(self) -> AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=self._run_loop, args=(loop,), name="background-loop", daemon=True).start()
        return loop

    def _run_loop(self, loop: AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _hand_out(self, execution: Execution) -> None:
        if not self._idle:
            if self._slots >= self.capacity:
                self._waiting.append(execution)
                return
            assert self._loop is not None
            inbox: asyncio.Queue[Execution | None] = asyncio.Queue()
            self._idle.append(inbox)
            self._slots += 1
            self._loop.create_task(self._slot(inbox), name=f"background-slot-{self._slots}")
        self._idle.pop().put_nowait(execution)

    async def _slot(self, inbox: asyncio.Queue[Execution | None]) -> None:
        async with ThreadSensitiveContext():
            while True:
                try:
                    async with asyncio.timeout(IDLE):
                        execution = await inbox.get()
                except TimeoutError:
                    await arefresh_connections(idle=IDLE)
                    continue
                if execution is None:
                    return await self._close_slot()
                while execution is not None:
                    outcome = await self._call(execution)
                    if execution not in self._tasks:  # given up: another slot has this one's place
                        logger.warning("run %s of %s ended after all", execution.claim.id, execution.claim.task)
                        return await self._close_slot()
                    execution = self._next(execution, outcome)
                self._idle.append(inbox)

    def _next(self, execution: Execution, outcome: Outcome) -> Execution | None:
        """Tell what happened; returns what the slot executes next, if anything."""
        with self._lock:
            self._pending -= 1
        self._tasks.pop(execution, None)
        following = self._done(execution, outcome)
        if following is not None:
            with self._lock:
                self._pending += 1
            self._tasks[following] = None
        elif self._waiting:
            following = self._waiting.popleft()
        return following

    async def _call(self, execution: Execution) -> Outcome:
        context = fresh_context()
        context.run(SyncToAsync.thread_sensitive_context.set, SyncToAsync.thread_sensitive_context.get())
        task = asyncio.get_running_loop().create_task(arun(execution), context=context)
        self._tasks[execution] = task
        if execution.reason in ("cancelled", "replaced"):
            task.cancel()
        try:
            return await task
        except BaseException as error:  # noqa: BLE001 - cancelled before it began, or what is no Exception: the slot goes on
            return failed(execution, None, error)

    async def _close_slot(self) -> None:
        if SyncToAsync.thread_sensitive_context.get() in SyncToAsync.context_to_thread_executor:
            await sync_to_async(close_connections)()

    def active(self) -> list[Execution]:
        """Return what is being executed at this moment."""
        return [execution for execution, task in list(self._tasks.items()) if task is not None]

    def enforce(self) -> float | None:
        """Now and then, give up coroutines that were cancelled long ago and go on; timeouts are the loop's own."""
        now = time.monotonic()
        if self._loop is None or now < self._look_at:
            return None
        self._look_at = now + LOOK
        for execution in self.active():
            if execution.reason in ("timeout", "cancelled", "replaced", "host-lost"):
                execution.asked_at = execution.asked_at or now
                if now - execution.asked_at >= PATIENCE + GRACE:
                    self._loop.call_soon_threadsafe(self._give_up, execution)
        return None

    def _give_up(self, execution: Execution) -> None:
        """End the run whose coroutine hears nothing; it keeps its slot and its ORM thread, and a new slot takes the place."""
        task = self._tasks.get(execution)
        if task is None or task.done():
            return
        logger.error(
            "run %s of %s does not hear that it shall end (%s): it is ended without its coroutine, which goes on at:\n%s",
            execution.claim.id,
            execution.claim.task,
            execution.reason,
            self.stack_of(execution),
        )
        self._slots -= 1
        following = self._next(execution, failed(execution, task_of(execution), RunCancelled()))
        if following is not None:
            self._hand_out(following)

    def cancel(self, execution: Execution) -> None:
        """Cancel the coroutine at once; its stop token tells why. Does not block."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, execution)

    def _cancel(self, execution: Execution) -> None:
        task = self._tasks.get(execution)
        if task is not None:
            task.cancel()

    cut = cancel  # at the end of the host's time the same is all there is

    def drain(self) -> list[Execution]:
        """Take back what no slot has begun."""
        taken = []
        while self._waiting:
            with suppress(IndexError):  # a slot was faster
                taken.append(self._waiting.popleft())
        with self._lock:
            self._pending -= len(taken)
        for one in taken:
            self._tasks.pop(one, None)
        return taken

    def stack_of(self, execution: Execution) -> str:
        """Return where the coroutine stands, for the log."""
        task = self._tasks.get(execution)
        return "".join(str(frame) + "\n" for frame in task.get_stack()) if task is not None else ""

    def close(self) -> None:
        """Let the slots and the loop end when they are free. Does not block."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        assert self._loop is not None
        for inbox in self._idle:
            inbox.put_nowait(None)
        self._loop.call_later(0.2, self._loop.stop)
