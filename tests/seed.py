"""
Fill the database of DATABASE_URL with so many runs, as a site has after a month: `python -m tests.seed 1000000`.

For looking at the admin and for measuring it. PostgreSQL takes a million in a minute; the others take minutes. The
history lies within the last 30 days; beside it there are its sums, jobs, queues, a host with services, a few open runs, one run
with a long log, and a superuser `seed` with the password `seed`.
"""

import os
import sys
import uuid
from datetime import timedelta

QUEUES, JOBS, FEW = ("default", "mail", "feeds", "reports"), 20, 5_000
# What a run of the history has, by its number g; each value is SQL.
HISTORY = {
    "id": """(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(g %% 4096), 3, '0') || 'b'
              || substr(md5(g::text), 1, 15))::uuid""",
    "job_id": "CASE WHEN g %% 10 < 8 THEN %(first_job)s + g %% %(jobs)s END",
    "job_name": "CASE WHEN g %% 10 < 8 THEN 'seed.job-' || lpad((g %% %(jobs)s)::text, 2, '0') ELSE '' END",
    "task": "'shop.background.task_' || g %% %(jobs)s",
    "queue": "(ARRAY['default', 'default', 'default', 'mail', 'feeds', 'reports'])[1 + g %% 6]",
    "status": "CASE WHEN g %% 50 = 7 THEN 'failed' WHEN g %% 100 = 9 THEN 'cancelled' ELSE 'succeeded' END",
    "trigger": "CASE WHEN g %% 10 < 6 THEN 'schedule' WHEN g %% 97 = 0 THEN 'manual' ELSE 'code' END",
    "triggered_by_name": "CASE WHEN g %% 10 >= 6 AND g %% 97 = 0 THEN 'ana' ELSE '' END",
    "kwargs": """jsonb_build_object('region', (ARRAY['EU', 'US', 'APAC'])[1 + g %% 3], 'limit', g %% 1000, 'token', 'hunter2')""",
    "enqueued_at": "at",
    "started_at": "at + interval '0.2 seconds'",
    "finished_at": "at + interval '0.2 seconds' + (g %% 90) * interval '1 second'",
    "attempt": "1 + (g %% 50 = 7)::int",
    "max_attempts": "3",
    "host_name": "'web-' || 1 + g %% 3 || ':' || 310",
    "version": "'1f3c9'",
    "errors": """CASE WHEN g %% 50 = 7 THEN '[{"attempt": 1, "type": "builtins.TimeoutError", "message": "it took too long"}]'::jsonb
                 ELSE '[]'::jsonb END""",
    "error_type": "CASE WHEN g %% 50 = 7 THEN (ARRAY['builtins.TimeoutError', 'smtplib.SMTPServerDisconnected'])[1 + g %% 2] ELSE '' END",
    "error_summary": "CASE WHEN g %% 50 = 7 THEN 'it took too long' ELSE '' END",
    "fingerprint": "CASE WHEN g %% 50 = 7 THEN md5((g %% 7)::text) ELSE '' END",
}  # fmt: skip


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    call_command("migrate", verbosity=0)
    first_job = write_beside()
    (write_by_sql if connection.vendor == "postgresql" else write_by_rows)(count, first_job)
    write_sums(count, first_job)
    write_open()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE background_run, background_statistic")
    print(f"{count:,} runs are written.")


