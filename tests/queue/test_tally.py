"""Ended runs become sums per job, queue, minute and hour; nothing is counted twice, and nothing is written per run."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from background.dialects import dialect
from background.models import Job, Run, Statistic
from background.models.statistics import ALL_RUNS, EDGES, Sums, class_of, percentile
from background.queue import tally
from background.queue.cancel import cancel
from background.queue.enqueue import enqueue
from background.queue.finish import finish
from background.queue.outcome import Kind, Outcome
from background.queue.prune import prune
from background.queue.rescue import rescue
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, held_by, host, take, take_one

pytestmark = pytest.mark.django_db


@pytest.fixture
def kept():
    """This process has a keeper, as a host is one."""
    tally.keep()
    yield
    tally.let_go()
    tally._noted.clear()


def sums(span="minute", job_id=ALL_RUNS):
    return list(Statistic.objects.filter(span=span, job_id=job_id))


def counts(rows):
    return Counter(
        {name: n for name in ("succeeded", "failed", "cancelled") if (n := sum(getattr(row, name) for row in rows))}
    )


def test_what_ended_is_summed_per_job_and_over_all_in_minutes_and_hours(kept):
    job = Job.objects.create(name="digest", task=tasks.note.module_path)
    for _ in range(3):
        enqueue(tasks.note, ["x"], job=job)
    enqueue(tasks.note, ["x"])
    first, second, third, other = take(4)
    finish([Outcome(first, Kind.SUCCEEDED, waited=1, took=2.0), Outcome(second, Kind.FAILED, took=0.1)])
    finish([Outcome(third, Kind.CANCELLED), Outcome(other, Kind.SUCCEEDED, took=4.0)])

    assert tally.flush() == {job.id}

    for span in ("minute", "hour"):
        assert counts(sums(span)) == {"succeeded": 2, "failed": 1, "cancelled": 1}
        (mine,) = sums(span, job.id)
        assert (mine.succeeded, mine.failed, mine.cancelled, mine.ran) == (1, 1, 1, 2.0)
        assert mine.waited >= 1 and sum(mine.waits.values()) == 2 and mine.runs == {str(class_of(2.0)): 1}
    start = sums("hour")[0].start
    assert (start.minute, start.second, start.microsecond) == (0, 0, 0)


def test_a_second_flush_adds_to_the_rows_of_the_first(kept):
    for _ in range(2):
        end(take_one(tasks.note, "x")[1], took=0.5)
        tally.flush()

    assert len(sums("hour")) == 1 and sums("hour")[0].succeeded == 2
    assert sums("hour")[0].runs == {str(class_of(0.5)): 2}


@pytest.mark.parametrize("kind", [Kind.RETRY, Kind.SNOOZED, Kind.RELEASED])
def test_what_has_not_ended_is_not_counted(kept, kind):
    end(take_one(tasks.note, "x")[1], kind)
    tally.flush()

    assert not Statistic.objects.exists()


def test_an_outcome_that_is_refused_is_not_counted(kept):
    _, claimed = take_one(tasks.note, "x")
    end(claimed)
    end(claimed)
    tally.flush()

    assert counts(sums()) == {"succeeded": 1}


def test_runs_that_end_while_they_wait_and_with_their_host_are_counted(kept):
    cancel(enqueue(tasks.note, ["x"]))
    gone = host(state="lost")
    run, _ = take_one(tasks.note, "x", who=held_by(host("two")))
    Run.objects.filter(id=run.id).update(host=gone, lost=2)  # its third loss: it fails
    rescue()
    tally.flush()

    assert counts(sums()) == {"cancelled": 1, "failed": 1}


def test_a_run_that_was_due_later_has_not_waited_before(kept):
    run, claimed = take_one(tasks.note, "x")
    claimed.run_after, claimed.enqueued_at = claimed.started_at, claimed.started_at - timedelta(hours=1)
    end(claimed)
    tally.flush()

    assert sums()[0].waited < 1


def test_nothing_noted_asks_nothing(kept, django_assert_num_queries):
    with django_assert_num_queries(0):
        tally.flush()


def test_the_statements_of_a_flush_do_not_grow_with_the_runs(kept, monkeypatch):
    monkeypatch.setattr(tally, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))  # a new minute has new rows

    def statements(count):
        for _ in range(count):
            enqueue(tasks.note, ["x"])
        finish([Outcome(one, Kind.SUCCEEDED, took=0.1) for one in take(count)])
        with CaptureQueriesContext(connection) as found:
            tally.flush()
        return len(found)

    statements(1)  # makes the rows
    assert statements(40) <= statements(1)


@pytest.mark.django_db(transaction=True)
def test_without_a_keeper_it_is_written_at_once():
    run = enqueue(tasks.note, ["x"])
    cancel(run)

    assert counts(sums()) == {"cancelled": 1} and not tally._noted


@pytest.mark.django_db(transaction=True)
def test_statistics_that_cannot_be_written_keep_no_run_from_ending(monkeypatch):
    def away(*args):
        raise OperationalError("away")

    monkeypatch.setattr(tally, "_add", away)
    run = enqueue(tasks.note, ["x"])

    assert cancel(run) and run.status == "cancelled"


def test_what_could_not_be_written_is_written_the_next_time(kept, monkeypatch):
    end(take_one(tasks.note, "x")[1])
    with monkeypatch.context() as patch:
        patch.setattr(tally, "_add", lambda wanted: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tally.flush()
    end(take_one(tasks.note, "x")[1])
    tally.flush()

    assert counts(sums()) == {"succeeded": 2}


@pytest.mark.django_db(transaction=True)
def test_hosts_that_write_the_same_minute_at_once_lose_nothing():
    noted = {(29_000_000, job, queue): Sums(succeeded=1) for job in (1, 2, 3) for queue in ("a", "b")}

    at_once(*[lambda: [tally._write(noted) for _ in range(5)]] * 4)

    assert {row.succeeded for row in Statistic.objects.exclude(job_id=ALL_RUNS)} == {20}
    assert {row.succeeded for row in Statistic.objects.filter(job_id=ALL_RUNS)} == {60}


def test_the_usual_time_of_a_job_is_that_of_its_latest_runs():
    job = Job.objects.create(name="digest", task=tasks.note.module_path)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for ago, seconds, count in ((1, 10.0, 40), (2, 3600.0, 40)):
        Statistic.objects.create(
            span="hour",
            start=hour - timedelta(hours=ago),
            job_id=job.id,
            queue="default",
            runs={class_of(seconds): count},
        )
    tally.refresh_durations(job.id)

    job.refresh_from_db()
    assert 8 < job.duration_p10 < job.duration_p50 < job.duration_p90 < job.duration_p95 < 13


def test_a_percentile_is_told_to_about_a_tenth():
    spans = [0.01 * n for n in range(1, 2001)]
    histogram = Counter(map(class_of, spans))
    for share in (0.1, 0.5, 0.9, 0.95):
        assert percentile(histogram, share) == pytest.approx(20 * share, rel=0.05)
    assert percentile({}, 0.5) is None
    assert percentile({0: 3}, 0.5) == pytest.approx(EDGES[0] / 2)
    assert percentile({len(EDGES): 3}, 0.5) == EDGES[-1]
    assert all(class_of(edge) == class_of(edge * 1.05) != class_of(edge * 0.95) for edge in EDGES[:-1])


def test_minutes_are_kept_for_two_days_and_hours_for_a_year():
    now = dialect().now()
    for span, ages in (("minute", (1, 47, 49)), ("hour", (1, 49, 365 * 24, 367 * 24))):
        for age in ages:
            Statistic.objects.create(span=span, start=now - timedelta(hours=age), job_id=1, queue=f"{age}")
    prune(now)

    assert set(Statistic.objects.minutes().values_list("queue", flat=True)) == {"1", "47"}
    assert set(Statistic.objects.hours().values_list("queue", flat=True)) == {"1", "49", str(365 * 24)}


def test_the_days_of_a_job_are_those_of_the_zone():
    from zoneinfo import ZoneInfo

    today = timezone.localtime(timezone=ZoneInfo("America/New_York")).replace(
        hour=23, minute=0, second=0, microsecond=0
    )
    yesterday = today - timedelta(days=1)
    for start, queue in ((yesterday, "a"), (yesterday, "b"), (yesterday + timedelta(hours=1), "a")):
        Statistic.objects.create(span="hour", start=start.astimezone(UTC), job_id=7, queue=queue, failed=1, succeeded=2)
    Statistic.objects.create(span="hour", start=datetime(2020, 1, 1, tzinfo=UTC), job_id=7, queue="a")

    found = Statistic.objects.by_day(7, zone=ZoneInfo("America/New_York"))

    assert {day: (one.failed, one.succeeded) for day, one in found.items()} == {
        yesterday.date(): (2, 4), today.date(): (1, 2),
    }  # fmt: skip
