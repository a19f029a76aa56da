"""How long it takes and how much it is: figures to read, with no limits but generous ones."""

import random
import signal
import time
from os import kill
from statistics import median

import pytest
from django.db.models import Max, Min

from background.models import Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_all_succeeded, times, wait_for_end
from tests.chaos.hosts import STARTED, ChaosHost, Fleet
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def starts(folder, key=None):
    """Return who began what, and when: (key, pid, nanoseconds)."""
    return [(name, pid, at) for name, word, pid, at in times(folder) if word == "began" and key in (None, name)]


def seconds(latencies):
    return {"kills": len(latencies), "median": round(median(latencies), 2), "worst": round(max(latencies), 2)}


def kill_together(folder, count, **settings):
    """Have `count` hosts begin a run each, kill them one soon after another; return the seconds until each began elsewhere."""
    with Fleet(count, "--concurrency", "1", **settings) as victims:
        enqueue_many((tasks.wait_at_first, [str(folder), f"run-{n}"], {}) for n in range(count))
        begun = wait_until(lambda: len(found := starts(folder)) == count and found, timeout=60)
        held_by = {pid: key for key, pid, _ in begun}
        with ChaosHost("heir", **settings) as heir:
            heir.wait_for_line(STARTED, timeout=60)
            killed_at = {}
            for host in victims.hosts:
                time.sleep(random.uniform(0.1, settings["HEARTBEAT_INTERVAL"]))  # at any moment between two heartbeats
                killed_at[held_by[host.pid]] = time.time_ns()
                host.kill()
            wait_for_end(120, heir)
            assert heir.stop() == 0, heir.output
    again = {key: at for key, pid, at in starts(folder) if pid == heir.pid}
    assert set(again) == set(killed_at), f"begun again: {again}, killed: {killed_at}"
    return [(again[key] - at) / 1e9 for key, at in killed_at.items()]


def test_time_from_a_killed_host_to_the_start_elsewhere(scale, report, tmp_path):
    timeout = scale(3, 15)
    settings = {"HOST_TIMEOUT": timeout, "HEARTBEAT_INTERVAL": scale(0.5, 2), "POLL_INTERVAL": 1.0}
    latencies = []
    for turn in range(scale(1, 5)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        latencies += kill_together(folder, scale(2, 4), **settings)
    report[f"SIGKILL to start elsewhere, host, HOST_TIMEOUT {timeout}"] = seconds(latencies)
    assert max(latencies) < timeout + 30, latencies


def kill_worker_processes(folder, count, turn):
    """Kill `count` worker processes of one parent, each with a run in its hands; return the seconds until each began elsewhere."""
    latencies = []
    with Fleet(1, "--processes", "3", "--concurrency", "1", HOST_TIMEOUT=15, POLL_INTERVAL=1.0) as fleet:
        fleet[0].wait_for_line(STARTED, count=4, timeout=60)
        for number in range(count):
            key = f"run-{turn}-{number}"
            tasks.wait_at_first.enqueue(str(folder), key)
            ((_, pid, _),) = wait_until(lambda key=key: starts(folder, key), timeout=60)
            time.sleep(random.uniform(0, 0.5))
            killed_at = time.time_ns()
            kill(pid, signal.SIGKILL)
            wait_for_end(60, fleet)
            (_, other, at) = starts(folder, key)[-1]
            assert other != pid
            latencies.append((at - killed_at) / 1e9)
        fleet.stop()
    return latencies


def test_time_from_a_killed_worker_process_to_the_start_elsewhere(scale, report, tmp_path):
    latencies = []
    for turn in range(scale(1, 5)):  # a parent lets the place of a process that dies again and again wait
        latencies += kill_worker_processes(tmp_path, scale(2, 4), turn)
    report["SIGKILL to start elsewhere, worker process"] = seconds(latencies)
    assert max(latencies) < 30, latencies


def test_runs_per_second_of_a_hot_key(scale, report):
    total = scale(200, 3000)
    with Fleet(3, HOST_TIMEOUT=15) as fleet:
        for task in (tasks.nothing_alone, tasks.nothing_by_three):
            enqueue_many((task, ["hot"], {}) for _ in range(total))
            wait_for_end(scale(90, 900), fleet)
            report[f"one key, concurrency={task.concurrency}, 3 hosts"] = pace(
                Run.objects.filter(task=task.module_path)
            )
        fleet.stop()
    assert_all_succeeded(2 * total, fleet.output)


def pace(runs):
    span = runs.aggregate(first=Min("started_at"), last=Max("finished_at"))
    took = (span["last"] - span["first"]).total_seconds()
    hosts = runs.values("host_name").distinct().count()
    return {"runs": runs.count(), "runs/s": round(runs.count() / took), "hosts that took part": hosts}
