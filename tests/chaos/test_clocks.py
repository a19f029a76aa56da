"""Hosts whose clock is an hour off neither lose nor steal runs: the database's clock decides."""

from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.utils import timezone

from background.models import Host, Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_all_succeeded, assert_exactly_once, assert_unburnt, stories
from tests.chaos.hosts import STARTED, ChaosHost
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# Seconds by which the clocks of the hosts are off.
CLOCKS = {"right": 0, "ahead": 3600, "behind": -3600}


def test_clocks_that_are_an_hour_off_neither_steal_nor_lose_runs(scale):
    """HOST_TIMEOUT is 5 s and the long runs take more: time enough to be taken for lost. There are enough for each host."""
    quick, long = range(scale(100, 1000)), [f"long-{n}" for n in range(9)]
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(ChaosHost(name, "--concurrency", "4", clock=off, HOST_TIMEOUT=5))
            for name, off in CLOCKS.items()
        ]
        for host in hosts:
            host.wait_for_line(STARTED, timeout=60)
        enqueue_many((tasks.write, [n, scale(6, 20)], {}) for n in long)
        wait_until(lambda: Run.objects.running().count() == len(long))
        enqueue_many((tasks.write, [n, 0.05], {}) for n in quick)
        at = timezone.now() + timedelta(seconds=3)
        later = tasks.write.using(run_after=at).enqueue("later")
        far = tasks.write.using(run_after=at + timedelta(minutes=30)).enqueue("far")
        wait_until(lambda: Run.objects.open().count() == 1, timeout=scale(60, 300))
        found = Run.objects.get(id=far.id)
        assert found.status == Run.Status.SCHEDULED, f"half an hour too early: {stories([found])}"
        found.delete()
        offsets = dict(Host.objects.values_list("name", "clock_offset"))
        for host in hosts:
            assert host.stop() == 0, host.output
    for name, off in CLOCKS.items():
        assert abs(offsets[name] - off) < 60, f"the clocks were off by {offsets}, not by {CLOCKS}"
    assert_all_succeeded(len(quick) + len(long) + 1, "\n".join(host.output for host in hosts))
    assert_exactly_once("written", [*quick, *long, "later"])
    assert_unburnt()
    assert sorted(Host.objects.values_list("name", "state")) == sorted((name, "stopped") for name in CLOCKS)
    began = Run.objects.get(id=later.id).started_at
    assert at <= began < at + timedelta(seconds=60), f"due at {at}, begun at {began}"
    shares = {name: Run.objects.filter(host_name=name).count() for name in CLOCKS}
    assert all(shares.values()), f"a host had nothing to do: {shares}"
