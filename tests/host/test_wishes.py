"""What a person wishes of a service or a host is a row, and obeyed within two seconds."""

import time
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db.models.functions import Now

import background
from background.dialects import dialect
from background.models import Host, Lease, Service
from background.testing import run_host
from tests.app import background as tasks
from tests.app.models import Effect
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 2.0
ADA = SimpleNamespace(get_username=lambda: "ada")


class Waits(background.BackgroundService):
    def __init__(self):
        self.starts = 0

    def on_start(self):
        self.starts += 1

    def execute(self, stop):
        stop.wait()
        self.reason = stop.reason


class AWaits(Waits):
    async def execute(self, stop):
        await stop.sleep()
        self.reason = stop.reason


class Ticks(background.PeriodicService):
    schedule = background.every(hours=1)

    def __init__(self):
        self.ticks = 0

    def tick(self, scope):
        self.ticks += 1


class Breaks(Waits):
    backoff = background.Backoff(60, 60)
    broken = True

    def execute(self, stop):
        if self.broken:
            raise LookupError("broken")
        super().execute(stop)


class Only(Waits):
    singleton = True


class OnlyTicks(Ticks):
    singleton = True


def row(name):
    return wait_until(lambda: Service.objects.filter(name=name, host__state="running").first())


def wish(name, verb, user=None):
    row(name).request(verb, user)


def becomes(name, state, **more):
    """Wait until the row says so; fails unless it does so soon."""
    return wait_until(lambda: Service.objects.filter(name=name, state=state, **more).first(), timeout=SOON + 1)


def taken_by_another(name):
    Lease.objects.create(name=f"service:{name}", holder=uuid.uuid4(), expires_at=dialect().now() + timedelta(hours=1))


@pytest.mark.parametrize("service", [Waits, AWaits])
def test_stop_and_start_are_obeyed(service):
    name = service.get_name()
    with run_host(service) as host:
        one = host.service(name)
        host.wait_for(lambda: row(name).state == "running")
        began = time.monotonic()
        wish(name, "stop", ADA)
        stopped = becomes(name, "stopped")
        assert time.monotonic() - began < SOON
        assert (stopped.request_verb, stopped.error) == ("", "")
        assert one.service.reason == "stop asked by ada"
        wish(name, "start")
        becomes(name, "running")
        assert one.service.starts == 2
    assert host.exit_code == 0


@pytest.mark.parametrize("service", [Waits, AWaits])
def test_restart_is_obeyed_and_counted(service):
    name = service.get_name()
    with run_host(service) as host:
        host.wait_for(lambda: row(name).state == "running")
        wish(name, "restart")
        becomes(name, "running", restarts=1)
        assert host.service(name).service.starts == 2


def test_restart_starts_what_had_stopped():
    with run_host(Waits) as host:
        wish("tests.Waits", "stop")
        becomes("tests.Waits", "stopped")
        wish("tests.Waits", "restart")
        becomes("tests.Waits", "running")
        assert host.service("tests.Waits").service.starts == 2


def test_start_of_what_runs_changes_nothing():
    with run_host(Waits) as host:
        wish("tests.Waits", "start")
        host.wait_for(lambda: row("tests.Waits").request_verb == "")
        assert host.service("tests.Waits").state == "running"
        assert host.service("tests.Waits").service.starts == 1


def test_tick_makes_a_periodic_service_tick_now():
    with run_host(Ticks) as host:
        wish("tests.Ticks", "tick", ADA)
        host.wait_for(lambda: host.service("tests.Ticks").service.ticks == 1, timeout=SOON)
        becomes("tests.Ticks", "running", iterations=1)


def test_tick_means_nothing_to_a_service_that_does_not_tick():
    with run_host(Waits) as host:
        wish("tests.Waits", "tick")
        host.wait_for(lambda: row("tests.Waits").request_verb == "")
        assert host.service("tests.Waits").state == "running"


def test_a_wish_to_start_ends_the_backoff():
    with run_host(Breaks) as host:
        waiting = becomes("tests.Breaks", "backoff")
        assert waiting.next_start_at is not None and "LookupError: broken" in waiting.error
        host.service("tests.Breaks").service.broken = False
        wish("tests.Breaks", "start")
        running = becomes("tests.Breaks", "running")
        assert (running.restarts, running.next_start_at) == (1, None)


