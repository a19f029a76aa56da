"""The command `background` at work: what it prints, what it waits for, what programs read."""

import io
import json
import signal
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.utils import timezone, translation

from background import catalog, registry
from background.compat import BUILT_IN
from background.management import terminal
from background.models import Host, Job, Queue, Run, Service, ServicePause
from background.testing import drain
from tests.app import background as tasks
from tests.processes import Process, manage

if BUILT_IN:
    from django.tasks import task
else:
    from django_tasks import task

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _jobs(db):
    catalog.sync()


@pytest.fixture
def host():
    now = timezone.now()
    return Host.objects.create(name="web-1:7", pid=7, state="running", started_at=now, heartbeat_at=now)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def background(*arguments, out=None):
    out = out or io.StringIO()
    call_command("background", *arguments, stdout=out)
    return out.getvalue()


def as_json(*arguments):
    return json.loads(background(*arguments, "--json"))


# Running


def test_run_says_the_id_and_how_to_look_at_it():
    said = background("run", "app.plain")

    run = Run.objects.get()
    assert str(run.id) in said
    assert f"background runs --id {run.short_id}" in said
    assert f"/background/run/{run.id}/change/" in said


def test_run_warns_when_no_live_host_serves_the_queue(host):
    assert "No live host" not in background("run", "app.plain")
    Host.objects.update(queues=["mail"])
    assert "No live host serves queue default" in background("run", "app.plain")


@task
def greet(user, reason):
    return f"{user}: {reason}"


def test_a_task_may_have_arguments_named_like_those_of_trigger(monkeypatch):
    monkeypatch.setitem(registry.KNOWN, greet.module_path, greet)
    Job.objects.create(name="greet", task=greet.module_path)

    background("run", "greet", "--kwargs", '{"user": "bob", "reason": "tea"}')

    run = Run.objects.get()
    assert (run.kwargs, run.reason, run.triggered_by) == ({"user": "bob", "reason": "tea"}, "", None)


def test_run_works_on_a_paused_job():
    background("pause", "job", "app.often")
    background("run", "app.often")

    assert Run.objects.get().job_name == "app.often"


def test_wait_says_how_long_it_took(monkeypatch):
    monkeypatch.setattr(Run, "wait", finished_by_draining)

    assert "It succeeded in" in background("run", "app.plain", "--wait")


def test_wait_ends_with_1_and_the_reason_when_the_run_failed(monkeypatch):
    monkeypatch.setattr(Run, "wait", finished_by_draining)

    with pytest.raises(CommandError, match="failed: no") as refused:
        background("enqueue", "tests.app.background.booked", "--kwargs", '{"fail": true}', "--wait")
    assert refused.value.returncode == 1


def test_wait_ends_with_1_when_the_time_is_over():
    with pytest.raises(CommandError, match="is still ready after 0"):
        background("run", "app.plain", "--wait", "0")


def test_wait_ends_with_1_when_the_run_is_cancelled(monkeypatch):
    monkeypatch.setattr(Run, "wait", lambda run, seconds: (run.cancel(reason="not needed"), run)[1])

    with pytest.raises(CommandError, match="cancelled: not needed"):
        background("run", "app.plain", "--wait")


def test_wait_names_a_run_that_is_deleted_meanwhile(monkeypatch):
    monkeypatch.setattr("background.models.run.time.sleep", lambda seconds: Run.objects.all().delete())

    with pytest.raises(CommandError, match="has been deleted meanwhile"):
        background("run", "app.plain", "--wait")


def test_ctrl_c_ends_the_waiting_and_not_the_run(monkeypatch):
    def interrupted(run, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "wait", interrupted)

    with pytest.raises(CommandError, match="goes on") as ended:
        background("run", "app.plain", "--wait")
    assert ended.value.returncode == 130
    assert Run.objects.get().status == "ready"


def finished_by_draining(run, seconds):
    drain()
    run.refresh_from_db()
    return run


