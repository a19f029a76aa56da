"""How a host stops: all told at once, each disposed in its turn, whatever becomes of the others."""

import asyncio
import threading
import time

import pytest
from asgiref.sync import sync_to_async

from background.engine.rescuer import Rescuer
from background.models import Host as HostRow
from background.models import Service
from background.signals import host_stopping
from background.testing import run_host
from tests.app.models import Effect
from tests.host.hosting import Story, service_threads, teller
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = pytest.mark.parametrize("kind", ["def", "async"])


@pytest.fixture
def story():
    return Story()


@pytest.fixture
def let_go():
    """What deaf threads wait for; set at the end, so that they do not outlive the test."""
    event = threading.Event()
    before = set(service_threads())
    yield event
    event.set()
    wait_until(lambda: set(service_threads()) <= before, timeout=5)


def running(host, story, count):
    host.wait_for(lambda: len(story.of("execute")) == count)


@KINDS
def test_stop_hooks_are_called_phase_by_phase_in_reverse_order(story, kind):
    with run_host(*(teller(name, story, of_kind=kind) for name in "abc")) as host:
        running(host, story, 3)
        story.clear()
    assert [event for event in story if event[1] != "executed"] == [
        (name, hook) for hook in ("on_stopping", "on_stop", "on_stopped") for name in "cba"
    ]
    assert host.exit_code == 0


def test_every_token_is_set_at_once_and_before_the_first_hook(story):
    def wait_for_all():
        wait_until(lambda: len(story.of("executed")) == 3, timeout=3)

    services = [teller("a", story), teller("b", story, of_kind="async"), teller("c", story, on_stopping=wait_for_all)]
    with run_host(*services) as host:
        running(host, story, 3)
    assert host.exit_code == 0


def test_the_engine_outlives_the_services(story):
    """What a service writes and wishes at its end is still heard."""
    last = teller("last", story, on_stop=lambda: Effect.objects.create(name="disposed"))
    with run_host(last) as host:
        running(host, story, 1)
        engine = {one.name: one for one in host.host.engine}
        seen = []
        last.on_stopped = lambda self: seen.extend(
            name for name, one in engine.items() if one.state == "running" and one.stops_late
        )
    assert {"background.heartbeat", "background.recorder"} <= set(seen)
    assert Effect.objects.filter(name="disposed").exists()


@KINDS
def test_on_stop_is_called_after_execute_has_ended_also_when_it_failed(story, kind):
    bad = teller("bad", story, of_kind=kind, restart="never")
    if kind == "def":
        bad.execute = lambda self, stop: 1 / 0
    else:

        async def fail(self, stop):
            raise ZeroDivisionError

        bad.execute = fail
    with run_host(bad) as host:
        host.wait_for(lambda: host.service("bad").state == "failed")
        assert story.of("on_stop") == ["bad"]
    assert story.of("on_stop") == ["bad"]
    assert story.of("on_stopped") == ["bad"]


@KINDS
def test_a_failing_stop_hook_keeps_no_other_from_being_called_and_all_are_reported(story, kind, caplog):
    def fail():
        raise LookupError("jammed")

    hooks = {"on_stopping": fail, "on_stop": fail, "on_stopped": fail}
    services = [teller(name, story, of_kind=kind, **hooks) for name in "abc"]
    with run_host(*services) as host:
        running(host, story, 3)
    assert host.exit_code == 5
    for hook in hooks:
        assert story.of(hook) == ["c", "b", "a"]
        for name in "abc":
            assert f"{hook} of {name} failed: LookupError('jammed')" in caplog.text
    assert len(host.host.problems) == 9
    assert HostRow.objects.get().exit_code == 5
    assert "jammed" in Service.objects.get(name="a").error


def test_a_hook_that_raises_timeout_error_is_not_taken_for_a_slow_one(story):
    def fail():
        raise TimeoutError("of its own")

    with run_host(teller("a", story, on_stopping=fail)) as host:
        running(host, story, 1)
    assert host.host.problems == ["on_stopping of a: TimeoutError('of its own')"]


@KINDS
def test_a_stop_hook_may_take_its_time(story, kind):
    """An async on_stopping goes on although execute has ended, and with it the loop's main task."""

    async def aslow():
        await asyncio.sleep(0.2)
        story.append(("a", "waited"))

    def slow():
        threading.Event().wait(0.2)
        story.append(("a", "waited"))

    with run_host(teller("a", story, of_kind=kind, on_stopping=slow if kind == "def" else aslow)) as host:
        running(host, story, 1)
    assert host.exit_code == 0
    assert story.index(("a", "waited")) < story.index(("a", "on_stop"))


@KINDS
def test_a_hook_that_hangs_is_reported_and_keeps_no_other_from_being_called(story, kind, let_go, caplog):
    async def ahang():
        await asyncio.sleep(60)

    hanging = teller("hanging", story, of_kind=kind, on_stopping=(lambda: let_go.wait(20)) if kind == "def" else ahang)
    with run_host(teller("a", story, of_kind=kind), hanging, SHUTDOWN_TIMEOUT=2) as host:
        running(host, story, 2)
        began = time.monotonic()
    assert time.monotonic() - began < 3.5
    assert host.exit_code == 5
    assert "on_stopping of hanging did not end in time" in caplog.text
    for hook in ("on_stopping", "on_stop", "on_stopped"):
        assert "a" in story.of(hook)


