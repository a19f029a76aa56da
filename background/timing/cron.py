"""Own five-field cron schedules on the wall clock of a zone, as cron(8) runs them when clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from croniter import CroniterBadDateError, croniter

from background.exceptions import InvalidSchedule
from background.timing.grammar import canonical
from background.timing.wording import _, say
from background.timing.zones import (
    SECOND,
    as_utc,
    check_zone,
    first_instant,
    jump,
    offset_change,
    wall,
    zone_of,
)

YEARS = 50  # the longest wait between two occurrences is 40: 29 February on a given day of the week, over 2100
CLOCK_CORRECTION = timedelta(hours=3)  # cron(8) makes nothing up for larger changes, such as a skipped day
SHIFT = timedelta(days=2)  # more than any zone has ever moved its clocks at once, which is one day
REACH = timedelta(hours=1)


@dataclass(frozen=True)
class Cron:
    """A cron schedule; `text` becomes canonical, `timezone` None stands for the project's TIME_ZONE.

    Raises InvalidSchedule for a text that is none, that never comes within 50 years, and for an unknown zone. Where the clock
    is put forward over a fixed time, it runs once right after; where it is put back, the second pass is skipped. A schedule
    whose minute or hour begins with `*` follows the clock as it is. Never blocks. Source: cron(8), Debian.
    """

    text: str
    timezone: str | None = None
    _fields: croniter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", canonical(self.text))
        if self.timezone is not None:
            check_zone(self.timezone)
        # Naive local times only: croniter's own handling of zones differs from cron(8) in 2.5 % of random cases.
        fields = croniter(
            self.text,
            datetime(2000, 1, 1),  # noqa: DTZ001
            implement_cron_bug=True,  # AND when one day field begins with `*`, as Debian does
            max_years_between_matches=YEARS,
        )
        object.__setattr__(self, "_fields", fields)
        try:
            self._after(datetime(2000, 1, 1))  # noqa: DTZ001
        except CroniterBadDateError as error:
            raise InvalidSchedule(
                say(
                    _(
                        "Fields “day of month” and “month”: “%(text)s” names a date that does not come within %(years)d years."
                    ),
                    text=self.text,
                    years=YEARS,
                )
            ) from error

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

    def matches(self, local: datetime) -> bool:
        """Tell whether the fields name this naive local minute."""
        return self._after(local - SECOND) == local

    def next(self, after: datetime) -> datetime | None:
        """Return the first occurrence strictly after `after`, in UTC; None if there is none before the year 10000."""
        after = as_utc(after).replace(microsecond=0)  # occurrences are whole seconds
        try:
            return self._wildcard_next(after) if self.wildcard else self._fixed_next(after)
        except (OverflowError, ValueError):  # the end of the calendar has both faces, and CroniterBadDateError
            return None

    def between(self, start: datetime, stop: datetime) -> list[datetime]:
        """Return the occurrences in (start, stop], oldest first; one a minute at most."""
        return list(self._walk(start, stop))

    def latest(self, start: datetime, stop: datetime) -> datetime | None:
        """Return the newest occurrence in (start, stop], in few steps however long that is."""
        start, stop = as_utc(start), as_utc(stop)
        reach = REACH
        while start < stop:
            reach = min(reach, stop - start)
            found = self.next(stop - reach)
            if found is not None and found <= stop:
                return self._newest(found, stop)
            if reach == stop - start:
                break
            reach *= 8
        return None

    def last(self, start: datetime, stop: datetime, n: int) -> list[datetime]:
        """Return the newest `n` occurrences in (start, stop], oldest first; the rest is not walked through."""
        start, newest = as_utc(start), self.latest(start, stop)
        found: list[datetime] = []
        window = max(n, 1) * timedelta(minutes=1)  # holds at most n
        while len(found) < n and newest is not None:
            low = newest - min(window, newest - start)
            found = [*self._walk(low, newest), *found]
            newest = self.latest(start, low)
        return found[max(len(found) - n, 0) :]

    def _newest(self, low: datetime, high: datetime) -> datetime:
        """Halve (low, high] down to its newest occurrence; `low` is one itself."""
        while True:
            following = self.next(low)
            if following is None or following > high:
                return low
            middle = following + (high - following) // 2
            ahead = self.next(middle)
            if ahead is not None and ahead <= high:
                low = ahead
            else:
                low, high = following, middle

    def _walk(self, start: datetime, stop: datetime) -> Iterator[datetime]:
        found = self.next(start)
        while found is not None and found <= stop:
            yield found
            found = self.next(found)

    def _after(self, local: datetime) -> datetime:
        """Return the next wall-clock time that the fields name, knowing nothing of zones."""
        # A croniter remembers where it is. A copy shares the parsed fields, costs little, and is safe among threads.
        after: datetime = copy(self._fields).get_next(datetime, start_time=local)
        return after

    def _fixed_next(self, after: datetime) -> datetime:
        """Run at the first instant at which the clock shows the time or later, once."""
        zone = zone_of(self.timezone)
        local = wall(zone, after)
        while True:
            local = self._after(local)
            instant = first_instant(zone, local)
            shown = wall(zone, instant)
            if shown != local and jump(zone, instant) > CLOCK_CORRECTION:
                local = shown - SECOND
            elif instant > after:
                return instant

    def _wildcard_next(self, at: datetime) -> datetime:
        """Run whenever the clock shows the time: nothing made up in a gap, both passes where it is put back.

        The way to the candidate is searched for changes: `*/30 1 25 10 *` from London, 2020-10-25 01:45 (first pass) has its next
        match a year on, at the same offset, and yet a second pass comes first. But only the two days at either end
        matter: in between no change of clocks can reach a time that the fields name.
        """
        zone = zone_of(self.timezone)
        while True:
            here = wall(zone, at)
            candidate = at + (self._after(here) - here)
            change = offset_change(zone, at, min(candidate, at + SHIFT))
            if change is not None:
                if self.matches(wall(zone, change)):
                    return change
                at = change
            elif candidate <= at + SHIFT:
                return candidate
            else:
                at = max(at + SHIFT, candidate - SHIFT)
