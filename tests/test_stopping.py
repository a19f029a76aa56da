"""What StopToken and Deadline promise."""

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from background import stopping
from background.exceptions import StopRequested
from background.stopping import Bell, Deadline, Gate, StopToken

LONG = 10.0  # seconds after which a test that waits in vain gives up


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the threads and coroutines that have begun to wait on a token."""
    arrived = threading.Semaphore(0)

    class CountingGate(Gate):
        def wait(self, seconds: float | None) -> None:
            arrived.release()
            super().wait(seconds)

    class CountingBell(Bell):
        async def wait(self, seconds: float | None) -> None:
            arrived.release()
            await super().wait(seconds)

    monkeypatch.setattr(stopping, "Gate", CountingGate)
    monkeypatch.setattr(stopping, "Bell", CountingBell)
    return arrived


@contextmanager
def started(*functions: Callable[[], object]) -> Iterator[list[object]]:
    """Run the functions in threads; their results, in any order, are complete when the block has ended."""
    results: list[object] = []
    threads = [threading.Thread(target=lambda f=f: results.append(f()), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def interrupted_at(step: int, work: Callable[[], object], handler: Callable[[], object]) -> bool:
    """Run the work; at the given bytecode step of stopping.py, run the handler as a signal would, in this thread."""
    steps = 0

    def trace(frame, event, arg):  # type: ignore[no-untyped-def]
        nonlocal steps
        if frame.f_code.co_filename != stopping.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
            if steps == step:
                sys.settrace(None)
                handler()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps >= step


def interrupted_everywhere(scene: Callable[[], tuple[Callable[[], object], Callable[[], object]]]) -> Iterator[int]:
    """Play a fresh (work, handler) once per bytecode step of the work; yield after each, to be checked."""
    step = 1
    while True:
        work, handler = scene()
        if not interrupted_at(step, work, handler):
            break
        yield step
        step += 1
    assert step > 5, "the work did not pass through stopping.py"


# Deadline


def test_a_deadline_counts_down_and_never_below_zero():
    assert 99 < (Deadline.after(100).remaining() or 0) <= 100
    assert Deadline.after(0).remaining() == 0
    assert Deadline.after(-5).remaining() == 0


def test_a_deadline_expires_when_its_instant_comes():
    assert Deadline.after(0).expired
    assert not Deadline.after(100).expired


def test_never_has_no_remaining_seconds_and_does_not_expire():
    assert Deadline.after(None) == Deadline()
    assert Deadline().remaining() is None
    assert not Deadline().expired


def test_earlier_is_never_later_than_the_deadline_itself():
    deadline = Deadline.after(50)
    assert deadline.earlier(100) is deadline
    assert deadline.earlier(None) is deadline
    assert deadline.earlier(10).is_before(deadline)
    assert Deadline().earlier(10).remaining() is not None
    assert Deadline().earlier(None) == Deadline()


def test_a_deadline_is_frozen():
    with pytest.raises(AttributeError):
        Deadline.after(1).at = 5  # type: ignore[misc]


# Asking


def test_a_new_token_is_not_requested():
    stop = StopToken()
    assert not stop and not stop.requested
    assert stop.reason is None and stop.remaining() is None and stop.deadline is None and stop.last_beat is None
    stop.raise_if_requested()


def test_the_first_reason_wins():
    stop = StopToken()
    assert stop.request("shutdown") is True
    assert stop.request("cancelled") is False
    assert stop and stop.requested and stop.reason == "shutdown"


def test_a_requested_token_raises_its_reason():
    stop = StopToken()
    stop.request("the host stops")
    with pytest.raises(StopRequested, match="the host stops"):
        stop.raise_if_requested()


def test_remaining_is_told_once_stopping():
    stop = StopToken()
    stop.request("x", Deadline.after(100))
    assert 99 < (stop.remaining() or 0) <= 100


def test_without_a_deadline_nothing_remains_to_be_told():
    stop, never = StopToken(), StopToken()
    stop.request()
    never.request("x", Deadline.after(None))
    assert stop.remaining() is None and never.remaining() is None


def test_a_later_request_can_only_bring_the_deadline_forward():
    stop = StopToken()
    calls = []
    stop.add_callback(lambda: calls.append(1))
    assert stop.request("first") is True
    for seconds, expected in ((50, 50), (100, 50), (None, 50), (5, 5)):
        assert stop.request("later", Deadline.after(seconds)) is False
        assert round(stop.remaining() or 0) == expected
    assert stop.reason == "first"
    assert calls == [1]


def test_exactly_one_of_many_threads_is_first():
    for _ in range(50):
        stop, calls, barrier = StopToken(), [], threading.Barrier(8)
        stop.add_callback(lambda calls=calls: calls.append(1))

        def ask(number, stop=stop, barrier=barrier):
            barrier.wait(LONG)
            return number if stop.request(str(number)) else None

        with started(*(lambda n=n: ask(n) for n in range(8))) as results:
            pass
        winners = [str(number) for number in results if number is not None]
        assert winners == [stop.reason]
        assert calls == [1]


# Waiting


def test_wait_says_false_when_the_seconds_are_over():
    assert StopToken().wait(0.001) is False
    assert StopToken().wait(0) is False
    assert StopToken().wait(-1) is False


def test_wait_says_true_at_once_when_already_requested():
    stop = StopToken()
    stop.request()
    assert stop.wait() is True and stop.wait(0) is True


def test_a_request_wakes_every_waiting_thread(arrivals):
    stop = StopToken()
    with started(stop.wait, stop.wait, lambda: stop.wait(LONG), lambda: stop.wait(1e300)) as results:
        for _ in range(4):
            assert arrivals.acquire(timeout=LONG)
        stop.request()
    assert results == [True] * 4
    assert not stop._waiters


def test_a_request_from_another_thread_wakes_coroutines_on_several_loops(arrivals):
    stop = StopToken()

    async def sleepers():
        return await asyncio.gather(stop.sleep(), stop.sleep(LONG))

    with started(lambda: asyncio.run(sleepers()), lambda: asyncio.run(sleepers()), stop.wait) as results:
        for _ in range(5):
            assert arrivals.acquire(timeout=LONG)
        stop.request()
    assert sorted(results, key=str) == [True, [True, True], [True, True]]
    assert not stop._waiters


def test_sleep_says_false_when_the_seconds_are_over():
    assert asyncio.run(StopToken().sleep(0.001)) is False


def test_sleep_gives_the_loop_its_turn_even_when_no_time_passes():
    async def main():
        turns = []
        stop = StopToken()
        asyncio.get_running_loop().call_soon(turns.append, "not requested")
        assert await stop.sleep(0) is False
        stop.request()
        asyncio.get_running_loop().call_soon(turns.append, "requested")
        assert await stop.sleep(5) is True
        return turns

    assert asyncio.run(main()) == ["not requested", "requested"]


def test_a_cancelled_sleep_leaves_nothing_behind():
    async def main():
        stop = StopToken()
        task = asyncio.create_task(stop.sleep())
        await asyncio.sleep(0)
        assert len(stop._waiters) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not stop._waiters
        stop.request()

    asyncio.run(main())


def test_a_loop_that_was_closed_under_a_sleeper_does_not_break_the_request():
    stop, loop = StopToken(), asyncio.new_event_loop()
    task = loop.create_task(stop.sleep())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert stop.request() is True
    task._log_destroy_pending = False
    del task


def test_the_hook_runs_in_the_waiting_thread_after_each_wait_that_waited():
    threads = []
    stop = StopToken(after_wait=lambda: threads.append(threading.current_thread()))
    stop.wait(0)
    assert threads == []
    stop.wait(0.001)
    assert threads == [threading.current_thread()]
    stop.request()
    stop.wait(5)
    assert len(threads) == 1


def test_the_hook_also_runs_when_the_wait_ends_by_the_request(arrivals):
    calls = []
    stop = StopToken(after_wait=lambda: calls.append(stop.requested))
    with started(stop.wait):
        assert arrivals.acquire(timeout=LONG)
        stop.request()
    assert calls == [True]


def test_the_async_hook_is_awaited_after_each_sleep_that_slept():
    async def main():
        slept, waited = [], []

        async def after_sleep():
            slept.append(1)

        stop = StopToken(after_sleep=after_sleep, after_wait=lambda: waited.append(1))
        await stop.sleep(0)
        assert slept == []
        await stop.sleep(0.001)
        assert slept == [1] and waited == []

    asyncio.run(main())


def test_a_poke_ends_the_present_wait_without_a_request(arrivals):
    stop = StopToken()
    with started(stop.wait) as results:
        assert arrivals.acquire(timeout=LONG)
        stop.poke()
    assert results == [False] and not stop.requested


def test_a_poke_that_comes_just_before_the_wait_is_not_lost():
    stop = StopToken()
    stop.poke()
    assert stop.wait() is False
    stop.poke()
    assert asyncio.run(stop.sleep()) is False


def test_a_poke_is_used_up_by_one_wait(arrivals):
    stop = StopToken()
    stop.poke()
    stop.poke()
    assert stop.wait() is False
    with started(stop.wait) as results:
        assert arrivals.acquire(timeout=LONG)
        stop.request()
    assert results == [True]


def test_a_beat_notes_the_time_and_tells_the_watchdog():
    calls = []
    stop = StopToken(on_beat=lambda: calls.append(1))
    before = time.monotonic()
    stop.beat()
    assert stop.last_beat is not None and before <= stop.last_beat <= time.monotonic()
    assert calls == [1]


# Callbacks


def test_a_callback_is_called_once_without_arguments():
    stop, calls = StopToken(), []
    stop.add_callback(lambda: calls.append(1))
    stop.add_callback(lambda: calls.append(2))
    assert calls == []
    stop.request()
    stop.request()
    assert calls == [1, 2]


def test_a_callback_added_too_late_is_called_at_once():
    stop, calls = StopToken(), []
    stop.request()
    stop.add_callback(lambda: calls.append(1))
    assert calls == [1]


def test_a_removed_callback_is_not_called():
    stop, calls = StopToken(), []
    remove = stop.add_callback(lambda: calls.append("removed"))
    stop.add_callback(lambda: calls.append("kept"))
    remove()
    remove()
    stop.request()
    remove()
    assert calls == ["kept"]


def test_the_same_function_may_be_added_twice_and_removed_once():
    stop, calls = StopToken(), []

    def callback():
        calls.append(1)

    remove = stop.add_callback(callback)
    stop.add_callback(callback)
    remove()
    stop.request()
    assert calls == [1]


def test_a_failing_callback_is_logged_and_prevents_no_other(caplog):
    stop, calls = StopToken(), []
    stop.add_callback(lambda: 1 / 0)
    stop.add_callback(lambda: calls.append(1))
    with caplog.at_level(logging.ERROR, "background.stopping"):
        assert stop.request() is True
    assert calls == [1]
    assert [(r.name, r.exc_info is not None) for r in caplog.records] == [("background.stopping", True)]


def test_a_callback_may_use_the_token_it_belongs_to():
    stop, calls = StopToken(), []

    def callback():
        assert stop.requested and stop.wait() and not stop.request("again")
        stop.add_callback(lambda: calls.append("inner"))
        calls.append(stop.reason)

    stop.add_callback(callback)
    stop.request("outer")
    assert calls == ["inner", "outer"]


def test_callbacks_added_while_others_request_are_called_exactly_once():
    for _ in range(100):
        stop, calls, barrier = StopToken(), [], threading.Barrier(4)

        def add(stop=stop, calls=calls, barrier=barrier):
            barrier.wait(LONG)
            for _ in range(20):
                stop.add_callback(lambda: calls.append(1))

        def ask(stop=stop, barrier=barrier):
            barrier.wait(LONG)
            stop.request()

        with started(add, add, add, ask):
            pass
        assert len(calls) == 60


# Signals


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[[], object]], object]]:
    """Install a function as the handler of SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, lambda *_: function())
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_wakes_the_thread_it_interrupts(arrivals, on_signal):
    stop = StopToken()
    on_signal(lambda: stop.request("SIGUSR1"))
    main = threading.get_ident()

    def send():
        assert arrivals.acquire(timeout=LONG)
        signal.pthread_kill(main, signal.SIGUSR1)

    with started(send):
        assert stop.wait(LONG) is True
    assert stop.reason == "SIGUSR1"


