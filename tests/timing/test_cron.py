"""Cron schedules run as cron(8) runs them."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone as django_timezone

from background.timing import Cron, cron


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def locals_of(text: str, zone: str, start: str, stop: str) -> list[str]:
    """Return the wall-clock times in (start, stop], which are naive times of the zone (first pass)."""
    where = ZoneInfo(zone)
    span = (datetime.fromisoformat(edge).replace(tzinfo=where) for edge in (start, stop))
    return [found.astimezone(where).strftime("%d %H:%M%z")[:-2] for found in cron(text, zone).between(*span)]


# Where clocks change, and what the day fields mean


def test_a_fixed_time_job_runs_once_in_the_repeated_hour() -> None:
    assert locals_of("30 1 * * *", "America/New_York", "2024-11-03T00:00", "2024-11-04T00:00") == ["03 01:30-04"]


def test_a_fixed_time_job_that_ran_in_the_first_pass_waits_for_the_next_day() -> None:
    second_pass = instant("2024-11-03T01:10:00-05:00")
    assert cron("30 1 * * *", "America/New_York").next(second_pass) == instant("2024-11-04T01:30:00-05:00")


def test_a_full_range_of_hours_is_no_wildcard_and_runs_once_in_the_repeated_hour() -> None:
    found = locals_of("0 0-23 * * *", "America/New_York", "2024-11-03T00:30", "2024-11-03T02:30")
    assert found == ["03 01:00-04", "03 02:00-05"]


def test_an_hourly_job_runs_25_times_on_the_long_day() -> None:
    assert len(locals_of("0 * * * *", "America/New_York", "2024-11-02T23:59", "2024-11-03T23:59")) == 25


def test_an_hourly_job_runs_23_times_on_the_short_day() -> None:
    assert len(locals_of("0 * * * *", "America/New_York", "2024-03-09T23:59", "2024-03-10T23:59")) == 23


def test_a_wildcard_hour_makes_nothing_up_after_the_gap() -> None:
    found = locals_of("30 */2 * * *", "America/New_York", "2024-03-10T00:00", "2024-03-10T05:00")
    assert found == ["10 00:30-05", "10 04:30-04"]


def test_a_wildcard_minute_makes_nothing_up_after_the_gap() -> None:
    assert locals_of("*/30 2 * * *", "America/New_York", "2024-03-10T00:00", "2024-03-11T00:00") == []


def test_a_fixed_time_in_the_gap_runs_right_after_it() -> None:
    assert locals_of("30 2 * * *", "America/New_York", "2024-03-10T00:00", "2024-03-11T00:00") == ["10 03:00-04"]
    assert cron("30 2 * * *", "America/New_York").next(instant("2024-03-10T05:00+00:00")) == instant(
        "2024-03-10T07:00+00:00"
    )


def test_a_full_range_runs_right_after_the_gap_and_then_on_time() -> None:
    found = locals_of("30 0-23 * * *", "America/New_York", "2024-03-10T01:00", "2024-03-10T04:00")
    assert found == ["10 01:30-05", "10 03:00-04", "10 03:30-04"]


def test_several_skipped_times_become_one_run() -> None:
    assert locals_of("0,30 2 * * *", "America/New_York", "2024-03-10T00:00", "2024-03-11T00:00") == ["10 03:00-04"]


def test_a_half_hour_gap_keeps_what_the_clock_shows() -> None:
    found = locals_of("30 * * * *", "Australia/Lord_Howe", "2024-10-06T01:00", "2024-10-06T03:00")
    assert found == ["06 01:30+10", "06 02:30+11"]
    assert locals_of("* 4 * * *", "Australia/Lord_Howe", "2024-10-06T01:00", "2024-10-06T05:00")[0] == "06 04:00+11"


def test_a_half_hour_overlap_is_walked_twice_by_a_wildcard() -> None:
    schedule, at = cron("*/7 * * * *", "Australia/Lord_Howe"), instant("2024-04-07T01:44:00+11:00")
    found = []
    for _ in range(5):
        at = schedule.next(at)
        found.append(at.astimezone(ZoneInfo("Australia/Lord_Howe")).strftime("%H:%M"))
    assert found == ["01:49", "01:56", "01:35", "01:42", "01:49"]


def test_a_gap_at_midnight_starts_the_day_at_one() -> None:
    found = locals_of("*/12 1-4 * * 0", "America/Santiago", "2024-09-07T20:00", "2024-09-08T02:00")
    assert found[:2] == ["08 01:00-03", "08 01:12-03"]


def test_a_daily_job_at_a_skipped_midnight_runs_when_the_day_begins() -> None:
    assert locals_of("@daily", "Africa/Cairo", "2024-04-25T12:00", "2024-04-26T12:00") == ["26 01:00+03"]


def test_a_daily_job_runs_once_when_midnight_comes_twice() -> None:
    assert locals_of("@daily", "Africa/Cairo", "2024-10-31T12:00", "2024-11-01T12:00") == ["01 00:00+02"]
    assert locals_of("59 23 * * *", "Africa/Cairo", "2024-10-31T12:00", "2024-11-01T12:00") == ["31 23:59+03"]


def test_the_date_going_back_keeps_both_passes_of_wildcards() -> None:
    zone, edges = "America/St_Johns", ("2006-10-28T22:50", "2006-10-29T03:00")
    assert locals_of("30 */2 * * *", zone, *edges) == ["29 00:30-03", "29 02:30-03"]
    late = locals_of("*/10 23 * * *", zone, *edges)
    assert late[:2] == ["28 23:00-02", "28 23:10-02"] and len(late) == 6 + 5
    assert locals_of("*/20 0 * * *", zone, *edges) == ["29 00:00-02", "29 00:00-03", "29 00:20-03", "29 00:40-03"]


def test_a_skipped_day_is_a_clock_correction_and_nothing_is_made_up() -> None:
    found = locals_of("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00", "2011-12-31T23:00")
    assert found == ["29 12:00-10", "31 12:00+14"]


def test_the_first_minute_after_a_skipped_day_is_not_lost() -> None:
    assert locals_of("0 0 * * *", "Pacific/Apia", "2011-12-29T12:00", "2011-12-31T23:00") == ["31 00:00+14"]


def test_a_quarter_hour_gap_runs_a_skipped_time_at_its_end() -> None:
    assert locals_of("5 0 * * *", "Asia/Kathmandu", "1985-12-31T12:00", "1986-01-01T12:00") == ["01 00:15+05"]


def test_a_stepped_star_in_a_day_field_means_and() -> None:
    found = cron("0 0 */2 * 1", "UTC").between(instant("2024-01-01T01:00+00:00"), instant("2024-02-01T00:00+00:00"))
    assert [day.day for day in found] == [15, 29]


def test_two_plain_day_fields_mean_or() -> None:
    found = cron("0 0 13 * 5", "UTC").between(instant("2024-01-01T00:00+00:00"), instant("2024-01-20T00:00+00:00"))
    assert [day.day for day in found] == [5, 12, 13, 19]


def test_an_equal_range_is_its_one_value() -> None:
    assert str(cron("0 9-9 * * mon-mon")) == "0 9 * * 1"


def test_a_far_match_does_not_hide_the_second_pass() -> None:
    first_pass = instant("2020-10-25T01:45:00+01:00")
    assert cron("*/30 1 25 10 *", "Europe/London").next(first_pass) == instant("2020-10-25T01:00:00+00:00")


# The interface


def test_results_are_aware_and_in_utc() -> None:
    found = cron("0 3 * * *", "Europe/Paris").next(datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo")))
    assert found == datetime(2024, 7, 2, 1, tzinfo=UTC) and found.tzinfo is UTC


def test_next_is_strictly_after_and_ignores_fractions_of_a_second() -> None:
    schedule, noon = cron("0 12 * * *", "UTC"), datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert schedule.next(noon) == noon + timedelta(days=1)
    assert schedule.next(noon - timedelta(microseconds=1)) == noon
    assert schedule.next(noon + timedelta(microseconds=1)) == noon + timedelta(days=1)


def test_between_leaves_out_its_start_and_has_its_stop() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert cron("* * * * *", "UTC").between(noon, noon + timedelta(minutes=2)) == [
        noon + timedelta(minutes=1),
        noon + timedelta(minutes=2),
    ]
    assert cron("* * * * *", "UTC").between(noon, noon) == []


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        cron("* * * * *").next(datetime(2024, 1, 1))


def test_the_end_of_the_calendar_is_the_end() -> None:
    for text in ("* * * * *", "0 0 29 2 *", "0 3 * * *"):
        assert cron(text, "America/New_York").next(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) is None


def test_29_february_is_found_over_the_year_2100() -> None:
    assert cron("0 0 29 2 *", "UTC").next(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


def test_a_clock_put_back_by_more_than_three_hours_is_a_correction_and_its_times_come_again() -> None:
    found = locals_of("0 20 * * *", "Antarctica/Vostok", "1994-01-31T12:00", "1994-02-02T12:00")
    assert found == ["31 20:00+07", "31 20:00+00", "01 20:00+00"]


def test_a_rare_wildcard_is_found_quickly() -> None:
    schedule = cron("*/5 * 29 2 */7", "Europe/London")
    began = time.perf_counter()
    assert schedule.next(datetime(2032, 3, 1, tzinfo=UTC)) == datetime(2060, 2, 29, tzinfo=UTC)
    assert time.perf_counter() - began < 1


def test_a_far_wildcard_comes_at_the_offset_of_its_own_season() -> None:
    summer = instant("2024-07-01T12:00:00+01:00")
    assert cron("*/5 8 29 2 *", "Europe/London").next(summer) == instant("2028-02-29T08:00:00+00:00")


def test_in_zone_fills_only_a_missing_zone() -> None:
    assert cron("0 3 * * *").in_zone("Europe/Paris") == cron("0 3 * * *", "Europe/Paris")
    assert cron("0 3 * * *", "UTC").in_zone("Europe/Paris").timezone == "UTC"
    assert cron("0 3 * * *").in_zone(None).timezone is None


def test_a_schedule_without_zone_follows_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = cron("0 3 * * *")
    monkeypatch.setattr(django_timezone, "get_default_timezone_name", lambda: "Asia/Tokyo")
    assert schedule.next(datetime(2024, 1, 1, 12, tzinfo=UTC)) == datetime(2024, 1, 1, 18, tzinfo=UTC)
    monkeypatch.setattr(django_timezone, "get_default_timezone_name", lambda: "Europe/Paris")
    assert schedule.next(datetime(2024, 1, 1, 12, tzinfo=UTC)) == datetime(2024, 1, 2, 2, tzinfo=UTC)


def test_a_schedule_without_zone_and_without_settings_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    def unconfigured() -> str:
        raise ImproperlyConfigured

    monkeypatch.setattr(django_timezone, "get_default_timezone_name", unconfigured)
    assert cron("0 3 * * *").next(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 1, 1, 3, tzinfo=UTC)


def test_schedules_are_values() -> None:
    one, same = Cron("@daily", "UTC"), Cron("0  0 * * *", "UTC")
    assert one == same and hash(one) == hash(same) and one != Cron("@daily")
    assert pickle.loads(pickle.dumps(one)).next(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 1, 2, tzinfo=UTC)


def test_threads_may_share_a_schedule() -> None:
    schedule, start = cron("17 4 * * *", "UTC"), datetime(2024, 1, 1, tzinfo=UTC)
    starts = [start + timedelta(days=n) for n in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(schedule.next, starts))
    assert found == [one + timedelta(hours=4, minutes=17) for one in starts]


# Long stops


SPARSE = [
    "* * * * *",
    "*/5 * * * *",
    "30 2 * * *",
    "0 0 29 2 *",
    "* * * 1 *",
    "0 0 * 2 1#5",
    "*/5 * 29 2 *",
    "0-59 0-23 1 1 *",
]


@pytest.mark.parametrize("text", SPARSE)
def test_the_latest_of_ten_years_is_found_in_few_steps(text: str) -> None:
    schedule, stop = cron(text, "America/New_York"), instant("2024-12-15T11:22:33+00:00")
    began = time.perf_counter()
    found = schedule.latest(stop - timedelta(days=3653), stop)
    assert time.perf_counter() - began < 1
    if found is None:
        assert text == "0 0 * 2 1#5"  # 2016 and then 2044 have it
    else:
        assert found <= stop and not (following := schedule.next(found)) <= stop, following


@pytest.mark.parametrize("text", SPARSE)
def test_the_newest_hundred_are_found_without_walking_the_rest(text: str) -> None:
    schedule, stop = cron(text, "America/New_York"), instant("2024-12-15T11:22:33+00:00")
    began = time.perf_counter()
    found = schedule.last(stop - timedelta(days=3653), stop, 100)
    assert time.perf_counter() - began < 1
    assert len(found) <= 100 and found == sorted(set(found))
    if found:
        assert schedule.latest(stop - timedelta(days=3653), stop) == found[-1]
        assert schedule.between(found[0], found[min(20, len(found) - 1)]) == found[1 : min(21, len(found))]


def test_a_month_of_minutes_is_listed_whole() -> None:
    start = datetime(2024, 3, 1, tzinfo=UTC)
    found = cron("* * * * *", "America/New_York").between(start, start + timedelta(days=31))
    assert found == [start + timedelta(minutes=n) for n in range(1, 31 * 24 * 60 + 1)]


def test_last_of_an_empty_or_backward_span_is_empty() -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    schedule = cron("* * * * *", "UTC")
    assert schedule.last(now, now, 5) == schedule.last(now, now - timedelta(days=1), 5) == []
    assert schedule.latest(now, now) is None and schedule.last(now, now + timedelta(hours=1), 0) == []
