"""Health checks are asked in isolation, remembered, and their changes told; an outside monitor hears while all is well."""

import json
import logging
import socket
import threading
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.urls import reverse
from django.utils import timezone

from background.contrib.health import Unhealthy, check, declaring, health_changed
from background.contrib.health.apps import check_health
from background.contrib.health.background import Monitor, prune
from background.contrib.health.builtin import without_secrets
from background.contrib.health.conf import is_quiet
from background.contrib.health.configured import checks
from background.contrib.health.models import Notice, Period
from background.contrib.health.running import Runner
from background.exceptions import DuplicateName
from background.models import Job, Queue, Run
from background.scope import Scope, Unit
from background.testing import run_host
from tests.contrib.listening import listening
from tests.host.test_database_away import Proxy, through
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_else(settings, monkeypatch):
    """No checks but those of the test."""
    monkeypatch.setattr(declaring, "DECLARED", {})
    monkeypatch.setattr("background.contrib.health.configured.DECLARED", declaring.DECLARED)
    settings.BACKGROUND = {"HEALTH": {"CHECKS": {}}}


@pytest.fixture
def configure(settings):
    def set_up(**values):
        settings.BACKGROUND = {"HEALTH": {"CHECKS": {}, "FAILURES": 1, **settings.BACKGROUND["HEALTH"], **values}}

    return set_up


@pytest.fixture
def web():
    with listening() as listener:
        yield listener


class Patient:
    """A check that says what the test wants."""

    def __init__(self, name="patient", **policies):
        self.ill, self.asked = "", 0
        check(name=name, **policies)(self.answer)

    def answer(self):
        self.asked += 1
        if self.ill:
            raise Unhealthy(self.ill)
        return "well"


def start():
    monitor = Monitor()
    monitor.on_start()
    return monitor


def tick(monitor):
    monitor.tick_now()
    with monitor.scope() as scope:
        monitor.tick(scope)


def ask(*names, **kinds):
    """Ask checks once; the outcome of each by name."""
    found = checks()
    return Runner(lambda: Scope(Unit("scope", "test"))).run([found[name] for name in names or found])


def asked(kind, **options):
    """The outcome of a built-in check with options."""
    from django.test import override_settings

    with override_settings(BACKGROUND={"HEALTH": {"CHECKS": {kind: options}}}):
        return ask(kind)[kind]


# Asking


def test_an_exception_is_a_finding_and_the_other_checks_go_on():
    @check
    def broken():
        return {}["missing"]

    @check(name="async")
    async def gentle():
        return "well"

    @check(name="refused")
    def refused():
        return False

    Patient()
    found = ask()

    assert {name: one.ok for name, one in found.items()} == {
        "tests.broken": False, "async": True, "refused": False, "patient": True,
    }  # fmt: skip
    assert found["tests.broken"].detail.startswith("KeyError: 'missing' (test_health.py:")
    assert found["async"].detail == found["patient"].detail == "well"


def test_a_deaf_check_is_given_up_after_its_timeout_and_not_asked_anew_before_it_has_returned():
    over, calls = threading.Event(), []

    @check(name="deaf", timeout=0.05)
    def deaf():
        calls.append(1)
        over.wait(30)

    Patient()
    runner = Runner(lambda: Scope(Unit("scope", "test")))
    first, second = (runner.run(checks().values()) for _ in range(2))
    try:
        assert not first["deaf"].ok and first["deaf"].detail.startswith("no answer for 0.")
        assert first["patient"].ok and second["patient"].ok
        assert not second["deaf"].ok and len(calls) == 1
    finally:
        over.set()


def test_two_checks_cannot_have_one_name():
    Patient()

    with pytest.raises(DuplicateName, match="patient"):
        check(name="patient")(lambda: None)


def test_of_an_address_only_the_host_is_told():
    text = "GET https://ana:secret@example.org:8443/token?key=1 and postgres://u:p@db/name, http://plain.example.org"
    assert without_secrets(text) == "GET https://example.org:8443/… and postgres://db/… http://plain.example.org/…"


# Built-in checks


def test_the_checks_of_a_fresh_site_are_all_well(settings):
    settings.BACKGROUND = {}
    found = ask()
    assert set(found) == {"database", "cache", "migrations", "disk", "queues", "jobs"}
    assert [one.detail for one in found.values() if not one.ok] == []
    assert asked("storage").ok


