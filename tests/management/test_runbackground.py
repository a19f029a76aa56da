"""The command that hosts the services, as real processes."""

import json
import os
import re
import signal
import socket
import urllib.request

import pytest

from background.models import Host, Run, Service
from tests.app import background as tasks
from tests.app.models import Effect
from tests.processes import Process, is_alive, manage, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

STARTED = "services running"
QUICK = ("--no-services", "--no-reload")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_executes_runs_until_sigterm_and_ends_with_0():
    with Process("runbackground", *QUICK) as host:
        host.wait_for_line(STARTED)
        result = tasks.note.enqueue("hello")
        wait_until(lambda: Effect.objects.filter(note="hello").exists())
        assert host.stop() == 0, host.output

    row = Host.objects.get()
    assert (row.state, row.exit_code, row.stop_reason) == ("stopped", 0, "received SIGTERM")
    assert Run.objects.get(id=result.id).status == "succeeded"
    assert Traceback not in host.output


Traceback = "Traceback"


def test_ctrl_c_ends_it_cleanly_with_the_site_and_the_examples_running():
    port = free_port()
    with Process("runbackground", "--serve", f"127.0.0.1:{port}") as host:
        host.wait_for_line(STARTED)
        assert get(f"http://127.0.0.1:{port}/admin/login/")[0] == 200
        host.press_ctrl_c()
        assert host.wait() == 0, host.output
    assert Traceback not in host.output


def test_a_newcomer_gets_a_user_and_a_password_once():
    port = free_port()
    with Process("runbackground", *QUICK, "--serve", f"127.0.0.1:{port}") as host:
        host.wait_for_line(STARTED)
        line = host.wait_for_line("shown only once")
        host.stop()
    password = re.search(r"password (\S+)", line)[1]

    from django.contrib.auth import authenticate

    assert authenticate(username="admin", password=password).is_superuser
    with Process("runbackground", *QUICK, "--serve", f"127.0.0.1:{port}") as host:
        host.wait_for_line(STARTED)
        host.stop()
    assert "shown only once" not in host.output


def test_a_signal_in_the_midst_of_the_banner_still_ends_it_with_0():
    with Process("runbackground", *QUICK) as host:
        host.wait_for_line("host ")  # the first line of the banner
        assert host.stop() == 0, host.output
    assert Traceback not in host.output


def test_health_answers_on_its_own_address():
    port = free_port()
    with Process("runbackground", *QUICK, "--health", f"127.0.0.1:{port}") as host:
        host.wait_for_line(STARTED)
        assert get(f"http://127.0.0.1:{port}/livez") == (200, json.dumps({"status": "ok"}))
        assert get(f"http://127.0.0.1:{port}/readyz") == (200, json.dumps({"status": "ok"}))
        assert get(f"http://127.0.0.1:{port}/else")[0] == 404
        assert host.stop() == 0


def test_drain_executes_what_is_ready_and_ends_with_0():
    for number in range(5):
        tasks.note.enqueue(str(number))

    done = manage("runbackground", "--drain")

    assert done.returncode == 0, done.stderr
    assert Run.objects.succeeded().count() == 5
    assert not Service.objects.filter(engine=False).exists()


def test_max_runs_ends_the_host_after_so_many():
    for number in range(5):
        tasks.note.enqueue(str(number))

    done = manage("runbackground", *QUICK, "--no-scheduler", "--max-runs", "3")

    assert done.returncode == 0, done.stderr
    assert (Run.objects.succeeded().count(), Run.objects.ready().count()) == (3, 2)


def test_only_the_named_queues_are_served():
    tasks.note.using(queue_name="mail").enqueue("mail")
    tasks.note.enqueue("default")

    manage("runbackground", "--drain", "--queues", "mail")

    assert list(Effect.objects.values_list("note", flat=True)) == ["mail"]


