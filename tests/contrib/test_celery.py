"""Runs are executed by real processes of Celery, with the history that they have on a host."""

import base64
import json
import os
import signal
import socket
import subprocess
import uuid
from contextlib import contextmanager
from itertools import pairwise

import pytest
from django.apps import apps as installed
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

from background.host import Options
from background.models import Host, Run
from background.testing import run_host
from tests.app import background as tasks
from tests.app.models import Effect
from tests.contrib import celery_apps
from tests.processes import Process, manage, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

DISPATCHER = "background.contrib.celery.CeleryDispatcher"
QUICK = {"HEARTBEAT_INTERVAL": 0.5, "HOST_TIMEOUT": 3, "POLL_INTERVAL": 0.2}
READY = "ready."


def is_there(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


SERVERS = {"redis": (6379, "Redis"), "rabbitmq": (5672, "RabbitMQ")}


def need(broker):
    port, name = SERVERS[broker]
    if not is_there(port):
        pytest.skip(f"{name} is not running")


@pytest.fixture
def queue():
    """The name of a queue of Celery, which is deleted after the test."""
    name = f"tests-{uuid.uuid4().hex[:8]}"
    yield name
    for broker in (one for one, (port, _) in SERVERS.items() if is_there(port)):
        with getattr(celery_apps, broker).connection_for_write() as connection:
            connection.default_channel.queue_delete(name)
            if broker == "redis":
                left = (f"_kombu.{kind}.{name}" for kind in ("binding", "binding_permanent"))
                connection.default_channel.client.delete(*left)


def settings_of(queue, broker="redis", **more):
    return {
        **QUICK,
        "EXECUTOR": DISPATCHER,
        "CELERY": {"APP": f"tests.contrib.celery_apps.{broker}", "QUEUE": queue, **more},
    }


def dispatching(queue, broker="redis", **more):
    """A host in this process that sends its runs to Celery."""
    return run_host(options=Options(schedules=False), **settings_of(queue, broker, **more))


def process(*arguments, settings, **more):
    return Process(
        *arguments,
        DJANGO_SETTINGS_MODULE="tests.contrib.celery_settings",
        BACKGROUND_TEST_SETTINGS=json.dumps(settings),
        **more,
    )


@contextmanager
def celery(queue, broker="redis", *flags, discover=("background", "tasks"), **more):
    """A worker of Celery that is ready, with two processes."""
    settings = {**settings_of(queue, broker, **more), "DISCOVER": list(discover)}
    quick = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO", "-c", "2", *flags)
    words = ("-A", f"tests.contrib.celery_apps:{broker}", "worker", "-Q", queue, "-n", queue, *quick)
    env = {"CELERY_TEST_BROKER": celery_apps.BROKERS["private"]}
    with process(*words, program=("-m", "celery"), settings=settings, **env) as worker:
        worker.wait_for_line(READY, timeout=60)
        yield worker


def run_of(result):
    return Run.objects.get(id=result.id)


def ended(*results):
    """Return the runs once they have ended, in this order."""
    ids = [one.id for one in results]
    wait_until(lambda: not Run.objects.open().filter(id__in=ids).exists(), timeout=60)
    return [run_of(one) for one in results]


def begun(name="waits", count=1):
    """Return the process ids that runs have noted, once there are so many."""
    rows = Effect.objects.filter(name=name).order_by("id")
    wait_until(lambda: rows.count() >= count, timeout=60)
    return [int(row.note) for row in rows]


@pytest.mark.parametrize(
    ("broker", "flags"),
    [("redis", ()), ("rabbitmq", ()), ("redis", ("-P", "threads")), ("redis", ("-P", "solo"))],
    ids=["redis", "rabbitmq", "threads", "solo"],
)
def test_runs_have_the_history_that_they_have_on_a_host(queue, broker, flags):
    need(broker)
    with celery(queue, broker, *flags) as worker, dispatching(queue, broker):
        plain, coroutine, flaky, talk, wrong, booked, apart, late = ended(
            tasks.note.enqueue(),
            tasks.anote.enqueue("from a loop"),
            tasks.flaky.enqueue(),
            tasks.talk.enqueue(),
            tasks.booked.enqueue(fail=True),
            tasks.booked.enqueue(),
            tasks.in_process.enqueue(3),
            tasks.too_long.enqueue(),
        )
        assert worker.stop() == 0
    assert [one.status for one in (plain, coroutine, talk, booked, apart)] == ["succeeded"] * 5
    assert (plain.result, coroutine.result, apart.result["number"]) == ("note", "from a loop", 3)
    assert plain.host_name.startswith("celery:") and plain.started_at <= plain.finished_at
    assert (flaky.status, flaky.attempt, len(flaky.errors)) == ("succeeded", 3, 2)
    assert [one["host"].startswith("celery:") for one in flaky.errors] == [True, True]
    assert list(talk.logs.values_list("sequence", "message")) == [(1, "line 0"), (2, "line 1"), (3, "line 2")]
    assert (talk.progress_done, talk.progress_message) == (3, "line 2")
    assert apart.artifacts.get().name == "numbers.txt" and apart.logs.count() == 3
    assert (wrong.status, wrong.error_type) == ("failed", "builtins.ValueError")
    assert Effect.objects.filter(name="booked").count() == 1  # what the failed one did is undone
    assert (late.status, late.error_type) == ("failed", "background.exceptions.RunTimedOut")
    mine = Host.objects.filter(name__startswith="celery:")
    assert {(host.state, host.exit_code) for host in mine} == {("stopped", 0)}, worker.output


def test_a_run_whose_process_of_celery_is_killed_is_executed_again(queue, tmp_path):
    need("redis")
    with celery(queue), dispatching(queue):
        waiting = tasks.wait_for_file.enqueue(str(tmp_path / "go"))
        os.kill(begun()[0], signal.SIGKILL)
        begun(count=2)
        (tmp_path / "go").touch()
        (run,) = ended(waiting)
    assert (run.status, run.lost, run.attempt) == ("succeeded", 1, 1)


def test_a_killed_dispatcher_takes_nothing_with_it(queue, tmp_path):
    need("redis")
    words = ("runbackground", "--no-services", "--no-reload", "--no-scheduler")
    with celery(queue, "redis", "-c", "1"):
        with process(*words, settings=settings_of(queue)) as first:
            executed = tasks.wait_for_file.enqueue(str(tmp_path / "go"))
            begun()
            waits = tasks.note.enqueue()
            wait_until(lambda: run_of(waits).status == "running")  # sent, and behind the other
            first.send(signal.SIGKILL)
            first.popen.wait()
        with dispatching(queue):
            wait_until(lambda: run_of(waits).lost == 1)
            (tmp_path / "go").touch()
            executed, waits = ended(executed, waits)
    assert (executed.status, executed.lost) == ("succeeded", 0)
    assert (waits.status, waits.attempt) == ("succeeded", 1)
    assert sorted(Effect.objects.values_list("name", flat=True)) == ["note", "waited", "waits"]  # each once


def test_a_cancel_reaches_what_is_executed_and_what_waits_in_the_broker(queue):
    need("redis")
    with celery(queue, "redis", "-c", "1"), dispatching(queue):
        executed = tasks.listen.enqueue()
        begun("listens")
        waits = tasks.note.enqueue()
        wait_until(lambda: run_of(waits).status == "running")
        run_of(waits).cancel()
        (waits,) = ended(waits)
        run_of(executed).cancel(reason="not needed")
        (executed,) = ended(executed)
        ended(tasks.where.enqueue())  # behind both
    assert (executed.status, executed.end_reason) == ("cancelled", "not needed")
    assert waits.status == "cancelled" and not Effect.objects.filter(name="note").exists()


def test_while_the_broker_is_away_runs_stay_in_the_queue(queue, tmp_path, caplog, monkeypatch):
    need("redis")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setitem(celery_apps.BROKERS, "private", f"redis://127.0.0.1:{port}/0")
    monkeypatch.setattr(celery_apps, "private", celery_apps.make("private"))
    with dispatching(queue, "private"):
        runs = [tasks.note.enqueue() for _ in range(3)]
        wait_until(lambda: "broker is away" in caplog.text)
        wait_until(lambda: {run_of(one).status for one in runs} == {"ready"})
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", ""], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: is_there(port))
            with celery(queue, "private"):
                done = ended(*runs)
        finally:
            server.kill()
            server.wait()
    assert {(one.status, one.attempt) for one in done} == {("succeeded", 1)}
    told = [one.getMessage() for one in caplog.records if one.name == "background.contrib.celery"]
    assert len(told) == 2 and "is away, runs wait" in told[0] and "there again" in told[1]


def test_a_broker_that_refuses_the_login_is_as_one_that_is_away(queue, caplog, monkeypatch):
    need("rabbitmq")
    monkeypatch.setitem(celery_apps.BROKERS, "private", "amqp://guest:wrong@127.0.0.1:5672//")
    monkeypatch.setattr(celery_apps, "private", celery_apps.make("private"))
    with dispatching(queue, "private"):
        result = tasks.note.enqueue()
        wait_until(lambda: "ACCESS_REFUSED" in caplog.text)
        wait_until(lambda: run_of(result).status == "ready")
    assert run_of(result).attempt == 0


def test_what_nobody_takes_is_sent_anew_and_executed_once(queue, caplog):
    need("redis")
    with dispatching(queue, PATIENCE=1.0):
        waits = tasks.note.enqueue("nobody's business")
        wait_until(lambda: caplog.text.count("sent anew") >= 2, timeout=30)
    assert (run_of(waits).status, run_of(waits).attempt) == ("ready", 0)  # the host has stopped
    with celery_apps.redis.connection_for_read() as connection:
        sent = connection.default_channel.client.lrange(queue, 0, -1)
    assert len(sent) >= 2
    for message in sent:  # what the run is about is in the database only
        assert b"business" not in message and b"business" not in base64.b64decode(json.loads(message)["body"])
    with celery(queue) as worker, dispatching(queue):
        ended(waits)
        worker.wait_for_line("in other hands by now", count=len(sent))
    assert Effect.objects.filter(name="note").count() == 1


@pytest.mark.parametrize(("patience", "status"), [(300.0, "scheduled"), (0.0, "failed")], ids=["young", "older"])
def test_a_task_that_celerys_code_does_not_know_is_refused(queue, patience, status):
    need("redis")
    with celery(queue, discover=(), PATIENCE=patience), dispatching(queue):
        result = tasks.note.enqueue()
        wait_until(lambda: run_of(result).status == status, timeout=30)
    run = run_of(result)
    assert run.attempt == (status == "failed") and not Effect.objects.exists()
    assert run.error_type == ("background.exceptions.TaskNotFound" if status == "failed" else "")


def test_a_limit_of_runs_at_once_holds_over_all_processes(queue):
    need("redis")
    with celery(queue), dispatching(queue):
        runs = ended(*(tasks.hot_one.enqueue() for _ in range(12)))
    assert {one.status for one in runs} == {"succeeded"}
    times = sorted((one.started_at, one.finished_at) for one in runs)
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def test_a_process_of_celery_that_a_person_has_stopped_begins_anew(queue):
    need("redis")
    with celery(queue, "redis", "-c", "1"), dispatching(queue):
        ended(tasks.note.enqueue())
        mine = Host.objects.filter(name__startswith="celery:")
        mine.update(stop_requested_at=timezone.now())
        wait_until(lambda: mine.get().state == "stopped")
        (run,) = ended(tasks.note.enqueue())
        assert run.status == "succeeded" and mine.count() == 2


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("tests.contrib.celery_apps.redis", "no issues"),
        ("", "doesn't look like a module path"),
        ("tests.contrib.celery_apps.BROKERS", "which is no Celery app"),
    ],
)
def test_the_settings_are_checked(app, words):
    settings = {"EXECUTOR": DISPATCHER, "CELERY": {"APP": app}}
    env = {"DJANGO_SETTINGS_MODULE": "tests.contrib.celery_settings", "BACKGROUND_TEST_SETTINGS": json.dumps(settings)}
    done = manage("check", **env)
    assert words in done.stdout + done.stderr


def test_without_celery_the_part_says_what_to_install(monkeypatch):
    monkeypatch.setattr("background.contrib.celery.apps.find_spec", lambda name: None)
    with (
        pytest.raises(ImproperlyConfigured, match="pip install"),
        override_settings(INSTALLED_APPS=["background.contrib.celery"]),
    ):
        assert not installed.is_installed("background.contrib.celery")
