"""A person pauses a service: it rests on every host, over restarts, until it is resumed; and its starts are kept."""

import threading
from types import SimpleNamespace

import pytest

import background
from background.engine.pauses import pause_service, paused_services, resume_service
from background.host.command import command_line
from background.models import Host, Service, ServicePause, ServiceStart
from background.queue.rescue import declare_lost
from background.testing import run_host
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ADA = SimpleNamespace(get_username=lambda: "ada")
WAITS = "tests.Waits"


class Waits(background.BackgroundService):
    starts = 0

    def execute(self, stop):
        type(self).starts += 1
        stop.wait()


class Only(Waits):
    singleton = True


class Once(background.BackgroundService):
    starts = 0

    def execute(self, stop):
        type(self).starts += 1


class Breaks(background.BackgroundService):
    backoff = background.Backoff(0.01, 0.01)
    mended = threading.Event()

    def execute(self, stop):
        if not self.mended.is_set():
            raise LookupError("broken\nsecond line")
        stop.wait()


def becomes(name, state, count=1):
    wait_until(lambda: Service.objects.filter(name=name, state=state, host__state="running").count() == count)


def test_a_pause_is_obeyed_by_every_host_and_survives_a_restart():
    with run_host(Waits), run_host(Waits):
        becomes(WAITS, "running", 2)
        pause_service(WAITS, ADA, "feed is down")
        becomes(WAITS, "paused", 2)
    pause = ServicePause.objects.get()
    assert (pause.paused_by, pause.paused_reason, pause.paused_at is None) == ("ada", "feed is down", False)
    Waits.starts = 0
    with run_host(Waits) as host:
        becomes(WAITS, "paused")
        assert Waits.starts == 0 and host.exit_code is None
        resume_service(WAITS)
        becomes(WAITS, "running")
        assert Waits.starts == 1 and not paused_services()
    assert host.exit_code == 0


def test_what_is_paused_cannot_be_started_on_one_host():
    pause_service(WAITS)
    with run_host(Waits) as host:
        becomes(WAITS, "paused")
        for verb in ("start", "restart", "tick"):
            Service.objects.get(name=WAITS).request(verb)
            host.wait_for(lambda: Service.objects.get(name=WAITS).request_verb == "")
        becomes(WAITS, "paused")


def test_a_paused_singleton_gives_its_lease_back_and_takes_it_again():
    with run_host(Only) as host:
        becomes("tests.Only", "running")
        pause_service("tests.Only")
        becomes("tests.Only", "paused")
        assert not host.service("tests.Only").lease.is_held
        resume_service("tests.Only")
        becomes("tests.Only", "running")


def test_a_service_that_crashes_in_a_circle_is_heard_of_and_paused_all_the_same():
    Breaks.mended.clear()
    with run_host(Breaks):
        wait_until(lambda: Service.objects.filter(name="tests.Breaks", restarts__gte=30).exists())
        pause_service("tests.Breaks")
        becomes("tests.Breaks", "paused")
        Breaks.mended.set()
        resume_service("tests.Breaks")
        becomes("tests.Breaks", "running")


def test_a_pause_does_not_repeat_what_had_ended_by_itself():
    with run_host(Once) as host:
        becomes("tests.Once", "stopped")
        began = Once.starts
        pause_service("tests.Once")
        host.wait_for(lambda: host.service("tests.Once").held)
        resume_service("tests.Once")
        host.wait_for(lambda: not host.service("tests.Once").held)
        assert host.service("tests.Once").state == "stopped" and Once.starts == began


def test_each_start_is_kept_with_its_end_and_the_reason():
    with run_host(Waits):
        becomes(WAITS, "running")
        Service.objects.get(name=WAITS).request("restart")
        wait_until(lambda: ServiceStart.objects.filter(reason="restarted").exists())
        becomes(WAITS, "running")
        pause_service(WAITS)
        becomes(WAITS, "paused")
        resume_service(WAITS)
        becomes(WAITS, "running")
    told = list(ServiceStart.objects.order_by("started_at").values_list("reason", "restart", "error"))
    assert told == [("restarted", 0, ""), ("paused", 1, ""), ("host", 1, "")]
    assert all(one.ended_at > one.started_at for one in ServiceStart.objects.all())
    assert set(ServiceStart.objects.values_list("name", flat=True)) == {WAITS}, "not those of the engine"


def test_a_failed_start_tells_its_error_and_the_oldest_give_way(monkeypatch):
    monkeypatch.setattr(ServiceStart, "KEPT", 3)
    Breaks.mended.clear()
    with run_host(Breaks):
        wait_until(lambda: Service.objects.filter(name="tests.Breaks", restarts__gte=6).exists())
        Breaks.mended.set()
        becomes("tests.Breaks", "running")
    rows = list(ServiceStart.objects.order_by("-started_at"))
    assert len(rows) == 3 and rows[0].reason == "host"
    assert (rows[1].reason, rows[1].error) == ("failed", "LookupError: broken\nsecond line")


def test_the_starts_of_a_lost_host_end_with_its_last_sign_of_life():
    with run_host(Waits):
        becomes(WAITS, "running")
        wait_until(lambda: ServiceStart.objects.filter(ended_at=None).exists())
        host = Host.objects.get()
        later = host.heartbeat_at.replace(year=host.heartbeat_at.year + 1)
        while not declare_lost(later):  # it may have spoken in between
            continue
        start = ServiceStart.objects.order_by("started_at").first()
        assert (start.reason, start.ended_at <= later) == ("lost", True)


def test_a_command_line_is_told_without_what_is_secret():
    said = command_line(
        ["/srv/manage.py", "runbackground", "--api-key=k1", "--password", "p2", "--name", "a b", "postgres://u:p3@db/x"]
    )
    assert (
        said == "manage.py runbackground --api-key=[hidden] --password [hidden] --name 'a b' 'postgres://[hidden]@db/x'"
    )
    assert command_line(["x", "--token", "--queues", "mail"]) == "x --token --queues mail"


def test_the_row_of_a_host_bears_its_command():
    with run_host(Waits):
        assert Host.objects.get().command
