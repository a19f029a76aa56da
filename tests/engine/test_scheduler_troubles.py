"""Schedulers that are killed, suspended or away for long, and clocks that jump: no occurrence is doubled or silently lost."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError

from background.engine import deciding
from background.engine.deciding import decide_jobs
from background.engine.scheduler import look, schedule_due
from background.models import Job, Run, Skip
from background.signals import run_finished
from background.testing import FakeClock
from tests.app import background as tasks
from tests.queue.helpers import at_once, take

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def clock(db):
    Job.objects.all().delete()  # of the declared jobs, which are written with the tables
    return FakeClock(NOON)


def followed(clock, schedule="every 6h", **fields):
    """Write a job by hand whose schedule is followed from now on."""
    fields = {"name": "mine", "task": tasks.note.module_path, "timezone": "UTC", **fields}
    job = Job.objects.create(schedule=schedule, **fields)
    schedule_due(clock())
    return job


def hours(job):
    """Return what was made so far, in hours after noon."""
    found = Run.objects.filter(job=job).order_by("scheduled_for").values_list("scheduled_for", flat=True)
    return [(instant - NOON) / timedelta(hours=1) for instant in found]


def skips(job):
    return [(skip.count, skip.reason) for skip in Skip.objects.filter(job=job).order_by("id")]


def everything():
    """Return all that a decision may change."""
    return [list(model.objects.order_by("pk").values()) for model in (Job, Run, Skip)]


# ------------------------------------------------------------------------------------------------------------- killed


class Killed(BaseException):
    """What no handler of errors takes."""


STEPS = {
    "simple": ["_decisions", "_forget_known", "_in_the_way", "_insert", "_write"],
    "all": ["_decisions", "_forget_known", "_meet", "_insert", "_write"],
    "unique": ["_meet", "_insert_unique", "_write"],
    "replace": ["_hold_open_runs", "_meet", "cancel_within", "_insert", "_write"],
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "step"), [(kind, step) for kind, steps in STEPS.items() for step in steps])
def test_a_scheduler_that_is_killed_at_a_step_has_done_nothing_and_the_next_does_all(
    clock, code, monkeypatch, kind, step, when
):
    unique = code(lambda key="a": key, unique="{key}")
    fields = {
        "simple": {},
        "all": {"misfire": "all", "overlap": "allow"},
        "unique": {"task": unique.module_path},
        "replace": {"overlap": "replace"},
    }
    job = followed(clock, **fields[kind])
    if kind == "replace":
        schedule_due(clock.advance(hours=6))
    clock.set(NOON + timedelta(hours=18))
    before, work = everything(), getattr(deciding, step)

    def die(*args, **kwargs):
        if when == "after":
            work(*args, **kwargs)
        raise Killed(step)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(deciding, step, die)
        schedule_due(clock())
    assert everything() == before

    schedule_due(clock())

    assert hours(job) == {"simple": [18], "all": [6, 12, 18], "unique": [18], "replace": [6, 18]}[kind]
    assert skips(job) == {"all": [], "replace": [(1, "superseded")]}.get(kind, [(2, "superseded")])
    assert Run.objects.cancelled().count() == (kind == "replace")


def test_receivers_are_told_of_a_replaced_run_once_it_is_written(clock, monkeypatch):
    job = followed(clock, overlap="replace")
    (first,) = schedule_due(clock.advance(hours=6))
    heard, insert = [], deciding._insert

    def hear(run_id, status, **rest):
        heard.append((run_id, status))

    def refuse(runs):
        if list(runs):
            raise IntegrityError("no")
        return []

    run_finished.connect(hear)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(deciding, "_insert", refuse)
            schedule_due(clock.advance(hours=6))
        assert (heard, skips(job)) == ([], [(1, "error")])  # what was not written was not told
        assert deciding._insert is insert
        schedule_due(clock.advance(hours=6))
    finally:
        run_finished.disconnect(hear)
    assert heard == [(first.id, "cancelled")]
    assert hours(job) == [6, 18]


# ---------------------------------------------------------------------------------------------------------- suspended


def test_a_host_that_was_suspended_between_its_look_and_the_locks_goes_by_the_time_of_the_locks(clock):
    """Its machine slept for a week; meanwhile another host went on."""
    clock.set(datetime.now(UTC) - WEEK)
    job = followed(clock, "every 1h", misfire="all", overlap="skip")
    seen = look(clock.advance(hours=1, seconds=1)).due
    assert seen == [job.pk]
    clock.set(datetime.now(UTC))
    schedule_due(clock())
    Run.objects.all().delete()  # pruned, which takes their keys along
    before = everything()

    assert decide_jobs(seen) == []

    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_a_host_that_wakes_up_beside_others_doubles_nothing(clock):
    """Three hosts have looked at three different times before they were suspended; they wake up at once."""
    clock.set(datetime.now(UTC) - timedelta(hours=5))
    jobs = [followed(clock, "every 1h", name=f"job {n}", misfire="all", overlap="allow") for n in range(5)]
    looks = [look(clock.advance(hours=1, seconds=1)).due for _ in range(3)]

    at_once(*[lambda due=due: decide_jobs(due) for due in looks])

    for job in jobs:
        assert Run.objects.filter(job=job).count() == 5
        assert Run.objects.filter(job=job).values("scheduled_for").distinct().count() == 5


# --------------------------------------------------------------------------------------------------- away for a week


ALL = [6.0 * n for n in range(1, 29)]
LATE, IN_TIME = timedelta(minutes=6), timedelta(minutes=4)  # the grace is five


@pytest.mark.parametrize(
    ("misfire", "overlap", "late", "made", "passed"),
    [
        ("once", "skip", LATE, ALL[-1:], [(27, "superseded")]),
        ("once", "queue", LATE, ALL[-1:], [(27, "superseded")]),
        ("once", "allow", LATE, ALL[-1:], [(27, "superseded")]),
        ("once", "replace", LATE, ALL[-1:], [(27, "superseded")]),
        ("skip", "skip", LATE, [], [(28, "missed")]),
        ("skip", "queue", LATE, [], [(28, "missed")]),
        ("skip", "allow", LATE, [], [(28, "missed")]),
        ("skip", "replace", LATE, [], [(28, "missed")]),
        ("skip", "skip", IN_TIME, ALL[-1:], [(27, "missed")]),
        ("skip", "queue", IN_TIME, ALL[-1:], [(27, "missed")]),
        ("skip", "allow", IN_TIME, ALL[-1:], [(27, "missed")]),
        ("skip", "replace", IN_TIME, ALL[-1:], [(27, "missed")]),
        ("all", "skip", LATE, ALL, []),
        ("all", "queue", LATE, ALL, []),
        ("all", "allow", LATE, ALL, []),
        ("all", "replace", LATE, ALL[-1:], [(27, "superseded")]),
    ],
)
def test_a_scheduler_that_was_away_for_a_week_does_what_the_policies_say(clock, misfire, overlap, late, made, passed):
    job = followed(clock, misfire=misfire, overlap=overlap)
    schedule_due(clock.set(NOON + WEEK + late))
    assert (hours(job), skips(job)) == (made, passed)
    assert sum(count for count, _ in passed) + len(made) == 28  # none is missing without a word
    job.refresh_from_db()
    assert (job.cursor, job.next_run_at) == (clock(), NOON + WEEK + timedelta(hours=6))


@pytest.mark.parametrize(
    ("misfire", "overlap", "made", "passed", "open_run"),
    [
        ("once", "skip", [], [(27, "superseded"), (1, "overlap")], "running"),
        ("once", "queue", ALL[-1:], [(27, "superseded")], "running"),
        ("once", "allow", ALL[-1:], [(27, "superseded")], "running"),
        ("once", "replace", ALL[-1:], [(27, "superseded")], "asked to end"),
        ("all", "skip", [], [(28, "overlap")], "running"),
        ("all", "queue", ALL[-1:], [(27, "superseded")], "running"),
        ("all", "allow", ALL, [], "running"),
        ("all", "replace", ALL[-1:], [(27, "superseded")], "asked to end"),
    ],
)
def test_after_a_week_away_a_run_that_is_still_open_is_heeded(clock, misfire, overlap, made, passed, open_run):
    job = followed(clock, misfire=misfire, overlap=overlap)
    manual = job.trigger()
    Run.objects.filter(id=manual.id).update(enqueued_at=NOON)
    (claimed,) = take()
    assert claimed.id == manual.id

    schedule_due(clock.set(NOON + WEEK + LATE))

    scheduled = Run.objects.filter(job=job, trigger="schedule").order_by("scheduled_for")
    assert [(run.scheduled_for - NOON) / timedelta(hours=1) for run in scheduled] == made
    assert skips(job) == passed
    manual.refresh_from_db()
    assert manual.status == "running" and bool(manual.cancel_requested_at) == (open_run == "asked to end")


def test_of_a_week_only_the_time_between_start_and_end_counts(clock):
    job = followed(clock, misfire="all", overlap="allow")
    window = {"starts_at": NOON + timedelta(hours=10), "ends_at": NOON + timedelta(hours=24)}
    Job.objects.filter(pk=job.pk).update(**window)
    schedule_due(clock())
    schedule_due(clock.advance(days=7))
    assert (hours(job), skips(job)) == ([12, 18], [])


# ------------------------------------------------------------------------------------------------------- clocks jump


@pytest.mark.parametrize("misfire", ["once", "skip", "all"])
@pytest.mark.parametrize("back", [timedelta(seconds=90), timedelta(minutes=4), timedelta(hours=1), timedelta(days=2)])
def test_a_clock_that_jumps_back_doubles_nothing_and_goes_on(clock, misfire, back):
    job = followed(clock, "every 30m", misfire=misfire, overlap="allow")
    for _ in range(100):  # past two days and a bit
        schedule_due(clock.advance(minutes=30))
    there = hours(job)

    schedule_due(clock.advance(seconds=-back.total_seconds()))
    for _ in range(104):
        schedule_due(clock.advance(minutes=30))

    assert len(set(hours(job))) == len(hours(job))
    assert set(there) <= set(hours(job)) and hours(job) == [n / 2 for n in range(1, len(hours(job)) + 1)]
    assert not Skip.objects.exclude(reason="missed").exists()
    job.refresh_from_db()
    assert clock() < job.next_run_at <= clock() + timedelta(minutes=30)


@pytest.mark.parametrize("misfire", ["once", "all"])
def test_a_clock_that_jumps_a_week_forward_and_back_doubles_nothing_and_goes_on(clock, misfire):
    job = followed(clock, "every 6h", misfire=misfire, overlap="allow")
    schedule_due(clock.advance(hours=6))
    schedule_due(clock.advance(days=7))
    ahead = hours(job)
    schedule_due(clock.advance(days=-7, minutes=1))
    for _ in range(40):
        schedule_due(clock.advance(hours=6))

    assert hours(job) == [6.0 * n for n in range(1, 42)]  # each once, those that the wrong clock made among them
    assert set(ahead) == ({6.0, 174.0} if misfire == "once" else {6.0 * n for n in range(1, 30)})


def test_a_clock_that_jumps_forward_makes_a_bounded_number_of_runs(clock):
    job = followed(clock, "every 1s", misfire="all", overlap="allow")
    schedule_due(clock.set(datetime(2040, 1, 1, tzinfo=UTC)))
    assert (len(hours(job)), skips(job)) == (100, [(1000, "limit")])


# ------------------------------------------------------------------------------------------------------ at the second


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow", "replace"])
def test_a_job_of_every_second_has_neither_hole_nor_double_however_uneven_the_looks_are(clock, overlap):
    job = followed(clock, "every 1s", misfire="all", overlap=overlap)
    for pause in [0.2, 0.7, 1.0, 0.05, 0.96, 2.3, 0.999, 1.001, 0.0, 3.5, 0.3, 1.4]:
        schedule_due(clock.advance(seconds=pause))
        Run.objects.open().update(status="succeeded", position=None)
    found = [round(hour * 3600) for hour in hours(job)]
    passed = sum(count for count, _ in skips(job))
    assert len(set(found)) == len(found) and len(found) + passed == 12
    assert passed == 0 or overlap == "replace"  # of those that are found together, the newest
