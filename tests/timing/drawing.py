"""Own what the property tests draw: changes of clocks out of the zone database, expressions that touch them, and starts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from background.timing.zones import zone_names

LONG = bool(os.environ.get("BACKGROUND_LONG_TESTS"))

# A zone and a UTC day on which its clocks change: by 15 minutes to a day, at midnight, at full hours and elsewhere.
CHANGES = [
    ("America/New_York", "2024-03-10"), ("America/New_York", "2024-11-03"),
    ("Europe/London", "2021-03-28"), ("Europe/London", "2020-10-25"),
    ("Europe/Paris", "2024-10-27"), ("Europe/Dublin", "2024-03-31"),
    ("Australia/Lord_Howe", "2024-10-05"), ("Australia/Lord_Howe", "2024-04-06"),
    ("Australia/Sydney", "2024-10-05"), ("Pacific/Chatham", "2024-04-06"), ("Pacific/Chatham", "2024-09-28"),
    ("Africa/Cairo", "2024-04-25"), ("Africa/Cairo", "2024-10-31"),
    ("Africa/Casablanca", "2024-03-10"), ("Africa/Casablanca", "2024-04-14"),
    ("Pacific/Apia", "2011-12-30"), ("Pacific/Apia", "2012-03-31"),
    ("Pacific/Kwajalein", "1993-08-20"), ("Pacific/Kwajalein", "1969-09-30"), ("Antarctica/Vostok", "1994-01-31"),
    ("America/St_Johns", "2006-10-29"), ("America/St_Johns", "2007-03-11"),
    ("America/Santiago", "2024-09-08"), ("America/Santiago", "2024-04-07"), ("America/Sao_Paulo", "2018-11-04"),
    ("Asia/Kathmandu", "1985-12-31"), ("Asia/Beirut", "2024-03-30"), ("Asia/Tehran", "2022-03-21"),
    ("America/Havana", "2024-03-10"), ("America/Havana", "2024-11-03"), ("America/Nuuk", "2023-03-26"),
    ("Antarctica/Troll", "2024-03-31"), ("Antarctica/Troll", "2024-10-27"),
    ("Antarctica/Casey", "2018-03-10"), ("Antarctica/Casey", "2016-10-21"), ("America/Juneau", "1983-10-30"),
    ("America/Caracas", "2016-05-01"), ("America/Caracas", "2007-12-09"),
    ("Asia/Pyongyang", "2015-08-14"), ("Asia/Pyongyang", "2018-05-04"), ("Europe/Moscow", "2014-10-25"),
]  # fmt: skip
FIRST_YEAR, LAST_YEAR = 1973, 2037  # before, some offsets had seconds; after, the database only repeats rules
TEN_DAYS = timedelta(days=10)


class Case(NamedTuple):
    """A schedule and the moment from which on its occurrences are asked for."""

    text: str
    zone: str
    day: str
    start: datetime

    @property
    def noon(self) -> datetime:
        return datetime.fromisoformat(self.day + "T12:00:00+00:00")


def by_properties(examples: int, long: int) -> Any:
    """Return hypothesis settings: the same cases at every run, `long` of them where BACKGROUND_LONG_TESTS is set."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    return settings(
        max_examples=long if LONG else examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=checks,
    )


@cache
def days_of_change(zone_name: str) -> list[str]:
    """Return the UTC days on which that zone's clocks change, to the nearest."""
    zone, found = ZoneInfo(zone_name), []
    at = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    while at.year < LAST_YEAR:
        if change := change_between(zone, at, at + TEN_DAYS):
            found.append(f"{change:%Y-%m-%d}")
        at += TEN_DAYS
    return found


def change_between(zone: ZoneInfo, low: datetime, high: datetime) -> datetime | None:
    """Return the first minute at which the offset is another than at `low`; None if it is the same at `high`."""
    offset = low.astimezone(zone).utcoffset()
    if high.astimezone(zone).utcoffset() == offset:
        return None
    while high - low > timedelta(minutes=1):
        middle = (low + (high - low) / 2).replace(second=0, microsecond=0)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
    return high


