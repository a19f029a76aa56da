"""What follows the end of execute: nothing, a restart after a growing delay, giving up, or the end of the host."""

import asyncio
import logging
import threading

import pytest

from background import Backoff, PeriodicService, every
from background.engine.rescuer import Rescuer
from background.exceptions import StopRequested
from background.host import restarts
from background.host.restarts import Restarts, Verdict
from background.models import Host as HostRow
from background.models import Service
from background.services.base import BackgroundService
from background.signals import service_failed
from background.testing import run_host
from tests.host.hosting import Story, teller

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = pytest.mark.parametrize("kind", ["def", "async"])
QUICK = Backoff(0.01, 0.02)


@pytest.fixture
def story():
    return Story()


def ending(name, story, act, kind="def", **overrides):
    """A service whose execute calls `act(stop)` and is over."""
    service = teller(name, story, of_kind=kind, **overrides)

    def execute(self, stop):
        story.append((name, "execute"))
        return act(stop)

    async def aexecute(self, stop):
        story.append((name, "execute"))
        await asyncio.sleep(0)
        act(stop)

    service.execute = execute if kind == "def" else aexecute
    return service


def fail(stop):
    raise LookupError("no shelf")


def row(name="a"):
    return Service.objects.get(name=name)


@pytest.mark.parametrize("restart", ["on-failure", "never", "stop-host"])
@KINDS
def test_a_service_whose_execute_returns_is_stopped_and_the_host_goes_on(story, kind, restart):
    with run_host(ending("a", story, lambda stop: None, kind, restart=restart), teller("b", story)) as host:
        host.wait_for(lambda: Service.objects.filter(name="a", state="stopped", healthy=True).exists())
        host.wait_for(lambda: host.service("b").state == "running")
        assert story.of("on_stop") == ["a"]
        assert host.host.unready() == []
        assert row().restarts == 0
    assert host.exit_code == 0


@KINDS
def test_with_always_it_starts_again_after_it_returned_and_disposes_in_between(story, kind):
    service = ending("a", story, lambda stop: None, kind, restart="always", backoff=QUICK)
    with run_host(service) as host:
        host.wait_for(lambda: len(story.of("execute")) >= 4)
        host.wait_for(lambda: Service.objects.filter(name="a", restarts__gte=3, failures=0).exists())
    life = [what for _, what in story if what in ("on_start", "execute", "on_stop")]
    assert life[:9] == ["on_start", "execute", "on_stop"] * 3
    assert story.of("on_started") == ["a"]
    assert host.exit_code == 0


@KINDS
def test_a_failure_is_logged_with_its_traceback_recorded_and_followed_by_a_restart(story, kind, caplog):
    with run_host(ending("a", story, fail, kind, backoff=QUICK)) as host:
        host.wait_for(lambda: len(story.of("execute")) >= 3)
        host.wait_for(lambda: Service.objects.filter(name="a", failures__gte=2, restarts__gte=2).exists())
        assert "LookupError: no shelf" in row().error
        assert row().error_at is not None
    logged = next(one for one in caplog.records if one.levelno == logging.ERROR and "a failed" in one.getMessage())
    assert logged.exc_info[0] is LookupError
    assert host.exit_code == 0


def test_the_site_hears_of_a_failure(story):
    heard = []

    def listen(sender, name, error, **kwargs):
        heard.append((name, type(error)))

    service_failed.connect(listen)
    try:
        with run_host(ending("a", story, fail, restart="never")) as host:
            host.wait_for(lambda: heard)
    finally:
        service_failed.disconnect(listen)
    assert heard == [("a", LookupError)]


@KINDS
def test_while_it_waits_for_its_restart_the_row_says_backoff_and_until_when(story, kind):
    with run_host(ending("a", story, fail, kind, backoff=Backoff(60, 60))) as host:
        found = host.wait_for(lambda: Service.objects.filter(name="a", state="backoff").first())
        assert 50 < (found.next_start_at - found.since).total_seconds() < 70
        assert found.failures == 1
        assert story.of("on_stop") == ["a"]
    assert row().next_start_at is None
    assert row().state == "stopped"
    assert host.exit_code == 0


