"""Live pages: they move by themselves, and never under somebody's hands."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from background.models import Host, Run, RunLog
from tests.browser.conftest import requests_of


def test_the_page_of_a_run_follows_it_to_its_end_without_a_reload_and_then_rests(sign_in, make_run, at):
    page = sign_in()
    run = make_run(status="ready")
    page.goto(at("run_change", run.pk))
    page.evaluate("window.same = true")
    expect(page.locator("#run-state .bg-head")).to_contain_text("ready")
    Run.objects.filter(pk=run.pk).update(status="running", attempt=1, started_at=run.enqueued_at, host_name="web-1:310")
    expect(page.locator("#run-state .bg-head")).to_contain_text("running")
    RunLog.objects.create(run=run, sequence=1, created_at=run.enqueued_at, level="INFO", message="half of it is done")
    expect(page.locator("#run-log")).to_contain_text("half of it is done")
    Run.objects.filter(pk=run.pk).update(status="succeeded", finished_at=run.enqueued_at, result="all of it")
    expect(page.locator("#run-state .bg-head")).to_contain_text("succeeded")
    expect(page.locator("#run-rest")).to_contain_text("all of it")
    expect(page.get_by_role("link", name="Run again…")).to_be_visible()
    expect(page.locator("#bg-live")).to_be_hidden()
    assert page.evaluate("window.same") is True
    with requests_of(page, str(run.pk)) as asked:
        page.wait_for_timeout(5000)
    assert asked == []


@pytest.fixture
def live_page(sign_in, make_run, at):
    """The page of an open run on a clock that the test moves, and its requests so far."""
    page = sign_in()
    page.clock.install()
    page.goto(at("run_change", make_run(status="running", attempt=1, host_name="web-1:310").pk))
    expect(page.locator("#bg-live")).to_be_visible()
    return page


def ticks(page, seconds):
    """Let time pass in the page; return what it asked for meanwhile."""
    asked, answered = [], []
    hear = {"request": asked.append, "requestfinished": answered.append, "requestfailed": answered.append}
    hear = {
        event: (lambda request, note=note: note(request) if "/live/" in request.url else None)
        for event, note in hear.items()
    }
    for event, note in hear.items():
        page.on(event, note)
    for _ in range(seconds):
        page.clock.run_for(1000)
        while len(answered) < len(asked):  # the server's time does not stand still
            page.wait_for_timeout(10)
    for event, note in hear.items():
        page.remove_listener(event, note)
    return len(asked)


def test_a_hidden_page_asks_for_nothing_and_a_page_that_is_seen_again_asks_within_a_second(live_page):
    assert ticks(live_page, 6)
    see(live_page, hidden=True)
    assert ticks(live_page, 30) == 0
    see(live_page, hidden=False)
    assert ticks(live_page, 1) == 1


def see(page, hidden):
    page.evaluate(
        """hidden => { Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
                       document.dispatchEvent(new Event("visibilitychange")); }""",
        hidden,
    )


def test_the_pause_is_kept_in_the_address_and_by_the_browser_until_it_is_ended(live_page, at, make_run):
    button = live_page.locator(".bg-live-button")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert "live=0" in live_page.url
    live_page.reload()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert ticks(live_page, 10) == 0
    live_page.goto(at("run_change", make_run(status="ready").pk))
    expect(live_page.locator(".bg-live-note")).to_have_text("Paused")
    assert ticks(live_page, 10) == 0
    button.click()
    assert ticks(live_page, 3) > 0
    live_page.reload()
    expect(button).to_have_attribute("aria-pressed", "true")


def test_who_signed_out_in_another_tab_is_told_so_and_the_page_rests(live_page, complaints):
    ticks(live_page, 3)
    live_page.context.clear_cookies()
    ticks(live_page, 3)
    expect(live_page.locator(".bg-live-note")).to_have_text("Signed out")
    expect(live_page.get_by_role("link", name="Reload")).to_be_visible()
    expect(live_page.locator("#id_username")).to_have_count(0)
    assert ticks(live_page, 60) == 0
    assert complaints and all("401 (Unauthorized)" in one for one in complaints)
    complaints.clear()


def test_an_answer_that_is_no_fragment_is_thrown_away_and_asked_for_ever_more_rarely(live_page):
    ticks(live_page, 3)
    live_page.route("**/live/", lambda route: route.fulfill(body='<div id="run-state">a proxy says hello</div>'))
    asked = ticks(live_page, 180)
    assert 3 <= asked <= 9  # 2, 4, 8, 16, 32, 60 s and some more
    expect(live_page.locator("#run-state")).to_contain_text("running")
    expect(live_page.locator("#run-state")).not_to_contain_text("a proxy says hello")
    expect(live_page.locator(".bg-live-note")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d UTC, retrying"))
    live_page.unroute("**/live/")
    ticks(live_page, 75)
    expect(live_page.locator(".bg-live-note")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d UTC$"))


def test_a_panel_that_takes_too_long_says_what_to_do(live_page, complaints):
    answer = {
        "status": 503,
        "headers": {"X-Background-Fragment": "1"},
        "body": "This took too long; choose a smaller window.",
    }
    live_page.route("**/live/", lambda route: route.fulfill(**answer))
    ticks(live_page, 4)
    expect(live_page.locator(".bg-live-note")).to_have_text("This took too long; choose a smaller window.")
    complaints.clear()


def test_after_half_an_hour_without_a_hand_the_page_rests_until_somebody_moves(live_page):
    live_page.clock.fast_forward(31 * 60 * 1000)
    ticks(live_page, 1)
    expect(live_page.locator(".bg-live-note")).to_contain_text("half an hour")
    assert ticks(live_page, 30) == 0
    live_page.mouse.move(5, 5)
    live_page.mouse.move(50, 50)
    assert ticks(live_page, 3) > 0


def test_single_keys_do_nothing_until_they_are_switched_on(live_page):
    button = live_page.locator(".bg-live-button")
    live_page.keyboard.press("p")
    expect(button).to_have_attribute("aria-pressed", "true")
    live_page.get_by_label("Keyboard").click()
    live_page.get_by_label("Single keys").check()
    live_page.keyboard.press("p")
    expect(button).to_have_attribute("aria-pressed", "false")


def test_an_open_traceback_the_scroll_of_the_log_the_focus_and_a_selection_survive_the_ticks(sign_in, make_run, at):
    error = {
        "attempt": 1,
        "at": "",
        "host": "web-2",
        "type": "ValueError",
        "message": "no",
        "traceback": "Traceback\n" * 80,
    }
    run = make_run(status="running", attempt=2, errors=[error], host_name="web-1:310")
    lines = [
        RunLog(run=run, sequence=n, created_at=run.enqueued_at, level="INFO", message=f"line {n}")
        for n in range(1, 150)
    ]
    RunLog.objects.bulk_create(lines)
    page = sign_in()
    page.clock.install()
    page.goto(at("run_change", run.pk))
    log = page.locator("#run-log-lines")
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 8  # it begins at its end
    add_line(run, 150)
    ticks(page, 3)
    expect(log).to_contain_text("line 150")
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 8  # and follows
    page.get_by_text("Arguments", exact=True).click()  # closes it
    page.locator(".bg-attempt details summary").click()  # closes it
    page.locator(".bg-attempt details summary").click()  # opens it
    page.locator(".bg-attempt pre").evaluate("pre => pre.scrollTop = 40")
    log.evaluate("log => log.scrollTop = 100")
    page.get_by_role("link", name="Cancel run…").focus()
    add_line(run, 151)
    ticks(page, 30)
    expect(log).to_contain_text("line 151")
    assert log.evaluate("log => log.scrollTop") == 100
    assert page.locator(".bg-attempt pre").evaluate("pre => pre.scrollTop") == 40
    assert not page.locator("#run-rest details").first.evaluate("details => details.open")
    expect(page.get_by_role("link", name="Cancel run…")).to_be_focused()
    assert log.locator(".bg-line").count() == 151


def test_which_sections_of_a_run_are_closed_is_remembered_by_the_hash(sign_in, make_run, at):
    page = sign_in()
    page.goto(at("run_change", make_run(status="failed", errors=[{"attempt": 1, "type": "ValueError"}]).pk))
    is_open = "() => [...document.querySelectorAll('[data-section]')].map(one => [one.id, one.open])"
    assert {is_one for _id, is_one in page.evaluate(is_open)} == {True} and "#" not in page.url
    for name in ("Files", "Errors"):
        page.locator("summary", has_text=name).click()
    expect(page).to_have_url(re.compile("#closed=run-errors,run-files$"))
    page.reload()
    closed = [one for one, is_one in page.evaluate(is_open) if not is_one]
    assert closed == ["run-errors", "run-files"]
    for name in ("Files", "Errors"):
        page.locator("summary", has_text=name).click()
    expect(page).not_to_have_url(re.compile("closed"))


def add_line(run, number):
    RunLog.objects.create(run=run, sequence=number, created_at=run.enqueued_at, level="INFO", message=f"line {number}")


def test_while_text_is_selected_nothing_is_asked_for(live_page):
    live_page.evaluate("getSelection().selectAllChildren(document.querySelector('.bg-head'))")
    assert ticks(live_page, 10) == 0
    live_page.evaluate("getSelection().removeAllRanges()")
    assert ticks(live_page, 3) > 0


def test_the_wish_for_another_pace_is_heard_within_bounds(sign_in, make_run, at):
    page = sign_in()
    page.clock.install()
    where = at("run_change", make_run(status="ready").pk)
    page.goto(f"{where}?live=20")
    assert ticks(page, 18) == 0 and ticks(page, 4) == 1
    page.goto(f"{where}?live=1")
    assert 5 <= ticks(page, 20) <= 10


def test_what_needs_attention_is_spoken_at_most_once_in_half_a_minute(sign_in, make_host, at):
    host, page = make_host(), sign_in()
    page.clock.install()
    page.goto(at("dashboard_changelist"))
    ticks(page, 40)
    said, spoken = page.locator(".bg-live-said"), []
    for second in range(60):
        # What it would say changes with each tick.
        silent = timezone.now() - timedelta(minutes=5 if second // 5 % 2 else 0)
        Host.objects.filter(pk=host.pk).update(heartbeat_at=silent)
        ticks(page, 1)
        words = said.text_content()
        if not spoken or spoken[-1][1] != words:
            spoken.append((second, words))
    changes = [second for second, _ in spoken[1:]]
    assert changes and all(later - earlier >= 30 for earlier, later in pairwise(changes))