def changes() -> st.SearchStrategy[tuple[str, str]]:
    """Draw a change of clocks: one of the list, in the long form also any of any zone."""
    listed = st.sampled_from(CHANGES)
    if not LONG:
        return listed
    changing = st.sampled_from([zone for zone in sorted(zone_names()) if days_of_change(zone)])
    anywhere = changing.flatmap(lambda zone: st.tuples(st.just(zone), st.sampled_from(days_of_change(zone))))
    return st.one_of(listed, anywhere)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a schedule that is likely to have something to say near a change of clocks, and a start near it."""
    zone, day = draw(changes())
    noon = datetime.fromisoformat(day + "T12:00:00+00:00")
    change = change_between(ZoneInfo(zone), noon - timedelta(hours=36), noon + timedelta(hours=34)) or noon
    far = st.integers(-36 * 3600, 34 * 3600).map(lambda seconds: noon + timedelta(seconds=seconds))
    near = st.integers(-2 * 3600, 2 * 3600).map(lambda seconds: change + timedelta(seconds=seconds))
    start = draw(far | near.filter(lambda start: abs(start - noon) < timedelta(hours=38)))
    return Case(draw(texts(noon)), zone, day, start)


@st.composite
def texts(draw: st.DrawFn, noon: datetime) -> str:
    minute = draw(MINUTES | items(0, 59))
    hour = draw(HOURS | items(0, 23))
    near = (noon + timedelta(days=draw(st.integers(-1, 1)))).day
    dom = draw(st.sampled_from([*["*"] * 6, "*/2", f"{near}", f"1-{near}", f"{near},15", "L", "1-31", "5,*/3"]))
    month = draw(st.sampled_from([*["*"] * 4, f"{noon.month}", "1-12", f"{noon.month}-{noon.month}", f"{noon:%b}"]))
    dow = draw(WEEKDAYS)
    return f"{minute} {hour} {apart(dom, dow)[0]} {month} {apart(dom, dow)[1]}"


@st.composite
def days(draw: st.DrawFn) -> str:
    """Draw an expression of midnights, with anything in its day fields."""
    dom = draw(MONTH_DAYS | items(1, 31))
    month = draw(st.sampled_from(["*", "*", "2", "2,4", "feb-jun", "*/2", "11-12", "12/3", "2-2"]))
    dow = draw(WEEKDAYS | items(0, 7))
    return f"0 0 {apart(dom, dow)[0]} {month} {apart(dom, dow)[1]}"


def apart(dom: str, dow: str) -> tuple[str, str]:
    """Return the day fields so that `L` and `#` stand beside a `*`, as the grammar wants it."""
    if "#" in dow or "L" in dow:
        return "*", dow
    return (dom, "*") if "L" in dom else (dom, dow)


@st.composite
def items(draw: st.DrawFn, low: int, high: int) -> str:
    """Draw one to three of `*`, `v`, `a-b`, `v/n`, `a-b/n`, `*/n`, separated by commas."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
        body = draw(st.sampled_from([f"{first}", f"{first}", f"{first}-{last}", "*"]))
        step = draw(st.sampled_from(["", "", "/2", "/5", "/13"]))
        found.append(body + step)
    return ",".join(found)


MINUTES = st.sampled_from(
    ["*", "*/15", "*/30", "*/7", "0", "30", "0,30", "59", "1", "15-45", "0-59", "5,*/20", "*/20,7", "10/25"]
)
HOURS = st.sampled_from(
    ["*", "*", "*/2", "*/3", "*/12", "0", "1", "2", "3", "23", "0-23", "1-4", "22,23", "0,12", "23/5", "2-2"]
)
MONTH_DAYS = st.sampled_from(
    ["*", "*", "*/2", "*/7", "1-31", "1-7", "31", "29-31", "L", "30,L", "10/5", "5-5", "1,*", "*,9", "*/2,L"]
)
WEEKDAYS = st.sampled_from(
    [
        *["*"] * 6, "0", "sun", "7", "5-7", "1-5", "mon-fri", "sat,sun", "*/2", "*/3", "0-6", "0-7", "1-7/3", "1/2", "2/2",
        "7/2", "3-3", "0-7/2", "1,*", "6#1", "5#3", "2#5,L7", "sun#1", "L0", "L1",
    ]
)  # fmt: skip