@KINDS
def test_after_max_restarts_it_is_given_up_and_the_host_goes_on(story, kind, caplog):
    with run_host(ending("a", story, fail, kind, backoff=QUICK, max_restarts=2), teller("b", story)) as host:
        host.wait_for(lambda: Service.objects.filter(name="a", state="failed", healthy=False).exists())
        assert len(story.of("execute")) - story.of("execute").count("b") == 3
        assert row().restarts == 2
        assert "a" in host.host.unready()
        assert host.service("b").state == "running"
    assert "a is given up after 2 restarts" in caplog.text
    assert host.exit_code == 0
    assert row().state == "failed"


def test_one_that_was_given_up_can_be_started_by_a_person_with_all_its_restarts(story):
    with run_host(ending("a", story, fail, backoff=QUICK, max_restarts=1)) as host:
        host.wait_for(lambda: Service.objects.filter(name="a", state="failed").first()).request("start")
        host.wait_for(lambda: len(story.of("execute")) == 4)
        host.wait_for(lambda: host.service("a").state == "failed")


@KINDS
def test_with_never_a_failure_is_the_end(story, kind):
    with run_host(ending("a", story, fail, kind, restart="never")) as host:
        host.wait_for(lambda: Service.objects.filter(name="a", state="failed").exists())
        assert story.of("execute") == ["a"]
    assert host.exit_code == 0


@KINDS
def test_with_stop_host_a_failure_stops_the_host_gracefully_with_4(story, kind, caplog):
    with run_host(teller("b", story), ending("a", story, fail, kind, restart="stop-host")) as host:
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 4
    assert story.of("on_stop") == ["a", "b"]
    stopped = HostRow.objects.get()
    assert stopped.exit_code == 4
    assert stopped.stop_reason == "service a failed: LookupError('no shelf')"
    assert row().state == "failed"
    assert "LookupError: no shelf" in caplog.text


@pytest.mark.parametrize(
    "error", [SystemExit(0), SystemExit("bye"), asyncio.CancelledError(), StopRequested(), KeyboardInterrupt()]
)
def test_no_exception_ends_a_service_unheard(story, error, caplog):
    def act(stop):
        raise error

    with run_host(ending("a", story, act, restart="never")) as host:
        host.wait_for(lambda: host.service("a").state == "failed")
    assert type(error).__name__ in row().error
    assert story.of("on_stop") == ["a"]


def test_a_failing_on_start_at_a_restart_is_a_failure_like_another(story):
    attempts = []

    def on_start():
        attempts.append(1)
        if len(attempts) == 2:
            raise LookupError("not now")

    def act(stop):
        if len(attempts) == 1:
            raise LookupError("first")
        stop.wait()

    with run_host(ending("a", story, act, on_start=on_start, backoff=QUICK)) as host:
        host.wait_for(lambda: len(attempts) == 3 and host.service("a").state == "running")
        host.wait_for(lambda: Service.objects.filter(name="a", failures=2, restarts=2).exists())
        assert "not now" in row().error
    assert host.exit_code == 0
    assert len(story.of("on_stop")) == 2


def test_a_failing_on_stop_in_mid_life_is_recorded_but_does_not_spoil_the_end(story):
    stops = []

    def on_stop():
        stops.append(1)
        if len(stops) == 1:
            raise LookupError("jammed")

    with run_host(ending("a", story, lambda stop: None, on_stop=on_stop)) as host:
        host.wait_for(lambda: Service.objects.filter(name="a", state="stopped", error__contains="jammed").exists())
    assert host.exit_code == 0


def test_the_engine_restarts_too_but_where_it_keeps_failing_the_host_ends_with_4(story, monkeypatch):
    def broken(self, stop):
        raise LookupError("engine trouble")

    monkeypatch.setattr(Rescuer, "step", broken)
    monkeypatch.setattr(Rescuer, "max_restarts", 2)
    monkeypatch.setattr(Rescuer, "backoff", QUICK)
    with run_host(teller("b", story)) as host:
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 4
    assert "engine service background.rescuer keeps failing" in HostRow.objects.get().stop_reason
    assert story.of("on_stop") == ["b"]


