"""A small shop's background work, for looking at: every state of a run, jobs, hosts, services and queues."""

import math
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

from django.utils import timezone

from background.models import Host, Job, Queue, Run, RunLog, Service, ServiceStart
from background.models.ids import first_id
from background.models.statistics import ALL_RUNS, Statistic, class_of

JOBS = [  # name, schedule, zone, queue, outcomes, median
    ("nightly-report", "0 3 * * *", "Europe/Paris", "reports", "ssssssssssfsssssssssssssssssss", 41.0),
    ("sync-stock", "*/15 * * * *", "UTC", "default", "s" * 30, 3.2),
    ("import-feed", "30 6 * * 1-5", "America/New_York", "feeds", "ssssssssssssssssssssfffff", 600.0),
    ("send-digest", "every 10 minutes", "UTC", "mail", "ssssssfsssfsssssmssss", 7.1),
    ("cleanup", "", "UTC", "default", "", None),
]
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/mail/digest.py", line 88, in send_digest
    server.sendmail(sender, recipient, message)
  File "/usr/lib/python3.13/smtplib.py", line 402, in getreply
    raise SMTPServerDisconnected("Connection unexpectedly closed")
smtplib.SMTPServerDisconnected: Connection unexpectedly closed"""


def fill():
    """Write the rows; return those whose pages are worth a picture, by model: name of the picture and row."""
    now = timezone.now()
    hosts = _hosts(now)
    jobs = [_job(now, *facts) for facts in JOBS]
    Queue.objects.create(
        name="mail",
        paused=True,
        paused_at=now - timedelta(minutes=20),
        paused_by="ana",
        paused_reason="provider is down",
    )
    for name in ("default", "feeds", "reports"):
        Queue.objects.create(name=name)
    runs = _runs(now, jobs, hosts)
    services = _services(now, hosts)
    _statistics(now, jobs[0])
    paused = jobs[2]
    Job.objects.filter(pk=paused.pk).update(
        enabled=False, paused_at=now - timedelta(days=2), paused_by="ana", paused_reason="feed moves"
    )
    return {
        "job": {"job": jobs[0], "job-paused": paused},
        "run": runs,
        "host": {"host": hosts[0], "host-silent": hosts[2]},
        "service": {"service": services[0], "service-backoff": services[1]},
        "queue": {"queue": Queue.objects.get(name="mail")},
    }  # fmt: skip


def _hosts(now):
    facts = {
        "pid": 310,
        "state": "running",
        "started_at": now - timedelta(days=2),
        "heartbeat_at": now + timedelta(hours=1),
    }
    facts |= {"concurrency": {"thread": 8, "process": 2, "loop": 100}, "running": {"thread": 3}, "version": "1f3c9"}
    facts |= {"software": {"Python": "3.13.1", "Django": "6.1"}, "command": "manage.py runbackground"}
    silent = {"heartbeat_at": now - timedelta(minutes=6), "queues": ["feeds"], "version": "0a77e"}
    return [
        Host.objects.create(name="web-1:310", queues=["default", "mail"], **facts),
        Host.objects.create(name="web-2:4411", **facts | {"running": {"thread": 4, "process": 1}, "queues": ["default", "reports"]}),
        Host.objects.create(name="web-3:77", **facts | silent),
    ]  # fmt: skip


def _job(now, name, schedule, zone, queue, outcomes, median):
    job = Job.objects.create(name=name, task="tests.browser.tasks_for_browser.report", schedule=schedule, timezone=zone, queue=queue,
                             kwargs={"region": "EU", "limit": 500}, description="Written for people who look.")  # fmt: skip
    Job.objects.filter(pk=job.pk).update(
        outcomes=outcomes, duration_p50=median, duration_p10=median and median * 0.7, duration_p90=median and median * 1.6,
        duration_p95=median and median * 2, next_run_at=now + timedelta(minutes=4) if schedule else None,
    )  # fmt: skip
    job.refresh_from_db()
    return job


def _runs(now, jobs, hosts):
    def run(job, status, ago, took=None, **fields):
        began = now - timedelta(seconds=ago)
        fields = {
            "job": job,
            "job_name": job.name,
            "task": job.task,
            "queue": job.queue,
            "kwargs": job.kwargs,
            **fields,
        }
        if status not in ("ready", "scheduled", "blocked"):
            fields = {
                "started_at": began + timedelta(seconds=1.1),
                "attempt": 1,
                "host": hosts[0],
                "host_name": hosts[0].name,
                "version": "1f3c9",
                **fields,
            }
        if took:
            fields["finished_at"] = began + timedelta(seconds=took + 1.1)
        id = UUID(int=first_id(began).int | uuid4().int & (1 << 62) - 1)  # lists follow the ids
        return Run.objects.create(id=id, status=status, enqueued_at=began, **fields)  # fmt: skip

    report, stock, feed, digest, cleanup = jobs
    for n in range(40):
        run(stock, "succeeded", 900 * n + 400, 3.2 + n % 3, trigger="schedule")
    error = {"attempt": 1, "at": (now - timedelta(seconds=19)).isoformat(), "host": "web-2:4411", "type": "smtplib.SMTPServerDisconnected",
             "message": "Connection unexpectedly closed", "traceback": TRACEBACK}  # fmt: skip
    failure = {
        "error_type": error["type"],
        "error_summary": error["message"],
        "fingerprint": "ab" * 16,
        "errors": [{**error, "at": (now - timedelta(seconds=55)).isoformat()}, {**error, "attempt": 2}],
    }
    for n in range(6):
        run(digest, "failed", 1200 + 600 * n, 9, **failure, max_attempts=3)
    failed = run(
        digest, "failed", 80, 60, **failure | {"attempt": 2}, max_attempts=3, trigger="manual", triggered_by_name="ana",
        reason="customer asked again", kwargs={"region": "EU", "limit": 500, "token": "secret"},
    )  # fmt: skip
    running = run(
        report, "running", 182, progress_done=8160, progress_total=12_000, progress_message="orders", trigger="schedule"
    )
    run(cleanup, "cancelled", 3000, 4, end_reason="cancelled by ana")
    run(stock, "scheduled", 5, run_after=now + timedelta(hours=2))
    ready = run(feed, "ready", 360, position=1, trigger="schedule")
    done = run(report, "succeeded", 86_000, 41, result={"lines": 12_000, "file": "report.csv"}, trigger="schedule")
    for number, (level, text) in enumerate(
        [("INFO", "digest for EU: 500 customers"), ("WARNING", "smtp 421, retrying"), ("ERROR", "gave up")] * 4, 1
    ):
        RunLog.objects.create(
            run=failed, sequence=number, created_at=now - timedelta(seconds=80 - number), level=level, message=text
        )
        RunLog.objects.create(
            run=running, sequence=number, created_at=now - timedelta(seconds=80 - number), level=level, message=text
        )
    return {"run-failed": failed, "run-running": running, "run-ready": ready, "run-succeeded": done}


def _services(now, hosts):
    log = [
        [(now - timedelta(seconds=60 - n)).isoformat(), level, text]
        for n, (level, text) in enumerate(
            [("INFO", "shop.Mailbox started"), ("INFO", "12 messages sent"), ("WARNING", "421 try again later")]
        )
    ]
    since = {"since": now - timedelta(days=2)} if any(one.name == "since" for one in Service._meta.fields) else {}
    mine = {"host": hosts[0], "host_name": hosts[0].name, "restart": 0}
    ServiceStart.objects.create(name="shop.Mailbox", started_at=now - timedelta(days=2), **mine)
    for n in range(4):
        facts = mine | {"host": hosts[1], "host_name": hosts[1].name, "restart": n, "reason": "failed"}
        begun = now - timedelta(minutes=400 - 100 * n)
        facts |= {"started_at": begun, "ended_at": begun + timedelta(minutes=90), "error": TRACEBACK.splitlines()[-1]}
        ServiceStart.objects.create(name="shop.PriceFeed", **facts)
    return [
        Service.objects.create(host=hosts[0], name="shop.Mailbox", state="running", log=log, **since),
        Service.objects.create(host=hosts[1], name="shop.PriceFeed", state="backoff", error=TRACEBACK, error_at=now, failures=4,
                               next_start_at=now + timedelta(minutes=5), restarts=3, **since),
        Service.objects.create(host=hosts[0], name="shop.DailyTotals", state="running", schedule="every 1h", **since),
        Service.objects.create(host=hosts[0], name="Scheduler", state="running", engine=True, singleton=True, **since),
        Service.objects.create(host=hosts[1], name="Scheduler", state="standby", engine=True, singleton=True, **since),
    ]  # fmt: skip


def _statistics(now, nightly):
    minute = now.replace(second=0, microsecond=0)
    spans = [("minute", minute - timedelta(minutes=n)) for n in range(120)]
    spans += [("hour", minute.replace(minute=0) - timedelta(hours=n)) for n in range(24 * 8)]
    for n, (span, start) in enumerate(spans):
        count, failed = round(20 + 15 * math.sin(n / 9)), n % 13 == 0
        histogram = dict(Counter(class_of(2 + k % 7) for k in range(count)))
        waits = dict(Counter(class_of((1 + k % 9) * (0.2 + 0.1 * math.sin(n / 5))) for k in range(count)))
        facts = {
            "succeeded": count,
            "failed": int(failed and span == "minute"),
            "waited": count * 1.5,
            "ran": count * 4.0,
        }
        Statistic.objects.create(
            span=span, start=start, job_id=ALL_RUNS, queue="default", waits=waits, runs=histogram, **facts
        )
    Statistic.objects.filter(start=minute.replace(minute=0), span="hour").update(failed=7)
    for day in range(80):
        facts = {"succeeded": day % 19 != 5, "failed": day % 19 == 5, "waited": 0.2, "ran": 41}
        facts |= {
            "waits": {class_of(0.2): 1},
            "runs": {class_of(38 + 4 * math.sin(day / 3)): 9, class_of(52 + day % 5): 1},
        }
        start = minute.replace(minute=0, hour=2) - timedelta(days=day + 1)
        Statistic.objects.create(span="hour", start=start, job_id=nightly.pk, queue=nightly.queue, **facts)
