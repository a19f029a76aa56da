"""Many jobs that are due at once: decided with few statements, by many hosts, and none held up by another."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from background.engine import deciding, scheduler
from background.engine.deciding import decide_jobs
from background.engine.scheduler import look, schedule_due
from background.models import Job, Run, Skip
from background.queue.enqueue import enqueue
from tests.app import background as tasks
from tests.queue.helpers import at_once

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIVE = NOON + timedelta(minutes=5)


@pytest.fixture(autouse=True)
def no_other_jobs(db):
    Job.objects.all().delete()  # of the declared jobs, which are written with the tables


def many(count, schedule="every 5m", **fields):
    """Write jobs by hand that are followed since noon."""
    fields = {"task": tasks.note.module_path, "timezone": "UTC", **fields}
    Job.objects.bulk_create(Job(name=f"job {n:03}", schedule=schedule, **fields) for n in range(count))
    schedule_due(NOON)
    return list(Job.objects.order_by("name"))


def statements(work):
    with CaptureQueriesContext(connection) as found:
        work()
    return len([one for one in found if one["sql"] != "NOTIFY background"])  # once for the test's own transaction


def made():
    """Return the names of the jobs that have a run, and the minute for which it is."""
    return [
        (name, at.minute)
        for name, at in Run.objects.order_by("job_name", "scheduled_for").values_list("job_name", "scheduled_for")
    ]


# ------------------------------------------------------------------------------------------------------ few statements


def test_a_look_takes_the_same_three_statements_however_many_jobs_there_are():
    many(3)
    few = statements(lambda: look(NOON))
    many_more = Job.objects.bulk_create(
        Job(name=f"more {n}", task="nobody.knows", schedule="every 5m", orphaned=True) for n in range(50)
    )
    assert len(many_more) == 50 and few == statements(lambda: look(NOON)) == 3


def test_a_look_reads_only_what_is_due_soon_or_was_edited():
    jobs = many(20)
    assert look(NOON) == ([], None)
    assert look(FIVE - timedelta(seconds=1)) == ([], FIVE)
    Job.objects.filter(pk=jobs[3].pk).update(schedule="every 1h")
    assert look(NOON).due == [jobs[3].pk]
    assert set(look(FIVE).due) == {job.pk for job in jobs}
    assert look(FIVE).due[0] == jobs[3].pk  # edits first


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow", "replace"])
def test_the_jobs_of_one_instant_take_the_same_statements_however_many_they_are(overlap):
    many(4, overlap=overlap)
    few = statements(lambda: schedule_due(FIVE))
    Run.objects.all().delete()
    Job.objects.all().delete()
    many(20, overlap=overlap)

    assert statements(lambda: schedule_due(FIVE)) == few <= 12

    assert made() == [(f"job {n:03}", 5) for n in range(20)]


def test_occurrences_that_meet_open_runs_take_the_same_statements_however_many_they_are():
    many(20)
    schedule_due(FIVE)
    few = statements(lambda: schedule_due(FIVE + timedelta(minutes=5)))
    assert few <= 12
    assert list(Skip.objects.values_list("reason", flat=True)) == ["overlap"] * 20
    assert set(Job.objects.values_list("outcomes", flat=True)) == {"o"}


def test_the_lists_of_due_and_edited_jobs_are_read_by_their_indexes():
    many(50)
    with CaptureQueriesContext(connection) as found:
        look(NOON)
    plans = [explained(one["sql"]) for one in found]
    for plan, index in zip(plans, ("edited", "cursor", "due"), strict=True):
        assert f"background_job_{index}" in plan, plan


def explained(sql):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # so few rows are read at once otherwise
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {sql}")
        return "\n".join(str(row) for row in cursor.fetchall())


# --------------------------------------------------------------------------------------------------------- many hosts


@pytest.mark.django_db(transaction=True)
def test_schedulers_that_share_batches_make_one_run_of_each_occurrence(monkeypatch):
    monkeypatch.setattr(scheduler, "BATCH", 7)
    many(40, overlap="allow")
    expected = []
    for minutes in (5, 10, 15):
        at = NOON + timedelta(minutes=minutes)
        found = at_once(*[lambda at=at: schedule_due(at)] * 3)
        expected += [(f"job {n:03}", minutes) for n in range(40)]
        assert made() == sorted(expected)
        assert sum(map(len, found)) == 40  # each was made by one of them
    assert not Job.objects.exclude(cursor=NOON + timedelta(minutes=15)).exists()


@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_has_locked_keeps_no_other_job_waiting():
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("SQLite has one writer at a time: there are no locked rows")
    jobs = many(5)
    locked, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=jobs[2].pk)
            locked.set()
            done.wait(20)

    def decide():
        locked.wait(20)
        try:
            return schedule_due(FIVE)
        finally:
            done.set()

    at_once(hold, decide)

    assert [name for name, _ in made()] == ["job 000", "job 001", "job 003", "job 004"]
    schedule_due(FIVE + timedelta(seconds=1))
    assert len(made()) == 5


# ----------------------------------------------------------------------------------------------- one bad job among many


@pytest.mark.parametrize("error", [IntegrityError, DataError])
def test_a_job_whose_run_the_database_refuses_stops_no_other_and_says_so(monkeypatch, error, caplog):
    jobs = many(5)
    insert = deciding._insert

    def picky(runs):
        runs = list(runs)
        if any(run.job_name == "job 002" for run in runs):
            raise error("no such value")
        return insert(runs)

    monkeypatch.setattr(deciding, "_insert", picky)

    schedule_due(FIVE)

    assert [name for name, _ in made()] == ["job 000", "job 001", "job 003", "job 004"]
    jobs[2].refresh_from_db()
    assert (jobs[2].schedule_error, jobs[2].outcomes) == ("no such value", "m")
    assert jobs[2].next_run_at == FIVE + timedelta(minutes=5)
    skip = Skip.objects.get()
    assert (skip.job, skip.first, skip.reason) == (jobs[2], FIVE, "error")
    assert "5 jobs could not be decided together" in caplog.text


def test_a_job_that_always_runs_into_a_deadlock_is_left_for_the_next_look(monkeypatch):
    many(3)
    insert, words = deciding._insert, {"sqlite": "locked", "postgresql": "deadlock detected", "mysql": "deadlock found"}

    def picky(runs):
        runs = list(runs)
        if any(run.job_name == "job 001" for run in runs):
            raise OperationalError(words[connection.vendor])
        return insert(runs)

    with monkeypatch.context() as patch:
        patch.setattr(deciding, "_insert", picky)
        schedule_due(FIVE)
    assert [name for name, _ in made()] == ["job 000", "job 002"]

    schedule_due(FIVE + timedelta(seconds=1))
    assert len(made()) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"args": 5},
        {"kwargs": [1]},
        {"kwargs": "x"},
        {"jitter": -5},
        {"jitter": 1e300},
        {"misfire": "nonsense"},
        {"overlap": "nonsense"},
        {"misfire": "all", "misfire_limit": 0},
        {"misfire": "skip", "misfire_grace": -1},
        {"executor": "nonsense"},
        {"schedule": "every 5m from 9999-12-31T23:59:59Z"},
        {"starts_at": datetime(1, 1, 2, tzinfo=UTC)},
        {"ends_at": datetime(9999, 12, 30, tzinfo=UTC)},
    ],
    ids=str,
)
def test_values_that_no_form_lets_through_stop_no_other_job(fields):
    if connection.vendor == "mysql" and fields.get("starts_at"):
        pytest.skip("MariaDB has no times before the year 1000")
    jobs = many(3)
    Job.objects.filter(pk=jobs[0].pk).update(**fields)
    schedule_due(NOON + timedelta(seconds=1))
    for minutes in (5, 10, 15):
        schedule_due(NOON + timedelta(minutes=minutes, seconds=1))
        Run.objects.open().update(status="succeeded", position=None)
    assert [pair for pair in made() if pair[0] != "job 000"] == [
        (name, minutes) for name in ("job 001", "job 002") for minutes in (5, 10, 15)
    ]


def test_what_needs_care_is_decided_beside_what_is_simple(code):
    """A unique key, missed occurrences to be made up, a run to be replaced: each in a transaction of its own."""
    single = code(lambda key="a": key, unique="{key}")
    jobs = many(6, overlap="replace")
    Job.objects.filter(pk=jobs[0].pk).update(task=single.module_path)
    Job.objects.filter(pk=jobs[1].pk).update(misfire="all", overlap="allow")
    schedule_due(FIVE)
    enqueue(single, ["b"])

    schedule_due(FIVE + timedelta(minutes=10))

    counts = [Run.objects.filter(job=job).count() for job in jobs]
    assert counts == [2, 3, 2, 2, 2, 2]
    cancelled = Run.objects.cancelled().order_by("job_name").values_list("job_name", "end_reason")
    assert list(cancelled) == [(jobs[n].name, "replaced") for n in (0, 2, 3, 4, 5)]


# -------------------------------------------------------------------------------------------------- not ours, not now


def test_due_jobs_of_other_code_are_passed_over_without_a_statement_for_each():
    many(3)
    Job.objects.filter(~Q(name="job 001")).update(task="nobody.knows.it")
    assert look(FIVE).due == [Job.objects.get(name="job 001").pk]
    assert look(FIVE).nearest is None  # what others must do is no reason to hurry


def test_what_another_host_has_decided_meanwhile_is_left_alone():
    jobs = many(2)
    found = look(FIVE).due
    schedule_due(FIVE + timedelta(hours=1))
    before = list(Job.objects.order_by("pk").values())

    assert decide_jobs(found, FIVE + timedelta(hours=1, seconds=1)) == []

    assert list(Job.objects.order_by("pk").values()) == before
    assert Run.objects.count() == len(jobs)


def test_a_job_that_was_deleted_meanwhile_is_passed_over():
    found = many(2)
    due = look(FIVE).due
    found[0].delete()
    assert [run.job_name for run in decide_jobs(due, FIVE)] == ["job 001"]
