"""What the room shows while a host dies, or the database is away."""

import json
import os
import re
import signal

import pytest
from playwright.sync_api import expect

from background.host import Options
from background.models import Run
from background.testing import run_host
from tests.app import background as tasks
from tests.browser.conftest import watched
from tests.chaos.servers import PostgreSQL, free_port
from tests.processes import Process, manage, wait_until

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


SESSION = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_superuser("ana"))
print("session", client.cookies["sessionid"].value)
"""


@pytest.fixture
def database():
    """A PostgreSQL of the test's own, and the environment of a site that uses it."""
    if PostgreSQL.missing():
        pytest.skip("the programs to start a database server of our own are not installed")
    server = PostgreSQL()
    try:
        server.start()
        environment = {"DATABASE_URL": f"postgres://root@127.0.0.1:{server.port}/{server.template}"}
        wait_until(lambda: manage("migrate", "-v0", **environment).returncode == 0, timeout=60)
        yield server, environment
    finally:
        server.remove()


@pytest.mark.slow
def test_while_the_database_is_away_panels_keep_their_figures_and_come_back_by_themselves(new_context, at, database):
    server, environment = database
    cookie = manage("shell", "-c", SESSION, **environment).stdout.split("session ")[1].strip()
    here = f"http://127.0.0.1:{free_port()}"
    with Process("runbackground", "--no-reload", "--serve", here.removeprefix("http://"), **environment) as host:
        host.wait_for_line("services running", timeout=40)
        context, complaints = new_context(), []
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": here}])
        page = watched(context.new_page(), complaints)
        page.goto(here + at("dashboard_changelist") + "?live=2")
        note, parts = page.locator(".bg-live-note"), page.locator("#bg-panel-parts")
        expect(note).to_have_text(re.compile(r"^as of \d\d:\d\d:\d\d"), timeout=20_000)
        server.stop(crash=True)
        expect(note).to_have_text(re.compile(r"^as of \d\d:\d\d:\d\d .*retrying$"), timeout=20_000)
        figures = parts.text_content()
        page.wait_for_timeout(10_000)
        assert len(figures) > 50 and parts.text_content() == figures and "Traceback" not in page.content()
        server.start()
        expect(note).to_have_text(re.compile(r"^as of \d\d:\d\d:\d\d \w+$"), timeout=90_000)
        assert not [
            one for one in complaints if not re.search(r"\b(50\d|404)\b", one)
        ]  # the site's answers, no errors of scripts
        assert host.stop() == 0, host.output
