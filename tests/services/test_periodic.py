"""Services that tick: when, how often, and what a failing tick comes to."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async

import background
from background import Backoff
from background import scope as scopes
from background.models import Service
from background.services import periodic
from background.services.periodic import PeriodicService
from background.stopping import StopToken
from background.testing import run_host
from tests.app.models import Effect
from tests.processes import wait_until

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Token(StopToken):
    """A stop token whose waits can be replaced."""


class Clock:
    """A wall clock and a monotonic one, which go on only while a service waits; stops it at `until`."""

    def __init__(self, monkeypatch, until):
        self.wall, self.elapsed, self.until = START, 0.0, until
        self.waits = []
        outer = self

        class FakeDatetime(datetime):
            @classmethod
            def now(cls, tz=None):
                return outer.wall

        monkeypatch.setattr(periodic, "datetime", FakeDatetime)
        monkeypatch.setattr(periodic, "time", SimpleNamespace(monotonic=lambda: outer.elapsed))
        self.stop = Token()
        self.stop.wait = self.wait
        self.stop.sleep = self.sleep

    def go_on(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.elapsed += seconds
        if self.elapsed >= self.until:
            self.stop.request("enough")

    def wait(self, seconds=None):
        self.waits.append(seconds)
        self.go_on(seconds)
        return self.stop.requested

    async def sleep(self, seconds=None):
        return self.wait(seconds)

    def set(self, **difference):
        self.wall += timedelta(**difference)


@pytest.fixture
def clock(monkeypatch):
    async def nothing(idle=0):
        pass

    # Nothing here uses the database.
    monkeypatch.setattr(scopes, "refresh_connections", lambda idle=0: None)
    monkeypatch.setattr(scopes, "arefresh_connections", nothing)
    return lambda until: Clock(monkeypatch, until)


class Ticker(PeriodicService):
    schedule = background.every(seconds=10)

    def __init__(self, clock, takes=()):
        self.clock, self.takes = clock, list(takes)
        self.ticks = []

    def tick(self, scope):
        self.ticks.append(self.clock.elapsed)
        self.clock.go_on(self.takes.pop(0) if self.takes else 0)

    def run(self):
        self.execute(self.clock.stop)
        return self.ticks


def test_ticks_come_at_the_interval_counted_from_the_start(clock):
    assert Ticker(clock(60)).run() == [10, 20, 30, 40, 50]


def test_a_slow_tick_does_not_shift_those_after_it(clock):
    assert Ticker(clock(60), takes=[3, 9.5, 0.1]).run() == [10, 20, 30, 40, 50]


def test_times_that_passed_during_a_tick_are_not_made_up(clock):
    assert Ticker(clock(80), takes=[35]).run() == [10, 50, 60, 70]


def test_run_at_start_gives_exactly_one_first_tick(clock):
    class AtOnce(Ticker):
        run_at_start = True

    assert AtOnce(clock(40)).run() == [0, 10, 20, 30]


def test_run_at_start_ticks_at_once_and_then_by_the_cron_text(clock):
    class Cron(Ticker):
        run_at_start = True
        schedule = "*/5 * * * *"

    assert Cron(clock(601)).run() == [0, 300, 600]


def test_an_interval_with_an_anchor_counts_from_it(clock):
    class Anchored(Ticker):
        schedule = background.every(minutes=1, anchor=START + timedelta(seconds=15))

    assert Anchored(clock(140)).run() == [15, 75, 135]


@pytest.mark.parametrize("schedule", ["*/5 * * * *", background.cron("*/5 * * * *", timezone="Asia/Tokyo")])
def test_a_schedule_may_be_cron_or_a_text(clock, schedule):
    class Cron(Ticker):
        pass

    Cron.schedule = schedule
    one = Cron(clock(601))
    assert one.run() == [300, 600]
    assert max(one.clock.waits) <= periodic.LONGEST_WAIT


def test_a_schedule_that_never_comes_waits_and_can_still_be_told_to_tick(clock):
    class Never(Ticker):
        schedule = background.at(START - timedelta(days=1))

    one = Never(clock(100))
    one.tick_now()
    assert one.run() == [0]


def test_tick_now_ticks_at_once_and_leaves_the_others_where_they_are(clock):
    one = Ticker(clock(35))
    one.tick_now()
    assert one.run() == [0, 10, 20, 30]


@pytest.mark.parametrize("schedule", [background.every(seconds=10), "* * * * *"])
def test_a_wall_clock_set_back_does_not_stall_it(clock, schedule):
    class SetBack(Ticker):
        def tick(self, scope):
            super().tick(scope)
            if len(self.ticks) == 2:
                self.clock.set(hours=-5)

    SetBack.schedule = schedule
    ticks = SetBack(clock(300)).run()
    gaps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    assert len(ticks) > 3
    assert max(gaps) <= 60


def test_a_wall_clock_set_back_during_a_wait_is_noticed_within_the_longest_wait(clock):
    class Rare(Ticker):
        schedule = background.every(minutes=5)

    its = clock(700)
    wait = its.stop.wait

    def wait_and_set(seconds=None):
        if len(its.waits) == 3:
            its.set(hours=-3)
        return wait(seconds)

    its.stop.wait = wait_and_set
    assert Rare(its).run() == [300, 600]


def test_a_wall_clock_set_forward_gives_one_tick_and_goes_on(clock):
    class SetForward(Ticker):
        def tick(self, scope):
            super().tick(scope)
            if len(self.ticks) == 1:
                self.clock.set(hours=5, seconds=3)

    ticks = SetForward(clock(45)).run()
    gaps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    assert all(0 < gap <= 10 for gap in gaps)


def test_async_ticks_keep_the_same_times(clock):
    import asyncio

    class Async(Ticker):
        run_at_start = True

        async def tick(self, scope):
            super().tick(scope)

    one = Async(clock(40), takes=[15])
    assert one.is_async
    asyncio.run(one.execute(one.clock.stop))
    assert one.ticks == [0, 20, 30]


def test_it_needs_a_tick():
    with pytest.raises(NotImplementedError, match="needs a tick"):
        PeriodicService().tick(None)


# In a host


def row(name):
    """The row of a service; the heartbeat writes it soon after the start."""
    return wait_until(lambda: Service.objects.filter(name=name).first())


class Hourly(PeriodicService):
    schedule = background.every(hours=1)

    def __init__(self):
        self.ticks = 0

    def tick(self, scope):
        self.ticks += 1
        self.on_thread = threading.current_thread().name
        Effect.objects.create(name="tick")


class AHourly(Hourly):
    async def tick(self, scope):
        self.ticks += 1
        await sync_to_async(Effect.objects.create)(name="tick")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("service", [Hourly, AHourly])
def test_the_row_tells_when_it_ticks_next_and_how_long_the_last_one_took(service):
    name = service.get_name()
    with run_host(service) as host:
        host.wait_for(lambda: Service.objects.filter(name=name, next_tick_at__isnull=False).exists())
        before = row(name)
        assert (before.iterations, before.last_duration, before.last_beat_at) == (0, None, None)
        assert timedelta(minutes=59) < before.next_tick_at - datetime.now(UTC) < timedelta(minutes=61)
        host.service(name).service.tick_now()
        host.wait_for(lambda: row(name).iterations == 1)
        after = row(name)
        assert 0 <= after.last_duration < 5
        assert after.last_beat_at
        assert after.next_tick_at == before.next_tick_at
        assert (after.state, after.failures, after.schedule) == ("running", 0, "every 1h")
    assert Effect.objects.count() == 1
    assert row(name).next_tick_at is None


class Fails(PeriodicService):
    schedule = background.every(hours=1)
    fails = True

    def tick(self, scope):
        if self.fails:
            raise LookupError("not today")


class AFails(Fails):
    async def tick(self, scope):
        super().tick(scope)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("service", [Fails, AFails])
def test_a_failing_tick_is_recorded_and_the_service_goes_on(service, caplog):
    name = service.get_name()
    with run_host(service) as host:
        supervised = host.service(name)
        for number in (1, 2):
            supervised.service.tick_now()
            host.wait_for(lambda number=number: row(name).failures == number)
        failed = row(name)
        assert (failed.state, failed.iterations, failed.restarts) == ("running", 2, 0)
        assert failed.error.endswith("LookupError: not today\n") and "Traceback" in failed.error
        assert failed.error_at
        supervised.service.fails = False
        supervised.service.tick_now()
        host.wait_for(lambda: row(name).iterations == 3)
        assert row(name).failures == 0
    assert f"tick of {name} failed (2 in a row)" in caplog.text


class GivesUp(PeriodicService):
    schedule = background.every(seconds=0.01)
    max_failures = 3
    max_restarts = 1
    backoff = Backoff(0.01, 0.01)

    def __init__(self):
        self.starts = self.ticks = 0

    def on_start(self):
        self.starts += 1

    def tick(self, scope):
        self.ticks += 1
        raise LookupError("never")


@pytest.mark.django_db(transaction=True)
def test_after_max_failures_in_a_row_the_service_fails_and_is_restarted_by_its_policy():
    with run_host(GivesUp) as host:
        host.wait_for(lambda: row("tests.GivesUp").state == "failed")
        service = host.service("tests.GivesUp").service
        assert (service.starts, service.ticks) == (2, 6)
        found = row("tests.GivesUp")
        assert found.restarts == 1 and not found.healthy
        assert "TooManyFailures: 3 ticks in a row failed" in found.error
        assert "LookupError: never" in found.error


class Recovers(GivesUp):
    max_failures = 2

    def tick(self, scope):
        self.ticks += 1
        if self.ticks % 2:
            raise LookupError("now and then")


@pytest.mark.django_db(transaction=True)
def test_failures_that_are_not_in_a_row_never_reach_max_failures():
    with run_host(Recovers) as host:
        service = host.service("tests.Recovers").service
        host.wait_for(lambda: service.ticks > 10)
        assert service.starts == 1


class AtStart(Hourly):
    run_at_start = True


@pytest.mark.django_db(transaction=True)
def test_a_hosted_service_with_run_at_start_ticks_once_and_waits():
    with run_host(AtStart) as host:
        host.wait_for(lambda: row("tests.AtStart").iterations)
        host.host.heartbeat.stop.poke()
        assert host.service("tests.AtStart").service.ticks == 1
        assert row("tests.AtStart").next_tick_at - datetime.now(UTC) > timedelta(minutes=59)
    assert Effect.objects.count() == 1


class Both(Hourly):
    async def tick(self, scope):
        await sync_to_async(self.note_connection)()
        self.ticks += 1

    def note_connection(self):
        from django.db import connection

        Effect.objects.count()
        self.connections = {*getattr(self, "connections", ()), id(connection.connection)}
        self.threads = {*getattr(self, "threads", ()), threading.get_ident()}


@pytest.mark.django_db(transaction=True)
def test_async_ticks_share_one_thread_and_one_connection_for_the_orm():
    with run_host(Both) as host:
        service = host.service("tests.Both").service
        for number in range(1, 4):
            service.tick_now()
            host.wait_for(lambda number=number: service.ticks == number)
        assert len(service.threads) == 1
        assert len(service.connections) == 1
