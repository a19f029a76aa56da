"""What the room shows while a host dies."""

import json
import os
import re
import signal

from playwright.sync_api import expect

from background.host import Options
from background.models import Run
from background.testing import run_host
from tests.app import background as tasks
from tests.processes import Process, wait_until

SETTINGS = {"HEARTBEAT_INTERVAL": 0.3, "POLL_INTERVAL": 0.1, "HOST_TIMEOUT": 4}
QUICK = ("runbackground", "--no-services", "--no-scheduler", "--no-reload", "--queues", "mail", "--name", "doomed")


def test_a_killed_host_is_listed_and_its_run_is_ready_again_with_the_host_named(sign_in, at, tmp_path):
    run = tasks.wait_for_file.using(queue_name="mail").enqueue(str(tmp_path / "never"))
    with (
        run_host(options=Options(name="witness", queues=("default",)), HOST_TIMEOUT=4),
        Process(*QUICK, BACKGROUND_TEST_SETTINGS=json.dumps(SETTINGS)) as doomed,
    ):
        wait_until(lambda: Run.objects.filter(pk=run.id, status="running").exists(), timeout=40)
        page, other = (sign_in(name=name) for name in ("ana", "bob"))
        page.goto(at("dashboard_changelist"))
        other.goto(at("run_change", run.id))
        expect(other.locator("#run-state .bg-head")).to_contain_text("running")
        os.kill(doomed.pid, signal.SIGKILL)
        expect(page.locator("#bg-panel-attention")).to_contain_text(
            re.compile("nobody serves|no live host serves|silent", re.I), timeout=30_000
        )
        expect(other.locator("#run-state .bg-head")).to_contain_text("ready", timeout=30_000)
        expect(other.locator("#run-state")).to_contain_text("doomed")
