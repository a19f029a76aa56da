"""The dashboard: what it tells, to whom, at which cost, and when something of it cannot be told."""

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from background.admin import panels
from background.admin.panels import PANELS, Panel
from background.models import Job, Queue, Run, Service, Skip
from background.models.statistics import Sums, class_of
from background.queue import tally
from tests.admin import tasks_for_admin
from tests.admin.conftest import VIEWS, url

DASHBOARD = "/admin/background/dashboard/"
LIVE = {"X-Background-Live": "1"}


@pytest.fixture
def busy(make_job, make_run, make_host):
    """A site with something in each panel, and with troubles."""
    now, host = timezone.now(), make_host("web-1:310")
    job = make_job(name="digest", schedule="0 3 * * *", timezone="Europe/Paris", retain="")
    Job.objects.filter(pk=job.pk).update(
        outcomes="ssfff", next_run_at=now + timedelta(minutes=5), duration_p10=120, duration_p90=240, duration_p95=260
    )
    facts = {"job": job, "job_name": job.name}
    running = make_run(
        status="running", host=host, host_name=host.name, attempt=1, started_at=now - timedelta(minutes=9), progress_done=68,
        progress_total=100, **facts,
    )  # fmt: skip
    for number in range(3):
        ended = now - timedelta(minutes=number)
        make_run(
            status="failed",
            error_type="smtplib.Gone",
            error_summary="closed",
            fingerprint="f1",
            finished_at=ended,
            **facts,
        )
    make_run(status="failed", error_type="ValueError", fingerprint="f2", finished_at=now - timedelta(hours=30))
    for number in range(4):
        make_run(status="ready", queue="feeds", position=number, enqueued_at=now - timedelta(minutes=2))
    Service.objects.create(host=host, name="shop.Feed", state="failed", error="Traceback\nOSError: gone", error_at=now)
    tally._write({(int(now.timestamp() // 60), job.pk, "default"): sums(succeeded=7, failed=3)})
    return running


def sums(took=2.0, **counts):
    number = counts.get("succeeded", 0)
    return Sums(
        **counts, waited=number, ran=number * took, waits={class_of(1.0): number}, runs={class_of(took): number}
    )


def panel(client, name, query="", **headers):
    return client.get(url("dashboard_live", name) + query, headers={**LIVE, **headers})


def text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_the_page_has_every_panel_with_the_address_of_its_fragment(admin_client, busy):
    page = admin_client.get(DASHBOARD).content.decode()

    for name, one in PANELS.items():
        assert f'id="bg-panel-{name}"' in page
        assert f'data-live="{url("dashboard_live", name)}' in page and f'data-live-every="{one.every}"' in page
    assert page.count("<h1") == 1 and "background/admin.css" in page and "<style" not in page and " style=" not in page
    assert url("dashboard_changelist") == DASHBOARD


def test_a_wish_for_another_pace_is_heard(admin_client, busy):
    page = admin_client.get(DASHBOARD + "?live=30").content.decode()

    assert 'data-live-every="30"' in page and 'data-live-every="5"' not in page


@pytest.mark.parametrize("name", PANELS)
def test_a_tick_takes_at_most_eight_queries(admin_client, busy, name):
    panel(admin_client, name)
    with CaptureQueriesContext(connection) as found:
        assert panel(admin_client, name).status_code == 200
    asked = [one["sql"] for one in found if one["sql"].startswith("SELECT") and "statement_timeout" not in one["sql"]]
    assert len(asked) <= 8, asked
    runs = [one for one in asked if "background_run" in one and "LIMIT" not in one and "COUNT" in one]
    assert not runs, "an unbounded count of runs"


@pytest.mark.parametrize("name", ["attention", "charts", "failures"])
def test_a_tick_without_news_is_answered_by_304(admin_client, busy, name, time_machine):
    time_machine.move_to(timezone.now(), tick=False)
    first = panel(admin_client, name)
    again = panel(admin_client, name, **{"If-None-Match": first["ETag"]})

    assert again.status_code == 304 and again["X-Background-Fragment"] == "1" and not again.content


def test_the_attention_list_leads_to_what_it_is_about(admin_client, busy):
    response = panel(admin_client, "attention")
    page = response.content.decode()

    assert "2 things need attention" in text(response)
    job, service = Job.objects.get(name="digest"), Service.objects.get()
    assert url("job_change", job.pk) in page and url("service_change", service.pk) in page
    assert "Queue feeds" not in page  # its host serves all queues
    assert "OSError: gone" in page and "failed three times in a row" in page
    assert f"service_failing:{service.pk}" in page.split('data-live-summary="')[1].split('"')[0]


def test_when_all_is_well_it_says_so_with_the_time(admin_client, make_host, make_run):
    make_host(), make_run()
    said = text(panel(admin_client, "attention"))

    assert re.search(r"Nothing needs attention checked at \d\d:\d\d", said)


def test_findings_that_a_person_may_not_see_are_only_counted(signed_in, busy):
    said = text(panel(signed_in("view_dashboard", "view_service"), "attention"))

    assert "1 thing needs attention" in said and "OSError" in said and "digest" not in said
    assert "of a kind that you may not see" in said


def test_every_figure_is_a_link_to_the_list_it_counts(admin_client, busy):
    page = panel(admin_client, "tiles").content.decode()
    figures = dict(re.findall(r'bg-label">([^<]+)</span> <span class="bg-figure">([^<]+)<', page))

    assert figures == {
        "Running": "1",
        "Queued": "4",
        "Waiting longest": "2 min",
        "Failed, 24 h": "3",
        "Hosts": "1 of 1",
    }
    assert page.count("<li><a href=") == 5


def test_what_is_shown_follows_the_permissions(signed_in, busy):
    client = signed_in("view_dashboard")
    page = client.get(DASHBOARD).content.decode()

    for name in ("charts", "running", "failures", "next"):
        assert f"bg-panel-{name}" not in page and panel(client, name).status_code == 403
    assert "bg-figure" not in panel(client, "tiles").content.decode()
    assert "shop.Feed" not in page and "feeds" not in page and "Run a job" not in page and "Pause all" not in page
    assert panel(client, "nonsense").status_code == 404


def test_a_run_that_takes_longer_than_usual_is_marked(admin_client, busy):
    said = text(panel(admin_client, "running"))

    assert "9 min ⚠ longer than usual" in said.replace("  ", " ") and "2 min – 4 min" in said
    assert "68 of 100" in said and "Cancel…" in said
    Run.objects.filter(pk=busy.pk).update(started_at=timezone.now() - timedelta(minutes=8))
    assert "longer than usual" not in text(panel(admin_client, "running"))


def test_a_viewer_is_offered_no_verb(signed_in, busy):
    page = signed_in(*VIEWS).get(DASHBOARD).content.decode()

    assert "Cancel…" not in page and "Run a job" not in page and "Pause all" not in page


def test_the_same_error_is_one_line(admin_client, busy):
    response = panel(admin_client, "failures")

    assert re.search(r"3 × Gone closed digest", text(response)) and "ValueError" not in text(response)
    assert "error%3A%22f1%22" in response.content.decode()


def test_the_first_line_of_an_error_needs_the_permission_for_output(signed_in, busy):
    said = text(panel(signed_in(*VIEWS), "failures"))

    assert "Gone" in said and "closed" not in said


def test_what_comes_next_is_told_in_the_zone_of_its_schedule(admin_client, busy):
    at = Job.objects.get(name="digest").next_run_at.astimezone(ZoneInfo("Europe/Paris"))
    said = text(panel(admin_client, "next"))

    assert f"{at:%H:%M} {at.tzname()}" in said and "in 4 min" in said and "digest" in said
    Job.objects.filter(name="digest").update(timezone="Nowhere/Land")
    assert f"{at.astimezone(ZoneInfo('UTC')):%H:%M} UTC" in text(panel(admin_client, "next"))


@pytest.mark.parametrize(("window", "bars"), [("1h", 60), ("6h", 36), ("24h", 24), ("7d", 56), ("nonsense", 60)])
def test_the_window_of_the_charts_is_in_the_address(admin_client, busy, window, bars):
    page = admin_client.get(f"{DASHBOARD}?window={window}").content.decode()
    view = re.search(r'viewBox="0 0 (\d+) 100"', page)

    assert int(view[1]) == bars * 10
    assert "10 runs ended, 3 of them failed." in page and 'role="img"' in page and "<caption" in page
    assert f"window={window if window != 'nonsense' else '1h'}" in page.split('data-live="')[3]


def test_sums_of_other_times_are_in_no_bar(admin_client, make_host, make_run):
    minute = int(timezone.now().timestamp() // 60)
    tally._write({(minute - 70, 1, "default"): sums(succeeded=5), (minute - 30, 1, "default"): sums(succeeded=2)})

    assert "2 runs ended" in text(panel(admin_client, "charts"))
    assert "7 runs ended" in text(panel(admin_client, "charts", "?window=6h"))


def test_services_and_queues_are_told_with_their_states(admin_client, busy):
    Queue.objects.create(name="mail", paused=True)
    said = text(panel(admin_client, "parts"))

    assert "shop.Feed ✖ failed" in said.replace("  ", " ") and "4 waiting" in said and "paused" in said


def test_without_any_host_the_page_says_how_to_begin(admin_client, db):
    said = text(admin_client.get(DASHBOARD))

    assert "No host has been started yet." in said and said.count("python manage.py runbackground") >= 1
    assert "things need attention" not in said


def test_without_any_run_the_page_offers_to_run_a_job(admin_client, make_host):
    make_host()
    page = panel(admin_client, "running")

    assert "Nothing has run yet." in text(page) and url("dashboard_run") in page.content.decode()


def test_one_panel_that_fails_leaves_the_others(admin_client, busy, monkeypatch):
    def broken(room, request, look):
        raise DatabaseError("disk I/O error at /secret/path")

    monkeypatch.setitem(PANELS, "failures", Panel("failures", "Failures", broken))
    page = admin_client.get(DASHBOARD).content.decode()

    assert "could not be read" in page and "Try again" in page and "/secret/path" not in page
    for name in PANELS:
        assert f'id="bg-panel-{name}"' in page
    assert "OSError: gone" in page


@pytest.mark.django_db(transaction=True)
def test_without_its_tables_the_page_says_which_command_makes_them(admin_client):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE background_host RENAME TO background_host_away")
    try:
        response = admin_client.get(DASHBOARD)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE background_host_away RENAME TO background_host")

    assert response.status_code == 200
    assert "python manage.py migrate" in text(response) and "bg-panel-" not in response.content.decode()


def test_programs_get_codes_and_times(admin_client, busy):
    Skip.objects.create(
        job=Job.objects.get(name="digest"), first=timezone.now(), last=timezone.now(), count=1, reason="missed"
    )
    found = admin_client.get(url("dashboard_status")).json()

    assert found["version"] == 1 and found["ok"] is False and found["at"].endswith("Z")
    assert {one["code"] for one in found["attention"]} == {"service_failing", "job_fails"}
    assert found["figures"] | {"waiting_longest": 0} == {
        "running": 1, "queued": 4, "waiting_longest": 0, "failed_24h": 3, "hosts": 1, "hosts_live": 1,
    }  # fmt: skip
    assert "message" not in found["attention"][0]


def test_programs_get_only_what_the_person_may_see(signed_in, busy):
    found = signed_in("view_dashboard", "view_job").get(url("dashboard_status")).json()

    assert [one["code"] for one in found["attention"]] == ["job_fails"] and found["figures"] == {} and not found["ok"]


def test_run_a_job_leads_to_the_form_of_the_chosen_one(operator, make_job):
    mine, guarded = make_job(name="mine"), make_job(tasks_for_admin.guarded, name="guarded")
    page = operator.get(url("dashboard_run")).content.decode()

    assert ">mine</option>" in page and "guarded" not in page
    assert operator.get(url("dashboard_run"), {"job": mine.pk}).url == url("job_run", mine.pk)
    for wrong in ("x", "", "9" * 40, "²"):
        assert operator.get(url("dashboard_run"), {"job": wrong}).status_code == 200
    assert operator.get(operator.get(url("dashboard_run"), {"job": guarded.pk}).url).status_code == 403
    assert not Run.objects.exists()


def test_everything_is_paused_and_resumed_with_a_reason(manager, make_host):
    assert "Pause all…" in manager.get(DASHBOARD).content.decode()
    assert "No run of any queue starts" in manager.get(url("queue_pause_all")).content.decode()
    assert not Queue.objects.exists()

    answer = manager.post(url("queue_pause_all"), {"reason": "migration"}, follow=True)

    row = Queue.objects.get(name="*")
    assert row.paused and row.paused_by == "manager" and row.paused_reason == "migration"
    assert answer.redirect_chain == [(DASHBOARD, 302)]
    assert "migration" in LogEntry.objects.get().change_message
    assert LogEntry.objects.get().object_repr == "all queues"
    assert "Resume all…" in answer.content.decode() and "Everything is paused" in text(answer)
    manager.post(url("queue_resume_all"), {})
    assert not Queue.objects.get(name="*").paused


def test_the_row_of_everything_has_no_page_by_which_an_operator_could_pause_it(operator, make_host):
    row = Queue.objects.create(name="*")

    for name in ("*", row.pk):
        assert operator.post(url("queue_pause", name), {}).status_code == 404
    assert not Queue.objects.get().paused


def test_hostile_text_is_text_in_every_panel(admin_client, world):
    Job.objects.filter(pk=world["job"].pk).update(outcomes="fff", enabled=True, schedule_error="", duration_p10=1)
    Run.objects.filter(pk=world["running"].pk).update(job=world["job"])
    for name in PANELS:
        page = panel(admin_client, name).content.decode()
        assert "<img" not in page, page[max(page.find("<img") - 300, 0) :][:600]
        assert "\x1b" not in page and "\u202e" not in page, name
        assert name in ("tiles", "charts", "next") or "&lt;img src=x" in page, name


def test_panels_go_through_the_querysets_of_the_pages(admin_client, busy, monkeypatch):
    from django.contrib import admin

    room = admin.site._registry[Run]
    original = type(room).get_queryset
    monkeypatch.setattr(type(room), "get_queryset", lambda self, request: original(self, request).none())

    assert "digest" not in text(panel(admin_client, "running")) and "Gone" not in text(panel(admin_client, "failures"))


def test_counts_end_at_ten_thousand():
    assert panels.count(10_000) == "10000" and panels.count(10_001) == "10000+"


def test_the_page_of_the_app_has_a_sentence_of_health_and_the_way_to_the_dashboard(admin_client, signed_in, busy):
    where = "/admin/background/"
    assert "2 things need attention Dashboard" in text(admin_client.get(where)).replace("  ", " ")
    Service.objects.all().delete()
    assert "1 thing needs attention" in text(admin_client.get(where))
    assert "need" not in text(signed_in("view_job").get(where))
    assert "needs attention" in text(signed_in("view_job", "view_dashboard", name="other").get(where))
