"""The dashboard in a browser under the strictest policy: it moves by itself, and keeps what a person has opened."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from background.models import Host, Run
from background.models.statistics import Sums, class_of
from background.queue import tally
from tests.browser.conftest import requests_of


@pytest.mark.themes
def test_the_dashboard_follows_what_happens_and_keeps_what_is_open(sign_in, make_run, make_host, at):
    host = make_host()
    minute = int(timezone.now().timestamp() // 60)
    tally._write({(minute, 0, "default"): Sums(succeeded=3, waits={class_of(1.0): 3}, runs={class_of(2.0): 3})})
    page = sign_in()
    page.goto(at("dashboard_changelist"))
    page.evaluate("window.same = true")
    expect(page.locator("#bg-panel-attention")).to_contain_text("Nothing needs attention")
    page.locator("#bg-chart-ended summary").click()
    expect(page.locator("#bg-chart-ended-table table")).to_be_visible()

    make_run(status="running", host=host, host_name=host.name, started_at=timezone.now(), job_name="digest", attempt=1)
    expect(page.locator("#bg-panel-running")).to_contain_text("digest", timeout=15_000)
    tally._write({(minute, 0, "default"): Sums(failed=1)})
    Host.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    expect(page.locator("#bg-panel-attention")).to_contain_text("is silent since", timeout=15_000)
    expect(page.locator("#bg-chart-ended")).to_contain_text("4 runs ended, 1 of them failed.", timeout=25_000)
    expect(page.locator("#bg-chart-ended-table table")).to_be_visible()
    assert page.evaluate("window.same") is True


@pytest.mark.themes
def test_on_a_phone_nothing_is_beyond_the_edge_and_every_verb_can_be_reached(sign_in, make_run, make_host, at):
    host = make_host("a-host-with-a-very-long-name-in-a-cluster-somewhere:31007")
    for state in ("running", "failed"):
        make_run(
            status=state, host=host, host_name=host.name, job_name="a_job_with_a_rather_long_name" * 3, error_type="a.b.SomeLongErrorName",
            started_at=timezone.now(), attempt=1,
        )  # fmt: skip
    page = sign_in(viewport={"width": 360, "height": 740})
    page.goto(at("dashboard_changelist"))

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for name in ("Run a job…", "Pause all…", "Cancel…"):
        expect(page.get_by_role("link", name=name)).to_be_visible()


def test_without_script_the_window_is_chosen_and_everything_is_paused(sign_in, make_host, make_run, at):
    make_host(), make_run()
    page = sign_in(java_script_enabled=False)
    page.goto(at("dashboard_changelist"))
    page.get_by_role("link", name="24 h", exact=True).click()
    expect(page.locator("#bg-chart-ended")).to_contain_text("Finished per hour, last 24 hours")
    page.get_by_role("link", name="Pause all…").click()
    page.get_by_role("button", name="Pause all").click()
    expect(page.locator("#bg-panel-attention")).to_contain_text("Everything is paused")
    page.get_by_role("link", name="Resume all…").click()
    page.get_by_role("button", name="Resume all").click()
    expect(page.locator("#bg-panel-attention")).to_contain_text("Nothing needs attention")


def test_a_paused_dashboard_asks_for_nothing(sign_in, make_host, at):
    make_host()
    page = sign_in()
    page.goto(at("dashboard_changelist") + "?live=0")
    with requests_of(page) as asked:
        page.wait_for_timeout(6000)
    assert asked == [] and Run.objects.count() == 0
