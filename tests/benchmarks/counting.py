"""
Measure what counting for the statistics costs a drain, and print it as JSON: with and without it, in turn.

    DATABASE_URL=postgres://root@127.0.0.1/bench python -m tests.benchmarks.counting [--runs 5000] [--rounds 7]

It makes a database of its own beside the one that is named (`test_bench`, which must not exist) and drops it at the end.
One host in this process drains runs that wait, round after round, the two kinds in turn and each first every other time.
Figures are microseconds per run: `cpu` what this process worked, `clock` what passed; `ratio` is the median of with ÷
without within a round, with the least and the largest; `spent` is the CPU within noting and writing themselves. `--runs`
should last a while: a host writes when it stops as well.
"""

import argparse
import json
import logging
import os
import statistics
import time
from collections import Counter
from unittest import mock

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connection  # noqa: E402

import background  # noqa: E402
from background.engine.statistics import INTERVAL, Statistics  # noqa: E402
from background.host import Host, Options  # noqa: E402
from background.models import Run, Statistic  # noqa: E402
from background.queue import finish, tally  # noqa: E402
from tests.app import background as tasks  # noqa: E402


def drain(count):
    """Return (CPU, clock) in seconds of a host that drains so many runs."""
    Run.objects.all()._raw_delete(Run.objects.db)
    background.enqueue_many([(tasks.plain, (), {}) for _ in range(count)])
    began, worked = time.perf_counter(), time.process_time()
    assert Host((), Options(drain=True, schedules=False)).run() == 0
    found = time.process_time() - worked, time.perf_counter() - began
    assert Run.objects.succeeded().count() == count, Counter(Run.objects.values_list("status", "error_summary"))
    return found


def drain_uncounted(count):
    with (
        mock.patch.object(finish, "note", lambda outcomes: None),
        mock.patch.object(Statistics, "step", lambda *a: INTERVAL),
    ):
        return drain(count)


SPENT = {"note": 0.0, "flush": 0.0}


def timed(name, call):
    """Add up the CPU that the calling thread works in `call`: a figure that a busy machine does not blur."""

    def timing(*args):
        began = time.thread_time()
        try:
            return call(*args)
        finally:
            SPENT[name] += time.thread_time() - began

    return timing


def drain_counted(count):
    with (
        mock.patch.object(finish, "note", timed("note", finish.note)),
        mock.patch.object(tally, "flush", timed("flush", tally.flush)),
    ):
        return drain(count)


def figures(options):
    drain(options.runs), drain_uncounted(options.runs)  # warm
    with_, without = [], []
    for number in range(options.rounds):
        for counted in (True, False) if number % 2 else (False, True):
            (with_ if counted else without).append((drain_counted if counted else drain_uncounted)(options.runs))
    counted = sum(Statistic.objects.hours().overall().values_list("succeeded", flat=True))
    assert counted == options.runs * (options.rounds + 1), counted
    found = {"database": connection.vendor, "runs": options.runs, "rounds": options.rounds}
    for index, name in enumerate(("cpu", "clock")):
        pairs = [(a[index], b[index]) for a, b in zip(with_, without, strict=True)]
        ratios = [a / b for a, b in pairs]
        found[name] = {
            "with": round(statistics.median(a for a, _ in pairs) / options.runs * 1e6, 1),
            "without": round(statistics.median(b for _, b in pairs) / options.runs * 1e6, 1),
            "ratio": [round(one, 3) for one in (statistics.median(ratios), min(ratios), max(ratios))],
        }
    found["spent"] = {name: round(one / options.runs / options.rounds * 1e6, 2) for name, one in SPENT.items()}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    old = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        print(json.dumps(figures(options), indent=2))
    finally:
        connection.creation.destroy_test_db(old, verbosity=0)


if __name__ == "__main__":
    main()