# Finding and filtering


def test_a_run_is_found_by_its_whole_id_or_its_tail():
    tasks.note.enqueue()
    tasks.note.enqueue()
    run = Run.objects.first()

    for text in (str(run.id), run.short_id, f"#{run.short_id}", run.id.hex):
        assert [one["id"] for one in as_json("runs", "--id", text)] == [str(run.id)]


def test_runs_of_a_deleted_job_are_found_by_its_name():
    tasks.plain.enqueue()
    Job.objects.filter(name="app.plain").delete()

    assert [one["job_name"] for one in as_json("runs", "--job", "app.plain")] == ["app.plain"]


def test_runs_of_a_queue_without_any_are_an_empty_list():
    assert as_json("runs", "--queue", "reports") == []


# What programs read


def test_json_has_instants_in_utc_and_codes_that_are_not_translated(settings):
    tasks.note.enqueue()
    Run.objects.update(enqueued_at=datetime(2027, 1, 1, tzinfo=UTC))

    with translation.override("de"):
        (run,) = as_json("runs")
    assert run["enqueued_at"] == "2027-01-01T00:00:00Z"
    assert (run["status"], run["trigger"]) == ("ready", "code")
    assert uuid.UUID(run["id"])


@pytest.mark.django_db(transaction=True)
def test_json_is_alone_on_stdout():
    done = manage("background", "status", "--json")

    assert set(json.loads(done.stdout)) >= {"hosts", "runs", "jobs", "paused_queues", "attention"}


def test_json_holds_nothing_that_steers_a_terminal(host):
    Host.objects.update(name="evil\x9b2J\u202e")

    text = background("hosts", "--json")
    assert text.isascii()
    assert json.loads(text)[0]["name"] == "evil\x9b2J\u202e"


def test_arguments_of_jobs_are_not_printed():
    Job.objects.filter(name="app.plain").update(kwargs={"password": "hunter2"})

    assert "hunter2" not in background("jobs") + json.dumps(as_json("jobs"))


def test_the_next_times_of_a_job_lie_within_its_window():
    starts = datetime(2030, 1, 1, 0, 0, tzinfo=UTC)
    Job.objects.filter(name="app.often").update(starts_at=starts, ends_at=starts + timedelta(minutes=10))

    assert [one["at"] for one in as_json("next", "app.often")] == ["2030-01-01T00:00:00Z", "2030-01-01T00:05:00Z"]


def test_next_marks_a_change_of_clocks():
    starts = datetime(2030, 3, 31, 0, 0, tzinfo=UTC)
    Job.objects.filter(name="app.often").update(schedule="30 2 * * *", timezone="Europe/Paris", starts_at=starts)

    first, second = as_json("next", "app.often", "-n", "2")
    assert "skips" in first["note"]
    assert second["note"] == ""
    assert "Europe/Paris" in background("next", "app.often")


def test_next_says_that_a_paused_job_lets_its_times_pass():
    background("pause", "job", "app.often")

    assert "these times pass by" in background("next", "app.often")


# Acting on queues, services, groups


@pytest.mark.parametrize("name", ["default", "reports"])
def test_a_queue_that_code_names_can_be_paused_and_resumed_before_any_run(name):
    background("resume", "queue", name)
    background("pause", "queue", name)
    assert Queue.objects.get(name=name).paused
    background("resume", "queue", name)
    assert not Queue.objects.get(name=name).paused


def test_a_wish_reaches_each_live_host_and_no_silent_one(host):
    now = timezone.now()
    for number, age in ((8, 0), (9, 300)):
        beat = now - timedelta(seconds=age)
        Host.objects.create(name=f"web:{number}", pid=number, state="running", started_at=now, heartbeat_at=beat)
    for one in Host.objects.all():
        Service.objects.create(host=one, name="shop.Sync", state="running")

    assert "on 2 hosts" in background("service", "shop.Sync", "stop")
    assert {row.host.name for row in Service.objects.filter(request_verb="stop")} == {"web-1:7", "web:8"}