def test_a_signal_handler_wakes_the_coroutines_of_the_loop_it_interrupts(on_signal):
    stop = StopToken()
    on_signal(lambda: stop.request("SIGUSR1"))

    async def main():
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGUSR1)
        return await stop.sleep(LONG)

    assert asyncio.run(main()) is True


def test_a_request_may_interrupt_a_wait_at_any_point():
    made = []

    def scene():
        made.append(stop := StopToken())
        return lambda: stop.wait(0.001), lambda: stop.request("signal")

    for _ in interrupted_everywhere(scene):
        assert made[-1].reason == "signal" and not made[-1]._waiters


def test_a_wait_without_end_is_ended_by_a_request_at_any_point_before_it_blocks():
    points = []  # of each step: whether the waiter had entered its name

    def wait_interrupted_at(step):
        stop = StopToken()
        rescue = threading.Timer(LONG, stop.request, ["nothing else ended the wait"])
        rescue.start()
        interrupted_at(step, stop.wait, lambda: (points.append(bool(stop._waiters)), stop.request("signal")))
        rescue.cancel()
        return stop.reason

    # Ten steps with the name in reach past the second look at the request, into the gate; further on it blocks.
    step = 1
    while [True] * 10 != points[-10:]:
        assert wait_interrupted_at(step) == "signal"
        step += 1


def test_a_request_may_interrupt_a_request_at_any_point():
    made = []

    def scene():
        stop, calls = StopToken(), []
        for _ in range(3):
            stop.add_callback(lambda: calls.append(1))
        answers = []
        made.append((stop, calls, answers))

        def ask(who):
            answers.append((who, stop.request(who)))

        return lambda: ask("work"), lambda: ask("signal")

    for _ in interrupted_everywhere(scene):
        stop, calls, answers = made[-1]
        assert [who for who, first in answers if first] == [stop.reason]
        assert len(calls) == 3


def test_a_request_may_interrupt_the_adding_of_a_callback_at_any_point():
    made = []

    def scene():
        stop, calls = StopToken(), []
        made.append(calls)
        return lambda: stop.add_callback(lambda: calls.append(1)), stop.request

    for _ in interrupted_everywhere(scene):
        assert made[-1] == [1]
