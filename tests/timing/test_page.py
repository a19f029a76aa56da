"""The table of clock changes in docs/scheduling.md is true. (tests/test_docs.py runs its examples.)"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from background.timing import cron

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scheduling.md"
SECTION = PAGE.read_text().partition("## When clocks change")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in SECTION.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[2]}")
def test_each_row_about_clock_changes_is_true(row: list[str]) -> None:
    text, zone, after = (cell.strip("`") for cell in row[1:4])
    expected = [datetime.fromisoformat(cell.strip("` ")) for cell in row[4].split(",")]
    schedule, found, at = cron(text, zone), [], datetime.fromisoformat(after)
    for _ in expected:
        found.append(at := schedule.next(at))
    assert found == expected
    assert [one.astimezone(expected[0].tzinfo) for one in found] == expected


def test_the_page_has_the_zones_that_change_in_each_way() -> None:
    zones = {row[2].strip("`") for row in ROWS}
    assert zones >= {
        "America/New_York",
        "Europe/London",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Pacific/Apia",
        "Asia/Kathmandu",
    }
    assert "America/St_Johns" in zones
