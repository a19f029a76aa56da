"""Owns how work is told to stop, and how long it may then take: `StopToken` and `Deadline`.

A token takes no lock, because `request()` is also called by signal handlers, and a handler runs in the midst of
whatever its thread was doing, perhaps in the midst of this file: it would wait for ever for a lock that its own
thread holds (as `threading.Event.set()` does when the signal hits `Event.wait()` at the wrong moment). Instead:

* Shared state is built-in lists and dicts, changed only by single steps that are atomic in CPython: append, set an
  item, pop an item, list the keys. Between two of them there is nothing half done that a handler could meet.
* Whoever wants to hear of a stop enters its name, then looks whether the stop has come. Whoever stops notes it,
  then reads the names. Whatever the order, one of the two sees the other.
* Both may, so hearing twice does no harm: a callback belongs to the one whose `pop` got it, and a waiter waits
  on a lock or future of its own, which is released without blocking and more than once if need be.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from background.exceptions import StopRequested

Hook = Callable[[], object]
AsyncHook = Callable[[], Awaitable[object]]

logger = logging.getLogger("background.stopping")


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant, by this process's monotonic clock, at which waiting ends; `at=None` is never."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline that many seconds from now; `None` for never, 0 or less for now."""
        return cls(None if seconds is None else monotonic() + max(seconds, 0.0))

    def remaining(self) -> float | None:
        """Return the seconds left, never below 0; `None` for ever."""
        return None if self.at is None else max(self.at - monotonic(), 0.0)

    @property
    def expired(self) -> bool:
        """Whether the instant has come."""
        return self.at is not None and monotonic() >= self.at

    def earlier(self, other_seconds: float | None) -> Deadline:
        """Return the sooner of this deadline and the one that many seconds from now (`None`: never)."""
        other = Deadline.after(other_seconds)
        return other if other.is_before(self) else self

    def is_before(self, other: Deadline | None) -> bool:
        """Whether this instant comes sooner than the other; `None` and never are the latest of all."""
        return self.at is not None and (other is None or other.at is None or self.at < other.at)


class Gate:
    """Where one thread waits, once, until it is woken."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        """Let the waiter go, now or when it comes; never block; twice does no harm. Always True."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # open already
        return True

    def wait(self, seconds: float | None) -> None:
        """Block until woken, at most that many seconds (`None`: for ever)."""
        timeout = -1 if seconds is None else min(max(seconds, 0), threading.TIMEOUT_MAX)
        self._lock.acquire(timeout=timeout)