@pytest.mark.parametrize(("verb", "state"), [("stop", "stopped"), ("restart", "running")])
def test_a_wish_in_backoff_is_obeyed(verb, state):
    with run_host(Breaks) as host:
        becomes("tests.Breaks", "backoff")
        host.service("tests.Breaks").service.broken = False
        wish("tests.Breaks", verb)
        becomes("tests.Breaks", state)


def test_a_start_hook_of_a_service_in_backoff_does_not_delay_the_host():
    class Hooked(Breaks):
        def on_started(self):
            Effect.objects.create(name="on_started")

        on_stopping = on_started

    began = time.monotonic()
    with run_host(Hooked):
        becomes("tests.Hooked", "backoff")
    assert time.monotonic() - began < 8
    assert Effect.objects.count() == 2


def test_a_standing_by_service_can_be_stopped_and_started():
    taken_by_another("tests.Only")
    with run_host(Only) as host:
        becomes("tests.Only", "standby")
        wish("tests.Only", "stop")
        becomes("tests.Only", "stopped")
        Lease.objects.all().delete()
        wish("tests.Only", "start")
        becomes("tests.Only", "running")
        assert host.service("tests.Only").service.starts == 1


def test_a_standing_by_service_that_is_restarted_stands_by():
    taken_by_another("tests.Only")
    with run_host(Only) as host:
        becomes("tests.Only", "standby")
        wish("tests.Only", "restart")
        host.wait_for(lambda: row("tests.Only").request_verb == "")
        Lease.objects.all().delete()
        becomes("tests.Only", "running")


def test_a_tick_wished_of_a_standing_by_service_is_refused_in_the_log(caplog):
    taken_by_another("tests.OnlyTicks")
    with run_host(OnlyTicks) as host:
        becomes("tests.OnlyTicks", "standby")
        wish("tests.OnlyTicks", "tick")
        host.wait_for(lambda: row("tests.OnlyTicks").request_verb == "")
        host.wait_for(lambda: "tests.OnlyTicks cannot tick now: it is standby" in caplog.text)
        assert host.service("tests.OnlyTicks").service.ticks == 0


def test_an_unknown_wish_is_refused_with_the_known_ones():
    with run_host(Waits):
        found = row("tests.Waits")
        with pytest.raises(ValueError, match="cannot 'dance'; it can start, stop, restart, tick"):
            found.request("dance")
        assert row("tests.Waits").request_verb == ""


def test_wishes_are_obeyed_by_the_host_they_are_meant_for():
    with run_host(Waits) as one, run_host(Waits) as two:
        wait_until(lambda: Service.objects.filter(name="tests.Waits", state="running").count() == 2)
        Service.objects.get(host=one.host.id, name="tests.Waits").request("stop")
        wait_until(lambda: one.service("tests.Waits").state == "stopped", timeout=SOON)
        assert two.service("tests.Waits").state == "running"


@pytest.mark.parametrize(("by", "reason"), [("ada", "asked by ada"), ("", "asked by a person")])
def test_a_host_stops_when_a_person_asks(by, reason):
    with run_host(Waits) as host:
        began = time.monotonic()
        Host.objects.update(stop_requested_at=Now(), stop_requested_by=by)
        host.wait_for(lambda: host.is_over)
        assert time.monotonic() - began < SOON + 1
    stopped = Host.objects.get()
    assert (stopped.state, stopped.stop_reason, stopped.exit_code) == ("stopped", reason, 0)
    assert not Service.objects.exclude(state="stopped").exists()


def test_a_host_that_was_declared_lost_starts_afresh_and_goes_on():
    with run_host(Waits, Only) as host:
        becomes("tests.Only", "running")
        before = host.host.id
        Host.objects.update(state="lost")
        Lease.objects.update(holder=None)
        host.wait_for(lambda: host.host.id != before)
        host.wait_for(lambda: Host.objects.filter(id=host.host.id, state="running").exists())
        wait_until(lambda: Service.objects.filter(host=host.host.id, name="tests.Only", state="running").exists())
        wait_until(lambda: Service.objects.filter(host=host.host.id, name="tests.Waits", state="running").exists())
        host.wait_for(lambda: Lease.objects.get().holder == host.host.id)
        tasks.note.enqueue("after")
        host.wait_for(lambda: Effect.objects.filter(note="after").exists())
    assert host.exit_code == 0
    assert dict(Host.objects.values_list("id", "state")) == {before: "lost", host.host.id: "stopped"}
