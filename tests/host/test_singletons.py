"""Services of which one runs in the whole installation, and the leases behind them."""

import asyncio
import json
import signal
import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import OperationalError

import background
from background.dialects import dialect
from background.engine import heartbeat, leases
from background.host import Options
from background.models import Host, Lease, Service
from background.testing import run_host
from tests.host.hosting import Story, starting_host, teller
from tests.processes import Process, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

RUNNING = []


class Only(background.BackgroundService):
    singleton = True

    def execute(self, stop):
        RUNNING.append(self)
        try:
            stop.wait()
            self.reason = stop.reason
        finally:
            RUNNING.remove(self)


class AOnly(Only):
    async def execute(self, stop):
        RUNNING.append(self)
        try:
            await stop.sleep()
        finally:
            RUNNING.remove(self)


def states(name="tests.Only"):
    return sorted(Service.objects.filter(name=name, host__state="running").values_list("state", flat=True))


def host_named(name, *services, **settings):
    return run_host(*services, options=Options(name=name), **settings)


@pytest.mark.parametrize("service", [Only, AOnly])
def test_of_two_hosts_one_runs_it_the_other_stands_by_and_takes_over_within_two_seconds(service):
    name = service.get_name()
    with host_named("two", service) as second:
        second.wait_for(lambda: second.service(name).state == "running")
        with host_named("one", service) as first:
            first.wait_for(lambda: states(name) == ["running", "standby"])
            assert first.service(name).state == "standby"
            first.wait_for(lambda: len(RUNNING) == 1)
            began = time.monotonic()
            second.stop()
            first.wait_for(lambda: first.service(name).state == "running")
            assert time.monotonic() - began < 2.5
            first.wait_for(lambda: len(RUNNING) == 1)
    assert RUNNING == []


def test_a_service_that_stands_by_does_not_delay_the_start():
    Lease.objects.create(
        name="service:tests.Only", holder=uuid.uuid4(), expires_at=dialect().now() + timedelta(hours=1)
    )
    with run_host(Only) as host:
        assert host.host.ready
        host.wait_for(lambda: states() == ["standby"])
        assert host.host.unready() == []


def test_a_clean_stop_gives_the_lease_back():
    with run_host(Only) as host:
        host.wait_for(lambda: states() == ["running"])
        assert Lease.objects.get().holder == host.host.id
    assert Lease.objects.get().holder is None


def test_a_lease_that_another_took_stops_the_service_at_once_and_it_stands_by_again():
    with run_host(Only) as host:
        one = host.service("tests.Only")
        host.wait_for(lambda: one.state == "running")
        thief = uuid.uuid4()
        Lease.objects.update(holder=thief, expires_at=dialect().now() + timedelta(hours=1))
        host.wait_for(lambda: one.state == "standby", timeout=2)
        assert one.service.reason == "lease-lost"
        assert RUNNING == []
        assert Lease.objects.get().holder == thief
        host.wait_for(lambda: states() == ["standby"])
        leases.release("service:tests.Only", thief)
        host.wait_for(lambda: one.state == "running", timeout=3)


def test_where_the_lease_cannot_be_renewed_the_service_stops_before_it_ends(monkeypatch):
    stopped_at = []

    class Notes(Only):
        def execute(self, stop):
            stop.wait()
            stopped_at.append(dialect().now())

    def away(names, holder):
        raise OperationalError("no answer")

    with run_host(Notes, HOST_TIMEOUT=2) as host:
        host.wait_for(lambda: host.service("tests.Notes").state == "running")
        monkeypatch.setattr(heartbeat, "renew", away)
        ends = Lease.objects.get().expires_at
        host.wait_for(lambda: stopped_at, timeout=4)
        assert stopped_at[0] <= max(ends, Lease.objects.get().expires_at)
        monkeypatch.undo()


