"""Own the thread in which a service's code is called: its event loop, its hooks, the hooks beside a busy `execute`."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async

from background.execution.capture import HERE, Tail
from background.scope import close_connections, refresh_connections
from background.stopping import Deadline, StopToken

Call = Callable[..., Any]


class ServiceThread:
    """One thread, and in it one event loop as soon as a coroutine asks for it.

    `start`, `close`, `post`, `hook`, `wake`, `hurry` and `cancel_hooks` may be called from any thread and do not block;
    `call`, `execute` and `serve` belong to the thread itself.
    """

    def __init__(self, name: str, tail: Tail | None = None) -> None:
        self._name = name
        self._tail = tail  # which hears what is logged there
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._calls: queue.SimpleQueue[tuple[Call, Future[None]] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._busy = False  # in `execute`: hooks are called beside it
        self._beside: set[Future[None]] = set()  # hooks on the loop of a busy `execute`
        self._runner: asyncio.Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy_loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.copy_context()
        self._orm = ThreadSensitiveContext()
        self._hooks: set[asyncio.Task[Any]] = set()
        self._main: asyncio.Task[Any] | None = None  # what ends at the deadline of its token
        self._token: StopToken | None = None
        self._timer: asyncio.TimerHandle | None = None

    # From any thread

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Let it end once it has nothing to do."""
        self._calls.put(None)

    def join(self, seconds: float) -> None:
        """Block until it has ended, at most that long."""
        self._thread.join(seconds)

    def post(self, call: Call) -> None:
        """Have something called there when it is free."""
        self._calls.put((call, Future()))

    def wake(self) -> None:
        """Let `serve` look at its condition."""
        self.post(lambda: None)

    def hook(self, hook: Call) -> Future[None]:
        """Have a hook called: there, or beside it while `execute` is busy there. A coroutine always runs on its loop."""
        future: Future[None] = Future()
        with self._lock:
            if not self._busy:
                self._calls.put((lambda: self.call(hook), future))
            elif self._busy_loop is not None and inspect.iscoroutinefunction(hook):
                self._beside.add(future)
                self._busy_loop.call_soon_threadsafe(self._spawn, hook, future, context=self._context)
            else:
                return apart(hook, f"{self._name}: {getattr(hook, '__name__', 'hook')}")
        return future

    def hurry(self) -> None:
        """Look at the token's deadline again: a coroutine is cancelled when it comes."""
        self._in_loop(self._arm)

    def cancel_hooks(self) -> None:
        """Cancel the hooks that are coroutines."""
        self._in_loop(lambda: [one.cancel() for one in list(self._hooks)])

    def stack(self) -> str:
        """Return where the service's code stands, for the log: in this thread, on its loop, in hooks beside it."""
        places = []
        frames = sys._current_frames()
        aside = (one for one in threading.enumerate() if one.name.startswith(f"{self._name}: "))
        for thread in (self._thread, *aside):
            if frame := frames.get(thread.ident or 0):
                places.append(below_us(traceback.extract_stack(frame)))
        for task in {self._main, *self._hooks} - {None}:
            places.append(below_us(stack_of(task)))  # type: ignore[arg-type]
        return "".join(line for place in places for line in place.format())

    def _in_loop(self, call: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:
                pass  # closed meanwhile: nothing is left to hear it

    # In the thread

    def call(self, call: Call, token: StopToken | None = None) -> None:
        """Call a hook and await it if need be; with a token, until its deadline."""
        result = call()
        if inspect.isawaitable(result):
            self._run(self._as_hook(result, token))

    def execute(self, call: Call, token: StopToken, on_loop: bool) -> None:
        """Call what takes as long as the service lives; coroutines are cancelled at the token's deadline."""
        self._begin_busy(self._open_loop() if on_loop else None)
        try:
            result = call(token)
            if inspect.isawaitable(result):
                self._run(self._as_main(result, token))
        finally:
            with self._lock:
                self._busy, self._busy_loop = False, None

    def serve(self, until: Callable[[], bool], seconds: float | None = None) -> None:
        """Do what is posted until the condition holds, the seconds are over or the thread is to end."""
        deadline = Deadline.after(seconds)
        while not until() and not deadline.expired and not self._closed:
            try:
                item = self._calls.get(timeout=deadline.remaining())
            except queue.Empty:
                return
            self._do(item)

    def _do(self, item: tuple[Call, Future[None]] | None) -> None:
        if item is None:
            self._closed = True
            return
        call, future = item
        error: BaseException | None = None
        try:
            call()
        except BaseException as caught:  # noqa: BLE001 - around a service: whoever has the future hears of it
            error = caught
        refresh_connections()
        settle(future, error)

    def _work(self) -> None:
        HERE.tail = self._tail
        try:
            self.serve(lambda: False)
        finally:
            if self._runner is not None:
                self._run(leave(self._orm))
                self._runner.close()
            close_connections()

    def _begin_busy(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Do what was posted before; what comes later is called beside."""
        while True:
            with self._lock:
                if self._calls.empty() or self._closed:
                    self._busy, self._busy_loop = True, loop
                    return
            self._do(self._calls.get())

    # On the loop

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        if self._runner is None:
            self._runner = asyncio.Runner()
            self._loop = self._runner.get_loop()
            self._runner.run(self._orm.__aenter__(), context=self._context)
        assert self._loop is not None
        return self._loop

    def _run(self, coroutine: Any) -> None:
        self._open_loop()
        assert self._runner is not None
        self._runner.run(coroutine, context=self._context)

    async def _as_hook(self, awaitable: Any, token: StopToken | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._hooks.add(task)
        try:
            with self._until_deadline(token):
                await awaitable
        finally:
            self._hooks.discard(task)

    async def _as_main(self, awaitable: Any, token: StopToken) -> None:
        with self._until_deadline(token):
            try:
                await awaitable
            finally:
                await self._end_beside()

    @contextmanager
    def _until_deadline(self, token: StopToken | None) -> Iterator[None]:
        self._main, self._token = asyncio.current_task(), token
        self._arm()
        try:
            yield
        finally:
            self._main = self._token = None
            self._arm()

    def _arm(self) -> None:
        """Have the coroutine and its hooks cancelled at the deadline of its token, if that is known."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left = self._token.remaining() if self._token is not None else None
        if left is not None and self._loop is not None:
            self._timer = self._loop.call_later(left, self._expire)

    def _expire(self) -> None:
        for task in {self._main, *self._hooks} - {None}:
            task.cancel()  # type: ignore[union-attr]

    def _spawn(self, hook: Call, future: Future[None]) -> None:
        task = asyncio.get_running_loop().create_task(hook())
        self._hooks.add(task)

        def over(_: asyncio.Task[Any]) -> None:
            self._hooks.discard(task)
            settle(future, asyncio.CancelledError() if task.cancelled() else task.exception())

        task.add_done_callback(over)

    async def _end_beside(self) -> None:
        """Wait for the hooks on this loop: without it they would stand still."""
        while True:
            with self._lock:
                self._beside = {one for one in self._beside if not one.done()}
                if not self._beside:
                    self._busy = False
                    return
                waiting = [asyncio.wrap_future(one) for one in self._beside]
            for one in (await asyncio.wait(waiting))[0]:
                one.exception()  # whoever asked for the hook hears of it


def apart(call: Call, name: str) -> Future[None]:
    """Call something in a thread of its own, for which nobody has to wait, with a loop of its own if need be."""
    future: Future[None] = Future()

    def work() -> None:
        error: BaseException | None = None
        try:
            result = call()
            if inspect.isawaitable(result):
                async_to_sync(awaited)(result)
        except BaseException as caught:  # noqa: BLE001 - around a service, as above
            error = caught
        close_connections()
        settle(future, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


async def awaited(awaitable: Any) -> None:
    await awaitable


async def leave(orm: ThreadSensitiveContext) -> None:
    """Close the connections of the thread of ORM calls, if there was one, and end it."""
    if orm in SyncToAsync.context_to_thread_executor:
        await sync_to_async(close_connections)()
    await orm.__aexit__(None, None, None)


def stack_of(task: asyncio.Task[Any]) -> traceback.StackSummary:
    """Return where a waiting coroutine stands, down to what it awaits (`Task.get_stack` knows only the outermost)."""
    found = traceback.StackSummary()
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        if frame := getattr(coroutine, "cr_frame", None):
            found += traceback.extract_stack(frame, limit=1)
        coroutine = getattr(coroutine, "cr_await", None)
    return found


def below_us(stack: traceback.StackSummary) -> traceback.StackSummary:
    """Leave out how we got to the service's code."""
    ours = [number for number, frame in enumerate(stack) if frame.filename == __file__]
    return traceback.StackSummary.from_list(list(stack)[ours[-1] + 1 :] if ours else list(stack))


def settle(future: Future[None], error: BaseException | None) -> None:
    """Complete a future once."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
