"""Our schedules differ from cronsim's in the classes that docs/scheduling.md lists with the reason, and in no other."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given

from background.timing import cron
from background.timing.zones import SECOND, jump, offset_change, wall
from tests.timing import drawing
from tests.timing.test_reference import made

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scheduling.md"
TABLE = [
    [cell.strip().strip("`").removeprefix("**").removesuffix("**") for cell in line.split("|")[1:-1]]
    for line in PAGE.read_text().partition("## Differences to cronsim")[2].splitlines()
    if line.startswith("| **")
]
FIRES = 6
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Endless(Exception):
    """cronsim goes round in circles."""


class Bounded(CronSim):
    rounds = 0

    def advance_month(self) -> None:
        self.rounds += 1
        if self.rounds > 5000:
            raise Endless
        super().advance_month()


def by_cronsim(text: str, zone: str, start: datetime) -> list[datetime]:
    """Return the first occurrences; fewer where it comes to no end."""
    their_spelling = re.sub(r"L(\d)", r"\1L", text)  # of the last weekday of a month
    found = Bounded(their_spelling, start.astimezone(ZoneInfo(zone)))
    times: list[datetime] = []
    try:
        for one in islice(found, FIRES):
            times.append(one.astimezone(UTC))
            found.rounds = 0
    except Endless:
        pass
    return times


def by_us(text: str, zone: str, start: datetime) -> list[datetime]:
    return list(islice(cron(text, zone)._walk(start), FIRES))


def without_open_steps(text: str) -> str:
    """Write out `1/2` as a weekday, which counts to 6, and `5-5/2`, which is 5."""
    fields = text.split()
    fields[4] = re.sub(r"(?<![-\w])([0-6])/(\d+)", r"\1-6/\2", fields[4])
    return re.sub(r"\b(\w+)-\1/\d+", r"\1", " ".join(fields))


def classes(case: drawing.Case, ours: list[datetime], theirs: list[datetime]) -> list[str]:
    """Return the classes that explain the whole difference; AssertionError where none does."""
    found: list[str] = []
    if (text := without_open_steps(case.text)) != case.text:
        found, theirs = ["step after one value"], by_cronsim(text, case.zone, case.start)
        if theirs == ours:
            return found
    at = next(n for n in range(FIRES) if theirs[n : n + 1] != ours[n : n + 1])
    stop = max([ours[at], *theirs[at : at + 1]])
    change = offset_change(ZoneInfo(case.zone), (ours[at - 1] if at else case.start) - DAY, stop)
    assert change, "a difference without a change of clocks"
    return [*found, of_change(case, change, ours, theirs)]


def of_change(case: drawing.Case, change: datetime, ours: list[datetime], theirs: list[datetime]) -> str:
    zone = ZoneInfo(case.zone)
    size, before, shown = jump(zone, change), wall(zone, change - SECOND), wall(zone, change)
    if not cron(case.text).wildcard:
        if abs(size) > 3 * HOUR:
            return "more than three hours"
        assert change <= case.start < change - size, "a fixed time, and no start in a repeated hour"
        future = [one for one in theirs if one > case.start]
        assert theirs[0] < case.start and future == ours[: len(future)]
        return "start in a repeated hour"
    if shown.date() != before.date():
        return "gap at midnight" if size > timedelta(0) else "date set back"
    assert size % HOUR or before.minute != 59, "a wildcard, full hours, the same day"
    return "not by full hours"


@pytest.mark.timeout(3600)
@drawing.by_properties(600, long=10_000)
@given(drawing.cases())
def test_random_schedules_differ_only_as_the_page_says(case: drawing.Case) -> None:
    made(case.text, case.zone)
    ours, theirs = by_us(*case[:2], case.start), by_cronsim(*case[:2], case.start)
    if ours != theirs:
        assert {*classes(case, ours, theirs)} <= {row[0] for row in TABLE}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_each_difference_on_the_page_is_as_it_says(row: list[str]) -> None:
    name, text, zone, start, ours, theirs, _why = row
    case = drawing.Case(text, zone, "", datetime.fromisoformat(start).astimezone(UTC))
    found, other = by_us(text, zone, case.start), by_cronsim(text, zone, case.start)
    assert found[0] == datetime.fromisoformat(ours)
    assert other[:1] == ([datetime.fromisoformat(theirs)] if theirs != "never" else [])
    assert classes(case, found, other) == [name]


@pytest.mark.parametrize("text", ["0 0 13 * 5#2", "0 0 * * 1,5#2", "0 0 LW * *", "*/10 * * * * *"])
def test_what_only_cronsim_accepts(text: str) -> None:
    assert CronSim(text, datetime(2024, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="(?i)character"):
        cron(text)
