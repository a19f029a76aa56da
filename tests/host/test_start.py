"""How a host starts: hooks in order, each in time, all or nothing."""

import asyncio
import logging
import threading

import pytest
from django.db import OperationalError

from background.host import Host
from background.models import Host as HostRow
from background.models import Service
from background.signals import host_started
from background.testing import run_host
from tests.host.hosting import Story, service_threads, starting_host, teller
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = pytest.mark.parametrize("kind", ["def", "async"])


@pytest.fixture
def story():
    return Story()


@KINDS
def test_hooks_are_called_phase_by_phase_in_the_order_of_registration(story, kind):
    with run_host(*(teller(name, story, of_kind=kind) for name in "abc")) as host:
        host.wait_for(lambda: len(story.of("execute")) == 3)
    hooks = [event for event in story if event[1] in ("on_starting", "on_start", "on_started")]
    assert hooks == [(name, hook) for hook in ("on_starting", "on_start", "on_started") for name in "abc"]
    assert host.exit_code == 0


def test_a_service_starts_after_those_it_depends_on_and_stops_before_them(story):
    first = teller("first", story, depends_on=("third",))
    second = teller("second", story)
    third = teller("third", story)
    with run_host(first, second, third) as host:
        host.wait_for(lambda: len(story.of("execute")) == 3)
    for hook in ("on_starting", "on_start", "on_started"):
        assert story.of(hook) == ["third", "first", "second"]
    for hook in ("on_stopping", "on_stop", "on_stopped"):
        assert story.of(hook) == ["second", "first", "third"]


@KINDS
def test_execute_begins_after_its_own_on_start_and_does_not_wait_for_the_next(story, kind):
    works = threading.Event()

    def wait_for_the_first():
        assert works.wait(5)

    async def await_the_first():
        await asyncio.to_thread(wait_for_the_first)

    first = teller("first", story, of_kind=kind)
    execute = first.execute
    if kind == "def":
        first.execute = lambda self, stop: (works.set(), execute(self, stop))
    else:

        async def aexecute(self, stop):
            works.set()
            await execute(self, stop)

        first.execute = aexecute
    second = teller("second", story, of_kind=kind, on_start=wait_for_the_first if kind == "def" else await_the_first)
    with run_host(first, second):
        pass
    assert story.index(("first", "on_start")) < story.index(("first", "execute"))


@KINDS
def test_execute_never_delays_another_service_even_if_it_blocks(story, kind):
    let_go = threading.Event()
    blocker = teller("blocker", story, of_kind=kind)
    del blocker.on_started
    if kind == "def":
        blocker.execute = lambda self, stop: let_go.wait(10)
    else:

        async def block(self, stop):
            let_go.wait(10)  # the loop, too

        blocker.execute = block
    with run_host(blocker, teller("other", story, of_kind=kind)) as host:
        host.wait_for(lambda: story.has("other", "execute"))
        let_go.set()
    assert host.exit_code == 0


@KINDS
def test_on_started_is_called_while_execute_is_busy(story, kind):
    with run_host(teller("busy", story, of_kind=kind)) as host:
        host.wait_for(lambda: story.has("busy", "on_started"))


def test_on_started_of_a_service_whose_execute_has_ended_is_called(story):
    brief = teller("brief", story)
    brief.execute = lambda self, stop: story.append(("brief", "execute"))
    with run_host(brief, teller("other", story)):
        pass
    assert story.of("on_started") == ["brief", "other"]
    assert story.of("on_stopping") == ["other", "brief"]


@KINDS
def test_a_failing_on_start_stops_what_had_started_in_reverse_and_is_the_reported_cause(story, kind, caplog):
    def fail():
        raise LookupError("no shelf")

    services = [teller(name, story, of_kind=kind) for name in "ab"]
    services += [teller("bad", story, of_kind=kind, on_start=fail), teller("late", story, of_kind=kind)]
    with starting_host(*services) as host:
        host.wait_for(lambda: host.is_over)

    assert host.exit_code == 1
    assert "on_start of service bad failed: LookupError('no shelf')" in caplog.text
    assert story.of("on_starting") == ["a", "b", "bad", "late"]
    assert story.of("on_start") == ["a", "b", "bad"]
    assert story.of("on_started") == []
    for hook in ("on_stopping", "on_stop", "on_stopped"):
        assert story.of(hook) == ["b", "a"]
    assert "no shelf" in HostRow.objects.get().stop_reason
    bad = Service.objects.get(name="bad")
    assert (bad.state, bad.healthy) == ("failed", False)
    assert "LookupError: no shelf" in bad.error