class Bell:
    """Where one coroutine of the running event loop waits, once, until it is woken from any thread."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        """Let the waiter go, as `Gate.wake` does. Return False if nobody can be there: the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._ring)
        except RuntimeError:
            return False
        return True

    async def wait(self, seconds: float | None) -> None:
        """Wait until woken, at most that many seconds (`None`: for ever)."""
        timer = None if seconds is None else self._loop.call_later(seconds, self._ring)
        try:
            await self._future
        finally:
            if timer is not None:
                timer.cancel()

    def _ring(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class _Wish(NamedTuple):
    reason: str
    deadline: Deadline | None


class StopToken:
    """Say "please stop", once, to threads and coroutines; from any thread, event loop or signal handler.

    `on_beat` is called by `beat()`; `after_wait` in the waiting thread after each `wait()` that really waited;
    `after_sleep` is awaited after each such `sleep()`. What they raise reaches the one who waited.
    """

    __slots__ = ("_after_sleep", "_after_wait", "_callbacks", "_on_beat", "_pokes", "_waiters", "_wishes", "last_beat")

    def __init__(
        self, *, on_beat: Hook | None = None, after_wait: Hook | None = None, after_sleep: AsyncHook | None = None
    ) -> None:
        self.last_beat: float | None = None  # time.monotonic() of the latest beat()
        self._on_beat = on_beat
        self._after_wait = after_wait
        self._after_sleep = after_sleep
        self._wishes: list[_Wish] = []  # the first counts; those after it only brought the deadline forward
        self._waiters: dict[Gate | Bell, None] = {}
        self._pokes: list[None] = []  # for whoever waits next
        self._callbacks: dict[object, Hook] = {}

    @property
    def requested(self) -> bool:
        """Whether stopping has been asked for; so is `bool(stop)`."""
        return bool(self._wishes)

    def __bool__(self) -> bool:
        return bool(self._wishes)

    @property
    def reason(self) -> str | None:
        """Why, in the words of the first request; `None` while nobody has asked."""
        return self._wishes[0].reason if self._wishes else None

    @property
    def deadline(self) -> Deadline | None:
        """The earliest deadline that came with a request; `None` when there is none."""
        earliest = None
        for wish in list(self._wishes):
            if wish.deadline is not None and wish.deadline.is_before(earliest):
                earliest = wish.deadline
        return earliest

    def remaining(self) -> float | None:
        """Return the seconds left to stop in, never below 0; `None` before the request or with no deadline."""
        return (self.deadline or Deadline()).remaining()

    def raise_if_requested(self) -> None:
        """Raise `StopRequested`, with the reason, if stopping has been asked for."""
        if self._wishes:
            raise StopRequested(self.reason)

    def wait(self, seconds: float | None = None) -> bool:
        """Block until asked to stop or the seconds (`None`: no limit) are over; return whether to stop."""
        if self._wishes or (seconds is not None and seconds <= 0):
            return self.requested
        gate = Gate()
        self._waiters[gate] = None
        try:
            if not self._wishes and not self._take_pokes():
                gate.wait(seconds)
                self._take_pokes()
        finally:
            self._waiters.pop(gate, None)
        if self._after_wait is not None:
            self._after_wait()
        return self.requested

    async def sleep(self, seconds: float | None = None) -> bool:
        """Wait as `wait()` does but not block the event loop, which gets its turn even if no time passes."""
        if self._wishes or (seconds is not None and seconds <= 0):
            await asyncio.sleep(0)
            return self.requested
        bell = Bell()
        self._waiters[bell] = None
        try:
            if not self._wishes and not self._take_pokes():
                await bell.wait(seconds)
                self._take_pokes()
        finally:
            self._waiters.pop(bell, None)
        if self._after_sleep is not None:
            await self._after_sleep()
        return self.requested

    def beat(self) -> None:
        """Give a sign of life: note it in `last_beat`, tell `on_beat`."""
        self.last_beat = monotonic()
        if self._on_beat is not None:
            self._on_beat()

    def add_callback(self, callback: Hook) -> Hook:
        """Call the function once, in the requesting thread, on the request; at once if that has happened.

        It may run in a signal handler, so it should neither block nor take locks. Its failure is logged. Return
        a function that takes the callback back, if it has not been called.
        """
        key = object()
        self._callbacks[key] = callback
        if self._wishes:
            self._call(key)
        return lambda: self._callbacks.pop(key, None)

    def request(self, reason: str = "", deadline: Deadline | None = None) -> bool:
        """Ask to stop; return True for the first request. A later one can only bring the deadline forward.

        Wake those who wait, then call the callbacks. Blocks no longer than these do.
        """
        if self._wishes and (deadline is None or not deadline.is_before(self.deadline)):
            return False
        wish = _Wish(reason, deadline)
        self._wishes.append(wish)
        self._wake()
        for key in list(self._callbacks):
            self._call(key)
        return self._wishes[0] is wish

    def poke(self) -> None:
        """End the present waits, or the next one, early, without asking to stop: there is something to look at."""
        self._pokes.append(None)
        self._wake()

    def _take_pokes(self) -> bool:
        poked = bool(self._pokes)
        self._pokes.clear()
        return poked

    def _wake(self) -> None:
        for waiter in list(self._waiters):
            waiter.wake()

    def _call(self, key: object) -> None:
        callback = self._callbacks.pop(key, None)
        if callback is None:
            return  # taken back, or called by whoever saw it first
        try:
            callback()
        except Exception:
            logger.exception("The stop callback %r failed", callback)
