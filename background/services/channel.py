"""Owns `Channel`: a bounded queue inside one process, between threads and event loops, with back-pressure.

An item lies in the queue until someone takes it; a waiter is never handed an item but the *turn* to take one.
So a waiter that is cancelled, times out or is stopped at the very moment its turn comes loses nothing: it passes
the turn on, and the item is still in its place. Room for one more item is given out in turns as well.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Literal, TypeVar, get_args

from ..exceptions import ChannelClosed, ChannelFull, ChannelTimeout
from ..stopping import Bell, Gate, StopToken

T = TypeVar("T")
Waiter = TypeVar("Waiter", Gate, Bell)
WhenFull = Literal["wait", "reject", "drop-oldest", "drop-newest"]


class Channel(Generic[T]):
    """Hold at most `capacity` items, first in, first out; whoever waits is served in the order of arrival.

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
        self._stock = _Line(0)
        self._room = _Line(capacity)
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
        if self._put_at_once(item, stop):
            return
        with self._in_line(self._room, Gate(), stop) as gate:
            gate.wait(timeout)
            self._put_in_turn(gate, item, timeout, stop)

    async def aput(self, item: T, timeout: float | None = None, stop: StopToken | None = None) -> None:
        """Add an item as `put` does, not blocking the event loop. If cancelled, the item was not added."""
        if self._put_at_once(item, stop):
            return
        with self._in_line(self._room, Bell(), stop) as bell:
            await bell.wait(timeout)
            self._put_in_turn(bell, item, timeout, stop)

    def get(self, timeout: float | None = None, stop: StopToken | None = None) -> T:
        """Take the oldest item; block while there is none.

        Raises `ChannelClosed` once closed and empty, `ChannelTimeout`, and `StopRequested` if `stop` is
        requested, now or while waiting. No item was then taken.
        """
        with self._lock:
            if self._may_get_at_once(stop):
                return self._pop()
        with self._in_line(self._stock, Gate(), stop) as gate:
            gate.wait(timeout)
            return self._get_in_turn(gate, timeout, stop)

    async def aget(self, timeout: float | None = None, stop: StopToken | None = None) -> T:
        """Take the oldest item as `get` does, not blocking the event loop. If cancelled, no item was taken."""
        with self._lock:
            if self._may_get_at_once(stop):
                return self._pop()
        with self._in_line(self._stock, Bell(), stop) as bell:
            await bell.wait(timeout)
            return self._get_in_turn(bell, timeout, stop)

    def close(self) -> None:
        """Take no more items; those inside can still be got. Waiting producers get `ChannelClosed`."""
        with self._lock:
            self._closed = True
            self._room.dismiss()
            if not self._items:
                self._stock.dismiss()

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

    def _put_at_once(self, item: T, stop: StopToken | None) -> bool:
        """Settle what needs no waiting; return False if the item has to wait for room."""
        if stop is not None:
            stop.raise_if_requested()
        with self._lock:
            if self._closed:
                raise ChannelClosed("The channel is closed: it takes no more items.")
            if self._room.take():
                self._push(item)
                return True
            if self._when_full == "wait":
                return False
            if self._when_full == "reject":
                raise ChannelFull(f"All {self._capacity} places of the channel are taken; try again later.")
            self._dropped += 1
            if self._when_full == "drop-oldest":  # one goes, one comes: nobody's turn is touched
                self._items.popleft()
                self._items.append(item)
            return True

    def _may_get_at_once(self, stop: StopToken | None) -> bool:
        if stop is not None:
            stop.raise_if_requested()
        if self._stock.take():
            return True
        self._raise_if_drained()
        return False

    @contextmanager
    def _in_line(self, line: _Line, waiter: Waiter, stop: StopToken | None) -> Iterator[Waiter]:
        """Stand in line, to be woken by a turn, by closing or by `stop`; pass on a turn not used."""
        remove = None
        try:
            with self._lock:
                line.join(waiter)
                if self._closed and (line is self._room or not self._items):
                    waiter.wake()
            # The callback only wakes, without a lock; the waiter then finds out why it was woken.
            remove = stop.add_callback(waiter.wake) if stop is not None else None
            yield waiter
        finally:
            if remove is not None:
                remove()
            with self._lock:
                line.leave(waiter)

    def _put_in_turn(self, waiter: Gate | Bell, item: T, timeout: float | None, stop: StopToken | None) -> None:
        with self._lock:
            if self._closed:
                raise ChannelClosed("The channel was closed while this item waited for room.")
            if self._room.use_turn(waiter):
                self._push(item)
                return
        if stop is not None:
            stop.raise_if_requested()
        raise ChannelTimeout(f"All {self._capacity} places of the channel stayed taken for {timeout} s.")

    def _get_in_turn(self, waiter: Gate | Bell, timeout: float | None, stop: StopToken | None) -> T:
        with self._lock:
            if self._stock.use_turn(waiter):
                return self._pop()
            self._raise_if_drained()
        if stop is not None:
            stop.raise_if_requested()
        raise ChannelTimeout(f"Nothing came out of the channel for {timeout} s.")

    def _raise_if_drained(self) -> None:
        if self._closed and not self._items:
            raise ChannelClosed("The channel is closed and empty.")

    def _push(self, item: T) -> None:
        self._items.append(item)
        self._stock.give()

    def _pop(self) -> T:
        item = self._items.popleft()
        self._room.give()
        if self._closed and not self._items:
            self._stock.dismiss()
        return item


class _Line:
    """Those who wait for one thing, in order; used under the channel's lock.

    While anybody waits, nothing is free: what becomes free is the turn of the first in line. The lock is
    reentrant, so others may leave or be dismissed between any two steps, and no step relies on the one before.
    """

    __slots__ = ("_free", "_turns", "_waiting")

    def __init__(self, free: int) -> None:
        self._free = free
        self._waiting: deque[Gate | Bell] = deque()
        self._turns: set[Gate | Bell] = set()

    def take(self) -> bool:
        """Take one without waiting, if one is free."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def give(self) -> None:
        """Add one: the turn of the first in line who can still be woken, or free for anyone."""
        while (waiter := self._step_out()) is not None:
            if waiter.wake():
                self._turns.add(waiter)
                return
        self._free += 1

    def join(self, waiter: Gate | Bell) -> None:
        """Stand at the end of the line; it is the waiter's turn at once if one became free meanwhile."""
        self._waiting.append(waiter)
        if self.take():
            self.give()

    def use_turn(self, waiter: Gate | Bell) -> bool:
        """Take one if it is the waiter's turn; or if one is free although something else woke the waiter."""
        if waiter in self._turns:
            self._turns.discard(waiter)
            return True
        return self.take()

    def leave(self, waiter: Gate | Bell) -> None:
        """Go; a turn that was not used goes to the next."""
        if waiter in self._turns:
            self._turns.discard(waiter)
            self.give()
        else:
            with suppress(ValueError):  # dismissed
                self._waiting.remove(waiter)

    def dismiss(self) -> None:
        """Wake all who wait, without a turn."""
        while (waiter := self._step_out()) is not None:
            waiter.wake()

    def _step_out(self) -> Gate | Bell | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None