def test_the_engine_takes_no_wishes_of_its_own(story, caplog):
    with run_host(teller("b", story)) as host:
        host.wait_for(lambda: Service.objects.filter(name="background.rescuer", state="running").first()).request(
            "stop"
        )
        host.wait_for(lambda: "background.rescuer: stop refused" in caplog.text)
        assert host.service("background.rescuer").state == "running"


def test_too_many_failing_ticks_are_a_failure_of_the_service(story):
    class Ticks(PeriodicService):
        schedule = every(seconds=0.02)
        max_failures = 3
        restart = "never"

        def tick(self, scope):
            raise LookupError("no shelf")

    with run_host(Ticks) as host:
        host.wait_for(lambda: Service.objects.filter(name="tests.Ticks", state="failed", failures=3).exists())
        assert Service.objects.get(name="tests.Ticks").iterations == 3


def test_a_deaf_service_that_a_person_stops_is_named_and_unhealthy(story, caplog):
    let_go, arrived = threading.Event(), threading.Event()

    def stand_still(stop):
        arrived.set()
        let_go.wait(20)

    with run_host(ending("a", story, stand_still, stop_timeout=0.1)) as host:
        host.wait_for(arrived.is_set)
        host.wait_for(lambda: Service.objects.filter(name="a", state="running").first()).request("stop")
        host.wait_for(lambda: Service.objects.filter(name="a", state="stopping", healthy=False).exists())
        assert "stand_still" in row().error
        let_go.set()
        host.wait_for(lambda: Service.objects.filter(name="a", state="stopped", healthy=True).exists())
    assert caplog.text.count("service a does not stop") == 1
    assert host.exit_code == 0


# The policy by itself


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(restarts, "time", one)
    return one


class Steady(BackgroundService):
    backoff = Backoff(1, 60, jitter=0)
    max_restarts = 3
    restart_window = 100


ERROR = LookupError()


def life(policy, clock, seconds):
    policy.began()
    clock.now += seconds
    policy.ended()


def test_delays_grow_and_begin_small_again_after_a_healthy_minute(clock):
    policy = Restarts(Steady())
    delays = []
    for seconds in (0, 0, 59, 0, 60, 0):
        life(policy, clock, seconds)
        delays.append(policy.delay(ERROR))
    assert delays == [1, 2, 4, 8, 1, 2]


def test_a_minute_of_failing_starts_is_no_healthy_minute(clock):
    policy = Restarts(Steady())
    life(policy, clock, 0)
    delays = [policy.delay(ERROR)]
    for _ in range(4):
        clock.now += 61  # on_start fails, execute never begins
        delays.append(policy.delay(ERROR))
    assert delays == [1, 2, 4, 8, 16]


def test_delays_are_jittered_and_limited(clock):
    class Shaky(Steady):
        backoff = Backoff(1, 10, jitter=0.5)

    policy = Restarts(Shaky())
    delays = [policy.delay(ERROR) for _ in range(30)]
    assert len(set(delays)) > 5
    assert max(delays) <= 10


def test_returning_is_no_trouble_so_always_restarts_without_growing_delays(clock):
    policy = Restarts(Steady())
    assert [policy.delay(None) for _ in range(3)] == [1, 1, 1]


def test_only_failures_within_the_window_count_towards_max_restarts(clock):
    policy = Restarts(Steady())
    for _ in range(5):
        assert policy.judge(ERROR) is Verdict.AGAIN
        clock.now += 60
    clock.now += 100
    assert [policy.judge(ERROR) for _ in range(4)] == [Verdict.AGAIN] * 3 + [Verdict.GIVE_UP]


@pytest.mark.parametrize(
    ("restart", "returning", "failing"),
    [
        ("always", Verdict.AGAIN, Verdict.AGAIN),
        ("on-failure", Verdict.END, Verdict.AGAIN),
        ("never", Verdict.END, Verdict.GIVE_UP),
        ("stop-host", Verdict.END, Verdict.STOP_HOST),
    ],
)
def test_the_policy_decides(restart, returning, failing):
    service = Steady()
    service.restart = restart
    assert Restarts(service).judge(None) is returning
    assert Restarts(service).judge(ERROR) is failing
