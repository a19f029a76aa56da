"""Live pages: they move by themselves, and never under somebody's hands."""

from playwright.sync_api import expect

from background.models import Run, RunLog
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
