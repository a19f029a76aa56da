"""Own the service that works off what other parts of its process put into a channel, in batches."""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar, Generic, TypeVar

from background.exceptions import ChannelClosed, ChannelTimeout
from background.scope import Scope
from background.services.base import BackgroundService
from background.services.channel import Channel, WhenFull
from background.stopping import StopToken
from background.timing import Backoff

T = TypeVar("T")

logger = logging.getLogger("background.contrib.consumer")

# With less time left of a stop (seconds) no batch is begun any more.
LEAST = 0.2


class ConsumerService(BackgroundService, Generic[T]):
    """Hands what is put into its channel to `consume(items, scope)`: up to `batch_size` items, or what came in `batch_seconds`.

    `Orders.put(order)` may be called in any thread of the host's process, from its start on; `aput` in coroutines. Where
    the channel is full, `when_full` decides (see `Channel`). A batch whose `consume` raises is tried again after `retry`
    delays, `tries` times in all; then it goes to `reject(items, error)`. At the stop the channel takes no more, and what is
    in it is consumed while there is time; the rest goes to `reject` as well, so that nothing vanishes unsaid.
    """

    capacity: int = 1000
    when_full: WhenFull = "wait"
    batch_size: int = 100
    batch_seconds: float = 1.0
    tries: int = 3
    retry = Backoff(initial=0.5, maximum=30)

    channel: ClassVar[Channel[Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.channel = Channel(cls.capacity, cls.when_full)

    @classmethod
    def put(cls, item: T, timeout: float | None = None) -> None:
        """Add an item. Blocks while the channel is full and `when_full` is "wait"; raises what `Channel.put` does."""
        cls.channel.put(item, timeout)

    @classmethod
    async def aput(cls, item: T, timeout: float | None = None) -> None:
        await cls.channel.aput(item, timeout)

    def consume(self, items: list[T], scope: Scope) -> Any:
        """Work off a batch, in a scope of its own. May block."""
        raise NotImplementedError(f"{type(self).__name__} needs a consume(self, items, scope).")

    def reject(self, items: list[T], error: BaseException | None) -> None:
        """Take what could not be consumed (no error: what was left when time was over). By default it is logged."""
        logger.error(
            "%s gave up %d items: %s", self.get_name(), len(items), error or "no time was left", exc_info=error
        )

    def on_start(self) -> None:
        if self.channel.closed:  # by the stop before a restart
            type(self).channel = Channel(self.capacity, self.when_full)

    def execute(self, stop: StopToken) -> None:
        """Consume until `stop` is requested, then what is left."""
        stop.add_callback(self.channel.close)
        while batch := self._gather():
            self._work_off(batch, stop)

    def _gather(self) -> list[T]:
        """Return the next batch; an empty one when the channel is closed and empty. Blocks."""
        items: list[T] = []
        until: float | None = None
        while len(items) < self.batch_size:
            try:
                items.append(self.channel.get(None if until is None else until - time.monotonic()))
            except (ChannelTimeout, ChannelClosed):
                break
            until = until or time.monotonic() + self.batch_seconds
        return items

    def _work_off(self, items: list[T], stop: StopToken) -> None:
        """Consume a batch, in as many tries as it may have; if none succeeds, give it up by name."""
        error: Exception | None = None
        for number in range(1, self.tries + 1):
            if (left := stop.remaining()) is not None and left <= LEAST:
                break
            try:
                with self.scope() as scope:
                    self.consume(items, scope)
                return
            except Exception as caught:  # noqa: BLE001 - around a service, as around a tick
                error = caught
            if number < self.tries:
                logger.warning("%s could not consume %d items: %r", self.get_name(), len(items), error)
                stop.wait(self.retry.delay(number))
        self.reject(items, error)
