"""The host's conversation with systemd, over a real socket."""

import os
import socket

import pytest

from background.host.signals import notify, watchdog_interval
from tests.processes import Process

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = ("runbackground", "--no-services", "--no-worker", "--no-scheduler", "--no-reload")


class Listener:
    """systemd's end."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(20)
        self.heard = []

    def wait_for(self, text):
        """Return the message in which this line came."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            self.heard += lines
            if any(line.startswith(text) for line in lines):
                return lines


@pytest.fixture
def listener(tmp_path):
    one = Listener(str(tmp_path / "notify"))
    yield one
    one.socket.close()


def test_systemd_hears_that_the_host_is_ready_lives_and_stops(listener, tmp_path):
    with Process(*QUICK, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000") as host:
        assert "STATUS=0 services running" in listener.wait_for("READY=1")
        listener.wait_for("WATCHDOG=1")
        assert "STATUS=0 services running" in listener.wait_for("WATCHDOG=1")
        host.send()
        assert "STATUS=stopping: received SIGTERM" in listener.wait_for("STOPPING=1")
        assert host.wait() == 0, host.output
    assert listener.heard.count("READY=1") == 1


def test_the_watchdog_of_another_process_is_not_fed(listener, tmp_path):
    with Process(*QUICK, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="100000", WATCHDOG_PID="1") as host:
        listener.wait_for("READY=1")
        host.send()
        listener.wait_for("STOPPING=1")
        host.wait()
    assert "WATCHDOG=1" not in listener.heard


def test_an_abstract_address_is_understood(monkeypatch):
    name = f"background-test-{os.getpid()}"
    listener = Listener(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    assert notify("STATUS=ä")
    assert listener.wait_for("STATUS") == ["STATUS=ä"]
    listener.socket.close()


def test_without_systemd_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


def test_a_socket_that_is_gone_or_full_harms_nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nowhere"))
    assert not notify("READY=1")
    listener = Listener(str(tmp_path / "full"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "full"))
    while notify("STATUS=again"):
        pass
    listener.socket.close()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", None, 15.0), ("30000000", "own", 15.0), ("30000000", "1", None), ("", None, None), ("x", None, None)],
)
def test_the_watchdog_interval_is_half_of_what_systemd_allows(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is None:
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
    else:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_interval() == seconds