def test_roles_keep_what_a_person_has_added():
    background("roles", "--create")
    extra = Permission.objects.get(codename="view_user")
    Group.objects.get(name="Background viewer").permissions.add(extra)
    background("roles", "--create")

    assert extra in Group.objects.get(name="Background viewer").permissions.all()


def test_a_viewer_sees_and_does_nothing_else():
    background("roles", "--create")

    names = Group.objects.get(name="Background viewer").permissions.values_list("codename", flat=True)
    assert set(names) == {f"view_{page}" for page in ("dashboard", "job", "run", "service", "host", "queue")}


# The screen


def test_colours_can_be_refused_by_a_flag_and_by_the_environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in background("jobs", out=Terminal())
    assert "\x1b" not in background("jobs", "--no-color", out=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in background("jobs", out=Terminal())


def test_without_rich_tables_are_plain_columns(monkeypatch):
    monkeypatch.setattr(terminal, "RICH", False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    shown = background("jobs", out=Terminal())
    assert "app.often" in shown
    assert "\x1b" not in shown


def test_watch_goes_on_while_the_database_is_away(monkeypatch, capsys):
    from django.db import OperationalError

    from background.management.commands.background import Command

    def away():
        raise OperationalError("connection refused")

    monkeypatch.setattr("background.management.reading.status", away)
    assert "▲ The database does not answer as expected (connection refused)" in Command()._screen()


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_ends_watch_cleanly():
    with Process("background", "watch", "--interval", "0.5") as watch:
        watch.wait_for_line("Ctrl-C ends")
        watch.send(signal.SIGINT)
        assert watch.wait() == 0, watch.output
    assert "Traceback" not in watch.output


@pytest.mark.django_db(transaction=True)
def test_the_command_is_found_beside_the_package_of_the_same_name():
    done = manage("background", "jobs", "--json")

    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


@pytest.mark.django_db(transaction=True)
def test_djangos_own_flags_may_stand_behind_the_verb():
    done = manage("background", "jobs", "--settings", "tests.settings", "--no-color", "--traceback")

    assert done.returncode == 0, done.stderr


@pytest.mark.django_db(transaction=True)
def test_a_terminal_that_cannot_write_a_sign_gets_its_escape():
    done = manage("background", "status", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    assert done.returncode == 0, done.stderr
    assert "\\u2716 No live host" in done.stdout


def test_everything_can_be_paused_and_goes_on_again():
    assert "Everything is paused" in background("pause", "everything", "--reason", "moving")
    assert Queue.objects.get(name="*").paused_reason == "moving"
    assert "everything" in background("status")
    assert as_json("status")["everything_paused"] is True

    assert "Everything goes on" in background("resume", "everything")

    assert not Queue.objects.filter(paused=True).exists()


def test_a_service_rests_on_every_host_until_it_is_resumed(host):
    Service.objects.create(host=host, name="shop.Feed"), Service.objects.create(host=host, name="worker", engine=True)
    assert "shop.Feed is paused" in background("pause", "service", "shop.Feed", "--reason", "moving")
    assert ServicePause.objects.get().paused_reason == "moving"
    assert "shop.Feed goes on" in background("resume", "service", "shop.Feed")
    assert not ServicePause.objects.exists()
    with pytest.raises(CommandError, match="Did you mean shop.Feed"):
        background("pause", "service", "shop.Fed")
    with pytest.raises(CommandError, match="machinery"):
        background("pause", "service", "worker")


@pytest.mark.parametrize("words", [("everything", "mail"), ("queue",), ("job",), ("service",)])
def test_a_pause_says_what_is_to_be_paused_and_no_more(words):
    with pytest.raises(CommandError, match="by its NAME"):
        background("pause", *words)
