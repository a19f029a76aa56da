"""Intervals, instants, and the texts that all schedules are read from and written as."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from background.exceptions import InvalidSchedule
from background.timing import At, Cron, Every, Schedule, at, cron, every, parse

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


# Intervals


def test_an_interval_counts_from_the_epoch_on_every_host() -> None:
    assert every(minutes=5).next(NOW) == datetime(2026, 3, 4, 5, 10, tzinfo=UTC)
    assert every(hours=1).next(NOW) == datetime(2026, 3, 4, 6, tzinfo=UTC)


def test_an_interval_counts_from_its_anchor_and_begins_there() -> None:
    anchor = datetime(2026, 3, 4, 5, 6, 10, tzinfo=UTC)
    schedule = every(seconds=90, anchor=anchor)
    assert schedule.next(NOW) == anchor
    assert schedule.next(NOW - timedelta(days=9)) == anchor
    assert schedule.next(anchor) == anchor + timedelta(seconds=90)
    assert schedule.between(NOW, NOW + timedelta(minutes=4)) == [
        anchor,
        anchor + timedelta(seconds=90),
        anchor + timedelta(seconds=180),
    ]


def test_an_interval_has_no_zone_and_walks_through_clock_changes() -> None:
    before = datetime(2024, 3, 10, 6, 30, tzinfo=UTC)
    assert every(hours=1).in_zone("America/New_York").between(before, before + timedelta(hours=3)) == [
        datetime(2024, 3, 10, hour, tzinfo=UTC) for hour in (7, 8, 9)
    ]
    assert every(hours=1).timezone is None


def test_a_naive_datetime_is_refused_by_an_interval() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        every(minutes=1).next(datetime(2024, 1, 1))
    with pytest.raises(InvalidSchedule, match="no time zone"):
        every(minutes=1, anchor=datetime(2024, 1, 1))


@pytest.mark.parametrize(
    "amount",
    [
        {},
        {"seconds": 0},
        {"seconds": -5},
        {"seconds": 0.001},
        {"days": 10**6},
        {"days": 10**30},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": "5"},
    ],
    ids=str,
)
def test_an_impossible_interval_is_refused(amount: dict[str, float]) -> None:
    with pytest.raises(InvalidSchedule):
        every(**amount)


def test_code_may_tick_faster_than_text() -> None:
    assert every(seconds=0.05).next(NOW) == NOW + timedelta(milliseconds=50)
    assert every(seconds=0.05).interval == timedelta(milliseconds=50)
    with pytest.raises(InvalidSchedule, match="at least 1 second"):
        parse("every 0.05s")


def test_the_end_of_the_calendar_is_the_end_of_an_interval() -> None:
    assert every(days=400).next(datetime(9999, 12, 31, tzinfo=UTC)) is None


INSTANTS = st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
INTERVALS = st.timedeltas(timedelta(seconds=1), timedelta(days=40))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(INTERVALS, st.none() | INSTANTS, INSTANTS, st.integers(0, 30))
def test_interval_arithmetic_agrees_with_walking(
    interval: timedelta, anchor: datetime | None, start: datetime, n: int
) -> None:
    schedule = Every(interval, anchor)
    stop = start + interval * 7.5
    walked, found = [], schedule.next(start)
    while found is not None and found <= stop:
        assert found > start and (found - (anchor or datetime(1970, 1, 1, tzinfo=UTC))) % interval == timedelta(0)
        walked.append(found)
        found = schedule.next(found)
    assert schedule.between(start, stop) == walked
    assert schedule.latest(start, stop) == (walked[-1] if walked else None)
    assert schedule.last(start, stop, n) == (walked[-n:] if n else [])


# Instants


def test_an_instant_comes_once() -> None:
    schedule = at(NOW)
    assert schedule.next(NOW - MINUTE) == NOW and schedule.next(NOW) is None
    assert schedule.between(NOW - MINUTE, NOW) == schedule.last(NOW - MINUTE, NOW, 5) == [NOW]
    assert schedule.latest(NOW - MINUTE, NOW) == NOW and schedule.latest(NOW, NOW + MINUTE) is None
    assert schedule.last(NOW - MINUTE, NOW, 0) == [] and schedule.in_zone("Europe/Paris") is schedule


def test_an_instant_is_kept_in_utc() -> None:
    assert at(datetime(2027, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))) == At(datetime(2026, 12, 31, 15, tzinfo=UTC))


def test_a_naive_instant_is_read_in_the_projects_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.get_default_timezone_name", lambda: "Europe/Paris")
    assert at(datetime(2027, 7, 1, 12)).instant == datetime(2027, 7, 1, 10, tzinfo=UTC)
    with pytest.raises(InvalidSchedule):
        At(datetime(2027, 7, 1, 12))


@pytest.mark.parametrize("wrong", ["2027-01-01T00:00:00Z", 5, None, date(2027, 1, 1), datetime.min])
def test_what_is_no_instant_is_refused(wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.get_default_timezone_name", lambda: "Asia/Tokyo")
    with pytest.raises(InvalidSchedule):
        at(wrong)


def test_a_written_time_in_a_gap_is_right_after_it_and_one_shown_twice_the_first() -> None:
    zone = "America/New_York"
    assert parse("at 2024-03-10T02:30:00", zone) == At(datetime(2024, 3, 10, 7, tzinfo=UTC))
    assert parse("at 2024-11-03T01:30:00", zone) == At(datetime(2024, 11, 3, 5, 30, tzinfo=UTC))
    assert parse("at 2011-12-30T12:00", "Pacific/Apia") == At(datetime(2011, 12, 30, 10, tzinfo=UTC))


# Texts

PARSED: dict[str, Schedule] = {
    "*/5 * * * *": Cron("*/5 * * * *"),
    "@daily": Cron("0 0 * * *"),
    "every 90s": every(seconds=90),
    "every 90 seconds": every(seconds=90),
    "every 5 minutes": every(minutes=5),
    "EVERY 5 Min": every(minutes=5),
    "every 1h": every(hours=1),
    "every hour": every(hours=1),
    "every  2 days ": every(days=2),
    "every 1.5h": every(minutes=90),
    "every 90s from 2026-01-01T00:00:00Z": every(seconds=90, anchor=datetime(2026, 1, 1, tzinfo=UTC)),
    "every 5m from 2026-01-01 00:00+02:00": every(minutes=5, anchor=datetime(2025, 12, 31, 22, tzinfo=UTC)),
    "at 2027-01-01T00:00:00Z": at(datetime(2027, 1, 1, tzinfo=UTC)),
    "At 2027-01-01 00:00 Z": at(datetime(2027, 1, 1, tzinfo=UTC)),
    "at 2027-01-01t00:00:00.25-05:00": at(datetime(2027, 1, 1, 5, 0, 0, 250_000, tzinfo=UTC)),
}


@pytest.mark.parametrize("text", PARSED)
def test_a_text_is_read_and_written_back(text: str) -> None:
    found = parse(text)
    assert found == PARSED[text]
    assert parse(str(found), found.timezone) == found
    assert str(parse(str(found))) == str(found)


WRITTEN = {
    "every 90s": every(seconds=90),
    "every 5m": every(seconds=300),
    "every 1d": every(hours=24),
    "every 1.5s": every(seconds=1.5),
    "every 36h": every(days=1.5),
    "every 1m from 2026-03-04T05:06:07Z": every(minutes=1, anchor=NOW),
    "at 2026-03-04T05:06:07Z": at(NOW),
    "at 2026-03-04T05:06:07.000001Z": at(NOW + timedelta(microseconds=1)),
    "0 9 * * 1-5": cron("0 9 * * mon-fri", "Europe/Paris"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_schedule_is_written_in_its_shortest_form(text: str) -> None:
    assert str(WRITTEN[text]) == text
    assert parse(text, WRITTEN[text].timezone) == WRITTEN[text]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.timedeltas(timedelta(seconds=1), timedelta(days=18_000)),
    st.none()
    | st.datetimes(
        datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=st.just(timezone(timedelta(hours=5, minutes=45)))
    ),
)
def test_every_interval_survives_being_written(interval: timedelta, anchor: datetime | None) -> None:
    schedule = Every(interval, anchor)
    assert parse(str(schedule)) == schedule


WRONG = [
    ("every", "Character 6"),
    ("every ", "Character"),
    ("every 5", "Character 7"),
    ("every 5 fortnights", "Character 7"),
    ("every -5 minutes", "Character 7"),
    ("every 1e5s", "Character 7"),
    ("every \t  5x", "Character 10"),
    ("every 0s", "at least 1 second"),
    ("every 0.999999s", "at least 1 second"),
    ("every 99999999999s", "Character 7"),
    ("every 9999999999d", "50 years"),
    ("every 1s from", "Character 7"),
    ("every 1s from noon", "Character 15: “noon”"),
    ("every " + "9" * 40_000, "at most 255"),
    ("at", "Character 3"),
    ("at noon", "Character 4: “noon”"),
    ("at 2027-01-01", "expected a time such as"),
    ("at 2027-02-30T00:00:00Z", "Character 4"),
    ("at 2027-01-01T25:00:00Z", "Character 4"),
    ("at 2027-01-01T00:00:00+99:00", "Character 4"),
    ("at 0001-01-01T00:00:00+10:00", "out of range"),
    ("at 2027-01-01T00:00:00Z 2028-01-01T00:00:00Z", "Character 4"),
    ("evry 5 minutes", "“every 5 minutes”"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text[:30] for text, _said in WRONG])
def test_a_text_that_is_no_schedule_is_refused_with_its_position(text: str, said: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        parse(text)
    assert said in str(caught.value)
