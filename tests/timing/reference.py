"""Own a second opinion: cron(8) as Debian has it, minute by minute, written without a look at our own code.

The daemon keeps a virtual clock. It follows the wall clock; when that goes forward by up to three hours, fixed-time jobs of the
skipped minutes run at once; when it goes back by up to three hours, fixed-time jobs wait until it has caught up. Jobs whose
minute or hour begins with `*` always go by the wall clock. Larger changes are corrections: everything goes by the wall clock.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
THREE_HOURS = timedelta(hours=3)
WINDOW = timedelta(hours=40)  # the plan reaches so far to either side of noon (UTC) of its day
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES = (
    {},
    {},
    {},
    {name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)},
    {name: n for n, name in enumerate("sun mon tue wed thu fri sat".split())},
)


class Fields:
    """The five fields as sets of numbers, and the two star rules."""

    def __init__(self, text: str) -> None:
        words = text.lower().split()
        self.sets = [values(word, *BOUNDS[i], NAMES[i]) for i, word in enumerate(words)]
        self.words = words
        self.wildcard = words[0].startswith("*") or words[1].startswith("*")
        self.both_days = words[2].startswith("*") or words[4].startswith("*")

    def on(self, day: date) -> bool:
        if day.month not in self.sets[3]:
            return False
        in_month = day.day in self.sets[2] or ("l" in self.words[2] and is_last(day))
        in_week = (day.isoweekday() % 7) in {n % 7 for n in self.sets[4]} or self.special(day)
        return (in_month and in_week) if self.both_days else (in_month or in_week)

    def special(self, day: date) -> bool:
        """Whether the day is an `n#k` or `Ln`."""
        for item in self.words[4].split(","):
            if "#" in item:
                weekday, _, nth = item.partition("#")
                if number(weekday, NAMES[4]) % 7 == day.isoweekday() % 7 and (day.day + 6) // 7 == int(nth):
                    return True
            elif item[0] == "l":
                same = number(item[1:], NAMES[4]) % 7 == day.isoweekday() % 7
                if same and (day + timedelta(days=7)).month != day.month:
                    return True
        return False

    def at(self, local: datetime) -> bool:
        return local.minute in self.sets[0] and local.hour in self.sets[1] and self.on(local.date())


def is_last(day: date) -> bool:
    return day.day == monthrange(day.year, day.month)[1]


def number(text: str, names: dict[str, int]) -> int:
    return names[text] if text in names else int(text)


def values(word: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for item in word.split(","):
        if "#" in item or item.startswith("l"):
            continue
        body, _, step = item.partition("/")
        if body == "*":
            first, last = low, high if high != 7 else 6
        elif "-" in body:
            first, last = (number(part, names) for part in body.split("-"))
        else:
            first = number(body, names)
            last = first if not step else (high if high != 7 else max(first, 6))
        found |= set(range(first, last + 1, int(step or 1)))
    return found


@lru_cache(maxsize=64)
def plan(zone_name: str, day: str) -> list[tuple[datetime, datetime, tuple[datetime, ...]]]:
    """Return for each minute around that day: the instant, the wall clock, and the times that fixed-time jobs are run for."""
    zone = ZoneInfo(zone_name)
    middle = datetime.fromisoformat(day + "T12:00:00+00:00")
    instant, rows = middle - WINDOW, []
    virtual = instant.astimezone(zone).replace(tzinfo=None) - MINUTE
    while instant < middle + WINDOW:
        wall = instant.astimezone(zone).replace(tzinfo=None)
        step = wall - virtual
        if MINUTE <= step <= THREE_HOURS + MINUTE:
            times = tuple(virtual + i * MINUTE for i in range(1, step // MINUTE + 1))
        elif -THREE_HOURS <= step <= timedelta(0):
            times = ()
        else:
            times = (wall,)
        if times:
            virtual = wall
        rows.append((instant, wall, times))
        instant += MINUTE
    return rows


def occurrences(text: str, zone_name: str, day: str, start: datetime) -> list[datetime]:
    """Return the instants after `start` at which cron(8) runs that line, to the end of the plan."""
    fields = Fields(text)
    days: dict[date, bool] = {}

    def due(local: datetime) -> bool:
        if local.minute not in fields.sets[0] or local.hour not in fields.sets[1]:
            return False
        key = local.date()
        if key not in days:
            days[key] = fields.on(key)
        return days[key]

    rows = (row for row in plan(zone_name, day) if row[0] > start)
    if fields.wildcard:
        return [instant for instant, wall, _times in rows if due(wall)]
    return [instant for instant, _wall, times in rows if any(map(due, times))]
