"""Rows of django-celery-beat, django-q2 and django-apscheduler become jobs, without those packages."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from background.models import Job
from tests.contrib.importing import PLAIN, imported, line, schedules
from tests.contrib.old_tables import Clocked, Crontab, DjangoJob, Interval, PeriodicTask, QSchedule, Solar

pytestmark = pytest.mark.usefixtures("old_tables")

SOON = datetime(2050, 1, 31, 23, 30, 15, tzinfo=UTC)


def beat(name: str, task: str = PLAIN, **values: Any) -> None:
    PeriodicTask.objects.create(name=name, task=task, **values)


# django-celery-beat


def test_crontabs_intervals_and_clocked_times_of_celery_become_jobs() -> None:
    nine = Crontab.objects.create(minute="0, 30", hour="9", day_of_week="mon-fri", timezone="Europe/Paris")
    beat("report", crontab=nine, args="[2]", kwargs='{"word": "two"}', queue="slow", start_time=SOON)
    beat("sync", interval=Interval.objects.create(every=90, period="seconds"), enabled=False)
    beat(
        "since", interval=Interval.objects.create(every=2, period="days"), start_time=SOON, expires=SOON + timedelta(9)
    )
    beat("once", "shop.tasks.old", clocked=Clocked.objects.create(clocked_time=SOON), one_off=True)
    said = imported("celery-beat", f"--map=shop.tasks.old={PLAIN}")
    assert schedules() == {
        "report": "0,30 9 * * 1-5",
        "sync": "every 90s",
        "since": "every 2d from 2050-01-31T23:30:15Z",
        "once": "at 2050-01-31T23:30:15Z",
    }
    job = Job.objects.get(name="report")
    assert (job.timezone, job.args, job.kwargs, job.queue) == ("Europe/Paris", [2], {"word": "two"}, "slow")
    assert (
        job.starts_at == SOON and job.ends_at is None and Job.objects.get(name="since").ends_at == SOON + timedelta(9)
    )
    assert not Job.objects.get(name="sync").enabled and "paused" in line(said, "sync")
    assert {one.defaults for one in Job.objects.filter(name__in=schedules())} == {None}
    assert "4 made, 0 not carried over." in said


def test_what_celery_has_and_a_job_has_not_is_listed() -> None:
    daily = Crontab.objects.create(minute="0", hour="0")
    beat("celery.backend_cleanup", "celery.backend_cleanup", crontab=daily)
    beat("solar", solar=Solar.objects.create(event="sunset", latitude=1, longitude=2))
    beat("and", crontab=Crontab.objects.create(minute="0", hour="0", day_of_month="13", day_of_week="5"))
    beat("fast", interval=Interval.objects.create(every=500_000, period="microseconds"))
    beat("one-off", crontab=daily, one_off=True)
    beat("over", clocked=Clocked.objects.create(clocked_time=datetime(2020, 1, 1, tzinfo=UTC)), one_off=True)
    beat("bent", crontab=daily, args="[1, 2, 3]")
    beat("broken", crontab=daily, kwargs="{x}")
    beat("list", crontab=daily, kwargs="[]", args='{"a": 1}')
    beat("wrapped", crontab=Crontab.objects.create(hour="22-2"))
    beat("empty")
    said = imported("celery-beat")
    assert schedules() == {} and "0 made, 11 not carried over." in said
    reasons = {
        "celery.backend_cleanup": "--map “celery.backend_cleanup=…”",
        "solar": "Solar",
        "and": "cron(8) one of them: “0 0 13 * 5”",
        "fast": "at least a second",
        "one-off": "one-off",
        "over": "time is over",
        "bent": "too many positional arguments",
        "broken": "no JSON",
        "list": "no JSON list and object",
        "wrapped": "write “22-23,0-2”",
        "empty": "no schedule",
    }
    for name, reason in reasons.items():
        assert reason in line(said, name), name


def test_what_is_lost_of_a_celery_task_is_said() -> None:
    daily = Crontab.objects.create(minute="0", hour="0")
    beat("routed", crontab=daily, routing_key="a.b", priority=0, expire_seconds=60, headers='{"x": 1}')
    said = imported("celery-beat", "--dry-run")
    assert "without routing_key=a.b, priority=0, expire_seconds=60, headers" in line(said, "routed")
    assert schedules() == {}


def test_a_task_that_the_code_schedules_already_is_pointed_out() -> None:
    beat("often", "tests.app.background.often", crontab=Crontab.objects.create(minute="0"))
    assert "the code schedules this task already" in line(imported("celery-beat"), "often")


def test_an_imported_job_has_the_policies_of_its_task() -> None:
    beat("flaky", "tests.app.background.flaky", crontab=Crontab.objects.create(minute="0"))
    imported("celery-beat")
    job = Job.objects.get(name="flaky")
    assert (job.max_attempts, job.backoff["initial"]) == (3, 0)
    assert job.description == "Fail some times, then succeed." and job.overrides == {}


# django-q2


def q(name: str | None, kind: str, func: str = PLAIN, **values: Any) -> None:
    QSchedule.objects.create(**{"name": name, "schedule_type": kind, "func": func, "next_run": SOON, **values})


@override_settings(TIME_ZONE="Europe/Paris")
def test_schedules_of_django_q_become_jobs() -> None:
    morning = datetime(2050, 1, 28, 7, 30, tzinfo=UTC)  # 08:30 in Paris
    q("cron", "C", cron="0 9 * * 1-5", next_run=None)
    q("minutes", "I", minutes=10, args="1, 'two'")
    q("hourly", "H", kwargs="number=3, word='x'")
    q("daily", "D", next_run=morning, kwargs="{'number': 3}", hook="shop.done", cluster="slow")
    q("weekly", "W", next_run=morning, args="4")
    q("biweekly", "BW")
    q("monthly", "M", next_run=morning)
    q("bimonthly", "BM", next_run=morning)
    q("quarterly", "Q", next_run=morning)
    q("yearly", "Y", next_run=morning)
    q("once", "O")
    q(None, "H", kwargs="q_options={'timeout': 3}")
    said = imported("django-q2")
    nameless = next(name for name in schedules() if name.startswith(f"{PLAIN} ("))
    since = " from 2050-01-31T23:30:15Z"
    assert schedules() == {
        "cron": "0 9 * * 1-5",
        "minutes": f"every 10m{since}",
        "hourly": f"every 1h{since}",
        "daily": "30 8 * * *",
        "weekly": "30 8 * * 5",
        "biweekly": f"every 14d{since}",
        "monthly": "30 8 28 1,2,3,4,5,6,7,8,9,10,11,12 *",
        "bimonthly": "30 8 28 1,3,5,7,9,11 *",
        "quarterly": "30 8 28 1,4,7,10 *",
        "yearly": "30 8 28 1 *",
        "once": "at 2050-01-31T23:30:15Z",
        nameless: f"every 1h{since}",
    }
    given = {name: (args, kwargs) for name, args, kwargs in Job.objects.values_list("name", "args", "kwargs")}
    assert given["minutes"] == ([1, "two"], {}) and given["weekly"] == ([4], {}) and given[nameless] == ([], {})
    assert given["hourly"] == ([], {"number": 3, "word": "x"}) and given["daily"] == ([], {"number": 3})
    assert "without hook, cluster" in line(said, "daily") and "without q_options" in line(said, nameless)


def test_what_django_q_has_and_a_job_has_not_is_listed() -> None:
    q("unknown", "H", "math.copysign")
    q("over", "H", repeats=0)
    q("thrice", "H", repeats=3)
    q("last day", "M")
    q("seconds", "C", cron="* * * * * */5")
    q("lost", "D", next_run=None)
    q("evil", "H", args="__import__('os').system('false')")
    q("set", "H", args="{1, 2}")
    q("odd", "H", kwargs="1, x=2")
    q("deep", "H", args="(" * 5000)
    q("kind", "ZZ")
    said = imported("django-q2")
    assert schedules() == {} and "0 made, 11 not carried over." in said
    reasons = {
        "unknown": "--map “math.copysign=…”",
        "over": "after 0 more runs",
        "thrice": "after 3 more runs",
        "last day": "day 31" if "day 31" in said else "day 1",
        "seconds": "without seconds",
        "lost": "no next run",
        "evil": "no plain values",
        "set": "must be JSON",
        "odd": "no plain values",
        "deep": "no plain values",
        "kind": "'ZZ'",
    }
    for name, reason in reasons.items():
        assert reason in line(said, name), name


# django-apscheduler


class Trap:
    """Unpickling it fails the test."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_jobs_of_apscheduler_come_once_and_their_pickles_stay_closed() -> None:
    state = pickle.dumps(Trap())
    DjangoJob.objects.create(id=PLAIN, next_run_time=SOON, job_state=state)
    DjangoJob.objects.create(id="nightly", next_run_time=SOON, job_state=state)
    DjangoJob.objects.create(id="paused", next_run_time=None, job_state=state)
    DjangoJob.objects.create(id="strange", next_run_time=SOON, job_state=state)
    said = imported("apscheduler", f"--map=nightly={PLAIN}")
    assert schedules() == {PLAIN: "at 2050-01-31T23:30:15Z", "nightly": "at 2050-01-31T23:30:15Z"}
    assert "pickled: it comes once, then give it a schedule" in line(said, "nightly")
    assert "paused" in line(said, "paused") and "--map “strange=…”" in line(said, "strange")


def test_a_second_import_of_tables_doubles_nothing() -> None:
    q("hourly", "H")
    assert "1 made, 0 not" in imported("django-q2")
    assert "0 made, 1 not" in imported("django-q2") and len(schedules()) == 1


def test_columns_that_an_older_version_has_not_are_done_without() -> None:
    from django.db import connection

    q("hourly", "H")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_q_schedule DROP COLUMN intended_date_kwarg")
    try:
        assert "1 made" in imported("django-q2")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_q_schedule ADD COLUMN intended_date_kwarg varchar(100) NULL")
