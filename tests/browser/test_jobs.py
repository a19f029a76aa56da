"""A job's schedule is previewed while it is typed, and lists follow what happens, under the strictest policy."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from background.models import Job, Queue, Service
from tests.admin.tasks_for_admin import with_context
from tests.browser.conftest import requests_of


@pytest.mark.themes
def test_the_preview_follows_what_is_typed_and_names_what_is_wrong(sign_in, make_job, at):
    job = make_job(with_context, schedule="0 3 * * *", timezone="Europe/Paris")
    page = sign_in()
    page.goto(at("job_change", job.pk))
    preview = page.locator("#bg-preview")
    expect(preview.locator("tbody tr")).to_have_count(10)
    expect(preview).not_to_contain_text("now → new")
    with requests_of(page, "/preview/") as asked:
        page.locator("#id_schedule").fill("")
        page.locator("#id_schedule").press_sequentially("30 4 * * *", delay=20)
        expect(preview).to_contain_text(re.compile(r"04:30 CES?T"))
    assert len(asked) <= 2, "one request for what was typed in one go"
    expect(preview).to_contain_text(re.compile(r"was .* 03:00 CES?T"))
    page.locator("#id_timezone").select_option("America/New_York")
    expect(preview).to_contain_text(re.compile(r"04:30 E[SD]T"))
    for wrong, said in (
        ("0 0 31 2 *", "“day of month”, character 5"),
        ("0 0 1--100000000 * *", "character 5"),
        ("x" * 200, "120"),
    ):
        page.locator("#id_schedule").fill(wrong)
        expect(preview).to_contain_text(said)
    expect(page.locator("#id_schedule")).to_be_focused()
    assert Job.objects.get(pk=job.pk).schedule == "0 3 * * *"


def test_a_schedule_is_changed_and_a_job_paused_without_javascript(sign_in, make_job, at):
    job = make_job(with_context, schedule="0 3 * * *", timezone="UTC")
    page = sign_in(java_script_enabled=False)
    page.goto(at("job_change", job.pk))
    page.locator("#id_schedule").fill("61 4 * * *")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#bg-preview")).to_contain_text("“minute”, character 1")
    page.locator("#id_schedule").fill("30 4 * * *")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("within two seconds")
    page.goto(at("job_change", job.pk))
    expect(page.locator("#bg-preview")).to_contain_text("04:30 UTC")
    page.get_by_role("link", name="Pause…").click()
    page.get_by_label("Reason").fill("holiday")
    page.get_by_role("button", name="Pause").click()
    job.refresh_from_db()
    assert (job.schedule, job.enabled, job.paused_reason) == ("30 4 * * *", False, "holiday")


@pytest.mark.themes
def test_lists_follow_what_happens_and_rest_while_a_box_is_ticked(sign_in, make_job, make_host, at):
    service = Service.objects.create(name="shop.Feed", host=make_host(), state="running", since=timezone.now())
    page = sign_in()
    page.goto(at("service_changelist") + "?live=2")
    expect(page.locator("#result_list")).to_contain_text("running")
    page.evaluate("window.same = true")
    later = timezone.now() + timedelta(minutes=5)
    Service.objects.filter(pk=service.pk).update(state="backoff", next_start_at=later)
    expect(page.locator("#result_list")).to_contain_text("next start in")
    assert page.evaluate("window.same") is True
    make_job(with_context, name="a job")
    page.goto(at("job_changelist") + "?live=2")
    page.locator("input.action-select").first.check()
    with requests_of(page, "/live/") as asked:
        page.wait_for_timeout(4000)
    assert asked == [] and page.locator("input.action-select").first.is_checked()


@pytest.mark.themes
def test_lists_and_forms_fit_a_phone(sign_in, make_job, make_run, make_host, at):
    job, host = make_job(schedule="0 3 * * *", outcomes="s" * 30), make_host()
    service = Service.objects.create(name="shop.Feed", host=host, state="running", since=timezone.now())
    Queue.objects.create(name="mail")
    make_run(host=host, host_name=host.name)
    page = sign_in(viewport={"width": 360, "height": 740})
    places = [at(f"{model}_changelist") for model in ("job", "run", "service", "host", "queue")]
    places += [
        at("job_change", job.pk),
        at("job_run", job.pk),
        at("service_change", service.pk),
        at("host_change", host.pk),
    ]
    for place in places:
        page.goto(place)
        wide, seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= seen, place
    for model in ("service", "run"):
        page.goto(at(f"{model}_changelist"))
        box = page.locator("#result_list .bg-named", has_text="Host").bounding_box()
        assert box and box["x"] + box["width"] < 360, model
