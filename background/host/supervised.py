"""Own one service's thread: its hooks, its state, its restarts, its health."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from background.exceptions import StopRequested
from background.host.restarts import Restarts, Verdict
from background.host.standing import Standing, State
from background.scope import arefresh_connections, close_connections, refresh_connections
from background.services.base import BackgroundService, Tick
from background.services.periodic import PeriodicService
from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.host")

# A singleton that stands by asks for the lease this often (seconds).
STANDBY = 1.0
# A cancelled coroutine gets this long for its own end (seconds).
CANCEL_GRACE = 1.0


class NotStarted(Exception):
    """The first on_start failed; the host was told."""


class Supervised:
    """A service as its host sees it; its public methods may be called from any thread and do not block unless they say so."""

    def __init__(
        self,
        service: BackgroundService,
        *,
        changed: Callable[[], None],
        stop_host: Callable[[str, int], None],
        acquire: Callable[[str], float | None],
        release: Callable[[str], None],
    ) -> None:
        self.service = service
        self.name = service.get_name()
        self.engine = hasattr(service, "stops_late")
        self.stops_late = bool(getattr(service, "stops_late", False))
        self._stop_host = stop_host
        self._acquire, self._release = acquire, release
        self.standing = Standing(service, self.engine, changed)
        self.started: Future[None] = Future()
        self.ended = threading.Event()  # its life is over: execute and on_stop have been
        self.may_stop = threading.Event()  # the host's turn for on_stop has come
        self.begun = False
        self.was_started = False
        self.hook_errors: list[str] = []
        self.believed_until = 0.0
        self._beat = time.monotonic()
        self._restarts = Restarts(service)
        self._wish = ""
        self._stopping = False
        self._executing = False
        self._token = StopToken()
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = queue.SimpleQueue()
        self._runner: asyncio.Runner | None = None
        self._main: asyncio.Task[Any] | None = None
        self._thread = threading.Thread(target=self._work, name=f"background-{self.name}", daemon=True)
        service.on_tick = self._ticked  # type: ignore[method-assign]

    # For the host

    @property
    def state(self) -> str:
        return self.standing.state

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def open(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Let the thread end once it has nothing to do."""
        self._calls.put(None)

    def hook(self, name: str) -> Future[None]:
        """Have a hook called: in the service's thread, or beside it while `execute` is busy there."""
        future: Future[None] = Future()

        def call() -> None:
            self._hook(name)

        if not self._executing:
            self._calls.put((call, future))
        elif self._runner is not None and inspect.iscoroutinefunction(getattr(self.service, name)):
            done = asyncio.run_coroutine_threadsafe(getattr(self.service, name)(), self._runner.get_loop())
            done.add_done_callback(lambda one: settle(future, one.exception()))
        else:
            threading.Thread(
                target=self._beside, args=(call, future), name=f"background-{self.name}-{name}", daemon=True
            ).start()
        return future

    def begin(self) -> None:
        """Begin the service's life: on_start, execute, and so on; `started` tells when on_start is over."""
        self.begun = True
        self.ended.clear()
        self._calls.put((self._live, Future()))

    def request_stop(self, reason: str, deadline: Deadline) -> None:
        """Ask it to stop for good."""
        self._stopping = True
        timeout = self.service.stop_timeout
        self._token.request(reason, deadline if timeout is None else deadline.earlier(timeout))
        if self.standing.state in (State.RUNNING, State.STARTING):
            self.standing.enter(State.STOPPING)

    def let_stop(self) -> None:
        """It is this service's turn for on_stop."""
        self.may_stop.set()
        self._calls.put((lambda: None, Future()))

    def wait_ended(self, deadline: Deadline) -> bool:
        """Block until its life is over; cancel it at its deadline if it is a coroutine; False if it is deaf."""
        mine = self._token.deadline or deadline
        if self.ended.wait(mine.remaining()):
            return True
        if self._main is not None and self._runner is not None:
            self._runner.get_loop().call_soon_threadsafe(self._main.cancel)
            return self.ended.wait(CANCEL_GRACE)
        return False

    def abandon(self) -> None:
        """Write it off: its thread cannot be killed."""
        self.standing.error = self.stack() or "did not stop in time"
        self.standing.healthy = False
        self.standing.enter(State.FAILED)

    def stack(self) -> str:
        """Return where its thread stands, for the log."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame else ""

    def obey(self, verb: str, by: str) -> None:
        """Do what a person wishes: start, stop, restart or tick."""
        logger.info("%s: %s asked by %s", self.name, verb, by or "a person")
        if verb == "tick":
            if isinstance(self.service, PeriodicService):
                self.service.tick_now()
        elif self.ended.is_set():
            if verb in ("start", "restart") and not self._stopping:
                self.started = Future()
                self.begin()
        elif verb == "start":
            self._token.poke()  # no need to wait in backoff
        else:
            self._wish = verb
            self._token.request(f"{verb} asked by {by or 'a person'}", Deadline.after(self.service.stop_timeout or 25))

    def believe(self, until: float) -> None:
        """The lease is held; it may be believed until this time of the monotonic clock."""
        self.believed_until = until

    def lease_lost(self) -> None:
        """Stop at once: another host may run this singleton now."""
        if self.believed_until:
            self.believed_until = 0.0
            logger.warning("%s stops: its lease is lost", self.name)
            self._token.request("lease-lost", Deadline.after(0))

    @property
    def holds_lease(self) -> bool:
        return self.believed_until > 0

    def check(self) -> None:
        """Look after what time decides: leases that are over, watchdogs that bark. Called by the host's main thread."""
        now = time.monotonic()
        if self.believed_until and now >= self.believed_until:
            self.lease_lost()
        if self.service.watchdog and self.standing.state == State.RUNNING:
            self.standing.judge(now - self._beat <= self.service.watchdog)

    # In the service's thread

    def _work(self) -> None:
        if self.service.is_async:
            with asyncio.Runner() as self._runner:
                sensitive = ThreadSensitiveContext()
                self._runner.run(sensitive.__aenter__())
                self._serve()
                self._runner.run(sensitive.__aexit__(None, None, None))
        else:
            self._serve()
        close_connections()

    def _serve(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            self._call(call, future)

    def _call(self, call: Callable[[], None], future: Future[None]) -> None:
        error: BaseException | None = None
        try:
            call()
        except Exception as caught:  # around a service
            error = caught
        settle(future, error)
        refresh_connections()

    def _beside(self, call: Callable[[], None], future: Future[None]) -> None:
        error: BaseException | None = None
        try:
            contextvars.Context().run(call)
        except Exception as caught:  # around a service
            error = caught
        close_connections()
        settle(future, error)

    def _hook(self, name: str) -> None:
        self._await(getattr(self.service, name)())

    def _await(self, result: Any) -> None:
        if not inspect.isawaitable(result):
            return
        if self._runner is not None and threading.current_thread() is self._thread:
            self._runner.run(as_coroutine(result))
        else:
            asyncio.run(as_coroutine(result))

    def _live(self) -> None:
        """Start, execute, stop, and again as policy and people wish."""
        try:
            while self._once():
                pass
        finally:
            self.standing.next_start_at = self.standing.next_tick_at = None
            self.ended.set()
            settle(self.started, None)

    def _once(self) -> bool:
        """Live one life; returns whether another follows."""
        self._wish = ""
        if not self._stopping:
            self._token = StopToken(
                on_beat=None if self.engine else self._beaten,
                after_wait=refresh_connections,
                after_sleep=arefresh_connections,
            )
        self.service.stop = self._token
        if self._stopping or (self.service.singleton and not self._stand_by()):
            self.standing.enter(State.STOPPED)
            return False
        try:
            error = self._start_and_execute()
        except NotStarted:
            return False
        finally:
            self._give_lease_back()
        return self._decide(error)

    def _give_lease_back(self) -> None:
        if self.service.singleton:
            self.believed_until = 0.0
            if self._token.reason != "lease-lost":
                self._release(self.name)

    def _stand_by(self) -> bool:
        """Block until the lease is held; False when asked to stop first."""
        while not self._token.requested:
            until = self._acquire(self.name)
            if until is not None:
                self.believed_until = until
                return True
            if self.standing.state != State.STANDBY:
                self.standing.enter(State.STANDBY)
            settle(self.started, None)
            self._token.wait(STANDBY)
        return False

    def _start_and_execute(self) -> BaseException | None:
        first = not self.started.done()
        self.standing.enter(State.STARTING)
        try:
            self._hook("on_start")
        except Exception as error:  # around a service
            if not first:
                return error
            self.standing.note_failure(error)
            self.standing.enter(State.FAILED)
            settle(self.started, error)
            raise NotStarted from error
        self.was_started = True
        self._beat = time.monotonic()
        self._restarts.began()
        self.standing.enter(State.RUNNING)
        settle(self.started, None)
        try:
            return self._execute()
        finally:
            self._dispose()

    def _execute(self) -> BaseException | None:
        self._executing = True
        try:
            result = self.service.execute(self._token)
            if inspect.isawaitable(result):
                assert self._runner is not None, f"{self.name}: execute returned a coroutine, declare it async def"
                self._runner.run(self._as_main(result))
        except StopRequested:
            return None
        except asyncio.CancelledError as error:
            return None if self._token.requested else error
        except Exception as error:  # around a service
            return error
        finally:
            self._executing = False
            self._main = None
        return None

    async def _as_main(self, result: Any) -> None:
        self._main = asyncio.current_task()
        await result

    def _dispose(self) -> None:
        """Call on_stop: at once, or in the host's order when the host is stopping; meanwhile serve other hooks."""
        while self._stopping and not self.may_stop.is_set():
            if (item := self._calls.get()) is None:
                break
            self._call(*item)
        try:
            self._hook("on_stop")
        except Exception as error:  # around a service
            self.hook_errors.append(f"on_stop of {self.name}: {error!r}")
            logger.error("on_stop of %s failed", self.name, exc_info=error)

    def _decide(self, error: BaseException | None) -> bool:
        """Decide, by policy and wishes, what follows the end of execute."""
        if error is not None:
            self.standing.note_failure(error)
        if self._stopping or self._wish == "stop":
            self.standing.enter(State.STOPPED if error is None or self._stopping else State.FAILED)
            return False
        if self._wish == "restart" or self._token.reason == "lease-lost":
            self.standing.restarts += self._wish == "restart"
            return True
        verdict = self._restarts.judge(error)
        if verdict is Verdict.AGAIN:
            return self._back_off()
        if verdict is Verdict.END:
            self.standing.enter(State.STOPPED)
            logger.info("%s has ended", self.name)
            return False
        self.standing.healthy = False
        self.standing.enter(State.FAILED)
        if verdict is Verdict.STOP_HOST:
            self._stop_host(f"service {self.name} failed: {error!r}", 4)
        elif self.engine:
            self._stop_host(f"engine service {self.name} keeps failing: {error!r}", 4)
        else:
            logger.error("%s is given up after %d restarts", self.name, self.standing.restarts)
        return False

    def _back_off(self) -> bool:
        """Wait before the next start; False when asked to stop meanwhile."""
        delay = self._restarts.delay()
        self.standing.next_start_at = datetime.now(UTC) + timedelta(seconds=delay)
        self.standing.enter(State.BACKOFF)
        logger.info("%s starts again in %.1f s", self.name, delay)
        asked = self._token.wait(delay)
        self.standing.next_start_at = None
        if asked and self._wish != "restart":
            self.standing.enter(State.STOPPED)
            return False
        self.standing.restarts += 1
        return True

    def _ticked(self, tick: Tick) -> None:
        self._beat = time.monotonic()
        self.standing.note_tick(tick)

    def _beaten(self) -> None:
        self._beat = time.monotonic()
        self.standing.note_beat()


def settle(future: Future[None], error: BaseException | None) -> None:
    """Complete a future once."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


async def as_coroutine(awaitable: Any) -> Any:
    return await awaitable
