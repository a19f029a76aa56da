"""What the monitoring example measures, raises, keeps and throws away."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from background import StopRequested
from background.models import Job
from background.stopping import StopToken
from background.testing import run_host
from project.examples.monitoring import background as monitoring
from project.examples.monitoring import checks, records
from project.examples.monitoring.checks import Limit, Reading
from project.examples.monitoring.models import Alert, HourSummary, Measurement

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def news():
    """The channel to the dispatcher, empty before and after."""
    while len(monitoring.NEWS):
        monitoring.NEWS.get(timeout=0)
    yield monitoring.NEWS
    while len(monitoring.NEWS):
        monitoring.NEWS.get(timeout=0)


@pytest.fixture
def address():
    """A real site: `/503` answers with that status, `/silent` never, as long as the test lasts."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/silent":
                over.wait(30)
                return
            self.send_response(int(self.path[1:] or 200))
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def tick(service):
    if service.is_async:

        async def one():
            async with service.scope() as scope:
                await service.tick(scope)

        async_to_sync(one)()
    else:
        with service.scope() as scope:
            service.tick(scope)


def disk(free, seconds=0):
    return Reading("disk", free, "% free", taken_at=NOON + timedelta(seconds=seconds))


def open_alerts():
    return list(Alert.objects.filter(cleared_at=None).values_list("check_name", flat=True))


# ------------------------------------------------------------------------------------------------------------ checks


def test_a_tick_of_the_system_monitor_measures_database_disk_and_memory():
    tick(monitoring.SystemMonitor())

    found = {one.check_name: one for one in Measurement.objects.all()}
    assert set(found) == {"database", "disk", "memory"}
    assert 0 < found["database"].value < 10_000
    assert 0 < found["disk"].value <= 100
    assert 0 < found["memory"].value <= 100


def test_without_psutil_memory_is_not_measured_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(checks, "psutil", None)

    assert records.record([checks.memory()]) == []

    kept = Measurement.objects.get()
    assert (kept.value, kept.ok, kept.detail) == (None, None, "not measured: pip install psutil")


def test_an_address_that_answers_is_timed(address, settings):
    settings.MONITORING_URL = address

    tick(monitoring.HttpMonitor())

    kept = Measurement.objects.get()
    assert (kept.check_name, kept.unit, kept.ok, kept.detail) == ("http", "ms", True, "status 200")
    assert kept.value > 0


def test_without_an_address_nothing_is_fetched_and_the_log_says_so(settings, caplog):
    settings.MONITORING_URL = ""
    monitor = monitoring.HttpMonitor()

    with caplog.at_level(logging.INFO):
        monitor.on_start()
    tick(monitor)

    assert "set MONITORING_URL" in caplog.text
    assert not Measurement.objects.exists()


def test_an_error_status_silence_and_a_refused_connection_are_failures(address):
    refused = checks.http("http://127.0.0.1:1/")

    assert [checks.http(address + "503").failed, checks.http(address + "503").detail] == [True, "status 503"]
    assert checks.http(address + "silent", timeout=0.05).detail == "timed out"
    assert refused.failed and refused.value is None and "refused" in refused.detail


def test_an_address_of_another_kind_is_not_opened():
    found = checks.http("file:///etc/hostname")

    assert found.failed
    assert found.detail == "'file:///etc/hostname' does not begin with http:// or https://"


# ------------------------------------------------------------------------------------------------------------ alerts


def test_an_alert_is_raised_once_and_cleared_only_when_the_value_is_well_again():
    changes = [len(records.record([disk(free)])) for free in (50, 4, 3, 6, 4, 9)]

    assert changes == [0, 1, 0, 0, 0, 0]
    assert open_alerts() == ["disk"]

    (cleared,) = records.record([disk(11, seconds=60)])

    assert (cleared.message, cleared.severity) == ("4.0 % free, limit 5", "warning")
    assert (cleared.raised_at, cleared.cleared_at) == (NOON, NOON + timedelta(seconds=60))
    assert open_alerts() == []


def test_after_it_was_cleared_an_alert_may_be_raised_again():
    for seconds, free in enumerate((4, 11, 4)):
        records.record([disk(free, seconds)])

    assert Alert.objects.count() == 2
    assert open_alerts() == ["disk"]


def test_a_check_with_patience_forgives_a_single_failure():
    def fail():
        return Reading("http", None, "ms", "connection refused", failed=True)

    assert records.record([fail()]) == []
    assert records.record([Reading("http", 20, "ms"), fail()]) == []
    assert [alert.message for alert in records.record([fail()])] == ["connection refused"]


def test_the_database_refuses_a_second_open_alert_for_one_check():
    Alert.objects.create(check_name="disk", open_check="disk")

    with pytest.raises(IntegrityError), transaction.atomic():
        Alert.objects.create(check_name="disk", open_check="disk")
    for _ in range(2):
        Alert.objects.create(check_name="disk", open_check=None, cleared_at=NOON)