@pytest.mark.parametrize("hook", ["on_starting", "on_started"])
@KINDS
def test_other_start_hooks_that_fail_fail_the_start_by_name_and_phase(story, kind, hook, caplog):
    def fail():
        raise LookupError("no shelf")

    with starting_host(teller("a", story, of_kind=kind), teller("bad", story, of_kind=kind, **{hook: fail})) as host:
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 1
    assert f"{hook} of service bad failed: LookupError('no shelf')" in caplog.text
    assert story.of("on_stop") == (["bad", "a"] if hook == "on_started" else [])


def test_what_fails_after_the_first_failure_does_not_hide_it(story, caplog):
    def fail(text):
        raise LookupError(text)

    first = teller("first", story, on_stop=lambda: fail("second cause"))
    second = teller("second", story, on_start=lambda: fail("first cause"))
    with starting_host(first, second) as host:
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 1
    assert "first cause" in HostRow.objects.get().stop_reason
    assert "second cause" in caplog.text


def test_sys_exit_in_a_hook_is_a_failure_like_any_other(story):
    def leave():
        raise SystemExit(0)

    with starting_host(teller("a", story), teller("bad", story, on_start=leave)) as host:
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 1
    assert story.of("on_stop") == ["a"]


@pytest.mark.parametrize("hook", ["on_starting", "on_start", "on_started"])
@KINDS
def test_a_hook_slower_than_its_timeout_fails_the_start_by_name_and_phase(story, kind, hook, caplog):
    let_go = threading.Event()

    async def aslow():
        await asyncio.sleep(30)

    slow = teller(
        "slow", story, of_kind=kind, start_timeout=0.2, **{hook: (lambda: let_go.wait(30)) if kind == "def" else aslow}
    )
    with starting_host(teller("a", story, of_kind=kind), slow, SHUTDOWN_TIMEOUT=1.5) as host:
        host.wait_for(lambda: "took longer" in caplog.text)
        let_go.set()
        host.wait_for(lambda: host.is_over)
    assert host.exit_code == 1
    assert f"{hook} of service slow took longer than its 0.2 s (start_timeout)" in caplog.text
    assert ("a" in story.of("on_stop")) == (hook != "on_starting")


def test_without_its_own_timeout_the_setting_counts(story, caplog):
    let_go = threading.Event()
    slow = teller("slow", story, on_start=lambda: let_go.wait(30))
    with starting_host(slow, STARTUP_TIMEOUT=0.3, SHUTDOWN_TIMEOUT=1) as host:
        host.wait_for(lambda: "on_start of service slow took longer than its 0.3 s" in caplog.text)
        let_go.set()
    assert host.exit_code == 1


@KINDS
def test_a_request_to_stop_interrupts_the_start_and_is_a_clean_end(story, kind):
    arrived, let_go = threading.Event(), threading.Event()

    def linger():
        arrived.set()
        let_go.wait(10)

    async def alinger():
        arrived.set()
        await asyncio.to_thread(let_go.wait, 10)

    slow = teller("slow", story, of_kind=kind, on_start=linger if kind == "def" else alinger)
    with starting_host(teller("a", story), slow, teller("never", story)) as host:
        host.wait_for(arrived.is_set)
        host.host.request_stop("changed my mind")
        host.wait_for(lambda: story.has("a", "executed"))
        let_go.set()
        assert host.stop() == 0
    assert "never" not in story.of("on_start")
    assert story.of("on_started") == []
    assert story.of("execute") == ["a"]
    assert story.of("on_stop") == ["slow", "a"]


