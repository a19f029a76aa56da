"""What the monitoring example measures, reads, checks, keeps and throws away."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from background.contrib.health.background import Monitor
from background.contrib.health.configured import checks
from background.contrib.health.models import Period
from background.contrib.health.running import Runner
from background.models import Job, Run
from background.scope import Scope, Unit
from background.testing import run_host
from project.examples.monitoring import background as monitoring
from project.examples.monitoring.models import HourSummary, Measurement, Request
from tests.contrib.listening import listening

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def empty_channel(monkeypatch):
    monkeypatch.setattr(monitoring.Measurements, "batch_seconds", 0.05)
    while len(monitoring.Measurements.channel):
        monitoring.Measurements.channel.get(timeout=0)


@pytest.fixture
def web():
    with listening() as listener:
        yield listener


def measure(value, at=None, name="disk (% free)"):
    return Measurement.objects.create(name=name, value=value, taken_at=at or timezone.now())


def request(status=200, at=None):
    return Request.objects.create(at=at or timezone.now(), line="GET / HTTP/1.1", status=status, size=5)


def ask(name):
    return Runner(lambda: Scope(Unit("scope", "test"))).run([checks()[name]])[name]


def names():
    return set(Measurement.objects.values_list("name", flat=True))


# Services


@pytest.mark.django_db(transaction=True)
def test_a_host_measures_everything_at_its_start(settings, web):
    settings.MONITORING_URL = web.url
    services = (monitoring.Measurements, monitoring.SystemMonitor, monitoring.PageMonitor)
    with run_host(*services) as host:
        host.wait_for(lambda: names() == {"database (ms)", "disk (% free)", "memory (% used)", "page (ms)"})
    assert 0 < Measurement.objects.get(name="disk (% free)").value <= 100
    assert Measurement.objects.get(name="database (ms)").value > 0


def test_a_page_that_does_not_answer_is_not_measured(settings):
    settings.MONITORING_URL = "http://127.0.0.1:1/"
    asyncio.run(monitoring.PageMonitor().tick(None))
    assert len(monitoring.Measurements.channel) == 0


@pytest.mark.django_db(transaction=True)
def test_what_was_measured_is_written_before_the_host_ends():
    with run_host(monitoring.Measurements):
        for value in range(250):
            monitoring.Measurements.put(Measurement(name="disk (% free)", value=value))
    assert Measurement.objects.count() == 250


@pytest.mark.django_db(transaction=True)
def test_the_access_log_is_followed(tmp_path, caplog):
    path = tmp_path / "access.log"
    line = '203.0.113.9 - - [10/Oct/2027:13:55:36 +0000] "GET /cart HTTP/1.1" 503 2326 "-" "Mozilla/5.0"\n'
    path.write_text(line + "nonsense\n")
    follower = type(
        "AccessLog", (monitoring.AccessLog,), {"paths": [str(path)], "name": "access", "poll_seconds": 0.05}
    )
    with run_host(follower) as host:
        host.wait_for(Request.objects.exists)
        with path.open("a") as file:
            file.write(line)
        host.wait_for(lambda: Request.objects.count() == 2)
    kept = Request.objects.first()
    assert (kept.line, kept.status, kept.size) == ("GET /cart HTTP/1.1", 503, 2326)
    assert "1 lines could not be read" in caplog.text


# Checks


@pytest.mark.django_db(transaction=True)
def test_many_errors_among_the_latest_answers_are_a_failure():
    request(500, at=timezone.now() - timedelta(minutes=6))
    assert ask("monitoring.answers").detail == "0 errors in 0 answers"
    for _ in range(19):
        request()
    request(500)
    assert ask("monitoring.answers").ok
    request(502)
    found = ask("monitoring.answers")
    assert (found.ok, found.detail) == (False, "2 errors in 21 answers")


@pytest.mark.django_db(transaction=True)
def test_a_memory_that_is_full_is_a_failure(monkeypatch):
    assert ask("monitoring.memory").ok
    monkeypatch.setattr(monitoring.psutil, "virtual_memory", lambda: SimpleNamespace(percent=96.5))
    assert ask("monitoring.memory").detail == "96.5 % in use"


@pytest.mark.django_db(transaction=True)
def test_an_alarm_is_mailed_and_counted(drain):
    request(500)
    with run_host(Monitor, HEALTH={"CHECKS": {}, "MAIL_TO": ["ops@example.com"]}) as host:
        host.wait_for(lambda: mail.outbox)
    assert mail.outbox[0].subject == "[Django] monitoring.answers is failing"
    monitoring.take_stock.enqueue()
    (run,) = drain()
    assert run.result == {"measurements": 0, "requests": 1, "alarms": 1}


# Jobs


def test_take_stock_says_in_one_line_how_things_stand(drain):
    measure(50, at=timezone.now() - timedelta(hours=2))
    measure(4)
    Period.objects.create(check_name="disk", state="failing", began_at=NOON, last_at=NOON, alarmed_at=NOON)  # long over
    monitoring.take_stock.enqueue()

    (run,) = drain()

    assert [line.message for line in run.logs.all()] == [
        "1 measurements and 0 requests in the last hour, 0 alarms",
    ]


def test_an_hour_is_summarised_into_one_row_however_often(drain):
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    hour = this_hour - timedelta(hours=2)
    for seconds, value in ((-1, 1), (0, 50), (1800, 4), (3599, 30), (3600, 99)):
        measure(value, at=hour + timedelta(seconds=seconds))
    for _ in range(2):
        monitoring.summarise_last_hour.enqueue(hours=2)

    runs = drain()

    assert [(run.status, run.result, run.progress_done, run.progress_total) for run in runs] == [
        ("succeeded", 2, 2, 2)
    ] * 2
    row = HourSummary.objects.get(hour=hour)
    assert (row.count, row.minimum, row.average, row.maximum) == (3, 4, 28, 50)
    assert HourSummary.objects.count() == 2


def test_old_rows_are_pruned_and_their_summaries_stay():
    three_days_ago = timezone.now() - timedelta(days=3)
    measure(40, at=three_days_ago)
    measure(50)
    request(at=three_days_ago)
    HourSummary.objects.create(name="disk", hour=three_days_ago, count=1, minimum=40, average=40, maximum=40)

    assert monitoring.prune_measurements.call() == 2

    assert [kept.value for kept in Measurement.objects.all()] == [50]
    assert HourSummary.objects.exists()


def test_expired_sessions_are_cleared_and_others_kept(drain):
    for key, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=timezone.now() + timedelta(days=days))

    Job.objects.get(name="monitoring.clear_expired_sessions").trigger()
    drain()

    assert Run.objects.get().status == "succeeded"
    assert [session.session_key for session in Session.objects.all()] == ["new"]


def test_each_job_has_a_row_with_its_schedule():
    rows = dict(Job.objects.filter(name__startswith="monitoring.").values_list("name", "schedule"))

    assert rows == {
        "monitoring.take_stock": "every 10s",
        "monitoring.summarise_last_hour": "5 * * * *",
        "monitoring.prune_measurements": "every 6h",
        "monitoring.clear_expired_sessions": "0 4 * * *",
    }


# Pages


@pytest.mark.parametrize("model", ["measurement", "hoursummary", "request"])
def test_the_admin_shows_the_rows_and_lets_nobody_edit_them(admin_client, model):
    measure(4, name="GET / HTTP/1.1")
    request()
    HourSummary.objects.create(name="GET / HTTP/1.1", hour=NOON, count=1, minimum=4, average=4, maximum=4)

    page = admin_client.get(reverse(f"admin:monitoring_{model}_changelist"))

    assert page.status_code == 200
    assert b"GET / HTTP/1.1" in page.content
    assert admin_client.get(reverse(f"admin:monitoring_{model}_add")).status_code == 403
