"""Own what a schedule is: intervals, cron texts and single instants behind one interface, and their written form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from background.exceptions import InvalidSchedule
from background.timing.cron import Cron
from background.timing.grammar import check_line
from background.timing.wording import _, say, shorten
from background.timing.zones import as_utc, check_zone, first_instant, zone_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(milliseconds=10)
SHORTEST_WRITTEN = timedelta(seconds=1)
LONGEST = timedelta(days=50 * 366)
UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}

_UNIT = r"(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_EVERY = re.compile(rf"every\s+((?P<number>\d{{1,10}}(\.\d{{1,6}})?)\s*)?{_UNIT}(\s+from\s+(?P<anchor>\S.*))?")
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?\s?(Z|[+-]\d\d(:?\d\d)?)?", re.IGNORECASE | re.ASCII
)


class Schedule(Protocol):
    """When something is due. Immutable, comparable, safe among threads; nothing here blocks.

    `str(schedule)` is the canonical text, which `parse(text, schedule.timezone)` reads back. Datetimes given must be aware
    (ValueError), those returned are in UTC.
    """

    @property
    def timezone(self) -> str | None:
        """The zone whose wall clock it follows; None for none, or (cron) for the project's."""
        return None

    def in_zone(self, name: str | None) -> Schedule:
        """Return this schedule in that zone if it follows a wall clock and has no zone yet, else itself."""
        return self

    def next(self, after: datetime) -> datetime | None:
        """Return the first occurrence strictly after `after`; None if there is none before the year 10000."""

    def between(self, start: datetime, stop: datetime) -> list[datetime]:
        """Return every occurrence in (start, stop], oldest first. The caller bounds the span."""
        ...

    def last(self, start: datetime, stop: datetime, n: int) -> list[datetime]:
        """Return the newest `n` occurrences in (start, stop], oldest first; cheap however long the span."""
        ...

    def latest(self, start: datetime, stop: datetime) -> datetime | None:
        """Return the newest occurrence in (start, stop], or None; cheap however long the span."""
        return next(iter(self.last(start, stop, 1)), None)


@dataclass(frozen=True)
class Every(Schedule):
    """Occurrences at anchor + k × interval, k from 0: elapsed time, so no clock change and no restart moves them.

    Without an anchor they count from the Unix epoch, so all hosts agree. Raises InvalidSchedule below 0.01 s (1 s in written
    form), above 50 years, and for a naive anchor.
    """

    interval: timedelta
    anchor: datetime | None = None

    def __post_init__(self) -> None:
        if not SHORTEST <= self.interval <= LONGEST:
            raise InvalidSchedule(
                say(_("An interval lasts from 0.01 s to 50 years, not %(this)s."), this=self.interval)
            )
        if self.anchor is not None:
            object.__setattr__(self, "anchor", _aware(self.anchor))

    def __str__(self) -> str:
        unit = next((u for u, size in UNITS.items() if not self.interval % size), "s")
        number = f"{self.interval / UNITS[unit]:.6f}".rstrip("0").rstrip(".")
        return f"every {number}{unit}" + (f" from {_iso(self.anchor)}" if self.anchor else "")

    def next(self, after: datetime) -> datetime | None:
        try:
            return self._at(self._first_after(after))
        except OverflowError:
            return None

    def between(self, start: datetime, stop: datetime) -> list[datetime]:
        return [self._at(k) for k in self._ticks(start, stop)]

    def last(self, start: datetime, stop: datetime, n: int) -> list[datetime]:
        return [self._at(k) for k in self._ticks(start, stop)[-n:]] if n > 0 else []

    def _ticks(self, start: datetime, stop: datetime) -> range:
        return range(self._first_after(start), self._first_after(stop))

    def _first_after(self, instant: datetime) -> int:
        return max((as_utc(instant) - (self.anchor or EPOCH)) // self.interval + 1, 0)

    def _at(self, k: int) -> datetime:
        return (self.anchor or EPOCH) + k * self.interval


@dataclass(frozen=True)
class At(Schedule):
    """One occurrence, at `instant`. Raises InvalidSchedule for a naive one."""

    instant: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "instant", _aware(self.instant))

    def __str__(self) -> str:
        return f"at {_iso(self.instant)}"

    def next(self, after: datetime) -> datetime | None:
        return self.instant if self.instant > as_utc(after) else None

    def between(self, start: datetime, stop: datetime) -> list[datetime]:
        return [self.instant] if as_utc(start) < self.instant <= as_utc(stop) else []

    def last(self, start: datetime, stop: datetime, n: int) -> list[datetime]:
        return self.between(start, stop) if n > 0 else []


