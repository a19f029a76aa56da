"""Items put into a consumer's channel are worked off in batches, tried again, and never vanish unsaid."""

import threading

import pytest
from django.db import connection

from background import Backoff, ChannelClosed
from background.contrib.consumer import ConsumerService
from background.testing import run_host
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


def make(**values):
    class Orders(ConsumerService):
        name = "orders"
        batch_seconds = 0.05
        retry = Backoff(initial=0.01, maximum=0.01)
        batches = []
        rejected = []

        def consume(self, items, scope):
            self.batches.append(items)

        def reject(self, items, error):
            self.rejected.append((items, error))

    return type("Orders", (Orders,), {"name": "orders", "batches": [], "rejected": [], **values})


def test_what_came_meanwhile_is_one_batch_and_no_batch_is_too_large():
    orders = make(batch_size=10)
    for number in range(25):
        orders.put(number)
    with run_host(orders) as host:
        host.wait_for(lambda: sum(map(len, orders.batches)) == 25)
    assert [len(batch) for batch in orders.batches] == [10, 10, 5]
    assert [item for batch in orders.batches for item in batch] == list(range(25))


def test_each_batch_has_a_scope_with_the_database():
    def consume(self, items, scope):
        Effect.objects.bulk_create(Effect(name="consumed", note=str(item)) for item in items)
        scope.add_cleanup(self.batches.append, items)

    orders = make(consume=consume)
    with run_host(orders) as host:
        orders.put("one")
        host.wait_for(lambda: orders.batches == [["one"]])
    assert Effect.objects.get().note == "one"


def test_producers_are_held_back_while_the_consumer_is_behind():
    may_go, passed = threading.Event(), threading.Event()

    def consume(self, items, scope):
        may_go.wait(10)
        self.batches.append(items)

    orders = make(consume=consume, capacity=2, batch_size=1)

    def produce():
        for number in range(4):  # one is being consumed, two lie in the channel, the fourth has to wait
            orders.put(number)
        passed.set()

    with run_host(orders) as host:
        thread = threading.Thread(target=produce)
        thread.start()
        host.wait_for(lambda: len(orders.channel) == 2)
        assert not passed.is_set()
        may_go.set()
        assert passed.wait(10)
        thread.join()
        host.wait_for(lambda: len(orders.batches) == 4)


def test_a_batch_that_fails_is_tried_again_and_then_given_up_with_its_error():
    def consume(self, items, scope):
        self.batches.append(items)
        if "bad" in items:
            raise ValueError("no good")

    orders = make(consume=consume, batch_size=1, tries=3)
    with run_host(orders) as host:
        orders.put("bad")
        orders.put("good")
        host.wait_for(lambda: ["good"] in orders.batches)
        assert host.service("orders").state == "running"
    assert orders.batches == [["bad"], ["bad"], ["bad"], ["good"]]
    assert [(items, str(error)) for items, error in orders.rejected] == [(["bad"], "no good")]


def test_a_stop_drains_the_channel_and_takes_no_more():
    begun = threading.Event()

    def consume(self, items, scope):
        begun.set()
        self.stop.wait(10)
        self.batches.append(items)

    orders = make(consume=consume, batch_size=2)
    with run_host(orders):
        orders.put(0)
        assert begun.wait(10)
        for number in range(1, 6):
            orders.put(number)
    assert sorted(item for batch in orders.batches for item in batch) == list(range(6))
    with pytest.raises(ChannelClosed):
        orders.put(6)


def test_what_there_is_no_time_for_at_the_stop_is_rejected_without_an_error():
    begun = threading.Event()

    def consume(self, items, scope):
        begun.set()
        self.stop.wait(10)
        threading.Event().wait(self.stop.remaining())
        self.batches.append(items)

    orders = make(consume=consume, batch_size=1, stop_timeout=0.5)
    with run_host(orders):
        orders.put("first")
        assert begun.wait(10)
        orders.put("second")
    assert (orders.batches, orders.rejected) == ([["first"]], [(["second"], None)])


def test_after_a_restart_the_channel_is_open_again():
    orders = make()
    with run_host(orders):
        pass
    assert orders.channel.closed
    with run_host(orders) as host:
        orders.put("again")
        host.wait_for(lambda: orders.batches == [["again"]])
    connection.close()
