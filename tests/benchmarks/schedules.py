"""
Measure how long the scheduler takes with many jobs, and print it as JSON.

    DATABASE_URL=postgres://root@127.0.0.1/bench python -m tests.benchmarks.schedules [--jobs 10000] [--history 0] [--rounds 5]

It makes a database of its own beside the one that is named (`test_bench`, which must not exist) and drops it at the end.
Each figure is the median of the rounds; `ms` is what passed on the clock, `cpu_ms` what this process worked (on a machine that others
use as well, the rest was waiting for them or for the database), `database_ms` the part spent in statements. `--history`
gives each job so many finished runs, so that a look at what is open has something to read past.
"""

import argparse
import json
import logging
import os
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.db.models import Q  # noqa: E402

from background.dialects import dialect  # noqa: E402
from background.engine.occurrences import choose, schedule_of  # noqa: E402
from background.engine.scheduler import Scheduler, schedule_due  # noqa: E402
from background.models import Job, Run, Skip  # noqa: E402
from background.queue.holding import Filter, Holder  # noqa: E402
from background.stopping import StopToken  # noqa: E402

TASK = "tests.app.background.note"
NEVER = "0 0 1 1 *"
START = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)


class Meter:
    """Adds up the statements of one connection."""

    def __init__(self):
        self.seconds, self.statements = 0.0, 0

    def __call__(self, execute, sql, params, many, context):
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - began
            self.statements += 1


def measure(work):
    """Return (what it returned, milliseconds, those of this process's CPU, those in the database, statements)."""
    meter = Meter()
    began, worked = time.perf_counter(), time.process_time()
    with connection.execute_wrapper(meter):
        found = work()
    clock, cpu = time.perf_counter() - began, time.process_time() - worked
    return found, clock * 1000, cpu * 1000, meter.seconds * 1000, meter.statements


def median(rounds, **facts):
    _, clock, cpu, database, statements = zip(*rounds, strict=True)
    return {
        "ms": round(statistics.median(clock), 2),
        "cpu_ms": round(statistics.median(cpu), 2),
        "database_ms": round(statistics.median(database), 2),
        "statements": statistics.median(statements),
        **facts,
    }


def fill(count, history):
    """Write the jobs, planned for the next new year, each with finished runs."""
    Job.objects.all().delete()
    planned = {"schedule": NEVER, "timezone": "UTC", "planned_schedule": NEVER, "planned_timezone": "UTC"}
    far = schedule_of(NEVER, "UTC").next(dialect().now())
    Job.objects.bulk_create(
        (
            Job(
                name=f"job {n}", task=TASK, enabled=True, planned_enabled=True, cursor=START, next_run_at=far, **planned
            )
            for n in range(count)
        ),
        batch_size=1000,
    )
    for n in range(history):
        at = START - timedelta(hours=history - n)
        finished = {"status": "succeeded", "trigger": "schedule", "scheduled_for": at, "enqueued_at": at}
        Run.objects.bulk_create(
            (Run(job_id=pk, task=TASK, **finished) for pk in Job.objects.values_list("pk", flat=True)), batch_size=1000
        )
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            tables = ("background_job", "background_run")
            for table in tables:
                cursor.execute(f"{'ANALYZE TABLE' if connection.vendor == 'mysql' else 'VACUUM ANALYZE'} {table}")


def follow(jobs, schedule, now, **fields):
    """Have these jobs follow a schedule from `now` on."""
    jobs.update(
        schedule=schedule, planned_schedule=schedule, cursor=now, next_run_at=now + timedelta(seconds=1), **fields
    )


def rest(jobs):
    """Have no job due and no run open."""
    far = schedule_of(NEVER, "UTC").next(dialect().now())
    jobs.update(schedule=NEVER, planned_schedule=NEVER, cursor=dialect().now(), next_run_at=far)
    Run.objects.open().update(status="succeeded", position=None)
    Skip.objects.all().delete()


def scheduler():
    id = uuid.uuid4()
    return Scheduler(SimpleNamespace(id=id, name="one", holder=Holder(id, "one"), filter=Filter(), database_away=False))


def due_at_once(jobs, count, rounds):
    """`count` of the jobs are due at the same second; what a host takes for them until it rests."""
    taken, one, stop = [], scheduler(), StopToken()
    chosen = jobs.filter(pk__in=list(jobs.order_by("pk").values_list("pk", flat=True)[:count]))

    def until_it_rests():
        while one.step(stop) == 0:
            pass

    for _ in range(rounds):
        now = dialect().now() - timedelta(seconds=2)
        anchor = (now + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
        follow(chosen, f"every 1h from {anchor}", now)
        taken.append(measure(until_it_rests))
        made = Run.objects.open().count()
        assert made == count, f"{made} of {count} were made"
        rest(jobs)
    return median(taken)


def tick(rounds):
    one, stop = scheduler(), StopToken()
    return median([measure(lambda: one.step(stop)) for _ in range(rounds * 4)])


def away(jobs, rounds):
    """One job was away for a month of minutes: the decision alone, and with its hundred runs written."""
    job = jobs.order_by("pk").first()
    alone, whole = [], []
    far_ahead = START + timedelta(days=3650)
    for n in range(rounds):
        start = far_ahead + timedelta(days=31 * n)
        jobs.exclude(pk=job.pk).update(next_run_at=far_ahead + timedelta(days=3650))  # one alone is due
        now = start + timedelta(days=30)
        follow(jobs.filter(pk=job.pk), "* * * * *", start, misfire="all", overlap="allow")
        job.refresh_from_db()
        alone.append(measure(lambda start=start, now=now: decision(job, start, now)))
        whole.append(measure(lambda now=now: schedule_due(now)))
        assert len(whole[-1][0]) == 100
        rest(jobs)
    jobs.update(misfire="once", overlap="skip")
    return {"month_decision": median(alone), "month_written": median(whole)}


def decision(job, start, now):
    return choose(job, schedule_of(job.planned_schedule, job.planned_timezone), start, now)


def edited(jobs, rounds):
    """All jobs are given another schedule by one UPDATE."""
    taken = []
    for n in range(rounds):
        jobs.update(schedule=f"{n + 1} 0 1 1 *")
        taken.append(measure(lambda: schedule_due(dialect().now())))
        assert not Job.objects.edited().exists()
    return median(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--history", type=int, default=0, help="finished runs of each job")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    old = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        print(json.dumps(figures(options), indent=2))
    finally:
        connection.creation.destroy_test_db(old, verbosity=0)


def figures(options):
    fill(options.jobs, options.history)
    jobs = Job.objects.filter(~Q(name=""))
    found = {"database": connection.vendor, "jobs": options.jobs, "history": options.history}
    found["tick_with_none_due"] = tick(options.rounds)
    found["due_at_once_1000"] = due_at_once(jobs, min(1000, options.jobs), options.rounds)
    found[f"due_at_once_{options.jobs}"] = due_at_once(jobs, options.jobs, max(1, options.rounds // 2))
    found |= away(jobs, options.rounds)
    found["all_edited"] = edited(jobs, max(1, options.rounds // 2))
    return found


if __name__ == "__main__":
    main()
