"""Own the service that ticks on a schedule: no drift, no pile-up, a failing tick never ends it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgiref.sync import SyncToAsync

from background.scope import Scope, Unit, fresh_context
from background.services.base import BackgroundService, Tick
from background.timing import Every, Schedule, every, parse

if TYPE_CHECKING:
    from background.stopping import StopToken

logger = logging.getLogger("background.services")

# A due time further away than this is looked at again on the way: the wall clock may have been set.
LONGEST_WAIT = 30.0
# A wall clock that falls behind by so many seconds at once was set.
CLOCK_BACK = 1.0


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
        pace = self._pace()
        while not stop.requested:
            if (pause := self._pause(pace)) > 0:
                stop.wait(pause)
                continue
            with self._recorded(stop, pace) as due:
                fresh_context().run(self._in_scope, stop, due)

    async def _aexecute(self, stop: StopToken) -> None:
        pace = self._pace()
        while not stop.requested:
            if (pause := self._pause(pace)) > 0:
                await stop.sleep(pause)
                continue
            with self._recorded(stop, pace) as due:
                context = fresh_context()
                share_thread_with(context)
                await asyncio.create_task(self._ain_scope(stop, due), context=context)

    def _pace(self) -> Pace:
        schedule = parse(self.schedule) if isinstance(self.schedule, str) else self.schedule
        pace = Pace(schedule, self.run_at_start)
        if self.on_tick is not None:
            self.on_tick(Tick(None, None, pace.due))
        return pace

    def _pause(self, pace: Pace) -> float:
        if self.wishes.is_set():
            self.wishes.clear()
            return 0
        return min(pace.left(), LONGEST_WAIT)

    def _in_scope(self, stop: StopToken, due: datetime | None) -> None:
        with self._scope(stop, due) as scope:
            self.tick(scope)

    async def _ain_scope(self, stop: StopToken, due: datetime | None) -> None:
        async with self._scope(stop, due) as scope:
            result: Awaitable[None] = self.tick(scope)
            await result

    def _scope(self, stop: StopToken, due: datetime | None) -> Scope:
        return Scope(Unit("tick", self.get_name()), stop, idle=max(0, seconds_until(due)))

    @contextmanager
    def _recorded(self, stop: StopToken, pace: Pace) -> Iterator[datetime | None]:
        """Around a tick: tell the host what came of it, and go on. Yields when the next one is due."""
        started = time.monotonic()
        error: BaseException | None = None
        try:
            yield pace.move_on()
        except Exception as caught:  # noqa: BLE001 - around a service: a tick's failure is recorded and never ends it
            error = caught
        pace.failures = pace.failures + 1 if error else 0
        stop.beat()
        if error:
            logger.error("tick of %s failed (%d in a row)", self.get_name(), pace.failures, exc_info=error)
        due = pace.skip_passed()
        if self.on_tick is not None:
            self.on_tick(Tick(time.monotonic() - started, error, due))
        if error and self.max_failures and pace.failures >= self.max_failures:
            raise TooManyFailures(f"{pace.failures} ticks in a row failed, the last with {error!r}.") from error


class Pace:
    """When it is time to tick, by a wall clock that may be set meanwhile.

    An interval without an anchor counts from the start of the service.
    """

    def __init__(self, schedule: Schedule, at_start: bool) -> None:
        now = datetime.now(UTC)
        self.failures = 0  # in a row
        self._floating = isinstance(schedule, Every) and schedule.anchor is None
        self._schedule = replace(schedule, anchor=now) if isinstance(schedule, Every) and self._floating else schedule
        self._offset = now.timestamp() - time.monotonic()
        self.due = now if at_start else self._schedule.next(now)

    def left(self) -> float:
        """Return the seconds until the next tick, not above 0 if it is due."""
        self._look_at_clock()
        return seconds_until(self.due)

    def move_on(self) -> datetime | None:
        """Return when the next tick is due: after now, so that nothing is made up."""
        self.due = self._schedule.next(datetime.now(UTC))
        return self.due

    def skip_passed(self) -> datetime | None:
        """Return when the next tick is due, leaving out what passed during the last one."""
        return self.move_on() if seconds_until(self.due) <= 0 else self.due

    def _look_at_clock(self) -> None:
        """Where the wall clock was set back, compute anew what is due: else nothing would happen for so long."""
        now = datetime.now(UTC)
        before, self._offset = self._offset, now.timestamp() - time.monotonic()
        back = before - self._offset
        if back < CLOCK_BACK:
            return
        logger.warning("the clock was set back by %.0f s", back)
        if isinstance(self._schedule, Every) and self._floating and self._schedule.anchor is not None:
            self._schedule = replace(self._schedule, anchor=self._schedule.anchor - timedelta(seconds=back))
        self.due = self._schedule.next(now)


def seconds_until(due: datetime | None) -> float:
    return (due - datetime.now(UTC)).total_seconds() if due else LONGEST_WAIT


def share_thread_with(context: Any) -> None:
    """Let a fresh context use the ORM thread of the service's own context, so that connections are kept."""
    current = SyncToAsync.thread_sensitive_context.get(None)
    if current is not None:
        context.run(SyncToAsync.thread_sensitive_context.set, current)
