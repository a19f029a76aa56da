"""`runbackground --serve`: the site's server inside the host, its orderly end, and its restart with changed code."""

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request

import pytest

from background.models import Host, Run
from tests.app import background as tasks
from tests.app.models import Effect
from tests.processes import Process, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

STARTED = "services running"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def port():
    return free_port()


def serve(port, *flags, settings=None, **env):
    return Process(
        "runbackground", "--no-services", "--serve", f"127.0.0.1:{port}", *flags,
        DJANGO_SETTINGS_MODULE="tests.web.serving",
        BACKGROUND_TEST_SETTINGS=json.dumps({"POLL_INTERVAL": 0.2, **(settings or {})}),
        **env,
    )  # fmt: skip


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.status, answer.read().decode()


def is_refused(port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Request(threading.Thread):
    """A request in a thread of its own; `answer` is what came of it."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.answer = url, None
        self.start()

    def run(self):
        try:
            self.answer = get(self.url)
        except OSError as error:
            self.answer = error


@pytest.mark.parametrize(
    ("flags", "end"),
    [(["--no-reload"], "SIGTERM"), (["--no-reload"], "Ctrl-C"), (["--reload"], "SIGTERM"), (["--reload"], "Ctrl-C")],
)
def test_a_stop_refuses_new_requests_finishes_those_that_are_answered_and_then_the_runs(port, tmp_path, flags, end):
    gate = tmp_path / "gate"
    with serve(port, *flags) as host:
        host.wait_for_line(STARTED)
        tasks.tell_order.enqueue()
        wait_until(lambda: Run.objects.running().exists())
        request = Request(f"http://127.0.0.1:{port}/slow?gate={gate}")
        host.wait_for_line("slow begun")

        host.press_ctrl_c() if end == "Ctrl-C" else host.send()
        wait_until(lambda: is_refused(port))
        assert request.is_alive()
        gate.touch()

        request.join(60)
        assert request.answer == (200, "succeeded")  # the run that it asked for was executed meanwhile
        assert host.wait() == 0, host.output
    assert list(Effect.objects.filter(name="order").order_by("id").values_list("note", flat=True)) == [
        "answered",
        "run told",
    ]
    assert not Run.objects.open().exists()
    assert "Traceback" not in host.output


def test_a_request_that_does_not_end_is_cut_off_and_the_stop_ends_in_time(port, tmp_path):
    with serve(port, "--no-reload", settings={"SHUTDOWN_TIMEOUT": 4}) as host:
        host.wait_for_line(STARTED)
        run = tasks.tell_order.enqueue()
        wait_until(lambda: Run.objects.running().exists())
        request = Request(f"http://127.0.0.1:{port}/slow?gate={tmp_path / 'never'}")
        host.wait_for_line("slow begun")
        code = host.stop(timeout=30)
        request.join(30)
    assert code == 5, host.output
    assert isinstance(request.answer, (OSError, urllib.error.URLError))
    assert "a thread of background.web did not end" in host.output
    assert Run.objects.get(pk=run.id).status == "succeeded"  # and runs had their time
    assert Host.objects.get().exit_code == 5


def test_static_files_and_coroutines_are_served(port):
    with serve(port, "--no-reload") as host:
        host.wait_for_line(STARTED)
        for path in ("admin/css/base.css", "background/admin.js"):
            status, text = get(f"http://127.0.0.1:{port}/static/{path}")
            assert status == 200 and text
        assert get(f"http://127.0.0.1:{port}/quick") == (200, "quick")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"http://127.0.0.1:{port}/static/not/there.css")
        assert host.stop() == 0, host.output


def test_changed_code_restarts_host_and_server_and_cuts_no_request_off(port, tmp_path):
    module, gate = tmp_path / "watched_module.py", tmp_path / "gate"
    module.write_text("VALUE = 1\n")
    with serve(port, "--reload", PYTHONPATH=str(tmp_path), BACKGROUND_TEST_IMPORT="watched_module") as host:
        host.wait_for_line(STARTED)
        first = Host.objects.get()
        request = Request(f"http://127.0.0.1:{port}/slow?gate={gate}")
        host.wait_for_line("slow begun")
        stat = module.stat()
        os.utime(module, (stat.st_atime, stat.st_mtime + 10))
        host.wait_for_line("changed: restart")
        gate.touch()
        request.join(60)
        assert request.answer == (200, "succeeded")

        host.wait_for_line(STARTED, count=2)
        assert get(f"http://127.0.0.1:{port}/quick") == (200, "quick")
        second = Host.objects.live().get()
        assert host.stop(signal.SIGTERM) == 0, host.output
    assert second.pid != first.pid
    assert "cannot be served" not in host.output
