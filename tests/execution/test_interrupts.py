"""How runs are brought to an end in a host: timeouts, cancels, the host's stop; and that the threads survive it."""

import asyncio
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from background.exceptions import RunCancelled, RunTimedOut
from background.execution.executors import loop, thread
from background.models import Run
from background.testing import run_host
from tests.app import background as tasks
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def gates():
    tasks.GATES.clear()
    yield
    for gate in tasks.GATES.values():
        gate.set()


def get(result):
    return Run.objects.get(id=result.id)


def ended(host, *results):
    """Wait until these runs are finished and return their rows."""
    ids = [one.id for one in results]
    host.wait_for(lambda: Run.objects.finished().filter(id__in=ids).count() == len(ids), timeout=20)
    return [get(one) for one in results]


def arrived(name):
    assert tasks.gate(f"{name}.arrived").wait(10), "the run did not begin"


# Timeouts


def test_a_timeout_is_raised_inside_the_function_which_may_clean_up(task):
    seen = []

    def spin():
        try:
            while True:
                threading.Event().wait(0.01)
        except RunTimedOut as error:
            seen.append(str(error))
            raise
        finally:
            seen.append("cleaned up")

    with run_host() as host:
        (run,) = ended(host, task(spin, timeout=0.2).enqueue())

    assert (run.status, run.error_type) == ("failed", "background.exceptions.RunTimedOut")
    assert "timeout of 0.2 seconds" in run.error_summary
    assert seen == ["The attempt took longer than its timeout of 0.2 seconds.", "cleaned up"]


def test_a_timeout_on_the_loop_cancels_the_coroutine_which_may_clean_up(task):
    seen = []

    async def doze():
        try:
            await asyncio.sleep(30)
        finally:
            seen.append("cleaned up")

    with run_host() as host:
        (run,) = ended(host, task(doze, timeout=0.2).enqueue())

    assert (run.status, run.error_type) == ("failed", "background.exceptions.RunTimedOut")
    assert seen == ["cleaned up"]


def test_a_coroutine_that_waits_for_another_run_ends_at_its_timeout_too(task):
    later = tasks.plain.using(run_after=timezone.now() + timedelta(days=1)).enqueue()

    async def wait_for_it():
        await (await Run.objects.aget(id=later.id)).await_()

    with run_host(ASYNC_CONCURRENCY=1) as host:
        (run,) = ended(host, task(wait_for_it, timeout=0.2).enqueue())
        assert host.stop() == 0

    assert (run.status, run.error_type) == ("failed", "background.exceptions.RunTimedOut")


def test_a_timeout_error_of_the_function_itself_is_no_timeout_of_the_run(task):
    async def slow_service():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)

    with run_host() as host:
        (run,) = ended(host, task(slow_service, timeout=20).enqueue())

    assert run.error_type == "builtins.TimeoutError"


def test_a_function_that_watches_its_token_learns_of_the_timeout_too(task):
    def watch(context):
        context.stop.wait(20)
        return context.stop.reason

    with run_host() as host:
        (run,) = ended(host, task(watch, timeout=0.2, takes_context=True).enqueue())

    assert run.status in ("succeeded", "failed")  # it may return between the word and the interrupt
    assert run.result == "timeout" or run.error_type == "background.exceptions.RunTimedOut"


def test_a_run_that_timed_out_is_tried_again(task):
    def spin(context):
        while context.attempt == 1:
            threading.Event().wait(0.01)
        return context.attempt

    from background import Backoff

    with run_host() as host:
        made = task(spin, timeout=0.3, max_attempts=2, backoff=Backoff(0, 0), takes_context=True).enqueue()
        (run,) = ended(host, made)

    assert (run.status, run.result, len(run.errors)) == ("succeeded", 2, 1)


# Cancels


def test_a_coroutine_is_cancelled_at_once():
    result = tasks.sleep_long.enqueue("a")
    with run_host() as host:
        arrived("a")
        begun = time.monotonic()
        get(result).cancel(reason="no longer needed")
        (run,) = ended(host, result)
        assert time.monotonic() - begun < 4

    assert (run.status, run.end_reason, run.errors) == ("cancelled", "no longer needed", [])