@pytest.mark.parametrize("service", [Only, AOnly])
def test_a_database_that_hangs_does_not_keep_the_service_from_stopping(service, monkeypatch):
    let_go, name = threading.Event(), service.get_name()

    def hang(names, holder):
        let_go.wait(20)
        return 0.0, set()

    with run_host(service, HOST_TIMEOUT=2) as host:
        host.wait_for(lambda: len(RUNNING) == 1)
        monkeypatch.setattr(heartbeat, "renew", hang)
        monkeypatch.setattr(leases, "acquire", lambda name, holder: None)
        host.wait_for(lambda: not RUNNING, timeout=3)
        let_go.set()
        monkeypatch.undo()
        host.wait_for(lambda: host.service(name).state == "running")


def test_a_lease_is_looked_after_while_another_service_takes_long_to_start(monkeypatch):
    let_go = threading.Event()

    class Slow(background.BackgroundService):
        def on_start(self):
            let_go.wait(10)

        def execute(self, stop):
            stop.wait()

    with starting_host(Only, Slow, HOST_TIMEOUT=2) as host:
        host.wait_for(lambda: len(RUNNING) == 1)
        monkeypatch.setattr(heartbeat, "renew", lambda names, holder: (0.0, set(names)))
        monkeypatch.setattr(leases, "acquire", lambda name, holder: None)
        host.wait_for(lambda: not RUNNING, timeout=3)
        let_go.set()
        monkeypatch.undo()


def test_a_coroutine_that_lost_its_lease_is_cancelled_at_once():
    class Busy(background.BackgroundService):
        singleton = True

        async def execute(self, stop):
            RUNNING.append(self)
            try:
                await asyncio.sleep(60)
            finally:
                RUNNING.remove(self)

    with run_host(Busy) as host:
        host.wait_for(lambda: len(RUNNING) == 1)
        Lease.objects.update(holder=uuid.uuid4(), expires_at=dialect().now() + timedelta(hours=1))
        host.wait_for(lambda: not RUNNING, timeout=2)
        host.wait_for(lambda: host.service("tests.Busy").state == "standby")
    assert host.exit_code == 0


@pytest.mark.parametrize("kind", ["def", "async"])
def test_start_hooks_of_a_standing_by_service_are_called_when_it_takes_over(kind):
    story = Story()
    Lease.objects.create(name="service:only", holder=uuid.uuid4(), expires_at=dialect().now() + timedelta(hours=1))
    with run_host(teller("only", story, of_kind=kind, singleton=True)) as host:
        host.wait_for(lambda: host.service("only").state == "standby")
        assert story == [("only", "on_starting")]
        Lease.objects.update(holder=None)
        host.wait_for(lambda: story.has("only", "execute"))
    assert [what for _, what in story if what != "executed"] == [
        "on_starting", "on_start", "on_started", "execute", "on_stopping", "on_stop", "on_stopped",
    ]  # fmt: skip


def test_stop_hooks_of_a_service_that_only_stood_by_are_not_called():
    story = Story()
    Lease.objects.create(name="service:only", holder=uuid.uuid4(), expires_at=dialect().now() + timedelta(hours=1))
    with run_host(teller("only", story, singleton=True)) as host:
        host.wait_for(lambda: host.service("only").state == "standby")
    assert story == [("only", "on_starting")]
    assert host.exit_code == 0


def test_a_singleton_that_stands_by_outlives_a_database_that_is_away(monkeypatch):
    Lease.objects.create(
        name="service:tests.Only", holder=uuid.uuid4(), expires_at=dialect().now() + timedelta(hours=1)
    )
    with run_host(Only) as host:
        one = host.service("tests.Only")
        host.wait_for(lambda: one.state == "standby")
        asked = []

        def away(self):
            asked.append(self)
            raise OperationalError("no answer")

        with monkeypatch.context() as patch:
            patch.setattr(type(dialect()), "now", away)
            host.wait_for(lambda: asked)
        Lease.objects.update(holder=None)
        host.wait_for(lambda: one.state == "running")


