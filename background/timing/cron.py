"""Own five-field cron schedules on the wall clock of a zone, as cron(8) runs them when clocks change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from background.timing.grammar import canonical, no_such_date
from background.timing.zones import SECOND, as_utc, check_zone, jump, offset_change, wall, zone_of

YEARS = 50  # the longest wait between two occurrences is 40: 29 February on a given day of the week, over 2100
CLOCK_CORRECTION = timedelta(hours=3)  # cron(8) makes nothing up for larger changes, such as a skipped day
STRETCH = timedelta(days=2)  # more than any zone has ever moved its clocks at once, which is one day
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Cron:
    """A cron schedule; `text` becomes canonical, `timezone` None stands for the project's TIME_ZONE.

    Raises InvalidSchedule for a text that is none, that never comes within 50 years, and for an unknown zone. Where the clock
    is put forward over a fixed time, it runs once right after; where it is put back, the second pass is skipped. A schedule
    whose minute or hour begins with `*` follows the clock as it is. Never blocks. Source: cron(8), Debian.
    """

    text: str
    timezone: str | None = None
    _minutes: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _hours: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _days: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = canonical(self.text)
        if self.timezone is not None:
            check_zone(self.timezone)
        minute, hour, days = text.split(" ", 2)
        try:
            _first_day(days, date(2000, 1, 1))
        except CroniterBadDateError as error:
            raise no_such_date(self.text, YEARS) from error
        values = {"text": text, "_minutes": _numbers(minute, 0), "_hours": _numbers(hour, 1), "_days": days}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.text

    @property
    def wildcard(self) -> bool:
        """Whether the minute or the hour begins with `*`, literally: then the schedule follows the clock as it is."""
        minute, hour = self.text.split()[:2]
        return minute[0] == "*" or hour[0] == "*"

    def in_zone(self, name: str | None) -> Cron:
        """Return this schedule in that zone, or itself if it has one already."""
        return self if self.timezone or not name else replace(self, timezone=name)

    def next(self, after: datetime) -> datetime | None:
        """Return the first occurrence strictly after `after`, in UTC; None if there is none before the year 10000."""
        return next(self._walk(as_utc(after)), None)

    def between(self, start: datetime, stop: datetime) -> list[datetime]:
        """Return the occurrences in (start, stop], oldest first; one a minute at most."""
        last = as_utc(stop)
        return list(takewhile(lambda found: found <= last, self._walk(as_utc(start))))

    def latest(self, start: datetime, stop: datetime) -> datetime | None:
        """Return the newest occurrence in (start, stop], in few steps however long that is."""
        return next(iter(self.last(start, stop, 1)), None)

    def last(self, start: datetime, stop: datetime, n: int) -> list[datetime]:
        """Return the newest `n` occurrences in (start, stop], oldest first: looked for behind `stop`, twice as far each time."""
        start, stop = as_utc(start), as_utc(stop)
        reach = max(n, 1) * timedelta(minutes=1)  # holds at most n
        while True:
            found = self.between(stop - min(reach, stop - start), stop)
            if len(found) >= n or reach >= stop - start:
                return found[max(len(found) - n, 0) :]
            reach *= 2

    def local_after(self, local: datetime) -> datetime:
        """Return the next local time that the fields name, knowing nothing of zones."""
        day = local.date()
        if _first_day(self._days, day) == day:
            minutes, hours = self._minutes, self._hours
            if local.hour in hours and local.minute < minutes[-1]:
                return local.replace(minute=minutes[bisect_right(minutes, local.minute)], second=0)
            if local.hour < hours[-1]:
                return local.replace(hour=hours[bisect_right(hours, local.hour)], minute=minutes[0], second=0)
            day += DAY
        return datetime.combine(_first_day(self._days, day), time(self._hours[0], self._minutes[0]))

    def _walk(self, after: datetime) -> Iterator[datetime]:
        """Yield the occurrences after `after`, in order, to the end of the calendar."""
        try:
            yield from self._stretches(zone_of(self.timezone), after.replace(microsecond=0))
        except (OverflowError, ValueError):  # the end of the calendar has both faces, and CroniterBadDateError
            return

    def _stretches(self, zone: ZoneInfo, at: datetime) -> Iterator[datetime]:
        """Yield the occurrences after `at`: as the fields say while the clock runs evenly, by the rules where it is changed.

        `done` is what cron(8) calls its virtual time: local times up to it are decided, whatever the clock shows.
        """
        done = self._decided(zone, at)
        while True:
            here, local = wall(zone, at), self.local_after(done)
            change = offset_change(zone, at, at + STRETCH)
            edge = change or at + STRETCH
            # A change of clocks reaches no further than a stretch: the ones long before the next named time touch nothing.
            if change is None and at + (local - here) > edge + STRETCH:
                at += local - here - STRETCH
                continue
            while (due := at + (local - here)) < edge:
                yield due
                done, local = local, self.local_after(local)
            at = edge
            if change is None:
                continue
            shown, size = wall(zone, change), jump(zone, change)
            if self.wildcard or abs(size) > CLOCK_CORRECTION:
                done = shown - SECOND  # the new time counts at once
            elif local <= shown:
                yield change  # put forward over named times: they are made up, once
                done = shown
            # Put back: `done` stays, and named times wait until the clock has caught up with it.

    def _decided(self, zone: ZoneInfo, at: datetime) -> datetime:
        """Return the local time up to which all is decided: later than the clock shows where it was just put back."""
        here = wall(zone, at)
        change = None if self.wildcard else offset_change(zone, at - CLOCK_CORRECTION, at)
        if change is None or jump(zone, change) < -CLOCK_CORRECTION:
            return here
        return max(here, wall(zone, change - SECOND))


@lru_cache(maxsize=1024)
def _numbers(text: str, position: int) -> tuple[int, ...]:
    """Return the values of a minute (position 0) or an hour (1)."""
    values = croniter.expand(f"{text} 0 * * *" if position == 0 else f"0 {text} * * *")[0][position]
    return tuple(range(60 if position == 0 else 24)) if values == ["*"] else tuple(int(value) for value in values)


@lru_cache(maxsize=256)
def _calendar(days: str) -> croniter:
    return croniter(
        f"0 0 {days}",
        implement_cron_bug=True,  # AND when one day field begins with `*`, as Debian does
        max_years_between_matches=YEARS,
    )


@lru_cache(maxsize=4096)
def _first_day(days: str, day: date) -> date:
    """Return the first day from `day` on that the three day fields name; CroniterBadDateError if none is near.

    croniter sees naive midnights only: its own handling of zones differs from cron(8) in 2.5 % of random cases. It remembers
    where it is; a copy shares the parsed fields, costs little, and is safe among threads.
    """
    midnight = datetime.combine(day, time())
    found: datetime = copy(_calendar(days)).get_next(datetime, start_time=midnight - SECOND)
    return found.date()
