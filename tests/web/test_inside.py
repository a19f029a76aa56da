"""A host that lives inside the processes of a web server: its start, its stop, and who takes over."""

import json
import os
import signal
import socket
import urllib.request

import pytest

from background.models import Host, Lease, Run
from background.web.inside import HostInside
from tests.app import background as tasks
from tests.app.models import Effect
from tests.processes import Process, is_alive, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

QUICK = json.dumps({"HEARTBEAT_INTERVAL": 0.5, "HOST_TIMEOUT": 3, "POLL_INTERVAL": 0.2, "SHUTDOWN_TIMEOUT": 8})
APP = "tests.web.served:asgi"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def served(program, *arguments, inside=None, **env):
    return Process(
        *map(str, arguments),
        program=("-m", program),
        BACKGROUND_TEST_SETTINGS=QUICK,
        BACKGROUND_TEST_INSIDE=json.dumps(inside or {}),
        **env,
    )


def uvicorn(port, *more, app=APP, **inside):
    return served("uvicorn", app, "--port", port, "--log-level", "info", *more, inside=inside)


SERVERS = {
    "uvicorn": lambda port: uvicorn(port),
    "hypercorn": lambda port: served("hypercorn", APP, "--bind", f"127.0.0.1:{port}"),
    "granian": lambda port: served("granian", "--interface", "asgi", "--port", port, APP),
    "gunicorn": lambda port: served(
        "gunicorn", "tests.web.served:wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "2",
        "--config", "python:background.web.gunicorn", "--graceful-timeout", "15",
    ),
}  # fmt: skip


def is_serving(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/login/", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def hosts():
    return Host.objects.live().filter(state="running")


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_server_with_a_host_inside_executes_runs_and_ends_both_in_order(name):
    port = free_port()
    with SERVERS[name](port) as server:
        wait_until(lambda: is_serving(port), timeout=30)
        wait_until(lambda: hosts().exists())
        run_id = tasks.note.enqueue("inside").id
        wait_until(lambda: Run.objects.get(pk=run_id).status == "succeeded")

        code = server.stop()

    assert code in (0, -signal.SIGTERM), server.output  # some servers end by the signal itself
    assert [(host.state, host.exit_code) for host in Host.objects.all()] == [("stopped", 0)]
    assert "Traceback" not in server.output


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_what_runs_when_the_server_stops_is_finished_or_handed_back(name):
    port = free_port()
    with SERVERS[name](port) as server:
        wait_until(lambda: hosts().exists(), timeout=30)
        tasks.wait_for_stop.enqueue()
        wait_until(lambda: Run.objects.running().exists())

        server.stop()

    run = Run.objects.get()
    assert (run.status, run.attempt) in [("ready", 0), ("succeeded", 1)]


def test_a_host_that_cannot_start_keeps_the_server_from_starting():
    with uvicorn(free_port(), services=["unstartable"]) as server:
        assert server.wait() != 0
    assert (
        "The host inside this server did not start: could not start: on_start of service unstartable failed"
        in server.output
    )


def test_missing_migrations_keep_the_server_from_starting(tmp_path):
    with served(
        "uvicorn", APP, "--port", free_port(), BACKGROUND_TEST_FOLDER=str(tmp_path), DATABASE_URL="sqlite://"
    ) as server:
        assert server.wait() != 0
    assert "migrations are not applied: run `python manage.py migrate` first." in server.output


def test_a_host_that_fails_takes_its_server_with_it():
    with uvicorn(free_port(), services=["vital"]) as server:
        server.wait_for_line("Application startup complete")
        server.wait(timeout=30)
    assert "the host ended with exit code 4: the server around it ends as well" in server.output
    assert Host.objects.get().exit_code == 4


def test_the_lifespan_of_the_application_inside_goes_on_working():
    with uvicorn(free_port(), app="tests.web.served:around") as server:
        server.wait_for_line("inner startup")
        wait_until(lambda: hosts().exists())
        server.stop()
    assert [line for line in server.lines if line.startswith("inner")] == ["inner startup", "inner shutdown"]
    assert Host.objects.get().state == "stopped"


def test_of_the_processes_of_a_machine_one_hosts_and_another_takes_over():
    port = free_port()
    with uvicorn(port, "--workers", "3", one_per="machine") as server:
        wait_until(lambda: is_serving(port), timeout=30)
        first = wait_until(lambda: hosts().first(), timeout=30)
        os.kill(first.pid, signal.SIGKILL)

        second = wait_until(lambda: hosts().exclude(pk=first.pk).first(), timeout=30)

        assert second.pid != first.pid
        wait_until(lambda: Host.objects.get(pk=first.pk).state == "lost")
        assert hosts().count() == 1
        server.stop()
    assert not hosts().exists()
    assert not is_alive(second.pid)


def test_a_host_whose_machine_has_another_one_by_now_stops_and_stands_by(settings):
    settings.BACKGROUND = json.loads(QUICK)
    inside = HostInside("machine", services=[])
    inside.start()
    try:
        first = wait_until(lambda: hosts().first())
        lease = Lease.objects.get(name__startswith="machine:")
        Lease.objects.filter(pk=lease.pk).update(holder=first.pk)  # somebody else

        wait_until(lambda: Host.objects.get(pk=first.pk).state == "stopped")
        assert "another process" in Host.objects.get(pk=first.pk).stop_reason
        Lease.objects.filter(pk=lease.pk).update(holder=None)  # and gone again
        wait_until(lambda: hosts().exclude(pk=first.pk).exists())
    finally:
        assert inside.stop() == 0
    assert Effect.objects.count() == 0


def test_one_per_is_a_process_or_a_machine():
    with pytest.raises(ValueError, match="one_per is"):
        HostInside("site")
