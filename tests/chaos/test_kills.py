"""Hosts that are killed lose nothing, and hosts that live do nothing twice."""

import random
import time

import pytest

from background.models import Host, Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import (
    assert_all_succeeded,
    assert_at_least_once,
    assert_exactly_once,
    assert_unburnt,
    wait_for_end,
)
from tests.chaos.hosts import Fleet
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# Effects are left before the run is over: a kill hits between the two (seconds).
WRITES, BOOKS = 0.1, 0.004


def enqueue_both(total):
    """Enqueue as many runs of either kind, in turns."""
    numbers = range(total // 2)
    enqueue_many(
        order
        for n in numbers
        for order in ((tasks.write, [n], {"seconds": WRITES}), (tasks.book, [n], {"seconds": BOOKS}))
    )
    return numbers


def busy(fleet):
    """Return the places in the fleet whose hosts have runs in progress."""
    names = set(Run.objects.running().values_list("host_name", flat=True))
    return [place for place, host in enumerate(fleet.hosts) if host.name in names]


def test_hosts_killed_at_random_lose_no_run_and_double_no_atomic_effect(scale):
    """MAX_LOST is out of reach (1,000): the hosts die by our hand, and no run is to be suspected of it for ever."""
    total, kills = scale(200, 2000), scale(3, 10)
    with Fleet(3, "--concurrency", "4") as fleet:
        numbers = enqueue_both(total)
        for kill in range(1, kills + 1):
            wait_until(lambda kill=kill: Run.objects.finished().count() >= total * kill // (kills + 2), timeout=300)
            time.sleep(random.uniform(0, 0.1))
            fleet.kill(random.choice(wait_until(lambda: busy(fleet), timeout=60)))
        wait_for_end(scale(90, 600), fleet)
        fleet.stop()
    assert Run.objects.filter(lost__gt=0).exists(), "no kill has hit a run"
    assert Host.objects.filter(state="lost").count() == kills
    assert_all_succeeded(len(numbers) * 2, fleet.output)
    assert_exactly_once("booked", numbers)
    assert_at_least_once("written", numbers)


def test_when_nobody_dies_each_run_is_executed_exactly_once(scale):
    numbers = range(scale(600, 10_000))
    with Fleet(3, HOST_TIMEOUT=15) as fleet:
        enqueue_many((tasks.write, [n], {}) for n in numbers)
        wait_for_end(scale(90, 900), fleet)
        fleet.stop()
    assert_all_succeeded(len(numbers), fleet.output)
    assert_exactly_once("written", numbers)
    assert_unburnt()
    shares = {host.name: Run.objects.filter(host_name=host.name).count() for host in fleet.hosts}
    assert all(shares.values()), f"a host had nothing to do: {shares}"