def test_a_function_hears_of_its_cancel_by_its_token():
    result = tasks.wait_for_stop.enqueue("b")
    with run_host() as host:
        arrived("b")
        get(result).cancel()
        (run,) = ended(host, result)

    assert (run.status, run.end_reason) == ("cancelled", "cancelled")


def test_a_deaf_function_is_interrupted_when_patience_ends(task, monkeypatch):
    monkeypatch.setattr(thread, "PATIENCE", 0.1)
    seen = []

    def deaf():
        tasks.gate("deaf.arrived").set()
        try:
            while True:
                threading.Event().wait(0.01)
        except RunCancelled:
            seen.append("interrupted")
            raise

    result = task(deaf).enqueue()
    with run_host() as host:
        arrived("deaf")
        get(result).cancel()
        (run,) = ended(host, result)

    assert (run.status, seen) == ("cancelled", ["interrupted"])


def test_a_cancelled_run_is_not_tried_again(task):
    def fail_when_told(context):
        tasks.gate("told.arrived").set()
        context.stop.wait(20)
        raise ValueError("it would be tried again")

    result = task(fail_when_told, max_attempts=5, takes_context=True).enqueue()
    with run_host() as host:
        arrived("told")
        get(result).cancel()
        (run,) = ended(host, result)

    assert run.status == "cancelled"


# No leaks