def every(
    seconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    anchor: datetime | None = None,
) -> Every:
    """Return an interval of that much elapsed time, counted from `anchor` (default: the Unix epoch).

    At least 0.01 seconds. Raises InvalidSchedule. For “each day at three” use `cron`: a day on the clock may last 25 hours.
    """
    try:
        interval = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSchedule(
            say(_("An interval is made of numbers, up to 50 years (%(error)s)."), error=error)
        ) from error
    return Every(interval, anchor)


def cron(text: str, timezone: str | None = None) -> Cron:
    """Return a cron schedule on the wall clock of `timezone`; without one, of the job or the project.

    Raises InvalidSchedule, naming field and position, for a wrong text or zone.
    """
    return Cron(text, timezone)


def at(instant: datetime) -> At:
    """Return a schedule of one occurrence; a naive datetime is read in the project's TIME_ZONE.

    A time that the clock skips means right after the gap, one that it shows twice means the first. Raises InvalidSchedule.
    """
    if not isinstance(instant, datetime):
        raise InvalidSchedule(say(_("at() takes a datetime, not %(what)s."), what=type(instant).__name__))
    return At(_located(instant, None))


def parse(text: str, timezone: str | None = None) -> Schedule:
    """Return the schedule that `text` writes: five cron fields, “@daily”, “every 90s”, “every 5 minutes from <time>”, “at <time>”.

    Times are ISO 8601; without an offset they are read in `timezone`, or else the project's. Intervals last at least 1 s. Raises
    InvalidSchedule, naming the position, for anything else, and for an unknown zone.
    """
    if timezone is not None:
        check_zone(timezone)
    line = check_line(text)
    kind = line.split()[0].lower()
    if kind == "every":
        return _parse_every(line, timezone)
    if kind == "at":
        start = line.lower().index("at") + 2
        return At(_parse_instant(line, start, timezone))
    return Cron(line, timezone)


def _parse_every(line: str, zone: str | None) -> Every:
    match = _EVERY.fullmatch(line.strip().lower())
    if match is None:
        found = line.lower().index("every") + 5
        position = found + len(line[found:]) - len(line[found:].lstrip()) + 1
        raise InvalidSchedule(
            say(
                _(
                    "Character %(position)d: after “every” comes a number with s, m, h or d, as in “every 90s” or “every 5 minutes”, "
                    "and perhaps “from 2027-01-01T00:00:00Z”; not “%(text)s”."
                ),
                position=position,
                text=shorten(line[found:].strip()),
            )
        )
    interval = _interval(match["number"] or "1", UNITS[match["unit"][0]])
    if interval < SHORTEST_WRITTEN:
        raise InvalidSchedule(say(_("An interval lasts at least 1 second; “%(text)s” does not."), text=shorten(line)))
    anchor = line.lower().index("from") + 4 if match["anchor"] else None
    return Every(interval, _parse_instant(line, anchor, zone) if anchor else None)


def _interval(number: str, unit: timedelta) -> timedelta:
    """Return number × unit exactly; a float would lose the microseconds of a long interval."""
    whole, _dot, part = number.partition(".")
    try:
        return int(whole) * unit + int(part.ljust(6, "0")) * unit / 1_000_000
    except OverflowError as error:
        raise InvalidSchedule(
            say(_("An interval lasts from 0.01 s to 50 years, not %(this)s."), this=number)
        ) from error


def _parse_instant(line: str, start: int, zone: str | None) -> datetime:
    text = line[start:].strip()
    problem = say(_("expected a time such as 2027-01-01T00:00:00Z"))
    if _INSTANT.fullmatch(text):
        try:
            return _located(datetime.fromisoformat(text.upper().replace(" Z", "Z")), zone)
        except ValueError as error:
            problem = str(error)
    position = len(line) - len(line[start:].lstrip()) + 1
    raise InvalidSchedule(
        say(
            _("Character %(position)d: “%(text)s” is no time: %(problem)s."),
            position=position,
            text=shorten(text),
            problem=problem,
        )
    )


def _located(instant: datetime, zone: str | None) -> datetime:
    """Return `instant` as it is if aware, else when the clock of the zone first shows it."""
    if instant.utcoffset() is not None:
        return instant
    try:
        return first_instant(zone_of(zone), instant.replace(tzinfo=None, fold=0))
    except OverflowError as error:
        raise InvalidSchedule(say(_("%(instant)s lies outside the calendar."), instant=instant)) from error


def _aware(instant: datetime) -> datetime:
    try:
        return as_utc(instant)
    except (ValueError, OverflowError) as error:
        raise InvalidSchedule(str(error)) from error


def _iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
