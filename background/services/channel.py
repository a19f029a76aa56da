"""Own `Channel`: a bounded queue inside one process, between threads and event loops, with back-pressure.

An item lies in the queue until someone takes it; a waiter is never handed an item but woken, to try again. So a waiter that
is cancelled, times out or is stopped at that very moment loses nothing: it wakes the next, and the item is still in its place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Literal, TypeVar, get_args

from ..exceptions import ChannelClosed, ChannelFull, ChannelTimeout
from ..stopping import Bell, Deadline, Gate, StopToken

T = TypeVar("T")
Waiter = TypeVar("Waiter", Gate, Bell)
WhenFull = Literal["wait", "reject", "drop-oldest", "drop-newest"]


class Channel(Generic[T]):
    """Hold at most `capacity` items, first in, first out.

    `when_full` says what a put does then: `"wait"` for room, `"reject"` the item with `ChannelFull`,
    `"drop-oldest"` item inside, or `"drop-newest"`, the arriving one. Any other value raises `ValueError`.

    Every method may be called from every thread; `put` and `get` block, so use `aput` and `aget` inside an event
    loop. All take `timeout`, in seconds (`None`: no limit, 0: no waiting), and `stop`, a token that ends the wait.
    """

    def __init__(self, capacity: int, when_full: WhenFull = "wait") -> None:
        if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
            raise ValueError(f"The capacity of a channel must be a whole number from 1 up, not {capacity!r}.")
        if when_full not in get_args(WhenFull):
            choices = ", ".join(repr(choice) for choice in get_args(WhenFull))
            raise ValueError(f"when_full must be one of {choices}, not {when_full!r}.")
        self._capacity = capacity
        self._when_full = when_full
        self._dropped = 0
        self._closed = False
        self._items: deque[T] = deque()
        self._consumers: deque[Gate | Bell] = deque()  # that wait, in order
        self._producers: deque[Gate | Bell] = deque()
        # Reentrant, because other code may run in the midst of this thread's section: the garbage collector ends
        # a forgotten coroutine, which leaves its line; a signal handler stops a token whose callback is close().
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"<Channel {state}{len(self)} of {self._capacity}>"

    def __len__(self) -> int:
        return len(self._items)

    @property
    def capacity(self) -> int:
        """How many items fit."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether `close()` was called; items may be left."""
        return self._closed

    @property
    def dropped(self) -> int:
        """How many items were thrown away because the channel was full."""
        return self._dropped

    def put(self, item: T, timeout: float | None = None, stop: StopToken | None = None) -> None:
        """Add an item; block while the channel is full and `when_full` is `"wait"`.

        Raises `ChannelClosed` (also when closed meanwhile), `ChannelTimeout`, `ChannelFull`, and `StopRequested`
        if `stop` is requested, now or while waiting. The item was then not added.
        """
        deadline = self._begin(timeout, stop)
        while not self._put(item):
            self._raise_if_over(
                deadline, stop, f"All {self._capacity} places of the channel stayed taken for {timeout} s."
            )
            with self._waiting(self._producers, Gate(), stop) as gate:
                gate.wait(deadline.remaining())

    async def aput(self, item: T, timeout: float | None = None, stop: StopToken | None = None) -> None:
        """Add an item as `put` does, not blocking the event loop. If cancelled, the item was not added."""
        deadline = self._begin(timeout, stop)
        while not self._put(item):
            self._raise_if_over(
                deadline, stop, f"All {self._capacity} places of the channel stayed taken for {timeout} s."
            )
            with self._waiting(self._producers, Bell(), stop) as bell:
                await bell.wait(deadline.remaining())

    def get(self, timeout: float | None = None, stop: StopToken | None = None) -> T:
        """Take the oldest item; block while there is none.

        Raises `ChannelClosed` once closed and empty, `ChannelTimeout`, and `StopRequested` if `stop` is
        requested, now or while waiting. No item was then taken.
        """
        deadline = self._begin(timeout, stop)
        while not (found := self._get()):
            self._raise_if_over(deadline, stop, f"Nothing came out of the channel for {timeout} s.")
            with self._waiting(self._consumers, Gate(), stop) as gate:
                gate.wait(deadline.remaining())
        return found[0]

    async def aget(self, timeout: float | None = None, stop: StopToken | None = None) -> T:
        """Take the oldest item as `get` does, not blocking the event loop. If cancelled, no item was taken."""
        deadline = self._begin(timeout, stop)
        while not (found := self._get()):
            self._raise_if_over(deadline, stop, f"Nothing came out of the channel for {timeout} s.")
            with self._waiting(self._consumers, Bell(), stop) as bell:
                await bell.wait(deadline.remaining())
        return found[0]

    def close(self) -> None:
        """Take no more items; those inside can still be got. Waiting producers get `ChannelClosed`."""
        with self._lock:
            self._closed = True
            while self._wake(self._producers) or self._wake(self._consumers):
                pass

    def __iter__(self) -> Iterator[T]:
        """Yield items, blocking for each, until the channel is closed and empty."""
        while True:
            try:
                item = self.get()
            except ChannelClosed:
                return
            yield item

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield items, waiting for each, until the channel is closed and empty."""
        while True:
            try:
                item = await self.aget()
            except ChannelClosed:
                return
            yield item

    def _begin(self, timeout: float | None, stop: StopToken | None) -> Deadline:
        if stop is not None:
            stop.raise_if_requested()
        return Deadline.after(timeout)

    def _put(self, item: T) -> bool:
        """Settle what needs no waiting; return False if the item has to wait for room."""
        with self._lock:
            if self._closed:
                raise ChannelClosed("The channel is closed: it takes no more items.")
            if len(self._items) >= self._capacity:
                if self._when_full == "wait":
                    return False
                if self._when_full == "reject":
                    raise ChannelFull(f"All {self._capacity} places of the channel are taken; try again later.")
                self._dropped += 1
                if self._when_full == "drop-newest":
                    return True
                self._items.popleft()
            self._items.append(item)
            self._wake(self._consumers)
            return True

    def _get(self) -> tuple[T, ...]:
        """Return the oldest item, or nothing if it has to be waited for."""
        with self._lock:
            if self._items:
                item = self._items.popleft()
                self._wake(self._producers)
                return (item,)
            if self._closed:
                raise ChannelClosed("The channel is closed and empty.")
            return ()

    def _raise_if_over(self, deadline: Deadline, stop: StopToken | None, what: str) -> None:
        """End a wait; only after a try in vain, so that no item or room stays behind with nobody woken for it."""
        if stop is not None:
            stop.raise_if_requested()
        if deadline.expired:
            raise ChannelTimeout(what)

    @contextmanager
    def _waiting(self, line: deque[Gate | Bell], waiter: Waiter, stop: StopToken | None) -> Iterator[Waiter]:
        """Stand in line, to be woken when a try is worth it, or by `stop`; one that breaks off wakes the next."""
        remove, broken_off = None, True
        try:
            with self._lock:
                line.append(waiter)
                some = self._items if line is self._consumers else len(self._items) < self._capacity
                if some or self._closed:
                    waiter.wake()
            # The callback only wakes, without a lock; the waiter then finds out why it was woken.
            remove = stop.add_callback(waiter.wake) if stop is not None else None
            yield waiter
            broken_off = False
        finally:
            if remove is not None:
                remove()
            with self._lock:
                with suppress(ValueError):  # it was woken by its turn
                    line.remove(waiter)
                if broken_off:
                    self._wake(line)

    def _wake(self, line: deque[Gate | Bell]) -> bool:
        """Wake the first in line who can be; others may leave between any two steps, the lock being reentrant."""
        with suppress(IndexError):
            while not line.popleft().wake():
                pass  # its loop is closed
            return True
        return False