def test_a_coroutine_that_lingers_in_on_start_is_cancelled_at_the_end_of_its_time(story):
    arrived = threading.Event()

    async def linger():
        arrived.set()
        await asyncio.sleep(60)

    with starting_host(teller("slow", story, of_kind="async", on_start=linger), SHUTDOWN_TIMEOUT=1) as host:
        host.wait_for(arrived.is_set)
        assert host.stop() == 0
    assert story.of("on_stop") == []


def test_a_stop_before_the_start_is_a_clean_end(story):
    host = Host([teller("a", story)])
    host.request_stop("too late")
    assert host.run() == 0
    assert story == []
    assert not HostRow.objects.live().exists()


def test_the_row_says_what_the_host_does(story):
    with run_host(teller("a", story)) as host:
        row = host.wait_for(lambda: HostRow.objects.filter(state="running").first())
        assert row.id == host.host.id
        assert row.software["python"] and row.software["database"]
        host.wait_for(lambda: Service.objects.filter(name="a", state="running", engine=False, healthy=True).exists())
        engine = set(Service.objects.filter(engine=True, state="running").values_list("name", flat=True))
        assert {"background.heartbeat", "background.recorder", "background.rescuer"} <= engine


def test_the_site_hears_of_the_start_once_it_is_over(story):
    heard = []

    def listen(sender, host, **kwargs):
        heard.append((host.ready, list(story)))

    host_started.connect(listen)
    try:
        with run_host(teller("a", story)):
            pass
    finally:
        host_started.disconnect(listen)
    assert [ready for ready, _ in heard] == [True]
    assert ("a", "on_started") in heard[0][1]


def test_no_thread_is_left_behind(story):
    before = set(service_threads())
    with run_host(teller("a", story), teller("b", story, of_kind="async")) as host:
        host.wait_for(lambda: len(story.of("execute")) == 2)
    wait_until(lambda: set(service_threads()) <= before, timeout=2)


def test_an_error_that_nobody_foresaw_stops_the_services_before_it_is_raised(story, monkeypatch, caplog):
    caplog.set_level(logging.INFO)

    def broken(self):
        raise RuntimeError("a bug")

    with starting_host(teller("a", story)) as host:
        host.wait_for(lambda: story.has("a", "execute"))
        monkeypatch.setattr(Host, "_look", broken)
        host.wait_for(lambda: story.has("a", "executed"))
        monkeypatch.undo()
        with pytest.raises(RuntimeError, match="a bug"):
            host.stop()
        host.error = None
    assert story.of("on_stop") == ["a"]


def test_a_database_that_accepts_but_never_answers_ends_the_start_in_time(monkeypatch, caplog):
    let_go = threading.Event()
    monkeypatch.setattr(Host, "_write_row", lambda self, host_id: let_go.wait(30))
    with starting_host(STARTUP_TIMEOUT=2.5) as host:
        host.wait_for(lambda: host.is_over, timeout=5)
        let_go.set()
    assert host.exit_code == 1
    assert caplog.text.count("for the database: no answer") == 1
    assert "did not answer within 2.5 s (STARTUP_TIMEOUT): no answer" in caplog.text


def test_the_start_goes_on_when_the_database_comes(story, monkeypatch, caplog):
    write, attempts = Host._write_row, []

    def away_at_first(self, host_id):
        attempts.append(1)
        if len(attempts) < 3:
            raise OperationalError("could not connect\nto anything")
        write(self, host_id)

    monkeypatch.setattr(Host, "_write_row", away_at_first)
    with run_host(teller("a", story)) as host:
        host.wait_for(lambda: story.has("a", "execute"))
    assert host.exit_code == 0
    assert caplog.text.count("waiting up to 10 s for the database: could not connect") == 1


def test_a_stop_while_the_host_waits_for_its_database_is_a_clean_end(monkeypatch):
    let_go, arrived = threading.Event(), threading.Event()
    monkeypatch.setattr(Host, "_write_row", lambda self, host_id: (arrived.set(), let_go.wait(30)))
    with starting_host() as host:
        host.wait_for(arrived.is_set)
        assert host.stop() == 0
        let_go.set()
