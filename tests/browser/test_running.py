"""Running a job by hand, as a person does it."""

import re

import pytest
from playwright.sync_api import expect

from background.models import Run
from background.testing import run_host
from tests.app import background as tasks
from tests.browser import tasks_for_browser

A_RUN = re.compile(r"/background/run/[0-9a-f-]{36}/change/")


@pytest.fixture(autouse=True)
def held_up():
    tasks_for_browser.GO_ON.clear()
    yield
    tasks_for_browser.GO_ON.set()


@pytest.fixture
def report(make_job):
    return make_job(tasks_for_browser.report, name="nightly-report", kwargs={"region": "EU"})


@pytest.mark.themes
def test_run_now_leads_to_a_run_that_is_followed_from_ready_to_succeeded_without_a_reload(sign_in, report, at):
    page = sign_in()
    page.goto(at("job_change", report.pk))
    page.get_by_role("link", name="Run now…").click()
    page.get_by_label("limit").fill("7")
    page.get_by_label("Reason").fill("customer asked again")
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(A_RUN)
    page.evaluate("window.same = true")
    state = page.locator("#run-state .bg-head .bg-state")
    expect(state).to_contain_text("ready")
    with run_host():
        expect(state).to_contain_text("running", timeout=10_000)
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "1", timeout=10_000)
        tasks_for_browser.GO_ON.set()
        expect(state).to_contain_text("succeeded", timeout=10_000)
    expect(page.locator("#run-rest")).to_contain_text("7 lines about EU")
    assert page.evaluate("window.same")
    page.locator('a[href$="/history/"]:visible').first.click()
    expect(page.locator("#content")).to_contain_text("ana")
    page.goto(at("job_history", report.pk))
    expect(page.locator("#content")).to_contain_text("ana")
    expect(page.locator("#content")).to_contain_text("customer asked again")


@pytest.mark.themes
def test_a_double_click_and_a_reload_and_the_form_sent_once_more_after_back_make_one_run(sign_in, report, at):
    page = sign_in()
    page.goto(at("job_change", report.pk))
    page.get_by_role("link", name="Run now…").click()
    page.get_by_role("button", name="Run now").dblclick()
    expect(page).to_have_url(A_RUN)
    page.reload()
    expect(page).to_have_url(A_RUN)
    page.go_back()
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(A_RUN)
    expect(page.locator("#main")).to_contain_text("no second one was made")
    assert Run.objects.count() == 1


def test_without_a_host_the_form_warns_and_the_run_says_why_it_waits_until_a_host_comes(sign_in, make_job, at):
    job = make_job(tasks.plain, queue="reports")
    page = sign_in()
    page.goto(at("job_run", job.pk))
    expect(page.locator("#content-main")).to_contain_text("No live host serves queue “reports”")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".bg-why")).to_contain_text(re.compile("no live host serves", re.IGNORECASE))
    with run_host():
        expect(page.locator("#run-state .bg-head")).to_contain_text("succeeded", timeout=15_000)
    expect(page.locator(".bg-why")).to_have_count(0)


def test_bad_arguments_are_told_at_their_field_and_make_no_run(sign_in, report, at):
    page = sign_in()
    page.goto(at("job_run", report.pk))
    page.get_by_label("limit").evaluate("field => { field.type = 'text' }")
    page.get_by_label("limit").fill("many")
    page.get_by_label("options").fill("{broken")
    add_unknown_field(page)
    page.get_by_role("button", name="Run now").click()
    for name in ("limit", "options"):
        field = page.get_by_label(name)
        expect(field).to_have_attribute("aria-invalid", "true")
        row = page.locator(".form-row", has=page.locator(f"[name$={name}]"))
        expect(row.locator(".errorlist")).to_be_visible()
    assert not Run.objects.exists()
    page.get_by_label("limit").fill("3")
    page.get_by_label("options").fill('{"a": 1}')
    add_unknown_field(page)
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(A_RUN)
    run = Run.objects.get()
    assert run.kwargs == {"region": "EU", "limit": 3, "options": {"a": 1}} and run.priority == 0


def add_unknown_field(page):
    page.locator("#content-main form").evaluate(
        """form => { for (const name of ["unknown", "priority", "task"]) {
            const field = document.createElement("input"); field.name = name; field.value = "99"; form.append(field); } }"""
    )


def test_everything_can_be_done_without_scripts(sign_in, report, at):
    page = sign_in(java_script_enabled=False)
    page.goto(at("job_change", report.pk))
    page.get_by_role("link", name="Run now…").click()
    page.get_by_label("limit").fill("7")
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(A_RUN)
    assert Run.objects.get().kwargs["limit"] == 7
    expect(page.locator("#bg-live")).to_be_hidden()  # offers what only the script can do
    page.get_by_role("link", name="Cancel run…").click()
    page.get_by_label("Reason").fill("by mistake")
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator("#run-state .bg-head")).to_contain_text("cancelled")
    page.goto(at("job_change", report.pk))
    page.get_by_role("link", name="Pause…").click()
    page.get_by_role("button", name="Pause").click()
    report.refresh_from_db()
    assert not report.enabled
