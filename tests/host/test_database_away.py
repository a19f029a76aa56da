"""A database that is away, at the start and while the host runs."""

import json
import logging
import re
import signal
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from django.db import connection, connections

import background
from background.models import Host, Service
from background.testing import run_host
from tests.app import background as tasks
from tests.app.models import Effect
from tests.processes import Process, database_url, manage, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = ("runbackground", "--no-services", "--no-reload")
SETTINGS = {"HEARTBEAT_INTERVAL": 0.3, "POLL_INTERVAL": 0.2, "SHUTDOWN_TIMEOUT": 5}
Traceback = "Traceback"


class Proxy:
    """A way to the real server that can be closed and opened."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        conf = connection.settings_dict
        self.server = (conf["HOST"] or "127.0.0.1", int(conf["PORT"] or 5432))
        self.door = None
        self.pairs = []

    def open(self):
        self.door = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self.door,), daemon=True).start()

    def _accept(self, door):
        with suppress(OSError):
            while True:
                near, _ = door.accept()
                far = socket.create_connection(self.server)
                self.pairs += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Refuse new connections and cut those there are."""
        if self.door is not None:
            with suppress(OSError):
                self.door.shutdown(socket.SHUT_RDWR)
            self.door.close()
            self.door = None
        pairs, self.pairs = self.pairs, []
        for end in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def proxy():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server")
    if connection.vendor != "postgresql":
        pytest.skip("the proxy speaks to PostgreSQL only")
    one = Proxy()
    yield one
    one.close()


def through(proxy):
    return re.sub(r":\d+/", f":{proxy.port}/", database_url())


def settings(**more):
    return json.dumps({**SETTINGS, **more})


def test_the_host_waits_for_its_database_says_so_and_gives_up_in_order(proxy):
    done = manage(*QUICK, DATABASE_URL=through(proxy), BACKGROUND_TEST_SETTINGS=settings(STARTUP_TIMEOUT=1))

    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert output.count("waiting up to 1 s for the database") == 1
    assert "did not answer within 1 s (STARTUP_TIMEOUT)" in output
    assert Traceback not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_host_waits_for_its_database_ends_it_with_0(proxy, number):
    with Process(*QUICK, DATABASE_URL=through(proxy), BACKGROUND_TEST_SETTINGS=settings(STARTUP_TIMEOUT=60)) as host:
        host.wait_for_line("waiting up to 60 s for the database")
        assert host.stop(number) == 0, host.output
    assert Traceback not in host.output


def test_the_host_starts_when_its_database_comes(proxy):
    with Process(*QUICK, DATABASE_URL=through(proxy), BACKGROUND_TEST_SETTINGS=settings(STARTUP_TIMEOUT=60)) as host:
        host.wait_for_line("waiting up to 60 s for the database")
        proxy.open()
        host.wait_for_line("services running")
        wait_until(lambda: Host.objects.filter(state="running").exists())
        assert host.stop() == 0, host.output
    assert Traceback not in host.output


@pytest.mark.parametrize("service", ["app.Lone"])
def test_a_process_whose_database_goes_away_waits_says_so_once_and_goes_on(proxy, service):
    proxy.open()
    arguments = ("runbackground", "--services", service, "--no-reload")
    with Process(*arguments, DATABASE_URL=through(proxy), BACKGROUND_TEST_SETTINGS=settings()) as host:
        host.wait_for_line("services running")
        proxy.close()
        host.wait_for_line("the host waits for the database")
        proxy.open()
        host.wait_for_line("the host has the database again")
        tasks.note.enqueue("after")
        wait_until(lambda: Effect.objects.filter(note="after").exists())
        assert host.stop() == 0, host.output
    assert host.output.count("the host waits for the database") == 1
    assert Traceback not in host.output
    assert Service.objects.get(name=service).error == ""


def test_a_host_that_stops_while_its_database_is_away_ends_in_time(proxy):
    proxy.open()
    with Process(*QUICK, DATABASE_URL=through(proxy), BACKGROUND_TEST_SETTINGS=settings()) as host:
        host.wait_for_line("services running")
        proxy.close()
        host.wait_for_line("the host waits for the database")
        host.send()
        host.wait(8)
    assert Traceback not in host.output


class Ticks(background.PeriodicService):
    schedule = background.every(seconds=0.05)

    def __init__(self):
        self.good = self.bad = 0

    def tick(self, scope):
        self.bad += 1
        Effect.objects.count()
        self.bad -= 1
        self.good += 1


@contextmanager
def all_connections_through(proxy):
    """Have all threads but this one use the proxy."""
    conf = connections.settings["default"]
    before = conf["PORT"]
    connection.ensure_connection()
    conf["PORT"] = str(proxy.port)
    try:
        yield
    finally:
        conf["PORT"] = before


def test_a_host_without_its_database_is_not_ready_until_it_is_back(proxy, caplog):
    proxy.open()
    caplog.set_level(logging.INFO, "background")
    with all_connections_through(proxy), run_host(Ticks) as host:
        ticks = host.service("tests.Ticks").service
        host.wait_for(lambda: ticks.good)
        assert host.host.unready() == []
        proxy.close()
        host.wait_for(lambda: "database away" in host.host.unready())
        host.wait_for(lambda: ticks.bad)
        proxy.open()
        host.wait_for(lambda: host.host.unready() == [])
        good = ticks.good
        host.wait_for(lambda: ticks.good > good)
        host.wait_for(lambda: all(one.state == "running" for one in host.host.services))
    assert host.exit_code == 0
    assert caplog.text.count("the host waits for the database") == 1
