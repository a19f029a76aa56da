"""Texts that are no schedule are refused at once, with the field, the position and a hint."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from django.core.exceptions import AppRegistryNotReady
from django.utils import translation
from hypothesis import given, settings
from hypothesis import strategies as st

from background.exceptions import BackgroundError, InvalidSchedule
from background.timing import cron, parse, zones
from background.timing.grammar import ALIASES

CANONICAL = {
    "  */5\t*  * * * ": "*/5 * * * *",
    "05 03 01 01 *": "5 3 1 1 *",
    "0 9 * JAN-mar Mon-FRI": "0 9 * 1-3 1-5",
    "0 0 * * 7": "0 0 * * 0",
    "0 0 * * 5-7": "0 0 * * 0,5,6",
    "0 0 * * 1-7/2": "0 0 * * 0,1,3,5",
    "0 0 * * sun-tue": "0 0 * * 0-2",
    "5-5 * * * *": "5 * * * *",
    "10/20 * * * *": "10-59/20 * * * *",
    "59/15 * * * *": "59 * * * *",
    "*,5 * * * *": "* * * * *",
    "5,* * * * *": "5,0-59 * * * *",
    "0 0 1,*/2 * 1": "0 0 1,1-31/2 * 1",
    "1,1,1 * * * *": "1 * * * *",
    "0 0 l * *": "0 0 L * *",
    "0 0 1,L * *": "0 0 1,L * *",
    "0 0 * * lfri": "0 0 * * L5",
    "0 0 * * L7": "0 0 * * L0",
    "0 0 * * fri#2,1#1": "0 0 * * 5#2,1#1",
    **ALIASES,
    "@DAILY": "0 0 * * *",
}


@pytest.mark.parametrize("typed", CANONICAL, ids=repr)
def test_every_spelling_has_one_canonical_text(typed: str) -> None:
    assert str(cron(typed)) == CANONICAL[typed]
    assert str(cron(CANONICAL[typed])) == CANONICAL[typed]


# Seconds of work for a refusal; the slowest was measured with 11 ms, with everything cold.
AT_ONCE = 0.05

# text, and what the message must say
REFUSED = [
    ("", "empty"),
    ("   ", "empty"),
    ("*", "not 1"),
    ("* * * *", "Character 7: five fields"),
    ("* * * * * *", "without seconds"),
    ("0 0 * * * * 2027", "Character 13: 7 fields"),
    ("* * * * * * * * *", "not 9"),
    ("60 * * * *", "“minute”, character 1: “60” is not between 0 and 59"),
    ("* 24 * * *", "“hour”, character 3"),
    ("*  *  0 * *", "“day of month”, character 7"),
    ("* * 32 * *", "“day of month”, character 5"),
    ("* * * 0 *", "“month”, character 7"),
    ("* * * 13 *", "“month”, character 7"),
    ("* * * * 8", "“day of week”, character 9"),
    ("1,2,x * * * *", "“minute”, character 5"),
    ("* * * mon *", "“month”"),
    ("* * * * jan", "“day of week”"),
    ("99999999999999999999 * * * *", "is not between"),
    ("0 0 1--100000000 * *", "“day of month”, character 5"),
    ("-1 * * * *", "character 1"),
    ("1- * * * *", "character 1"),
    ("1-2-3 * * * *", "character 1"),
    ("5* * * * *", "character 1"),
    ("*5 * * * *", "character 1"),
    ("** * * * *", "character 1"),
    ("+5 * * * *", "character 1"),
    ("1.5 * * * *", "character 1"),
    ("0x1 * * * *", "character 1"),
    ("1_0 * * * *", "character 1"),
    (",1 * * * *", "commas"),
    ("1, * * * *", "commas"),
    ("1,,2 * * * *", "character 3: there is nothing"),
    ("*/0 * * * *", "step from 1 to 9999"),
    ("*/10000 * * * *", "step from 1 to 9999"),
    ("*/ * * * *", "character 1"),
    ("*/-1 * * * *", "character 1"),
    ("*/5/5 * * * *", "character 1"),
    ("*/x * * * *", "step"),
    ("50-10 * * * *", "write “50-59,0-10”"),
    ("0 22-2 * * *", "write “22-23,0-2”"),
    ("0 0 * nov-feb *", "write “nov-12,1-feb”"),
    ("0 0 * * fri-mon", "write “fri-6,0-mon”"),
    ("0 0 * * sat-sun", "write “sat-7”"),
    ("0 0 ? * *", "“day of month”, character 5: “?” is not known here; write “*”"),
    ("? * * * *", "write “*”"),
    ("H * * * *", "jitter"),
    ("H/15 * * * *", "jitter"),
    ("h(0-29)/10 * * * *", "jitter"),
    ("R R * * *", "jitter"),
    ("0 0 15W * *", "working day"),
    ("0 0 LW * *", "working day"),
    ("0 0 L-3 * *", "“l-3” is not known"),
    ("0 0 * * 5L", "“5l” is not known"),
    ("L * * * *", "“minute”, character 1"),
    ("0 0 5#2 * *", "“day of month”"),
    ("0 0 * * 5#0", "1 to 5"),
    ("0 0 * * 5#6", "1 to 5"),
    ("0 0 * * #2", "character 9"),
    ("0 0 * * 8#2", "is not between"),
    ("0 0 * * L8", "is not between"),
    ("0 0 * * 1-5#2", "character 9"),
    ("0 0 * * 1,5#2", "mixed"),
    ("0 0 13 * 5#2", "“day of week”, character 10"),
    ("0 0 */2 * L5", "other day field"),
    ("0 0 L * 1", "“day of month”, character 5"),
    ("@reboot", "on_start"),
    ("@never", "@hourly"),
    ("@daily @daily", "five fields"),
    ("@", "none of"),
    ("* * * * *\n", "“day of week”, character 10"),
    ("* * *\n* *", "one line"),
    ("* * * * *\r", "one line"),
    ("*\N{NO-BREAK SPACE}* * * *", "“minute”, character 2"),
    ("\N{ARABIC-INDIC DIGIT THREE} * * * *", "“minute”, character 1"),
    ("\N{SUPERSCRIPT TWO} * * * *", "“minute”, character 1"),
    ("* * * * *\x00", "“day of week”, character 10"),
    ("0 0 30 2 *", "“day of month”, character 5: “30” in month “2” is a date that does not come within 50 years"),
    (" 0  0 31 feb,4-apr,6,9,11 */2", "“day of month”, character 7: “31” in month “feb,4-apr,6,9,11”"),
    ("0 0 31 9 *", "does not come within 50 years"),
    ("x" * 256, "“minute”, character 256: a schedule has at most 255"),
    ("1," * 20_000 + "1 * * * *", "“minute”, character 256: a schedule has at most 255 characters; this one has 40009"),
    ("0 0 " + "1," * 20_000 + "1 * *", "“day of month”, character 256"),
    ("* " * 20_000, "Character 256"),
    ("*/" * 20_000, "character 256"),
    ("@" * 40_000, "Character 256"),
    (None, "not NoneType"),
    (5, "not int"),
    (b"* * * * *", "not bytes"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[repr(text)[:30] for text, _said in REFUSED])
def test_a_wrong_text_is_refused_at_once_with_field_and_position(text: str, said: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidSchedule) as caught:
        cron(text)
    assert time.thread_time() - began < AT_ONCE
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert isinstance(caught.value, (BackgroundError, ValueError))
    with pytest.raises(InvalidSchedule):
        parse(text)


def test_a_date_that_comes_by_its_day_of_week_alone_is_valid() -> None:
    assert cron("0 0 31 2 1", "UTC").next(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 2, 5, tzinfo=UTC)
    assert cron("0 0 30,L 2 *", "UTC").next(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 2, 29, tzinfo=UTC)


def test_the_longest_text_is_evaluated_quickly() -> None:
    text = ",".join(["*/59", *(f"{n}-59/{n + 1}" for n in range(10, 40))])[:246].rpartition(",")[0] + " * * * *"
    began = time.perf_counter()
    assert cron(text, "UTC").next(datetime(2024, 1, 1, tzinfo=UTC))
    assert time.perf_counter() - began < 1


# name, and the position from which on it is like no zone
BAD_ZONES = [
    ("Mars/Olympus", 2),
    ("Europe/Pariss", 13),
    ("Europe/", 8),
    ("localtime", 1),
    ("Factory", 1),
    ("posixrules", 1),
    ("right/UTC", 1),
    ("", 1),
    (" UTC", 1),
    ("../../etc/passwd", 1),
    ("Europe", 7),
    ("\x00", 1),
    ("A" * 40_000, 2),
    (5, 1),
]


@pytest.mark.parametrize(("zone", "position"), BAD_ZONES, ids=[repr(zone)[:20] for zone, _position in BAD_ZONES])
def test_an_unknown_zone_is_refused_with_the_position(zone: str, position: int) -> None:
    for make in (cron, parse):
        began = time.thread_time()
        with pytest.raises(InvalidSchedule, match=f"timezone, character {position}: ") as caught:
            make("* * * * *", zone)
        assert time.thread_time() - began < AT_ONCE
        assert len(str(caught.value)) < 200
    with pytest.raises(InvalidSchedule, match="timezone"):
        parse("every 5m", zone)


def test_a_machine_without_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "zone_names", frozenset)
    with pytest.raises(InvalidSchedule, match="pip install tzdata"):
        cron("* * * * *", "Europe/Paris")


def test_a_zone_in_the_wrong_case_is_corrected() -> None:
    with pytest.raises(InvalidSchedule, match="“Europe/Paris”"):
        cron("* * * * *", "europe/paris")


def test_a_wrong_text_is_reported_as_such_while_apps_are_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(message: str) -> str:
        raise AppRegistryNotReady

    monkeypatch.setattr(translation, "gettext", loading)
    with pytest.raises(InvalidSchedule, match="character 1"):
        cron("61 * * * *")


def test_messages_are_translated_when_they_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        translation, "gettext", lambda message: {"minute": "Minute", "hour": "Stunde"}.get(message, message)
    )
    with pytest.raises(InvalidSchedule, match="“Stunde”, character 3"):
        cron("0 25 * * *")


@settings(max_examples=400, deadline=500, derandomize=True)
@given(st.text(alphabet="0123456789*/,-# LWH?RlMONmonJANsun@daily\t\n.xe", max_size=40))
def test_any_text_is_a_schedule_or_is_refused(text: str) -> None:
    try:
        schedule = parse(text, "America/New_York")
    except InvalidSchedule:
        return
    assert parse(str(schedule), schedule.timezone) == schedule


FIELD = st.lists(
    st.one_of(
        st.sampled_from(["*", "*/2", "*/9999", "1", "2/3", "3-5", "1-6/2", "4-4"]),
        st.builds(lambda a, b: f"{min(a, b)}-{max(a, b)}", st.integers(1, 7), st.integers(1, 7)),
    ),
    min_size=1,
    max_size=4,
).map(",".join)


@settings(max_examples=300, deadline=500, derandomize=True)
@given(st.lists(FIELD, min_size=5, max_size=5))
def test_a_canonical_text_is_canonical(fields: list[str]) -> None:
    once = cron(" ".join(fields), "UTC")
    assert cron(str(once), "UTC") == once
    assert once.wildcard == (fields[0][0] == "*" or fields[1][0] == "*")