def test_a_migration_that_is_not_applied_is_named():
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("background_health", "0001_initial")
    try:
        found = asked("migrations")
    finally:
        recorder.record_applied("background_health", "0001_initial")
    assert found.detail == "1 migration is not applied: background_health.0001_initial"


def test_a_full_disk_is_told_with_what_is_left():
    found = asked("disk", percent=100)
    assert not found.ok and "% free" in found.detail


def test_a_cache_that_keeps_nothing_is_told(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert asked("cache").detail == "The cache does not return what was put into it."


def test_addresses_are_fetched_and_judged_by_status_and_text(web):
    assert asked("url", url=web.url + "/token", text="hello").detail == "status 200"
    assert asked("url", url=web.url, text="bye").detail == "The answer does not contain the text that is expected."
    web.statuses = [503, 404]
    assert asked("url", url=web.url).detail == "status 503"
    assert asked("url", url=web.url, status=404).ok
    refused = asked("url", url="http://127.0.0.1:1/token")
    assert not refused.ok and "refused" in refused.detail and "token" not in refused.detail


def test_the_mail_server_is_asked_with_queued_mail_that_which_delivers(settings):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if hasattr(mail, "mailers"):
        settings.MAILERS = {
            "default": {"BACKEND": "background.contrib.mail.QueuedEmailBackend", "OPTIONS": {"using": "smtp"}},
            "smtp": {
                "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
                "OPTIONS": {"host": "127.0.0.1", "port": port, "timeout": 10},
            },
        }
    else:
        settings.EMAIL_BACKEND = "background.contrib.mail.QueuedEmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", port, 10
    assert "refused" in asked("mail").detail

    controller = Controller(Sink(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        assert asked("mail").detail == "django.core.mail.backends.smtp"
    finally:
        controller.stop()


def test_a_run_that_waits_too_long_is_told_unless_its_queue_is_paused():
    long_ago = timezone.now() - timedelta(minutes=5)
    Run.objects.filter(pk=prune.enqueue().id).update(enqueued_at=long_ago)

    found = asked("queues", seconds=60)
    assert not found.ok and found.detail.startswith("Queue default: the oldest run waits for 3")
    assert asked("queues", seconds=3600).ok

    Queue.objects.create(name="default", paused=True)
    assert asked("queues", seconds=60).ok


def test_jobs_in_trouble_are_told_as_the_command_tells_them():
    Job.objects.create(name="bad", task="nowhere.task", outcomes="fff")
    assert asked("jobs").detail == "Job bad failed three times in a row."
    assert "No live host" in asked("jobs", also=["no_host"]).detail


@pytest.mark.skipif(find_spec("health_check") is None, reason="django-health-check is not installed")
def test_checks_of_django_health_check_are_asked_too(settings):
    from health_check.checks import Database

    check(name="theirs")(Database().run)
    settings.BACKGROUND = {
        "HEALTH": {
            "CHECKS": {
                "cache": {"check": "health_check.checks.Cache", "alias": "default"},
                "elsewhere": {"check": "health_check.checks.Cache", "alias": "elsewhere"},
            }
        }
    }
    found = ask()
    assert found["theirs"].ok and found["cache"].ok
    assert not found["elsewhere"].ok and "alias does not exist" in found["elsewhere"].detail


# Settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"CHECKS": {"databse": {}}}, "there is no check 'databse'; known are database,"),
        ({"CHECKS": {"disk": {"procent": 5}}}, "'disk'] cannot be made: got an unexpected keyword argument 'procent'"),
        ({"CHECKS": {"shop": {"check": "url"}}}, "missing a required argument: 'url'"),
        ({"CHECKS": {"shop": {"check": "url", "url": "file:///etc/passwd"}}}, "begins with http:// or https://"),
        ({"CHECKS": {"own": {"check": "nowhere.check"}}}, "No module named 'nowhere'"),
        ({"CHECKS": {"disk": 5}}, "must be a dict of options"),
        ({"CHECKS": {"disk": {"interval": "5"}}}, "'disk' needs interval and timeout of 0.01 s or more"),
        ({"CHECKS": {"disk": {}}, "FAILURES": -1}, "failures that are a whole number of 1 or more"),
        ({"CHECKS": {"own": {"check": "collections.OrderedDict"}}}, "no attribute 'run'"),
        ({"PING": "hc-ping.com/secret"}, "['PING'] cannot be used: an address begins with http:// or https://"),
        ({"WEBHOOK": "file:///secret"}, "['WEBHOOK'] cannot be used: an address begins"),
        ({"QUIET_HOURS": "night"}, "expected are hours such as '22:00-07:00'"),
        ({"QUIET_HOURS": "22:00-07:00", "TIMEZONE": "Europe/Nowhere"}, "Europe/Nowhere"),
    ],
)
def test_settings_that_cannot_be_read_are_an_error_of_the_system_check(configure, values, said):
    configure(**values)
    (error,) = check_health()
    assert error.id == "background_health.E001" and said in error.msg and "secret" not in error.msg


def test_a_host_does_not_start_with_settings_that_cannot_be_read(caplog):
    with run_host(Monitor, HEALTH={"CHECKS": {"databse": {}}}) as host:
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 1 and "there is no check 'databse'" in caplog.text


@pytest.mark.parametrize(
    ("hours", "zone", "quiet"),
    [
        ("22:00-07:00", "UTC", [23, 0, 6]), ("22:00-07:00", "Asia/Tokyo", [13, 21, 14]), ("12:00-13:30", "", [12, 13]), ("", "", []),
    ],
)  # fmt: skip
def test_quiet_hours_are_on_the_clock_of_their_zone(configure, hours, zone, quiet):
    configure(QUIET_HOURS=hours, TIMEZONE=zone)
    for hour in quiet:
        assert is_quiet(datetime(2027, 1, 15, hour, 15, tzinfo=UTC))
    for hour in {7, 8, 11, 12} - set(quiet):
        assert not is_quiet(datetime(2027, 1, 15, hour, 15, tzinfo=UTC))


# Standing


def test_an_alarm_takes_so_many_failures_in_a_row_and_is_raised_once(configure):
    configure(FAILURES=2)
    patient, monitor = Patient(), start()
    for ill in ("", "cough", "", "cough", "fever", "fever"):
        patient.ill = ill
        tick(monitor)

    (notice,) = Notice.objects.all()
    assert (notice.check_name, notice.kind, notice.detail) == ("patient", "failing", "fever")
    periods = Period.objects.order_by("id").values_list("state", "count", "detail")
    assert list(periods) == [("ok", 1, "well"), ("failing", 1, "cough"), ("ok", 1, "well"), ("failing", 3, "fever")]
    assert Period.objects.get(current_name="patient").alarmed_at


def test_after_a_restart_neither_the_count_nor_the_alarm_is_forgotten(configure):
    configure(FAILURES=2)
    patient = Patient()
    patient.ill = "cough"
    for _ in range(3):
        tick(start())
    assert [one.kind for one in Notice.objects.all()] == ["failing"]

    patient.ill = ""
    tick(start())
    assert [one.kind for one in Notice.objects.order_by("id")] == ["failing", "recovered"]
    alarm, recovery = Notice.objects.order_by("id")
    assert recovery.since == alarm.since and recovery.at > alarm.at


def test_what_is_no_longer_checked_ends(configure):
    configure()
    patient = Patient()
    patient.ill = "cough"
    tick(start())
    declaring.DECLARED.clear()
    tick(start())
    assert Period.objects.get().current_name is None


def test_checks_have_their_own_intervals(configure):
    configure()
    often, seldom = Patient("often", interval=0.01), Patient("seldom", interval=3600)
    monitor = start()
    while often.asked < 3:
        with monitor.scope() as scope:
            monitor.tick(scope)
    assert seldom.asked == 1
    assert str(monitor.schedule) == "every 0.01s"


def test_old_history_is_pruned_and_what_lasts_is_kept(configure):
    configure(KEEP=10)
    old, new = timezone.now() - timedelta(days=11), timezone.now()
    for name, current, last in (("a", None, old), ("b", "b", old), ("c", None, new)):
        Period.objects.create(check_name=name, current_name=current, state="ok", began_at=old, last_at=last)
    for at in (old, new):
        Notice.objects.create(check_name="a", kind="failing", at=at, since=old)
    assert prune.func() == 2
    assert set(Period.objects.values_list("check_name", flat=True)) == {"b", "c"}


# Telling


def test_changes_are_mailed_posted_and_signalled(configure, web):
    configure(MAIL_TO=["ops@example.org"], WEBHOOK=web.url + "/hook")
    heard = []

    def hear(sender, check, state, detail, **kwargs):
        heard.append((check, state, detail))

    health_changed.connect(hear)
    one, other, monitor = Patient("one"), Patient("other"), start()
    try:
        for ill in ("no answer from https://example.org/token-4711", ""):
            one.ill = other.ill = ill
            tick(monitor)
    finally:
        health_changed.disconnect(hear)

    assert [sent.subject for sent in mail.outbox] == ["[Django] 2 changes of health"] * 2
    assert (
        "one is failing (since " in mail.outbox[0].body
        and "no answer from https://example.org/…" in mail.outbox[0].body
    )
    assert "other has recovered (failing from " in mail.outbox[1].body
    assert "4711" not in mail.outbox[0].body + str(web.asked)
    ((method, path, first), (_, _, second)) = web.asked
    assert (method, path) == ("POST", "/hook")
    assert [(one["check"], one["state"]) for one in json.loads(first)["changes"]] == [
        ("one", "failing"),
        ("other", "failing"),
    ]
    assert json.loads(second)["text"].startswith("one has recovered")
    assert heard[:2] == [("one", "failing", "no answer from https://example.org/…")] + [("other", *heard[0][1:])]
    assert [state for _, state, _ in heard] == ["failing", "failing", "recovered", "recovered"]
    assert not Notice.objects.filter(told_at=None).exists()


def test_in_quiet_hours_changes_are_collected_and_told_together_afterwards(configure):
    now = timezone.now()
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    configure(MAIL_TO=["ops@example.org"], QUIET_HOURS=hours, TIMEZONE="UTC")
    patient, urgent, monitor = Patient(), Patient("urgent", urgent=True), start()
    patient.ill = urgent.ill = "cough"
    tick(monitor)
    patient.ill = ""
    tick(monitor)
    assert [sent.subject for sent in mail.outbox] == ["[Django] urgent is failing"]

    configure(QUIET_HOURS="")
    tick(start())  # a restart forgets nothing
    assert [sent.subject for sent in mail.outbox[1:]] == ["[Django] 2 changes of health"]
    assert "patient is failing" in mail.outbox[1].body and "patient has recovered" in mail.outbox[1].body


def test_a_way_that_does_not_work_is_logged_once_tried_again_and_doubles_no_other(configure, web, caplog):
    configure(MAIL_TO=["ops@example.org"], WEBHOOK=web.url + "/secret-hook")
    web.statuses = [500, 500]
    patient, monitor = Patient(), start()
    patient.ill = "cough"
    with caplog.at_level(logging.DEBUG):
        for _ in range(4):
            tick(monitor)

    assert len(web.asked) == 3 and len(mail.outbox) == 1
    assert [line for line in caplog.messages if "told by" in line] == [
        "health cannot be told by webhook: status 500", "health can be told by webhook again",
    ]  # fmt: skip
    assert "secret-hook" not in caplog.text
    assert Notice.objects.get().told_at


def test_on_a_way_that_was_closed_nobody_is_told_any_more(configure, web):
    configure(WEBHOOK=web.url, MAIL_TO=["ops@example.org"])
    web.statuses = [500]
    patient = Patient()
    patient.ill = "cough"
    tick(start())
    assert Notice.objects.get().waits_for == ["webhook"]
    configure(WEBHOOK="")
    tick(start())
    assert len(web.asked) == 1 and len(mail.outbox) == 1 and Notice.objects.get().told_at


def test_while_the_history_cannot_be_written_alarms_are_raised_all_the_same(configure, caplog):
    configure(MAIL_TO=["ops@example.org"])
    patient, monitor = Patient(), start()
    patient.ill = "cough"
    table = Period._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(Period, table, "elsewhere")
    try:
        tick(monitor)
        assert [sent.subject for sent in mail.outbox] == ["[Django] patient is failing"]
        assert "the history of health checks is not written" in caplog.text
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(Period, "elsewhere", table)
    tick(monitor)
    assert Period.objects.get().count == 2 and Notice.objects.get().told_at and len(mail.outbox) == 1


def test_the_outside_monitor_hears_while_all_is_well_and_of_failures(configure, web, caplog):
    configure(PING=web.url + "/uuid-of-ours")
    patient, monitor = Patient(), start()
    tick(monitor)
    patient.ill = "cough"
    tick(monitor)
    patient.ill = ""
    web.statuses = [500]
    tick(monitor)
    assert web.asked == [
        ("GET", "/uuid-of-ours", ""), ("POST", "/uuid-of-ours/fail", "patient: cough"), ("GET", "/uuid-of-ours", ""),
    ]  # fmt: skip
    assert "health cannot be told by ping: status 500" in caplog.text and "uuid-of-ours" not in caplog.text


def test_a_host_checks_alarms_and_stops_in_the_midst_of_a_check(configure, web):
    over, inside = threading.Event(), threading.Event()
    patient = Patient(interval=0.05)
    patient.ill = "cough"

    @check(name="slow", interval=0.05, timeout=60)
    def slow():
        if not patient.ill:
            inside.set()
            over.wait(60)

    configured = {"CHECKS": {}, "FAILURES": 2, "PING": web.url + "/ping", "MAIL_TO": ["ops@example.org"]}
    try:
        with run_host(Monitor, HEALTH=configured) as host:
            host.wait_for(lambda: mail.outbox)
            patient.ill = ""
            host.wait_for(inside.is_set)
        assert host.exit_code == 0
    finally:
        over.set()
    assert mail.outbox[0].subject == "[Django] patient is failing"
    assert ("POST", "/ping/fail", "patient: cough") in web.asked


# Pages


def test_the_pages_show_history_and_notices_and_change_nothing(admin_client, configure):
    configure()
    patient = Patient()
    patient.ill = "<b>cough</b>\x1b[31m"
    tick(start())
    for model in ("period", "notice"):
        page = admin_client.get(reverse(f"admin:background_health_{model}_changelist")).content.decode()
        assert "&lt;b&gt;cough&lt;/b&gt;\\x1b[31m" in page and "patient" in page
        assert admin_client.get(reverse(f"admin:background_health_{model}_add")).status_code == 403
    row = Period.objects.get()
    page = admin_client.get(reverse("admin:background_health_period_change", args=[row.pk])).content.decode()
    assert "&lt;b&gt;cough" in page and 'name="_save"' not in page
    now = admin_client.get(reverse("admin:background_health_period_changelist") + "?lasts=yes").content.decode()
    assert "patient" in now


def test_without_permission_nothing_is_shown(client):
    client.force_login(User.objects.create_user("ana", is_staff=True))
    assert client.get(reverse("admin:background_health_period_changelist")).status_code == 403


# The database away


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "postgresql", reason="the proxy speaks to PostgreSQL only")
def test_a_database_that_goes_away_is_told_and_so_is_its_return(web):
    proxy = Proxy()
    proxy.open()
    health = {
        "CHECKS": {"database": {"interval": 0.2, "failures": 1, "timeout": 2}},
        "WEBHOOK": web.url,
        "PING": web.url + "/ping",
    }
    env = {
        "DATABASE_URL": through(proxy),
        "BACKGROUND_TEST_SETTINGS": json.dumps({"HEALTH": health, "HEARTBEAT_INTERVAL": 0.3, "POLL_INTERVAL": 0.2}),
    }

    def told(state):
        changes = [json.loads(body)["changes"] for _, path, body in web.asked if path == "/"]
        return [one for change in changes for one in change if one["state"] == state]

    try:
        with Process("runbackground", "--services", "background_health.Monitor", "--no-reload", **env) as host:
            wait_until(lambda: ("GET", "/ping", "") in web.asked, timeout=60)
            proxy.close()
            wait_until(lambda: told("failing"), timeout=30)
            wait_until(lambda: any(path == "/ping/fail" for _, path, _ in web.asked), timeout=30)
            proxy.open()
            wait_until(lambda: told("recovered"), timeout=60)
            wait_until(lambda: Notice.objects.filter(told_at__isnull=False).count() == 2, timeout=60)
            assert host.stop() == 0, host.output
    finally:
        proxy.close()
    assert [one["check"] for one in told("failing") + told("recovered")] == ["database", "database"]
