"""The next times of a schedule, while it is typed, and without a script."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.browser import tasks_for_browser

NOON = datetime(2027, 3, 26, 12, tzinfo=ZoneInfo("Europe/Paris"))


@pytest.fixture
def job(make_job):
    return make_job(tasks_for_browser.report, schedule="0 3 * * *", timezone="Europe/Paris")


@pytest.fixture
def in_march(monkeypatch):
    """The clock of the server stands at noon of the day before the clocks go forward."""
    from background.admin import preview

    monkeypatch.setattr(preview.timezone, "now", lambda: NOON)


@pytest.mark.themes
def test_a_schedule_that_is_typed_is_told_with_its_next_ten_times_and_the_change_of_the_clock(
    sign_in, job, at, in_march
):
    page = sign_in()
    page.goto(at("job_change", job.pk))
    field, place = page.locator("#id_schedule"), page.locator("[data-preview]")
    field.fill("30 2 * * *")
    expect(place).to_contain_text("At 02:30")
    rows = place.locator("tbody tr")
    expect(rows).to_have_count(10)
    expect(rows.nth(0)).to_contain_text("02:30 CET")
    expect(rows.nth(1)).to_contain_text("03:00 CEST")
    expect(rows.nth(1)).to_contain_text("⚠")
    expect(rows.nth(0)).to_contain_text("UTC")  # the viewer's zone


@pytest.mark.themes
@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 1--100000000 * *", "*" * 200, '"><img src=x onerror=alert(1)>'])
def test_a_schedule_that_is_none_is_answered_by_a_sentence_at_once(sign_in, job, at, text):
    page = sign_in()
    page.goto(at("job_change", job.pk))
    place = page.locator("[data-preview]")
    before = place.inner_text()
    page.locator("#id_schedule").evaluate("field => field.removeAttribute('maxlength')")
    with page.expect_response(lambda answer: "preview" in answer.url) as told:
        page.locator("#id_schedule").fill(text)
        typed = time.monotonic()
    assert told.value.status == 200
    assert time.monotonic() - typed < 5  # half a second where the machine has nothing else to do
    expect(place).not_to_have_text(before)
    expect(place.locator("tbody tr")).to_have_count(0)


def test_without_scripts_the_server_tells_the_next_times_also_beside_an_error(sign_in, job, at):
    page = sign_in(java_script_enabled=False)
    page.goto(at("job_change", job.pk))
    page.locator("#id_schedule").fill("15 4 * * *")
    page.locator("#id_name").fill("")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errornote")).to_be_visible()
    expect(page.locator("[data-preview] tbody tr")).to_have_count(10)
    expect(page.locator("[data-preview]")).to_contain_text("04:15")