@KINDS
def test_an_on_stop_that_hangs_is_reported_and_the_others_are_disposed(story, kind, let_go, caplog):
    async def ahang():
        await asyncio.sleep(60)

    hanging = teller("hanging", story, of_kind=kind, on_stop=(lambda: let_go.wait(20)) if kind == "def" else ahang)
    with run_host(teller("a", story, of_kind=kind), hanging, SHUTDOWN_TIMEOUT=2) as host:
        running(host, story, 2)
    assert host.exit_code == 5
    assert "on_stop of hanging did not end in time" in caplog.text
    assert "a" in story.of("on_stop")


def test_a_coroutine_is_cancelled_at_the_end_of_its_own_time_not_in_its_turn(story):
    cancelled_at = []

    async def execute(self, stop):
        story.append(("brief", "execute"))
        try:
            await asyncio.sleep(60)
        finally:
            cancelled_at.append(time.monotonic())

    brief = teller("brief", story, of_kind="async", stop_timeout=0.2)
    brief.execute = execute
    slow = teller("slow", story, on_stop=lambda: threading.Event().wait(1))
    with run_host(brief, slow) as host:
        running(host, story, 2)
        began = time.monotonic()
        host.stop()
    assert cancelled_at[0] - began < 0.9
    assert host.exit_code == 0
    assert story.of("on_stop") == ["slow", "brief"]
    assert Service.objects.get(name="brief").state == "stopped"


def test_a_coroutine_without_its_own_time_is_cancelled_within_the_hosts_time(story):
    async def execute(self, stop):
        story.append(("a", "execute"))
        await asyncio.sleep(60)

    service = teller("a", story, of_kind="async")
    service.execute = execute
    with run_host(service, SHUTDOWN_TIMEOUT=1) as host:
        running(host, story, 1)
        began = time.monotonic()
        host.stop()
    assert time.monotonic() - began < 2
    assert host.exit_code == 0
    assert story.of("on_stop") == ["a"]


def test_the_coroutine_may_clean_up_when_it_is_cancelled(story):
    async def execute(self, stop):
        story.append(("a", "execute"))
        try:
            await asyncio.sleep(60)
        finally:
            await sync_to_async(Effect.objects.create)(name="cleaned")

    service = teller("a", story, of_kind="async", stop_timeout=0.1)
    service.execute = execute
    with run_host(service) as host:
        running(host, story, 1)
    assert host.exit_code == 0
    assert Effect.objects.filter(name="cleaned").exists()


def test_a_deaf_thread_is_named_with_its_stack_and_the_others_are_stopped_in_order(story, let_go, caplog):
    def stand_still(self, stop):
        story.append(("deaf", "execute"))
        let_go.wait(20)

    deaf = teller("deaf", story, stop_timeout=0.3)
    deaf.execute = stand_still
    with run_host(teller("a", story), deaf, teller("z", story)) as host:
        running(host, story, 3)
        began = time.monotonic()
        host.stop()
    assert time.monotonic() - began < 2
    assert host.exit_code == 5
    assert "service deaf does not stop" in caplog.text
    assert "in stand_still" in caplog.text
    assert "let_go.wait(20)" in caplog.text
    row = Service.objects.get(name="deaf")
    assert (row.state, row.healthy) == ("failed", False)
    assert "stand_still" in row.error
    assert story.of("on_stop") == ["z", "a"]
    assert story.of("on_stopped") == ["z", "a"]
    assert Service.objects.get(name="a").state == "stopped"


def test_a_deaf_service_that_uses_up_the_hosts_time_does_not_make_the_others_fail(story, let_go):
    deaf = teller("deaf", story)
    deaf.execute = lambda self, stop: (story.append(("deaf", "execute")), let_go.wait(20))
    with run_host(teller("a", story), teller("b", story, of_kind="async"), deaf, SHUTDOWN_TIMEOUT=1) as host:
        running(host, story, 3)
        began = time.monotonic()
        host.stop()
    assert time.monotonic() - began < 2
    assert host.host.problems == ["service deaf did not stop in time and was abandoned"]
    assert story.of("on_stop") == ["b", "a"]
    assert set(Service.objects.filter(name__in="ab").values_list("state", flat=True)) == {"stopped"}


def test_a_coroutine_that_will_not_be_cancelled_is_deaf_too(story, let_go, caplog):
    async def resist(self, stop):
        story.append(("deaf", "execute"))
        while not let_go.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                pass

    deaf = teller("deaf", story, of_kind="async", stop_timeout=0.1)
    deaf.execute = resist
    with run_host(deaf) as host:
        running(host, story, 1)
    assert host.exit_code == 5
    assert "in resist" in caplog.text