@pytest.mark.slow
def test_interrupts_never_leak_into_the_next_run_of_a_thread(task):
    def nearly(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return "in time"

    def sound():
        total = 0
        for number in range(20_000):
            total += number
        return total

    risky, plain = task(nearly, timeout=0.01), task(sound)
    for number in range(150):
        risky.enqueue(0.008 + (number % 50) / 10_000)
        plain.enqueue()

    with run_host(CONCURRENCY=4) as host:
        host.wait_for(lambda: Run.objects.open().count() == 0, timeout=20)
        names = [slot.thread for slot in host.service("background.worker").service.thread._slots]
        assert all(one.is_alive() for one in names)
        again = [plain.enqueue() for _ in range(8)]
        assert {run.status for run in ended(host, *again)} == {"succeeded"}

    assert set(Run.objects.filter(task__endswith=".sound").values_list("status", "attempt")) == {("succeeded", 1)}
    near = Run.objects.filter(task__endswith=".nearly")
    assert near.count() == 150
    assert set(near.values_list("status", flat=True)) <= {"succeeded", "failed"}
    assert set(near.failed().values_list("error_type", flat=True)) <= {"background.exceptions.RunTimedOut"}


def test_a_thread_goes_on_after_what_is_no_exception(task):
    def interrupt():
        raise KeyboardInterrupt

    class Odd(BaseException):
        pass

    def odd():
        raise Odd

    async def aodd():
        raise Odd

    with run_host(CONCURRENCY=1, ASYNC_CONCURRENCY=1) as host:
        runs = ended(host, task(interrupt).enqueue(), task(odd).enqueue(), task(aodd).enqueue())
        after = ended(host, tasks.note.enqueue(), tasks.anote.enqueue())

    assert [run.status for run in runs] == ["failed"] * 3
    assert [run.status for run in after] == ["succeeded"] * 2


def test_a_transaction_left_open_by_an_interrupted_run_is_not_the_next_ones(task):
    from django.db import transaction

    def hang():
        with transaction.atomic():
            Effect.objects.create(name="undone")
            while True:
                threading.Event().wait(0.01)

    with run_host(CONCURRENCY=1) as host:
        (run,) = ended(host, task(hang, timeout=0.2).enqueue())
        (after,) = ended(host, tasks.note.enqueue())

    assert (run.status, after.status) == ("failed", "succeeded")
    assert list(Effect.objects.values_list("name", flat=True)) == ["note"]


# The host's stop


def test_a_stop_hands_back_unburnt_what_hears_it():
    results = [tasks.wait_for_stop.enqueue("c"), tasks.sleep_long.enqueue("d")]
    with run_host() as host:
        arrived("c")
        arrived("d")
        assert host.stop() in (0, 5)

    for run in map(get, results):
        assert (run.status, run.attempt, run.errors) == ("ready", 0, []), run.task


def test_a_stop_hands_back_what_no_thread_has_begun_and_what_is_deaf(caplog):
    deaf = tasks.wait_at.enqueue("e")
    waiting = [tasks.note.enqueue(str(number)) for number in range(3)]
    with run_host(CONCURRENCY=1, SHUTDOWN_TIMEOUT=2) as host:
        arrived("e")
        assert host.stop() == 5

        assert "does not stop and is handed back" in caplog.text
        assert "wait_at" in caplog.text
        for run in map(get, [deaf, *waiting]):
            assert (run.status, run.attempt) == ("ready", 0), run.task
        tasks.gate("e").set()  # its outcome comes too late
    assert get(deaf).status == "ready"


# Threads that hear nothing


def deaf(until):
    """A function that swallows whatever is thrown at it until the gate is opened."""

    def hear_nothing():
        while not tasks.gate(until).is_set():
            try:
                while not tasks.gate(until).wait(0.01):
                    pass
            except Exception:
                continue
        return "after all"

    return hear_nothing


def test_a_thread_that_ignores_its_timeout_is_given_up_and_replaced(task, monkeypatch, caplog):
    monkeypatch.setattr(thread, "GRACE", 0.3)
    with run_host(CONCURRENCY=1) as host:
        (run,) = ended(host, task(deaf("ears"), timeout=0.2).enqueue())
        (other,) = ended(host, tasks.plain.enqueue())  # in the thread that took its place
        tasks.gate("ears").set()
        host.wait_for(lambda: "ended after all" in caplog.text)
        assert host.stop() == 0

    run.refresh_from_db()
    assert (run.status, run.error_type) == ("failed", "background.exceptions.RunTimedOut")
    assert "does not hear" in run.error_summary
    assert run.result is None
    assert other.status == "succeeded"
    assert "hear_nothing" in caplog.text  # where it stands


def deaf_coroutine(end):
    async def hear_nothing():
        tasks.gate("deaf.arrived").set()
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    return hear_nothing


@pytest.mark.parametrize(("how", "status"), [("timeout", "failed"), ("cancel", "cancelled")])
def test_a_coroutine_that_ignores_its_end_is_given_up_and_another_has_its_slot(how, status, task, monkeypatch, caplog):
    for name, seconds in (("PATIENCE", 0.1), ("GRACE", 0.2), ("LOOK", 0.05)):
        monkeypatch.setattr(loop, name, seconds)
    end = threading.Event()
    with run_host(ASYNC_CONCURRENCY=1) as host:
        result = task(deaf_coroutine(end), timeout=0.2 if how == "timeout" else None).enqueue()
        arrived("deaf")
        waiting = task(answer).enqueue()
        if how == "cancel":
            get(result).cancel()
        (run, other) = ended(host, result, waiting)
        end.set()
        host.wait_for(lambda: "ended after all" in caplog.text)
        assert host.stop() == 0

    run.refresh_from_db()
    assert (run.status, run.result, other.result) == (status, None, 42)
    assert run.error_type == ("background.exceptions.RunTimedOut" if how == "timeout" else "")
    assert "hear_nothing" in caplog.text  # where it stands


async def answer():
    return await sync_to_async(Effect.objects.count)() + 42


def test_a_host_that_stops_while_a_given_up_thread_goes_on_says_so_by_its_exit_code(task, monkeypatch):
    monkeypatch.setattr(thread, "GRACE", 0.3)
    with run_host() as host:
        ended(host, task(deaf("ears"), timeout=0.2).enqueue())
        assert host.stop() == 5
        assert "its thread goes on" in " ".join(host.host.problems)


def test_an_atomic_run_that_was_given_up_succeeds_with_its_effects_or_fails_without(task, monkeypatch):
    monkeypatch.setattr(thread, "GRACE", 0.3)
    hear_nothing = deaf("ears")

    def book_deaf():
        Effect.objects.create(name="deaf")
        hear_nothing()

    with run_host() as host:
        result = task(book_deaf, timeout=0.2, atomic=True).enqueue()
        host.wait_for(lambda: host.host.worker.thread.deaf)
        tasks.gate("ears").set()
        (run,) = ended(host, result)
        host.wait_for(lambda: not host.host.worker.thread.deaf)

    # On SQLite the deaf one holds the only write lock, so that its success is written before the word of its failure.
    assert Effect.objects.filter(name="deaf").exists() == (run.status == "succeeded")
