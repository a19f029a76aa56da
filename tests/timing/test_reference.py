"""Cron schedules come as a minute-by-minute cron(8) runs them: over random expressions, zones, changes of clocks and starts.

A case is an expression, a zone and a start. `BACKGROUND_LONG_TESTS=1` draws more expressions, and changes of any zone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from background.exceptions import InvalidSchedule
from background.timing import cron
from tests.timing import drawing, reference

DAYS = [date(1999, 12, 1) + timedelta(days=n) for n in range(1500)]
DAY_FIELDS = list(product(("*", "*/2", "1-31", "13", "5,*/10"), ("*", "*/2", "0-6", "5", "5,*/3")))
END = reference.WINDOW - timedelta(seconds=1)
EARLIEST = timedelta(hours=38)  # before noon: the reference's own clock has begun two hours before
STARTS = 6  # besides the one that is drawn with the expression

pytestmark = pytest.mark.slow


@pytest.mark.timeout(3600)
@drawing.by_properties(1500, long=10_000)
@given(drawing.cases(), st.lists(st.integers(-6 * 3600, 6 * 3600), min_size=STARTS, max_size=STARTS))
def test_every_schedule_comes_as_the_reference_says(case: drawing.Case, offsets: list[int]) -> None:
    """Ten thousand cases, also in the short form: 1,500 expressions, each from seven starts."""
    everything = reference.occurrences(case.text, case.zone, case.day, case.noon - EARLIEST)
    schedule = made(case.text, case.zone)
    for offset in (0, *offsets):
        start = max(case.start + timedelta(seconds=offset), case.noon - EARLIEST)
        expected = [one for one in everything if one > start]
        assert schedule.between(start, case.noon + END) == expected
        at = start
        for due in expected[:20]:  # each from the one before, as a scheduler asks
            assert (at := schedule.next(at)) == due


def test_the_cases_lie_around_more_than_thirty_changes_of_clocks() -> None:
    assert len(set(drawing.CHANGES)) >= 30 and len({zone for zone, _day in drawing.CHANGES}) >= 17


@pytest.mark.timeout(3600)
@drawing.by_properties(300, long=2_000)
@given(drawing.cases(), st.floats(0, 1), st.integers(0, 30))
def test_the_latest_of_a_span_are_those_of_the_reference(case: drawing.Case, part: float, n: int) -> None:
    stop = case.start + (case.noon + END - case.start) * part
    expected = [one for one in reference.occurrences(case.text, case.zone, case.day, case.start) if one <= stop]
    schedule = made(case.text, case.zone)
    assert schedule.latest(case.start, stop) == (expected[-1] if expected else None)
    assert schedule.last(case.start, stop, n) == (expected[-n:] if n else [])


@pytest.mark.timeout(3600)
@drawing.by_properties(200, long=2_000)
@given(drawing.cases(), st.integers(3, 900))
def test_what_is_rare_comes_as_the_reference_says_from_far_before(case: drawing.Case, days: int) -> None:
    minute, hour, *_ = case.text.split()
    text = f"{minute} {hour} {case.start.day} {case.start.month} *"
    near = case.noon - timedelta(hours=36)
    schedule, found = made(text, case.zone), []
    following = schedule.next(near - timedelta(days=days))
    while following is not None and following <= case.noon + END:
        found.append(following)
        following = schedule.next(following)
    expected = reference.occurrences(text, case.zone, case.day, near)
    assert [one for one in found if one > near] == expected


@pytest.mark.parametrize(("zone", "day"), drawing.CHANGES)
def test_next_is_strictly_increasing_through_every_listed_change(zone: str, day: str) -> None:
    noon = datetime.fromisoformat(day + "T12:00:00+00:00")
    assert len({(noon + timedelta(hours=n)).astimezone(ZoneInfo(zone)).utcoffset() for n in (-36, -12, 0, 12, 36)}) > 1
    for text in ("*/7 * * * *", "0,30 0-23 * * *"):
        schedule, at = cron(text, zone), noon - timedelta(days=1)
        for _ in range(150):
            assert (following := schedule.next(at)) > at
            at = following


def made(text: str, zone: str) -> cron:
    try:
        return cron(text, zone)
    except InvalidSchedule as error:
        assume("does not come within 50 years" not in str(error))
        raise


# Days


def midnights(text: str) -> list[datetime]:
    fields = reference.Fields(text)
    return [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in DAYS if fields.on(d)]


@pytest.mark.parametrize("days", DAY_FIELDS, ids=" ".join)
def test_every_combination_of_day_fields_comes_as_the_reference_says(days: tuple[str, str]) -> None:
    text = f"0 0 {days[0]} * {days[1]}"
    assert over_four_years(text) == midnights(text)


@pytest.mark.timeout(3600)
@drawing.by_properties(150, long=2_000)
@given(drawing.days())
def test_random_day_fields_over_four_years_come_as_the_reference_says(text: str) -> None:
    expected = midnights(text)
    try:
        assert over_four_years(text) == expected
    except InvalidSchedule:
        assert not expected


def over_four_years(text: str) -> list[datetime]:
    edges = (datetime(d.year, d.month, d.day, tzinfo=UTC) for d in (DAYS[0], DAYS[-1]))
    start, stop = edges
    return cron(text, "UTC").between(start - timedelta(seconds=1), stop)