def test_a_failing_singleton_gives_its_lease_to_others_while_it_backs_off():
    class Breaks(Only):
        name = "tests.Only"
        backoff = background.Backoff(60, 60)

        def execute(self, stop):
            raise LookupError("broken here")

    with run_host(Breaks) as bad:
        bad.wait_for(lambda: bad.service("tests.Only").state == "backoff")
        with run_host(Only) as good:
            good.wait_for(lambda: good.service("tests.Only").state == "running")


FAST = json.dumps({"HOST_TIMEOUT": 2, "HEARTBEAT_INTERVAL": 0.3, "POLL_INTERVAL": 0.2, "SHUTDOWN_TIMEOUT": 5})


@pytest.mark.chaos
def test_after_a_sigkill_another_takes_over_within_the_host_timeout_and_a_few_seconds():
    arguments = ("runbackground", "--services", "app.Lone", "--no-worker", "--no-scheduler", "--no-reload")
    with Process(*arguments, BACKGROUND_TEST_SETTINGS=FAST) as first:
        first.wait_for_line("services running")
        with Process(*arguments, BACKGROUND_TEST_SETTINGS=FAST) as second:
            second.wait_for_line("stands by")
            wait_until(lambda: states("app.Lone") == ["running", "standby"])
            first.send(signal.SIGKILL)
            began = time.monotonic()
            second.wait_for_line("app.Lone started")
            assert time.monotonic() - began < 2 + 3
            wait_until(lambda: Host.objects.filter(state="lost").exists())
            assert second.stop() == 0, second.output
    assert Lease.objects.get().holder is None


# Leases by themselves


ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def expire(name="name", seconds=1):
    Lease.objects.filter(name=name).update(expires_at=dialect().now() - timedelta(seconds=seconds))


def test_a_free_lease_is_taken_and_a_taken_one_is_not():
    assert leases.acquire("name", ONE) is not None
    assert leases.acquire("name", TWO) is None
    assert leases.acquire("other", TWO) is not None


def test_its_holder_may_take_it_again():
    leases.acquire("name", ONE)
    assert leases.acquire("name", ONE) is not None


def test_it_is_believed_for_less_time_than_the_database_holds_it(settings):
    settings.BACKGROUND = {"HOST_TIMEOUT": 10}
    now, monotonic = dialect().now(), time.monotonic()
    until = leases.acquire("name", ONE)
    assert monotonic < until <= time.monotonic() + 8
    assert Lease.objects.get().expires_at >= now + timedelta(seconds=10)


def test_a_lease_that_is_over_may_be_taken_by_another():
    leases.acquire("name", ONE)
    expire()
    assert leases.acquire("name", TWO) is not None
    assert leases.acquire("name", ONE) is None


def test_renewing_tells_which_leases_are_still_held():
    leases.acquire("mine", ONE)
    leases.acquire("theirs", TWO)
    leases.acquire("over", ONE)
    expire("over")
    before = Lease.objects.get(name="mine").expires_at
    until, held = leases.renew(["mine", "theirs", "over", "unknown"], ONE)
    assert held == {"mine"}
    assert until > time.monotonic()
    assert Lease.objects.get(name="mine").expires_at > before


def test_renewing_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert leases.renew([], ONE)[1] == set()


def test_a_lease_that_was_given_back_is_free_at_once():
    leases.acquire("name", ONE)
    leases.release("name", TWO)  # not the holder: nothing happens
    assert leases.acquire("name", TWO) is None
    leases.release("name", ONE)
    assert leases.acquire("name", TWO) is not None


def test_without_a_database_nobody_gets_a_lease_and_giving_back_does_no_harm(monkeypatch):
    def away(*args):
        raise OperationalError("no answer")

    leases.acquire("name", ONE)
    with monkeypatch.context() as patch:
        patch.setattr(type(dialect()), "now", away)
        assert leases.acquire("name", ONE) is None
        with pytest.raises(OperationalError):  # the heartbeat hears of it
            leases.renew(["name"], ONE)
        patch.setattr(leases.Lease, "objects", type("Away", (), {"using": away})())
        leases.release("name", ONE)