def test_stop_timeout_is_what_the_token_says_is_left(story):
    left = []

    def execute(self, stop):
        story.append((self.name, "execute"))
        stop.wait()
        left.append(stop.remaining())

    short = teller("short", story, stop_timeout=0.5)
    short.execute = execute
    long = teller("long", story, stop_timeout=500)
    long.execute = execute
    with run_host(short, long, SHUTDOWN_TIMEOUT=5) as host:
        running(host, story, 2)
    assert min(left) <= 0.5
    assert 1 < max(left) <= 5


def test_stopping_twice_changes_nothing(story):
    with run_host(teller("a", story)) as host:
        running(host, story, 1)
        host.host.request_stop("first")
        host.host.request_stop("second")
        assert host.stop() == 0
        host.host.request_stop("third")
        assert host.stop() == 0
    assert HostRow.objects.get().stop_reason == "first"
    assert story.of("on_stop") == ["a"]


def test_a_stop_that_is_obeyed_by_raising_is_no_failure(story, caplog):
    def execute(self, stop):
        story.append(("a", "execute"))
        stop.wait()
        stop.raise_if_requested()

    service = teller("a", story)
    service.execute = execute
    with run_host(service) as host:
        running(host, story, 1)
    assert host.exit_code == 0
    assert "failed" not in caplog.text


def test_a_failure_while_stopping_is_logged_and_recorded(story, caplog):
    def execute(self, stop):
        story.append(("a", "execute"))
        stop.wait()
        raise LookupError("on the way out")

    service = teller("a", story)
    service.execute = execute
    with run_host(service) as host:
        running(host, story, 1)
    assert "LookupError: on the way out" in caplog.text
    assert story.of("on_stop") == ["a"]
    row = Service.objects.get(name="a")
    assert row.state == "stopped" and "on the way out" in row.error


def test_services_in_backoff_or_ended_are_told_of_the_stop_as_well(story):
    def fail(self, stop):
        raise LookupError

    failing = teller("failing", story)
    failing.execute = fail
    brief = teller("brief", story)
    brief.execute = lambda self, stop: None
    with run_host(failing, brief) as host:
        host.wait_for(lambda: host.service("failing").state == "backoff")
        host.wait_for(lambda: host.service("brief").state == "stopped")
    assert host.exit_code == 0
    assert story.of("on_stopping") == story.of("on_stopped") == ["brief", "failing"]
    assert story.of("on_stop").count("brief") == 1


def test_hooks_of_a_coroutine_service_use_its_own_loop(story):
    loops = []

    async def note():
        loops.append(asyncio.get_running_loop())

    service = teller("a", story, of_kind="async", on_start=note, on_started=note, on_stopping=note, on_stop=note)
    with run_host(service) as host:
        running(host, story, 1)
        host.wait_for(lambda: len(loops) == 2)
    assert len(loops) == 4
    assert len(set(loops)) == 1


def test_hooks_may_use_the_database_and_leave_no_connection_open(story):
    async def write():
        await sync_to_async(Effect.objects.create)(name="hook")

    def write_here():
        Effect.objects.create(name="hook")

    hooks = ("on_starting", "on_start", "on_started", "on_stopping", "on_stop", "on_stopped")
    services = [
        teller("a", story, **dict.fromkeys(hooks, write_here)),
        teller("b", story, of_kind="async", **dict.fromkeys(hooks, write)),
    ]
    mixed = teller("c", story, of_kind="async", **dict.fromkeys(hooks, write))
    mixed.execute = teller("d", story).execute  # def execute, async hooks
    with run_host(*services, mixed) as host:
        running(host, story, 3)
    assert host.exit_code == 0
    assert Effect.objects.filter(name="hook").count() == 18


def test_the_drain_delay_lies_between_not_ready_and_stopping(story):
    seen = []
    with run_host(teller("a", story), DRAIN_DELAY=0.4) as host:
        running(host, story, 1)
        assert host.host.unready() == []

        def look(sender, host, **kwargs):
            seen.append(host.unready())

        host_stopping.connect(look)
        try:
            began = time.monotonic()
            host.host.request_stop("go")
            host.wait_for(lambda: seen)
            assert "stopping" in seen[0]
            assert not story.has("a", "executed")
            host.wait_for(lambda: story.has("a", "executed"))
            assert time.monotonic() - began >= 0.4
        finally:
            host_stopping.disconnect(look)
    assert host.exit_code == 0


def test_the_rows_tell_how_it_ended(story):
    with run_host(teller("a", story)) as host:
        running(host, story, 1)
        host.stop("enough")
    row = HostRow.objects.get()
    assert (row.state, row.exit_code, row.stop_reason) == ("stopped", 0, "enough")
    assert row.stopped_at is not None
    assert set(Service.objects.values_list("state", flat=True)) == {"stopped"}


def test_a_deaf_part_of_the_engine_does_not_make_the_rest_of_it_fail(story, monkeypatch, let_go):
    monkeypatch.setattr(Rescuer, "step", lambda self, stop: let_go.wait(20) and 0.05)
    with run_host(teller("a", story), SHUTDOWN_TIMEOUT=1) as host:
        running(host, story, 1)
    assert host.host.problems == ["service background.rescuer did not stop in time and was abandoned"]
    assert Service.objects.get(name="background.rescuer").state == "failed"
