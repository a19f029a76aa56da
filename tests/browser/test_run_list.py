"""The list of runs while it is open: it moves under nobody's hands, tells of new runs, and acts on all that match."""

import re

import pytest
from playwright.sync_api import expect

from background.models import Run
from background.testing import run_host
from tests.browser.test_live import ticks


@pytest.fixture
def listed(sign_in, make_run, at):
    """The list of three running runs, on a clock that the test moves."""
    for _ in range(3):
        make_run(status="running", attempt=1, host_name="web-1:310")
    page = sign_in()
    page.clock.install()
    page.goto(at("run_changelist"))
    return page


def rows(page):
    return page.locator("#result_list tbody tr")


def test_ticked_boxes_and_what_is_typed_stay_and_nothing_is_asked_for_meanwhile(listed):
    assert ticks(listed, 8) > 0
    boxes = listed.locator("input.action-select")
    for n in range(3):
        boxes.nth(n).check()
    Run.objects.update(status="succeeded")
    assert ticks(listed, 30) == 0
    expect(rows(listed).first).to_contain_text("running")
    assert boxes.evaluate_all("boxes => boxes.every(box => box.checked)")
    for n in range(3):
        boxes.nth(n).uncheck()
    listed.locator("#searchbar").fill("state:fai")
    assert ticks(listed, 30) == 0
    expect(listed.locator("#searchbar")).to_have_value("state:fai")
    expect(listed.locator("#searchbar")).to_be_focused()
    listed.locator("#searchbar").blur()
    assert ticks(listed, 8) > 0
    expect(rows(listed).first).to_contain_text("succeeded")


@pytest.mark.themes
def test_new_runs_are_told_by_a_pill_and_no_row_moves_until_it_is_pressed(listed, make_run):
    before = rows(listed).evaluate_all("rows => rows.map(row => row.querySelector('th').textContent)")
    for _ in range(12):
        make_run()
    ticks(listed, 8)
    pill = listed.get_by_role("link", name="12 new runs – show")
    expect(pill).to_be_visible()
    assert rows(listed).evaluate_all("rows => rows.map(row => row.querySelector('th').textContent)") == before
    pill.click()
    expect(rows(listed)).to_have_count(15)


def test_all_that_match_become_one_run_that_is_followed_to_its_end_and_leaves_later_ones_alone(sign_in, make_run, at):
    for _ in range(130):
        make_run(status="failed")
    done = [make_run() for _ in range(3)]
    page = sign_in()
    page.goto(at("run_changelist") + "?q=state:failed")
    options = page.locator("select[name=action] option").all_inner_texts()
    page.locator("select[name=action]").select_option(label=next(one for one in options if "Delete" in one))
    page.locator("button[name=across]").click()
    expect(page.locator("#content")).to_contain_text("130")
    later = make_run(status="failed")
    page.locator("#content form [type=submit]").first.click()
    expect(page).to_have_url(re.compile(r"q=state(:|%3A)failed"))  # back, with the filter
    sweep = Run.objects.get(task="background.admin.sweep.bulk")
    page.goto(at("run_change", sweep.pk))
    expect(page.locator("#run-state .bg-head")).to_contain_text("ready")
    with run_host():
        expect(page.locator("#run-state .bg-head")).to_contain_text("succeeded", timeout=20_000)
    expect(page.locator(".bg-run")).to_contain_text(re.compile("done 130, skipped 0|130.*done"))
    left = set(Run.objects.filter(task=done[0].task).values_list("pk", flat=True))
    assert left == {later.pk, *(one.pk for one in done)}