def write_beside() -> int:
    """Write jobs, a host and a person; return the id of the first job."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from background.models import Host, Job, Queue, Service

    if not User.objects.filter(username="seed").exists():
        User.objects.create_superuser("seed", password="seed")
    names = [f"seed.job-{n:02}" for n in range(JOBS)]
    Job.objects.filter(name__in=names).delete()
    jobs = Job.objects.bulk_create(
        Job(name=name, task=f"shop.background.task_{n}", outcomes="ssssfss") for n, name in enumerate(names)
    )
    host, _ = Host.objects.get_or_create(
        name="web-1:310",
        defaults={"pid": 310, "state": "running", "started_at": timezone.now(), "heartbeat_at": timezone.now() + timedelta(days=3650)},
    )  # fmt: skip
    for name in QUEUES:
        Queue.objects.get_or_create(name=name)
    for n in range(10):
        Service.objects.get_or_create(
            host=host, name=f"seed.Service{n}", defaults={"state": "running", "since": timezone.now()}
        )
    return min(Job.objects.filter(name__in=[job.name for job in jobs]).values_list("id", flat=True))


def write_by_sql(count: int, first_job: int) -> None:
    from django.db import connection

    from background.models import Run

    names, values, given = [], [], {"count": count, "first_job": first_job, "jobs": JOBS}
    for field in Run._meta.concrete_fields:
        names.append(f'"{field.column}"')
        if field.column in HISTORY:
            values.append(HISTORY[field.column])
        else:
            given[field.column] = None if field.null else field.get_db_prep_save(field.get_default(), connection)
            values.append(f"%({field.column})s")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO background_run ({', '.join(names)}) SELECT {', '.join(values)} FROM (SELECT g, "
            f"now() - interval '30 days' + interval '30 days' * g / %(count)s AS at FROM generate_series(0, %(count)s - 1) AS g) AS s",
            given,
        )


def write_by_rows(count: int, first_job: int) -> None:
    from django.utils import timezone

    from background.models import Run
    from background.models.ids import first_id

    start, step = timezone.now() - timedelta(days=30), timedelta(days=30) / count
    for begin in range(0, count, FEW):
        rows = []
        for g in range(begin, min(begin + FEW, count)):
            at = start + step * g
            failed = g % 50 == 7
            rows.append(
                Run(
                    id=uuid.UUID(int=first_id(at).int | uuid.uuid4().int & (1 << 62) - 1),
                    job_id=first_job + g % JOBS if g % 10 < 8 else None,
                    job_name=f"seed.job-{g % JOBS:02}" if g % 10 < 8 else "", task=f"shop.background.task_{g % JOBS}",
                    queue=QUEUES[g % 4], status="failed" if failed else "succeeded", enqueued_at=at, started_at=at,
                    finished_at=at + timedelta(seconds=g % 90), attempt=1, error_type="builtins.TimeoutError" if failed else "",
                    fingerprint="ab" * 16 if failed else "", kwargs={"region": "EU", "limit": g % 1000},
                )
            )  # fmt: skip
        Run.objects.bulk_create(rows)


def write_sums(count: int, first_job: int) -> None:
    """Write what hosts would have summed up: per queue and per job, minutes of two days and hours of thirty."""
    from django.utils import timezone

    from background.models import Statistic
    from background.models.statistics import ALL_RUNS, class_of

    Statistic.objects.all().delete()
    now, each = timezone.now().replace(second=0, microsecond=0), count / (30 * 24 * 60)
    of = [(ALL_RUNS, queue, each / len(QUEUES)) for queue in QUEUES]
    of += [(first_job + n, QUEUES[n % 4], each / JOBS) for n in range(JOBS)]
    for span, step, spans in (("minute", timedelta(minutes=1), 48 * 60), ("hour", timedelta(hours=1), 30 * 24)):
        begin = now if span == "minute" else now.replace(minute=0)
        for job, queue, rate in of:
            ended = max(1, round(rate * step.total_seconds() / 60))
            facts = {"succeeded": ended, "failed": ended // 50, "waited": 0.2 * ended, "ran": 45.0 * ended}
            facts |= {
                "waits": {class_of(0.2): ended},
                "runs": {class_of(5 + n * 8): ended // 10 + 1 for n in range(10)},
            }
            Statistic.objects.bulk_create(
                Statistic(span=span, start=begin - n * step, job_id=job, queue=queue, **facts) for n in range(spans)
            )


def write_open() -> None:
    """Write what is open, and one run that has much to tell."""
    from django.utils import timezone

    from background.models import Host, Run, RunLog

    now, host = timezone.now(), Host.objects.get(name="web-1:310")
    states = ["ready"] * 500 + ["scheduled"] * 200 + ["blocked"] * 50 + ["running"] * 20
    Run.objects.bulk_create(
        Run(
            task="shop.background.task_1", status=state, queue=QUEUES[n % 4], enqueued_at=now,
            position=n if state == "ready" else None,
            run_after=now + timedelta(hours=1) if state == "scheduled" else None, host=host if state == "running" else None,
            host_name=host.name if state == "running" else "", started_at=now if state == "running" else None,
            progress_done=n, progress_total=1000,
            concurrency_key="one" if state == "blocked" else "", concurrency=1 if state == "blocked" else None,
        )
        for n, state in enumerate(states)
    )  # fmt: skip
    told = Run.objects.create(
        task="shop.background.task_1", status="succeeded", enqueued_at=now, started_at=now, finished_at=now
    )
    RunLog.objects.bulk_create(
        RunLog(run=told, sequence=n, created_at=now, level="INFO", message=f"customer {n}: " + "sent, " * (n % 9))
        for n in range(1, 1001)
    )


if __name__ == "__main__":
    main()