def test_only_the_named_services_are_hosted():
    with Process("runbackground", "--services", "monitoring.SystemMonitor", "--no-worker", "--no-reload") as host:
        host.wait_for_line(STARTED)
        wait_until(lambda: Service.objects.filter(engine=False, state="running").exists())
        host.stop()
    assert list(Service.objects.filter(engine=False).values_list("name", flat=True)) == ["monitoring.SystemMonitor"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--services", "nope"], "There is no service 'nope'; known are: "),
        (["--queues", "nope"], "No queue is named 'nope'"),
        (["--serve", "8000x"], "is not HOST:PORT"),
        (["--concurrency", "0"], "is not a whole number from 1"),
        (["--services", "monitoring.SystemMonitor", "--no-services"], "contradict each other"),
    ],
)
def test_a_wrong_flag_gets_one_clear_sentence(arguments, sentence):
    done = manage("runbackground", "--no-reload", *arguments)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert Traceback not in done.stderr


def test_an_address_in_use_gets_one_clear_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = manage("runbackground", *QUICK, "--serve", f"127.0.0.1:{taken.getsockname()[1]}")

    assert done.returncode == 1
    assert "cannot be served" in done.stderr


def test_missing_migrations_refuse_the_start_unless_they_are_to_be_applied(tmp_path):
    database = f"sqlite:///{tmp_path}/empty.sqlite3"

    done = manage("runbackground", *QUICK, "--drain", DATABASE_URL=database, BACKGROUND_TEST_DATABASE="as given")
    assert done.returncode == 1
    assert "migrations are not applied" in done.stderr
    assert Traceback not in done.stderr

    done = manage(
        "runbackground", *QUICK, "--drain", "--migrate", DATABASE_URL=database, BACKGROUND_TEST_DATABASE="as given"
    )
    assert done.returncode == 0, done.stderr


def test_worker_processes_execute_and_a_killed_one_is_replaced():
    with Process("runbackground", *QUICK, "--processes", "2") as host:
        host.wait_for_line("services running", count=3)
        children = wait_until(lambda: list(Host.objects.filter(parent__isnull=False, state="running")))
        os.kill(children[0].pid, signal.SIGKILL)
        host.wait_for_line("died with exit code -9")
        tasks.note.enqueue("after")
        wait_until(lambda: Effect.objects.filter(note="after").exists())
        host.wait_for_line("services running", count=4)
        assert host.stop() == 0, host.output
    assert Host.objects.get(id=children[0].id).state == "lost"
    assert not Host.objects.live().exists()


def test_sigterm_to_the_whole_group_as_systemd_sends_it_is_one_wish():
    with Process("runbackground", *QUICK, "--processes", "2") as host:
        host.wait_for_line("services running", count=3)
        children = list(Host.objects.filter(parent__isnull=False))
        for pid in [*(child.pid for child in children), host.pid]:
            os.kill(pid, signal.SIGTERM)
        assert host.wait() == 0, host.output
    assert {child.exit_code for child in Host.objects.all()} == {0}


def test_worker_processes_end_when_their_parent_is_killed():
    with Process("runbackground", *QUICK, "--processes", "2") as host:
        host.wait_for_line("services running", count=3)
        pids = list(Host.objects.filter(parent__isnull=False).values_list("pid", flat=True))
        host.send(signal.SIGKILL)
        host.popen.wait(5)
        wait_until(lambda: not any(is_alive(pid) for pid in pids), timeout=3)
    assert len(pids) == 2


def test_changed_code_restarts_the_host(tmp_path):
    module = tmp_path / "watched_module.py"
    module.write_text("VALUE = 1\n")
    with Process(
        "runbackground", "--no-services", "--reload", PYTHONPATH=str(tmp_path), BACKGROUND_TEST_IMPORT="watched_module"
    ) as host:
        host.wait_for_line(STARTED)
        first = Host.objects.get()
        stat = module.stat()
        os.utime(module, (stat.st_atime, stat.st_mtime + 10))
        host.wait_for_line(STARTED, count=2)
        assert Host.objects.get(id=first.id).state == "stopped"
        second = Host.objects.live().get()
        os.kill(host.pid, signal.SIGTERM)
        assert host.wait() == 0, host.output
    assert second.pid != first.pid
