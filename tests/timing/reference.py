"""Own a second opinion: cron(8) as Debian has it, minute by minute, written without a look at our own code.

The daemon keeps a virtual clock. It follows the wall clock; when that goes forward by up to three hours, fixed-time jobs of the
skipped minutes run at once; when it goes back by up to three hours, fixed-time jobs wait until it has caught up. Jobs whose
minute or hour begins with `*` always go by the wall clock. Larger changes are corrections: everything goes by the wall clock.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import product
from random import Random
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
THREE_HOURS = timedelta(hours=3)
WINDOW = timedelta(hours=40)
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES = (
    {},
    {},
    {},
    {name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)},
    {name: n for n, name in enumerate("sun mon tue wed thu fri sat".split())},
)

# A zone and a UTC day on which its offset changes; gaps and overlaps of 15 minutes to a day, at midnight and elsewhere.
CHANGES = [
    ("America/New_York", "2024-03-10"), ("America/New_York", "2024-11-03"),
    ("Europe/London", "2021-03-28"), ("Europe/London", "2020-10-25"),
    ("Europe/Paris", "2024-10-27"), ("Europe/Dublin", "2024-03-31"),
    ("Australia/Lord_Howe", "2024-10-05"), ("Australia/Lord_Howe", "2024-04-06"),
    ("Australia/Sydney", "2024-10-05"), ("Pacific/Chatham", "2024-04-06"), ("Pacific/Chatham", "2024-09-28"),
    ("Africa/Cairo", "2024-04-25"), ("Africa/Cairo", "2024-10-31"),
    ("Africa/Casablanca", "2024-03-10"), ("Africa/Casablanca", "2024-04-14"),
    ("Pacific/Apia", "2011-12-30"), ("Pacific/Apia", "2012-03-31"), ("Pacific/Kwajalein", "1993-08-20"),
    ("America/St_Johns", "2006-10-29"), ("America/St_Johns", "2007-03-11"),
    ("America/Santiago", "2024-09-08"), ("America/Santiago", "2024-04-07"),
    ("Asia/Kathmandu", "1985-12-31"), ("Asia/Beirut", "2024-03-30"), ("Asia/Tehran", "2022-03-21"),
    ("America/Havana", "2024-03-10"), ("America/Havana", "2024-11-03"), ("America/Nuuk", "2023-03-26"),
    ("Antarctica/Troll", "2024-03-31"), ("Antarctica/Troll", "2024-10-27"), ("Antarctica/Casey", "2018-03-10"),
    ("America/Caracas", "2016-05-01"), ("America/Caracas", "2007-12-09"),
    ("Asia/Pyongyang", "2015-08-14"), ("Asia/Pyongyang", "2018-05-04"), ("Europe/Moscow", "2014-10-25"),
    ("UTC", "2024-02-29"),
]  # fmt: skip


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


@cache
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


def random_text(random: Random, day: str) -> str:
    """Return an expression that is likely to have something to say about that day."""
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC)
    minute = random.choice(
        ["*", "*/15", "*/30", "*/7", "0", "30", "0,30", "59", "1", "15-45", "0-59", "5,*/20", "*/20,7", "10/25"]
    )
    if random.random() < 0.3:
        minute = str(random.randrange(60))
    hour = random.choice(
        ["*", "*", "*/2", "*/3", "*/12", "0", "1", "2", "3", "23", "0-23", "1-4", "22,23", "0,12", "23/5", "2-2"]
    )
    if random.random() < 0.3:
        hour = str(random.randrange(24))
    near = (middle + timedelta(days=random.randint(-1, 1))).day
    dom = random.choice(["*"] * 6 + ["*/2", str(near), f"1-{near}", f"{near},15", "L", "1-31", "5,*/3"])
    month = random.choice(["*"] * 4 + [str(middle.month), "1-12", "*/3", f"{middle.month}-{middle.month}"])
    dow = random.choice(
        ["*"] * 6
        + ["0", "sun", "7", "5-7", "1-5", "mon-fri", "sat,sun", "*/2", "0-6", "1/2", "0-7/2", "6#1", "L0", "0#2"]
    )
    if dom == "L" and dow != "*" or dow[0] == "L" or "#" in dow:
        dom, dow = random.choice([(dom, "*"), ("*", dow)])
    return f"{minute} {hour} {dom} {month} {dow}"


def random_days(random: Random) -> str:
    """Return an expression of midnights, with anything in its day fields."""
    numbers = [str(n) for n in range(1, 32)]
    dom = random.choice(
        ["*", "*", "*/2", "*/7", "1-31", "1-7", "31", "29-31", "L", "30,L", "10/5", "5-5", "1,*", "*,9", "*/2,L"]
        + numbers
    )
    month = random.choice(["*", "*", "2", "2,4", "feb-jun", "*/2", "11-12", "12/3", "2-2"])
    dow = random.choice(
        [
            "*",
            "*",
            "*/2",
            "*/3",
            "1",
            "7",
            "0-6",
            "0-7",
            "1-7",
            "1-7/3",
            "fri",
            "mon-fri",
            "5-7",
            "2/2",
            "7/2",
            "3-3",
            "L1",
            "5#3",
            "2#5,L7",
            "sun#1",
            "1,*",
        ]
    )
    special = dow[0] == "L" or "#" in dow
    if special and dom != "*":
        dow = "*"
    elif "L" in dom and dow != "*":
        dom = "*"
    return f"0 0 {dom} {month} {dow}"


ALL_DAYS = [date(1999, 12, 1) + timedelta(days=n) for n in range(1500)]
SMALL = list(product(("*", "*/2", "1-31", "13", "5,*/10"), ("*", "*/2", "0-6", "5", "5,*/3")))