def test_the_dispatcher_logs_and_mails_what_is_on_the_channel_until_it_is_stopped(settings, caplog, news):
    settings.MONITORING_MAIL_TO = ["ops@example.com"]
    stop = StopToken()
    monitoring.report([disk(4)])
    monitoring.report([disk(11)])

    class Dispatcher(monitoring.AlertDispatcher):
        def dispatch(self, alert):
            super().dispatch(alert)
            if not len(news):
                stop.request("test over")

    with caplog.at_level(logging.INFO), pytest.raises(StopRequested):
        Dispatcher().execute(stop)

    assert [message.subject for message in mail.outbox] == ["Alert raised: disk", "Alert cleared: disk"]
    assert "alert raised: disk: 4.0 % free, limit 5" in caplog.text


def test_mail_that_cannot_be_sent_does_not_end_the_dispatcher(settings, monkeypatch, caplog):
    def refuse(*args):
        raise ConnectionRefusedError("no mail server")

    settings.MONITORING_MAIL_TO = ["ops@example.com"]
    monkeypatch.setattr(monitoring, "send_mail", refuse)

    monitoring.AlertDispatcher().dispatch(Alert(check_name="disk", message="full"))

    assert "alert not mailed: no mail server" in caplog.text


# -------------------------------------------------------------------------------------------------------------- jobs


def test_take_stock_says_in_one_line_how_things_stand(drain):
    two_hours_ago = timezone.now() - timedelta(hours=2)
    records.record([Reading("disk", 50, "% free", taken_at=two_hours_ago), Reading("disk", 4, "% free")])
    monitoring.take_stock.enqueue()

    (run,) = drain()

    assert run.result == {"measurements": 1, "open_alerts": 1}
    assert [line.message for line in run.logs.all()] == ["1 measurements in the last hour, 1 open alerts"]


def test_an_hour_is_summarised_into_one_row_however_often():
    records.record([disk(free, seconds) for seconds, free in ((-1, 1), (0, 50), (1800, 4), (3599, 30), (3600, 99))])

    assert [records.summarise(NOON), records.summarise(NOON)] == [1, 1]

    row = HourSummary.objects.get()
    assert (row.hour, row.count, row.minimum, row.average, row.maximum, row.failures) == (NOON, 3, 4, 28, 50, 1)


def test_the_summary_of_several_hours_shows_its_progress(drain):
    records.record([Reading("disk", 50, "% free", taken_at=timezone.now() - timedelta(hours=1))])
    monitoring.summarise_last_hour.enqueue(hours=3)

    (run,) = drain()

    assert (run.status, run.result, run.progress_done, run.progress_total) == ("succeeded", 1, 3, 3)
    assert HourSummary.objects.get().count == 1


def test_old_measurements_are_pruned_and_their_summaries_stay():
    three_days_ago = timezone.now() - timedelta(days=3)
    records.record([Reading("disk", 40, "% free", taken_at=three_days_ago), Reading("disk", 50, "% free")])
    HourSummary.objects.create(check_name="disk", hour=three_days_ago, count=1, failures=0)

    assert monitoring.prune_measurements.call() == 1

    assert [kept.value for kept in Measurement.objects.all()] == [50]
    assert HourSummary.objects.exists()


def test_expired_sessions_are_cleared_and_others_kept():
    for key, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=timezone.now() + timedelta(days=days))

    monitoring.clear_expired_sessions.call()

    assert [session.session_key for session in Session.objects.all()] == ["new"]


def test_each_job_has_a_row_with_its_schedule():
    rows = dict(Job.objects.filter(name__startswith="monitoring.").values_list("name", "schedule"))

    assert rows == {
        "monitoring.take_stock": "every 10s",
        "monitoring.summarise_last_hour": "5 * * * *",
        "monitoring.prune_measurements": "every 6h",
        "monitoring.clear_expired_sessions": "0 4 * * *",
    }


# ------------------------------------------------------------------------------------------------------ host and admin


@pytest.mark.django_db(transaction=True)
def test_a_host_measures_everything_at_its_start_and_mails_the_alert(settings, monkeypatch, address):
    settings.MONITORING_URL = address
    settings.MONITORING_MAIL_TO = ["ops@example.com"]
    monkeypatch.setitem(checks.LIMITS, "disk", Limit(alarm=101, calm=102))  # any disk is too full

    with run_host(monitoring.AlertDispatcher, monitoring.SystemMonitor, monitoring.HttpMonitor) as host:
        host.wait_for(lambda: mail.outbox and Measurement.objects.filter(check_name="http").exists())

    assert mail.outbox[0].subject == "Alert raised: disk"
    assert set(Measurement.objects.values_list("check_name", flat=True)) == {"database", "disk", "memory", "http"}
    assert open_alerts() == ["disk"]


@pytest.mark.parametrize("model", ["measurement", "alert", "hoursummary"])
def test_the_admin_shows_the_rows_and_lets_nobody_edit_them(admin_client, model):
    records.record([disk(4)])
    records.summarise(NOON)

    page = admin_client.get(reverse(f"admin:monitoring_{model}_changelist"))

    assert page.status_code == 200
    assert b"disk" in page.content
    assert admin_client.get(reverse(f"admin:monitoring_{model}_add")).status_code == 403


def test_the_admin_says_in_a_word_whether_an_alert_is_open(admin_client):
    address = reverse("admin:monitoring_alert_changelist")

    records.record([disk(4)])
    assert b'<td class="field-state">open</td>' in admin_client.get(address).content

    records.record([disk(11)])
    assert b'<td class="field-state">cleared</td>' in admin_client.get(address).content
