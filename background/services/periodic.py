"""Own the service that ticks on a schedule: no drift, no pile-up, a failing tick never ends it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from background.scope import Scope, Unit, fresh_context
from background.services.base import BackgroundService, Tick
from background.timing import Every, Schedule, every, parse

if TYPE_CHECKING:
    from background.stopping import StopToken

logger = logging.getLogger("background.services")

# A due time further away than this is looked at again on the way: the wall clock may have been set.
LONGEST_WAIT = 30.0


class TooManyFailures(Exception):
    """The last `max_failures` ticks failed."""


class PeriodicService(BackgroundService):
    """A service whose `tick(scope)` is called on a schedule, each time in a fresh scope.

    Intervals are anchored: a slow tick delays none that comes after it, and times that passed during a tick are not
    made up. A failing tick is recorded and logged; after `max_failures` in a row the service itself counts as failed.
    """

    schedule: Schedule | str = every(minutes=1)
    run_at_start: bool = False
    max_failures: int | None = None

    def tick(self, scope: Scope) -> Any:
        """Do one piece of work."""
        raise NotImplementedError(f"{type(self).__name__} needs a tick(self, scope).")

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.tick)

    @cached_property
    def timing(self) -> Schedule:
        """The schedule, anchored to this start if it is an interval without an anchor."""
        schedule = parse(self.schedule) if isinstance(self.schedule, str) else self.schedule
        if isinstance(schedule, Every) and schedule.anchor is None:
            return every(seconds=schedule.seconds, anchor=datetime.now(UTC))
        return schedule

    @cached_property
    def wishes(self) -> threading.Event:
        return threading.Event()

    def tick_now(self) -> None:
        """Make the next tick happen at once. Thread-safe, does not block."""
        self.wishes.set()
        if self.stop is not None:
            self.stop.poke()

    def execute(self, stop: StopToken) -> Any:
        """Tick until `stop` is requested."""
        return self._aexecute(stop) if self.is_async else self._execute(stop)

    def _execute(self, stop: StopToken) -> None:
        failures = 0
        due = self._first()
        while not stop.requested:
            pause = self._pause(due)
            if pause > 0:
                stop.wait(pause)
                continue
            due = self._next(due)
            failures = self._tick_once(stop, due, failures)

    async def _aexecute(self, stop: StopToken) -> None:
        failures = 0
        due = self._first()
        while not stop.requested:
            pause = self._pause(due)
            if pause > 0:
                await stop.sleep(pause)
                continue
            due = self._next(due)
            failures = await self._atick_once(stop, due, failures)

    def _first(self) -> datetime | None:
        now = datetime.now(UTC)
        return now if self.run_at_start else self.timing.next(now)

    def _next(self, due: datetime | None) -> datetime | None:
        """Return the next due time: after this one and after now, so that nothing piles up."""
        now = datetime.now(UTC)
        return self.timing.next(max(due, now) if due and (due - now).total_seconds() < 1 else now)

    def _pause(self, due: datetime | None) -> float:
        if self.wishes.is_set():
            self.wishes.clear()
            return 0
        left = (due - datetime.now(UTC)).total_seconds() if due else LONGEST_WAIT
        return min(left, LONGEST_WAIT)

    def _tick_once(self, stop: StopToken, due: datetime | None, failures: int) -> int:
        started = time.monotonic()
        error: BaseException | None = None
        try:
            fresh_context().run(self._in_scope, stop, due)
        except Exception as caught:  # around a service: a tick's failure is recorded and never ends it
            error = caught
        return self._after(stop, started, error, due, failures)

    def _in_scope(self, stop: StopToken, due: datetime | None) -> None:
        with self._scope(stop, due) as scope:
            self.tick(scope)

    async def _atick_once(self, stop: StopToken, due: datetime | None, failures: int) -> int:
        started = time.monotonic()
        error: BaseException | None = None
        try:
            await self._in_task(stop, due)
        except Exception as caught:  # around a service, as above
            error = caught
        return self._after(stop, started, error, due, failures)

    async def _in_task(self, stop: StopToken, due: datetime | None) -> None:
        context = fresh_context()
        share_thread_with(context)
        await asyncio.create_task(self._ain_scope(stop, due), context=context)

    async def _ain_scope(self, stop: StopToken, due: datetime | None) -> None:
        async with self._scope(stop, due) as scope:
            result: Awaitable[None] = self.tick(scope)
            await result

    def _scope(self, stop: StopToken, due: datetime | None) -> Scope:
        return Scope(Unit("tick", self.get_name()), stop, idle=max(0, self._pause_until(due)))

    def _pause_until(self, due: datetime | None) -> float:
        return (due - datetime.now(UTC)).total_seconds() if due else LONGEST_WAIT

    def _after(
        self, stop: StopToken, started: float, error: BaseException | None, due: datetime | None, failures: int
    ) -> int:
        failures = failures + 1 if error else 0
        stop.beat()
        if error:
            logger.error("tick of %s failed (%d in a row)", self.get_name(), failures, exc_info=error)
        if self.on_tick is not None:
            self.on_tick(Tick(time.monotonic() - started, error, due))
        if error and self.max_failures and failures >= self.max_failures:
            raise TooManyFailures(f"{failures} ticks in a row failed, the last with {error!r}.") from error
        return failures


def share_thread_with(context: Any) -> None:
    """Let a fresh context use the ORM thread of the service's own context, so that connections are kept."""
    from asgiref.sync import SyncToAsync

    current = SyncToAsync.thread_sensitive_context.get(None)
    if current is not None:
        context.run(SyncToAsync.thread_sensitive_context.set, current)
