"""Three hosts that schedule side by side while one of them is killed and comes back: no occurrence twice, none missing."""

import json
import signal
from contextlib import ExitStack
from datetime import timedelta

import pytest

from background.dialects import dialect
from background.models import Job, Run, Skip
from tests.app.models import Effect
from tests.chaos.findings import stories
from tests.chaos.hosts import QUICK, STARTED
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
SECOND = timedelta(seconds=1)


class Schedulers:
    """Hosts that schedule and execute; for use as a context manager, which waits until all have started."""

    def __init__(self, count):
        self._stack = ExitStack()
        self._started = 0
        self.fallen = []
        self.hosts = [self._start() for _ in range(count)]

    def _start(self):
        self._started += 1
        name, settings = f"host-{self._started}", json.dumps(QUICK)
        flags = ("--no-services", "--no-reload", "--name", name)
        environment = {"BACKGROUND_TEST_SETTINGS": settings, "DJANGO_SETTINGS_MODULE": "tests.chaos.settings"}
        return self._stack.enter_context(Process("runbackground", *flags, **environment))

    def __enter__(self):
        for host in self.hosts:
            host.wait_for_line(STARTED, timeout=60)
        return self

    def __exit__(self, *error):
        self._stack.close()

    def kill(self, number):
        self.hosts[number].send(signal.SIGKILL)
        self.hosts[number].popen.wait()
        self.fallen.append(self.hosts.pop(number))

    def start(self):
        self.hosts.append(self._start())
        self.hosts[-1].wait_for_line(STARTED, timeout=60)

    @property
    def output(self):
        return "\n".join(host.output for host in (*self.fallen, *self.hosts))

    def stop(self):
        codes = [host.stop(timeout=60) for host in self.hosts]
        assert not any(codes) and "Traceback" not in self.output, f"exit codes {codes}:\n{self.output}"


def every_second(**fields):
    fields = {"overlap": "allow", "misfire": "all", **fields}
    return Job.objects.create(name="every second", task="tests.app.background.note", schedule="every 1s", **fields)


def runs(job):
    return Run.objects.filter(job=job).order_by("scheduled_for")


def reached(job, instant, timeout=60):
    wait_until(lambda: runs(job).filter(scheduled_for__gte=instant).exists(), timeout=timeout)


def assert_gapless(times):
    """See that each second is there once."""
    wrong = [(a, b) for a, b in zip(times, times[1:], strict=False) if b - a != SECOND]
    assert not wrong, f"between these is not one second: {wrong}"


def test_a_job_of_every_second_has_no_double_and_no_hole_while_hosts_are_killed(scale, report):
    seconds, kills = scale(8, 30), scale(1, 3)
    with Schedulers(3) as hosts:
        began = dialect().now()
        job = every_second()
        for number in range(kills):
            reached(job, began + timedelta(seconds=seconds * (number + 1) / (kills + 2)))
            hosts.kill(number % len(hosts.hosts))
            reached(job, began + timedelta(seconds=seconds * (number + 1.5) / (kills + 2)))
            hosts.start()
        reached(job, began + timedelta(seconds=seconds))
        Job.objects.filter(pk=job.pk).update(enabled=False)
        wait_until(lambda: not Job.objects.filter(pk=job.pk).edited().exists(), timeout=2)
        ended = dialect().now()
        wait_until(lambda: not runs(job).open().exists(), timeout=60)
        hosts.stop()
    found = list(runs(job))
    assert_gapless([run.scheduled_for for run in found])
    assert found[0].scheduled_for <= began + 3 * SECOND and found[-1].scheduled_for >= ended - 3 * SECOND
    assert not Skip.objects.filter(job=job).exists()
    failed = [run for run in found if run.status != Run.Status.SUCCEEDED]
    assert not failed, f"{stories(failed)}\n{hosts.output[-6000:]}"
    assert Effect.objects.filter(name="note").count() >= len(found)
    late = sorted((run.enqueued_at - run.scheduled_for).total_seconds() for run in found)
    report["a job of every second on three hosts"] = {
        "runs": len(found),
        "kills": kills,
        "median lateness ms": round(late[len(late) // 2] * 1000),
        "most ms": round(late[-1] * 1000),
    }


def test_three_hosts_follow_each_edit_within_two_seconds_and_make_nothing_up(scale):
    with Schedulers(3) as hosts:
        job = every_second()
        rows = Job.objects.filter(pk=job.pk)
        for _ in range(scale(2, 8)):
            rows.update(enabled=True)
            resumed = dialect().now()
            wait_until(lambda resumed=resumed: runs(job).filter(scheduled_for__gte=resumed).exists(), timeout=4)
            rows.update(enabled=False)
            wait_until(lambda: not rows.edited().exists(), timeout=2)
            paused = dialect().now()
            wait_until(lambda paused=paused: dialect().now() > paused + 3 * SECOND, timeout=10)
            assert not runs(job).filter(scheduled_for__gt=paused).exists()
            made = list(runs(job).filter(scheduled_for__gte=resumed).values_list("scheduled_for", flat=True))
            assert_gapless(made)
            assert not runs(job).filter(scheduled_for__lt=resumed, enqueued_at__gt=resumed + SECOND).exists()
        hosts.stop()
