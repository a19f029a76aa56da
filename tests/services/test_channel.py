"""What Channel promises."""

import asyncio
import gc
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from background.exceptions import ChannelClosed, ChannelFull, ChannelTimeout, StopRequested
from background.services import channel as room
from background.services.channel import Channel
from background.stopping import Bell, Gate, StopToken

LONG = 10.0  # seconds after which a test that waits in vain gives up


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the threads and coroutines that stand in line."""
    arrived = threading.Semaphore(0)

    class CountingGate(Gate):
        def wait(self, seconds: float | None) -> None:
            arrived.release()
            super().wait(seconds)

    class CountingBell(Bell):
        async def wait(self, seconds: float | None) -> None:
            arrived.release()
            await super().wait(seconds)

    monkeypatch.setattr(room, "Gate", CountingGate)
    monkeypatch.setattr(room, "Bell", CountingBell)
    return arrived


@contextmanager
def started(*functions: Callable[[], object]) -> Iterator[list[object]]:
    """Run the functions in threads; their results or errors are complete, in order, when the block has ended."""
    results: list[object] = [None] * len(functions)

    def run(number: int, function: Callable[[], object]) -> None:
        try:
            results[number] = function()
        except Exception as error:
            results[number] = type(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def full(when_full="wait", items=(1, 2)) -> Channel:
    channel = Channel(len(items), when_full)
    for item in items:
        channel.put(item)
    return channel


def left(channel: Channel) -> list:
    """What is inside, in order; nobody stands in line by then."""
    items = [channel.get(timeout=0) for _ in range(len(channel))]
    assert not channel._consumers and not channel._producers
    return items


async def one_turn_of_the_loop() -> None:
    await asyncio.sleep(0)


# Making one


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "3", None, True])
def test_a_capacity_that_is_no_whole_number_from_1_is_refused(capacity):
    with pytest.raises(ValueError, match=f"1 up, not {capacity!r}"):
        Channel(capacity)


def test_an_unknown_policy_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="'wait', 'reject', 'drop-oldest', 'drop-newest', not 'explode'"):
        Channel(1, "explode")


def test_a_channel_tells_its_capacity_length_and_state():
    channel = Channel(3)
    channel.put("a")
    assert (channel.capacity, len(channel), channel.closed, channel.dropped) == (3, 1, False, 0)
    assert repr(channel) == "<Channel 1 of 3>"
    channel.close()
    assert channel.closed and repr(channel) == "<Channel closed, 1 of 3>"


# Order and waiting


def test_items_come_out_in_the_order_they_went_in():
    assert left(full(items=range(5))) == [0, 1, 2, 3, 4]


def test_the_async_methods_are_the_same_queue():
    async def main():
        channel = Channel(2)
        await channel.aput(1)
        channel.put(2)
        assert await channel.aget() == 1
        assert channel.get() == 2

    asyncio.run(main())


def test_a_thread_waits_for_an_item(arrivals):
    channel = Channel(1)
    with started(channel.get) as results:
        assert arrivals.acquire(timeout=LONG)
        channel.put("item")
    assert results == ["item"]


def test_a_coroutine_waits_for_an_item_from_a_thread(arrivals):
    channel = Channel(1)
    with started(lambda: asyncio.run(channel.aget())) as results:
        assert arrivals.acquire(timeout=LONG)
        channel.put("item")
    assert results == ["item"]


def test_a_thread_waits_for_room(arrivals):
    channel = full()
    with started(lambda: channel.put(3)):
        assert arrivals.acquire(timeout=LONG)
        assert len(channel) == 2
        assert channel.get() == 1
    assert left(channel) == [2, 3]


def test_a_coroutine_waits_for_room_made_by_a_thread(arrivals):
    channel = full()
    with started(lambda: asyncio.run(channel.aput(3))):
        assert arrivals.acquire(timeout=LONG)
        assert channel.get() == 1
    assert left(channel) == [2, 3]


# Time


def test_a_get_from_an_empty_channel_times_out():
    channel = Channel(1)
    for timeout in (0, -1, 0.001):
        with pytest.raises(ChannelTimeout, match=f"{timeout} s"):
            channel.get(timeout=timeout)
        with pytest.raises(TimeoutError):
            asyncio.run(channel.aget(timeout=timeout))
    assert left(channel) == []


def test_a_put_into_a_full_channel_times_out():
    channel = full()
    for timeout in (0, -1, 0.001):
        with pytest.raises(ChannelTimeout, match=f"All 2 places .* {timeout} s"):
            channel.put(3, timeout=timeout)
        with pytest.raises(ChannelTimeout):
            asyncio.run(channel.aput(3, timeout=timeout))
    assert left(channel) == [1, 2]


def test_an_item_that_comes_exactly_as_the_time_is_over_is_taken(monkeypatch):
    channel = Channel(1)

    class LateGate(Gate):
        def wait(self, seconds):
            super().wait(seconds)  # it has given up waiting
            channel.put("just in time")

    monkeypatch.setattr(room, "Gate", LateGate)
    assert channel.get(timeout=0.01) == "just in time"
    assert left(channel) == []


def test_an_async_get_whose_time_is_over_exactly_as_an_item_comes_loses_nothing():
    async def main():
        for lateness in range(4):
            channel = Channel(1)
            task = asyncio.create_task(channel.aget(timeout=0))
            for _ in range(lateness):
                await one_turn_of_the_loop()
            channel.put("item")
            try:
                got = [await task]
            except ChannelTimeout:
                got = []
            assert got + left(channel) == ["item"]

    asyncio.run(main())


def test_room_that_comes_exactly_as_the_time_is_over_is_used(monkeypatch):
    channel = full(items=[1])

    class LateGate(Gate):
        def wait(self, seconds):
            super().wait(seconds)
            assert channel.get() == 1

    monkeypatch.setattr(room, "Gate", LateGate)
    channel.put(2, timeout=0.01)
    assert left(channel) == [2]


# Full


def test_reject_raises_and_keeps_what_is_inside():
    channel = full("reject")
    with pytest.raises(ChannelFull, match="All 2 places"):
        channel.put(3)
    with pytest.raises(ChannelFull):
        asyncio.run(channel.aput(3))
    assert channel.dropped == 0 and left(channel) == [1, 2]


def test_drop_oldest_makes_room():
    channel = full("drop-oldest")
    channel.put(3)
    asyncio.run(channel.aput(4))
    assert channel.dropped == 2 and left(channel) == [3, 4]


def test_drop_newest_drops_the_arriving_item():
    channel = full("drop-newest")
    channel.put(3)
    asyncio.run(channel.aput(4))
    assert channel.dropped == 2 and left(channel) == [1, 2]


def test_drop_oldest_leaves_an_item_for_each_waiter_whose_turn_has_come():
    async def main():
        channel = Channel(1, "drop-oldest")
        task = asyncio.create_task(channel.aget())
        await one_turn_of_the_loop()
        channel.put("older")
        channel.put("newer")
        assert await task == "newer"
        assert channel.dropped == 1 and left(channel) == []

    asyncio.run(main())


# Closing


def test_a_closed_channel_takes_no_more_items_whatever_its_policy():
    for when_full in ("wait", "reject", "drop-oldest", "drop-newest"):
        channel = full(when_full)
        channel.close()
        channel.close()
        with pytest.raises(ChannelClosed):
            channel.put(3)
        with pytest.raises(ChannelClosed):
            asyncio.run(channel.aput(3))
        assert channel.dropped == 0 and [channel.get(), channel.get()] == [1, 2]


def test_what_is_inside_a_closed_channel_can_be_got_and_then_it_is_closed():
    channel = full()
    channel.close()
    assert [channel.get(), asyncio.run(channel.aget())] == [1, 2]
    with pytest.raises(ChannelClosed):
        channel.get()
    with pytest.raises(ChannelClosed):
        asyncio.run(channel.aget())


def test_waiting_producers_learn_that_the_channel_was_closed(arrivals):
    channel = full()
    with started(lambda: channel.put(3), lambda: asyncio.run(channel.aput(4))) as results:
        assert arrivals.acquire(timeout=LONG) and arrivals.acquire(timeout=LONG)
        channel.close()
    assert results == [ChannelClosed, ChannelClosed]
    assert left(channel) == [1, 2]


def test_waiting_consumers_learn_that_the_channel_was_closed(arrivals):
    channel = Channel(1)
    with started(channel.get, lambda: asyncio.run(channel.aget())) as results:
        assert arrivals.acquire(timeout=LONG) and arrivals.acquire(timeout=LONG)
        channel.close()
    assert results == [ChannelClosed, ChannelClosed]


def test_a_producer_whose_turn_has_come_when_the_channel_closes_is_refused():
    async def main():
        channel = full(items=[1])
        task = asyncio.create_task(channel.aput(2))
        await one_turn_of_the_loop()
        assert channel.get() == 1
        channel.close()
        with pytest.raises(ChannelClosed):
            await task
        assert left(channel) == []

    asyncio.run(main())


def test_a_consumer_waits_on_while_the_last_item_may_yet_be_passed_on_to_it():
    async def main():
        channel = Channel(1)
        first, second, third = (asyncio.create_task(channel.aget()) for _ in range(3))
        await one_turn_of_the_loop()
        channel.put("last")
        channel.close()
        first.cancel()  # it was the first's turn
        assert await second == "last"
        with pytest.raises(ChannelClosed):
            await third
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_a_loop_over_the_channel_ends_when_it_is_closed_and_empty(arrivals):
    channel = full()

    async def consume():
        return [item async for item in channel]

    with started(lambda: list(channel)) as results:
        assert arrivals.acquire(timeout=LONG)
        channel.put(3)
        assert arrivals.acquire(timeout=LONG)
        channel.close()
    assert results == [[1, 2, 3]]

    channel = full()
    with started(lambda: asyncio.run(consume())) as results:
        assert arrivals.acquire(timeout=LONG)
        channel.put(3)
        assert arrivals.acquire(timeout=LONG)
        channel.close()
    assert results == [[1, 2, 3]]


# Stopping


def test_a_stop_requested_before_ends_every_call_and_changes_nothing():
    stop, channel, empty = StopToken(), Channel(2), Channel(1)
    channel.put(1)
    stop.request("shutdown")
    for call in (channel.get, empty.get, lambda stop: channel.put(2, stop=stop)):
        with pytest.raises(StopRequested, match="shutdown"):
            call(stop=stop)
    for acall in (channel.aget, empty.aget, lambda stop: channel.aput(2, stop=stop)):
        with pytest.raises(StopRequested, match="shutdown"):
            asyncio.run(acall(stop=stop))
    assert left(channel) == [1]


def test_a_stop_requested_meanwhile_ends_every_wait(arrivals):
    stop, empty, channel = StopToken(), Channel(1), full()
    with started(
        lambda: empty.get(stop=stop),
        lambda: channel.put(3, stop=stop),
        lambda: asyncio.run(empty.aget(stop=stop, timeout=LONG)),
        lambda: asyncio.run(channel.aput(3, stop=stop)),
    ) as results:
        for _ in results:
            assert arrivals.acquire(timeout=LONG)
        stop.request("shutdown")
    assert results == [StopRequested] * 4
    assert left(empty) == [] and left(channel) == [1, 2]


def test_a_token_that_is_not_requested_changes_nothing_and_keeps_nothing(arrivals):
    stop, channel = StopToken(), Channel(1)
    with started(lambda: channel.get(stop=stop)) as results:
        assert arrivals.acquire(timeout=LONG)
        channel.put("item", stop=stop)
    assert results == ["item"]
    assert not stop._callbacks


def test_a_waiter_that_is_stopped_exactly_as_its_turn_comes_takes_the_item():
    async def main():
        stop, channel = StopToken(), Channel(1)
        task = asyncio.create_task(channel.aget(stop=stop))
        await one_turn_of_the_loop()
        channel.put("item")
        stop.request()
        assert await task == "item"
        assert left(channel) == []

    asyncio.run(main())


def test_a_stop_callback_may_close_the_channel_its_waiters_wait_for(arrivals):
    stop, channel = StopToken(), Channel(1)
    stop.add_callback(channel.close)
    with started(lambda: list(channel)) as results:
        assert arrivals.acquire(timeout=LONG)
        stop.request()
    assert results == [[]]


# Cancelling


def test_a_get_cancelled_exactly_as_an_item_comes_leaves_it_in_its_place():
    async def main():
        channel = Channel(2)
        task = asyncio.create_task(channel.aget())
        await one_turn_of_the_loop()
        channel.put("first")
        channel.put("second")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(channel) == ["first", "second"]

    asyncio.run(main())


def test_a_cancelled_get_passes_its_turn_on_to_the_next_waiter(arrivals):
    async def main():
        channel = Channel(1)
        task = asyncio.create_task(channel.aget())
        await one_turn_of_the_loop()
        assert arrivals.acquire(timeout=LONG)
        with started(channel.get) as results:
            assert arrivals.acquire(timeout=LONG)
            channel.put("item")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert results == ["item"]
        assert left(channel) == []

    asyncio.run(main())


def test_a_cancelled_put_adds_nothing_and_passes_its_turn_on():
    async def main():
        channel = full(items=[1])
        cancelled, other = asyncio.create_task(channel.aput(2)), asyncio.create_task(channel.aput(3))
        await one_turn_of_the_loop()
        assert channel.get() == 1
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await other
        assert left(channel) == [3]

    asyncio.run(main())


def test_a_get_cancelled_at_any_moment_loses_nothing():
    async def main():
        for moment in range(6):
            for put_at in range(6):
                channel = Channel(1)
                task = asyncio.create_task(channel.aget())
                for turn in range(6):
                    if turn == put_at:
                        channel.put("item")
                    if turn == moment:
                        task.cancel()
                    await one_turn_of_the_loop()
                got = await asyncio.gather(task, return_exceptions=True)
                assert [item for item in got if item == "item"] + left(channel) == ["item"]

    asyncio.run(main())


def test_a_waiter_on_a_closed_loop_does_not_keep_the_turn_from_others():
    channel, loop = Channel(1), asyncio.new_event_loop()
    task = loop.create_task(channel.aget())
    loop.run_until_complete(one_turn_of_the_loop())
    loop.close()
    channel.put("item")
    assert channel.get(timeout=0) == "item"
    task._log_destroy_pending = False
    del task
    gc.collect()  # ends the coroutine, which leaves the line
    assert left(channel) == []


# Interruptions


def interrupted_at(step: int, work: Callable[[], object], handler: Callable[[], object]) -> bool:
    """Run the work; at the given bytecode step of channel.py, run the handler as a signal would, in this thread."""
    steps = 0

    def trace(frame, event, arg):
        nonlocal steps
        if frame.f_code.co_filename != room.__file__:
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


def outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except (ChannelClosed, ChannelTimeout, StopRequested) as error:
        return type(error)


@pytest.mark.parametrize("verb", ["get", "put"])
def test_a_stop_by_a_signal_handler_may_interrupt_a_wait_at_any_point(verb):
    step, outcomes = 1, Counter()
    while True:
        stop, channel = StopToken(), Channel(1) if verb == "get" else full(items=[1])
        work = channel.get if verb == "get" else lambda stop, timeout, put=channel.put: put(2, timeout, stop)
        results = []
        reached = interrupted_at(
            step,
            lambda work=work, stop=stop, results=results: results.append(
                outcome(lambda: work(stop=stop, timeout=0.001))
            ),
            stop.request,
        )
        assert left(channel) == ([] if verb == "get" else [1])
        assert not stop._callbacks
        outcomes.update(results)
        if not reached:
            break
        step += 1
    assert outcomes[StopRequested] > 20 and set(outcomes) == {StopRequested, ChannelTimeout}


def test_closing_by_a_signal_handler_may_interrupt_a_get_or_put_at_any_point():
    for work in (lambda c: c.get(timeout=0.001), lambda c: c.put(1), lambda c: (c.put(1), c.get())):
        step, reached = 1, True
        while reached:
            channel = Channel(1)
            results = []
            reached = interrupted_at(
                step,
                lambda work=work, channel=channel, results=results: results.append(outcome(lambda: work(channel))),
                channel.close,
            )
            channel.close()
            left(channel)
            assert outcome(channel.get) is ChannelClosed
            assert outcome(lambda channel=channel: channel.put(1)) is ChannelClosed
            step += 1
        assert step > 20


def test_closing_by_a_signal_handler_wakes_those_who_wait_whatever_it_interrupts():
    step, reached = 1, True
    while reached:
        channel, others = Channel(1), [Gate(), Gate()]
        channel._consumers.extend(others)
        reached = interrupted_at(step, lambda channel=channel: outcome(lambda: channel.put(1)), channel.close)
        channel.close()
        assert not any(other._lock.locked() for other in others)
        step += 1
    assert step > 20


# Everything at once


async def in_the_loop(*coroutines):
    return await asyncio.gather(*coroutines)


def test_many_producers_and_consumers_in_threads_and_loops_lose_and_double_nothing():
    channel, items = Channel(7), 300
    received: list[list[tuple[str, int]]] = []

    def produce(name):
        for number in range(items):
            channel.put((name, number), timeout=LONG)

    async def aproduce(name):
        for number in range(items):
            await channel.aput((name, number), timeout=LONG)

    def consume():
        received.append(mine := [])
        mine.extend(channel)

    async def aconsume():
        received.append(mine := [])
        async for item in channel:
            mine.append(item)

    consumers = [consume] * 3 + [lambda: asyncio.run(in_the_loop(*(aconsume() for _ in range(3))))] * 2
    producers = [lambda name=name: produce(name) for name in "abc"]
    producers += [
        lambda names=names: asyncio.run(in_the_loop(*(aproduce(name) for name in names))) for names in ("def", "ghi")
    ]
    with started(*consumers) as consumed:
        with started(*producers) as produced:
            pass
        channel.close()
    assert produced == [None] * 3 + [[None] * 3] * 2 and set(map(str, consumed)) == {"None", "[None, None, None]"}
    assert Counter(item for mine in received for item in mine) == Counter(
        (name, number) for name in "abcdefghi" for number in range(items)
    )
    for mine in received:  # each consumer sees the items of each producer in their order
        for name in "abcdefghi":
            numbers = [number for producer, number in mine if producer == name]
            assert numbers == sorted(numbers)


def test_waiters_that_are_cancelled_stopped_and_timed_out_all_the_time_lose_and_double_nothing():
    channel, items, producers = Channel(2), 200, 4
    received: list[tuple[int, int]] = []
    random.seed(7)

    def produce(name):
        for number in range(items):
            while True:
                try:
                    channel.put((name, number), timeout=random.choice([0, 0.0001, 0.001, LONG]))
                    break
                except ChannelTimeout:
                    pass

    async def aproduce(name):
        for number in range(items):
            while True:
                stop = StopToken()
                asyncio.get_running_loop().call_later(random.choice([0, 0.0001, 0.001]), stop.request)
                try:
                    await channel.aput((name, number), stop=stop)
                    break
                except StopRequested:
                    pass

    def consume():
        while True:
            try:
                received.append(channel.get(timeout=random.choice([0, 0.0001, 0.001])))
            except ChannelTimeout:
                pass
            except ChannelClosed:
                return

    async def take():
        received.append(await channel.aget())  # no pause after the get, so a cancelled task has not taken an item

    async def aconsume():
        while not (channel.closed and not len(channel)):
            task = asyncio.create_task(take())
            for _ in range(random.randrange(4)):
                await one_turn_of_the_loop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with started(consume, consume, *[lambda: asyncio.run(in_the_loop(aconsume(), aconsume()))] * 2):
        with started(
            lambda: produce(0),
            lambda: produce(1),
            lambda: asyncio.run(in_the_loop(aproduce(2), aproduce(3))),
        ) as produced:
            pass
        channel.close()
    assert produced == [None, None, [None, None]]
    expected = Counter((name, number) for name in range(producers) for number in range(items))
    assert Counter(received) == expected
    assert left(channel) == []
