"""A host that is told to stop under load hands back what it cannot end, and others go on with it at once."""

import time

import pytest

from background.models import Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import (
    assert_all_succeeded,
    assert_at_least_once,
    assert_unburnt,
    stories,
    times,
    wait_for_end,
)
from tests.chaos.hosts import STARTED, ChaosHost
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TIME_TO_STOP = 10
CALM = {"SHUTDOWN_TIMEOUT": TIME_TO_STOP, "HOST_TIMEOUT": 15}


def stop_in_time(host):
    """Tell a host to stop; it does, with exit code 0, in the time it has. Returns when it was told."""
    told, began = time.time_ns(), time.monotonic()
    assert host.stop(timeout=60) == 0, host.output
    took = time.monotonic() - began
    assert took < TIME_TO_STOP, f"stopping took {took:.1f} s:\n{host.output}"
    assert "Traceback" not in host.output, host.output
    return told


def begun(folder):
    return {key for key, word, _, _ in times(folder) if word == "began"}


def test_a_stopped_host_leaves_its_runs_ready_and_unburnt(scale, tmp_path):
    quick, waiting = range(scale(50, 500)), [f"waits-{n}" for n in range(4)]
    with ChaosHost("stops", "--concurrency", "8", **CALM) as host:
        host.wait_for_line(STARTED, timeout=60)
        enqueue_many((tasks.wait_at_first, [str(tmp_path), n], {}) for n in waiting)
        wait_until(lambda: begun(tmp_path) == set(waiting), timeout=30)
        enqueue_many((tasks.write, [n, 0.05], {}) for n in quick)
        wait_until(lambda: Run.objects.succeeded().count() >= len(quick) // 5, timeout=60)
        stop_in_time(host)
    left = list(Run.objects.exclude(status=Run.Status.SUCCEEDED))
    wrong = [run for run in left if (run.status, run.attempt, run.lost, run.errors) != ("ready", 0, 0, [])]
    assert not wrong, f"not ready again as if nothing had been:\n{stories(wrong)}"
    assert {run.args[1] for run in left if "wait" in run.task} == set(waiting)

    with ChaosHost("goes on", **CALM) as host:
        wait_for_end(60, host)
        stop_in_time(host)
    assert_all_succeeded(len(quick) + len(waiting), host.output)
    assert_at_least_once("written", quick)
    assert_unburnt()


def test_others_take_over_within_about_a_second(scale, report, tmp_path):
    quick, waiting = range(scale(100, 1000)), [f"waits-{n}" for n in range(4)]
    with ChaosHost("stops", "--concurrency", "4", **CALM) as host:
        host.wait_for_line(STARTED, timeout=60)
        enqueue_many((tasks.wait_at_first, [str(tmp_path), n], {}) for n in waiting)
        wait_until(lambda: begun(tmp_path) == set(waiting), timeout=30)
        with ChaosHost("takes over", "--concurrency", "8", **CALM) as other:
            other.wait_for_line(STARTED, timeout=60)
            enqueue_many((tasks.write, [n, 0.05], {}) for n in quick)
            wait_until(lambda: Run.objects.succeeded().count() >= 20, timeout=30)
            told = stop_in_time(host)
            wait_for_end(60, other)
            stop_in_time(other)
    assert_all_succeeded(len(quick) + len(waiting), other.output)
    assert_unburnt()
    again = [at for _, _, pid, at in times(tmp_path) if pid == other.pid]
    assert len(again) == len(waiting)
    slowest = (max(again) - told) / 1e9
    report["SIGTERM to start elsewhere, slowest of 4"] = {"seconds": round(slowest, 2)}
    assert slowest < 10, f"the last of the runs handed back began {slowest:.1f} s after SIGTERM:\n{other.output}"
