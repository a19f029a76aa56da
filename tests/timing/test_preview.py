"""People see when something will run, in words, and are told where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from background.timing import at, cron, describe, every, preview, remark, upcoming

START = datetime(2024, 3, 9, 12, tzinfo=UTC)


def test_the_next_occurrences_are_shown_in_utc_and_on_the_wall() -> None:
    found = upcoming(cron("0 3 * * *"), START, 3, "Europe/Paris")
    assert [one.instant_utc for one in found] == [datetime(2024, 3, day, 2, tzinfo=UTC) for day in (10, 11, 12)]
    assert [f"{one.local:%H:%M%z}" for one in found] == ["03:00+0100"] * 3
    assert [one.note for one in found] == [""] * 3


def test_a_schedule_keeps_its_own_zone_in_the_preview() -> None:
    assert upcoming(cron("0 3 * * *", "Asia/Tokyo"), START, 1, "Europe/Paris")[0].local.tzinfo == ZoneInfo("Asia/Tokyo")


def notes(text: str, zone: str, after: str, n: int) -> list[tuple[str, str]]:
    found = upcoming(cron(text, zone), datetime.fromisoformat(after), n)
    return [(f"{one.local:%d %H:%M%z}"[:-2], one.note) for one in found]


def test_a_skipped_time_is_marked() -> None:
    assert notes("30 2 * * *", "America/New_York", "2024-03-09T12:00Z", 2) == [
        ("10 03:00-04", "The clock skips 2024-03-10 02:00 – 03:00: runs right after, once for all that was due."),
        ("11 02:30-04", ""),
    ]


def test_a_time_at_the_end_of_the_gap_is_marked_where_it_stands_for_a_skipped_one() -> None:
    marked = [bool(note) for _at, note in notes("0,30 2-3 * * *", "America/New_York", "2024-03-09T12:00Z", 3)]
    assert marked == [True, False, False]


def test_what_a_wildcard_loses_in_a_gap_is_marked_at_its_next_time() -> None:
    assert notes("30 */2 * * *", "America/New_York", "2024-03-10T05:00Z", 3) == [
        ("10 00:30-05", ""),
        ("10 04:30-04", "The clock skips 2024-03-10 02:00 – 03:00 before this: what was due does not run."),
        ("10 06:30-04", ""),
    ]


def test_a_skipped_day_is_marked_with_its_dates() -> None:
    skipped = "The clock skips 2011-12-30 00:00:00 – 2011-12-31 00:00:00 before this: what was due does not run."
    assert notes("0 0 * * *", "Pacific/Apia", "2011-12-29T12:00Z", 2) == [("31 00:00+14", skipped), ("01 00:00+14", "")]


def test_a_repeated_time_is_marked_in_both_passes() -> None:
    found = notes("*/30 1 * * *", "America/New_York", "2024-11-03T04:00Z", 5)
    assert ["this is the first" in note for _at, note in found] == [True, True, False, False, False]
    assert ["this is the second" in note for _at, note in found] == [False, False, True, True, False]


def test_a_fixed_time_that_is_shown_twice_is_marked_as_coming_once() -> None:
    found = notes("30 1 * * *", "America/New_York", "2024-11-03T04:00Z", 2)
    assert ["the first time only" in note for _at, note in found] == [True, False]


def test_an_interval_in_a_repeated_hour_is_marked() -> None:
    found = upcoming(every(hours=1), datetime(2024, 11, 3, 4, tzinfo=UTC), 3, "America/New_York")
    assert [f"{one.local:%H}" for one in found] == ["01", "01", "02"]
    assert "first" in found[0].note and "second" in found[1].note and found[2].note == ""


def test_the_preview_ends_where_the_schedule_ends() -> None:
    assert len(upcoming(at(START + timedelta(hours=1)), START, 5, "UTC")) == 1
    assert upcoming(at(START), START, 5, "UTC") == upcoming(every(hours=1), START, 0, "UTC") == []


def test_intervals_and_instants_have_words() -> None:
    assert describe(every(minutes=5)) == "every 5 minutes"
    assert describe(every(seconds=1)) == "every second"
    assert describe(every(hours=1.5)) == "every 90 minutes"
    assert describe(every(seconds=1.5)) == "every 1.5 seconds"
    assert describe(every(days=1, anchor=START)) == "every day, counted from 2024-03-09 12:00:00 UTC"
    assert describe(at(START)) == "once, at 2024-03-09 12:00:00 UTC"


def test_a_cron_text_speaks_for_itself_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "words", None)
    assert describe(cron("0 9 * * mon-fri")) == "0 9 * * 1-5"


def test_a_cron_text_has_words_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    class NoWords(Exception):
        pass

    def get_description(text: str, options: SimpleNamespace) -> str:
        asked.append((text, options.locale_code))
        if text.startswith("5"):
            raise NoWords
        return "in words"

    library = SimpleNamespace(
        Options=SimpleNamespace,
        get_description=get_description,
        FormatException=NoWords,
        MissingFieldException=NoWords,
        WrongArgumentException=NoWords,
    )
    monkeypatch.setattr(preview, "words", library)
    monkeypatch.setattr(preview, "language", lambda: "de")
    assert describe(cron("0 9 * * *")) == "in words"
    assert asked == [("0 9 * * *", "de_DE")]
    assert describe(cron("5 9 * * *")) == "5 9 * * *"
    asked.clear()
    for text in ("0 9 */2 * 1", "0 9 1,L * *", "0 9 * * 5#2,1#1", "*/90 * * * *"):
        assert describe(cron(text)) == text and not asked, "the words would be wrong"


def test_an_interval_of_whole_days_with_a_zone_is_remarked_upon() -> None:
    for schedule in (every(days=1), every(hours=48), every(days=1, anchor=START)):
        assert "counts elapsed time" in remark(schedule, "Europe/Paris") and "Europe/Paris" in remark(
            schedule, "Europe/Paris"
        )
    for schedule, zone in (
        (every(days=1), ""),
        (every(days=1), None),
        (every(hours=1), "UTC"),
        (cron("@daily"), "UTC"),
    ):
        assert remark(schedule, zone) == ""
