"""What is due, what is missed, and the one run per occurrence."""

import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from background import Backoff, every
from background.engine import deciding
from background.engine.occurrences import delay
from background.engine.scheduler import Scheduler, look, schedule_due
from background.models import Job, Run, Skip
from background.queue.enqueue import enqueue
from background.queue.holding import Filter, Holder
from background.stopping import StopToken
from background.testing import FakeClock, run_due
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, take

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, 12, 1, tzinfo=UTC)


@pytest.fixture
def clock(db):
    Job.objects.all().delete()  # of the declared jobs, which are written with the tables
    return FakeClock(START)


def made_by_hand(clock, schedule="every 5m", **fields):
    """Write a job by hand whose schedule is followed from now on."""
    values = {"name": "mine", "task": tasks.note.module_path, "timezone": "UTC", **fields}
    job = Job.objects.create(schedule=schedule, **values)
    schedule_due(clock())
    job.refresh_from_db()
    return job


def runs_of(job):
    return Run.objects.filter(job=job).order_by("scheduled_for")


def times(job):
    """Return what has been made so far, in minutes after noon."""
    noon = START.replace(minute=0)
    return [(instant - noon).total_seconds() / 60 for instant in runs_of(job).values_list("scheduled_for", flat=True)]


def skips(job):
    return [(skip.count, skip.reason) for skip in Skip.objects.filter(job=job).order_by("id")]


def edit(job, **fields):
    Job.objects.filter(pk=job.pk).update(**fields)


# -------------------------------------------------------------------------------------------------- one per occurrence


def test_a_new_job_notes_its_next_time_and_makes_nothing_up(clock):
    job = made_by_hand(clock)
    assert (job.cursor, job.next_run_at, times(job)) == (START, START.replace(minute=5), [])


def test_each_occurrence_becomes_one_ready_run_with_its_nominal_time(clock):
    job = made_by_hand(clock, args=["x"], queue="mail", priority=5)

    schedule_due(clock.advance(minutes=4, seconds=3))
    assert schedule_due(clock()) == []

    (run,) = runs_of(job)
    assert (run.scheduled_for, run.status, run.trigger) == (START.replace(minute=5), "ready", "schedule")
    assert (run.args, run.queue, run.priority, run.job_name) == (["x"], "mail", 5, "mine")
    job.refresh_from_db()
    assert job.next_run_at == START.replace(minute=10)


def test_what_was_made_is_returned(clock):
    job = made_by_hand(clock)
    assert [run.job_id for run in schedule_due(clock.advance(minutes=4))] == [job.pk]


@pytest.mark.django_db(transaction=True)
def test_four_schedulers_at_once_make_one_run_of_each_occurrence(clock):
    jobs = [made_by_hand(clock, name=f"job {n}", overlap="allow") for n in range(3)]
    for _ in range(4):
        now = clock.advance(minutes=5)
        at_once(*[lambda now=now: schedule_due(now)] * 4)

    for job in jobs:
        assert times(job) == [5, 10, 15, 20]


@pytest.mark.django_db(transaction=True)
def test_a_scheduler_that_breaks_off_before_the_commit_leaves_the_occurrence_to_the_next(clock, monkeypatch):
    job = made_by_hand(clock)

    def broken(*args):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(deciding, "_write", broken)
        schedule_due(clock.advance(minutes=4))
    assert times(job) == []

    schedule_due(clock())
    assert times(job) == [5]


def test_an_occurrence_is_not_made_twice_although_the_cursor_went_back(clock):
    job = made_by_hand(clock, overlap="allow")
    schedule_due(clock.advance(minutes=4))
    schedule_due(clock.advance(minutes=5))
    edit(job, cursor=START, next_run_at=START)

    schedule_due(clock())

    assert times(job) == [5, 10]


def test_a_manual_run_in_the_same_second_is_kept_beside_the_occurrence(clock):
    job = made_by_hand(clock)
    now = clock.advance(minutes=4)
    manual = job.trigger()
    Run.objects.filter(id=manual.id).update(enqueued_at=now)

    schedule_due(now)

    assert sorted(runs_of(job).values_list("trigger", flat=True)) == ["manual", "schedule"]


# ------------------------------------------------------------------------------------------------------------- missed


def after_three_hours(clock, **fields):
    job = made_by_hand(clock, **fields)
    schedule_due(clock.advance(minutes=179))  # 15:00
    return job


def test_of_what_was_missed_once_runs_the_latest_and_keeps_one_row_about_the_rest(clock):
    job = after_three_hours(clock, misfire="once")
    assert (times(job), skips(job)) == ([180], [(35, "superseded")])
    skip = Skip.objects.get()
    assert (skip.first, skip.last) == (START.replace(minute=5), START.replace(hour=14, minute=55))


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow"])
def test_all_runs_everything_that_was_missed(clock, overlap):
    job = after_three_hours(clock, misfire="all", overlap=overlap)
    assert (times(job), skips(job)) == ([5 * n for n in range(1, 37)], [])


def test_runs_that_are_made_up_do_not_overlap_unless_that_is_allowed(clock):
    after_three_hours(clock, misfire="all")
    (first,) = take(9)
    assert take(9) == []
    end(first)
    assert len(take(9)) == 1


def test_runs_that_are_made_up_may_overlap_where_that_is_allowed(clock):
    after_three_hours(clock, misfire="all", overlap="allow")
    assert len(take(9)) == 9


def test_all_runs_no_more_than_the_limit_and_the_newest(clock):
    job = after_three_hours(clock, misfire="all", misfire_limit=10)
    assert (times(job), skips(job)) == ([5 * n for n in range(27, 37)], [(26, "limit")])


def test_a_month_of_minutes_is_decided_quickly(clock):
    job = made_by_hand(clock, "* * * * *", misfire="all", overlap="allow")
    schedule_due(clock.advance(days=30))
    assert runs_of(job).count() == 100
    assert skips(job) == [(1000, "limit")]


def test_skip_runs_nothing_that_is_older_than_the_grace(clock):
    job = made_by_hand(clock, misfire="skip", misfire_grace=60)
    schedule_due(clock.advance(minutes=12, seconds=30))  # 12:13:30
    assert (times(job), skips(job)) == ([], [(2, "missed")])


def test_skip_runs_the_latest_within_the_grace(clock):
    job = made_by_hand(clock, misfire="skip", misfire_grace=60)
    schedule_due(clock.advance(minutes=9, seconds=30))  # 12:10:30
    assert (times(job), skips(job)) == ([10], [(1, "missed")])


@pytest.mark.parametrize("misfire", ["once", "skip", "all"])
def test_at_the_normal_pace_all_policies_agree(clock, misfire):
    job = made_by_hand(clock, misfire=misfire, overlap="allow")
    for _ in range(3):
        schedule_due(clock.advance(minutes=5))
    assert (times(job), skips(job)) == ([5, 10, 15], [])


def test_what_was_missed_shows_on_the_strip_of_the_job(clock):
    job = after_three_hours(clock)
    job.refresh_from_db()
    assert job.outcomes == "m"


# ------------------------------------------------------------------------------------------------------------ overlap


def test_overlap_skip_passes_the_occurrence_over_and_never_makes_it_up(clock):
    job = made_by_hand(clock)
    schedule_due(clock.advance(minutes=4))
    (claimed,) = take()

    schedule_due(clock.advance(minutes=5))
    end(claimed)
    assert schedule_due(clock.advance(minutes=1)) == []

    assert (times(job), skips(job)) == ([5], [(1, "overlap")])
    schedule_due(clock.advance(minutes=4))
    assert times(job) == [5, 15]
    job.refresh_from_db()
    assert job.outcomes == "os"


def test_overlap_skip_heeds_runs_that_a_person_or_code_asked_for(clock):
    job = made_by_hand(clock)
    job.trigger()
    schedule_due(clock.advance(minutes=4))
    assert skips(job) == [(1, "overlap")]


def test_overlap_queue_lets_one_occurrence_wait_for_the_run_before_it(clock):
    job = made_by_hand(clock, overlap="queue")
    schedule_due(clock.advance(minutes=4))
    (first,) = take(9)
    schedule_due(clock.advance(minutes=5))
    assert take(9) == []

    schedule_due(clock.advance(minutes=5))  # takes the place of the one that waits

    assert take(9) == []
    assert [(run.status, run.end_reason) for run in runs_of(job)] == [
        ("running", ""),
        ("cancelled", "superseded"),
        ("blocked", ""),
    ]
    end(first)
    (second,) = take(9)
    assert second.id == runs_of(job).last().id


def test_overlap_queue_waits_for_a_manual_run_too(clock):
    job = made_by_hand(clock, overlap="queue")
    job.trigger()
    (manual,) = take(9)
    schedule_due(clock.advance(minutes=4))

    assert take(9) == []
    end(manual)
    assert len(take(9)) == 1


def test_overlap_queue_does_not_keep_manual_runs_waiting(clock):
    job = made_by_hand(clock, overlap="queue")
    schedule_due(clock.advance(minutes=4))
    take(9)
    job.trigger()
    assert len(take(9)) == 1


def test_overlap_queue_holds_with_a_limit_of_the_task_as_well(clock):
    job = made_by_hand(clock, overlap="queue", concurrency=3)
    schedule_due(clock.advance(minutes=4))
    (first,) = take(9)
    schedule_due(clock.advance(minutes=5))

    assert take(9) == []
    end(first)
    assert len(take(9)) == 1
    assert Run.objects.filter(job=job, status="running").count() == 1


def test_overlap_allow_starts_it_beside_the_open_run(clock):
    made_by_hand(clock, overlap="allow")
    schedule_due(clock.advance(minutes=4))
    schedule_due(clock.advance(minutes=5))
    assert len(take(9)) == 2


def test_overlap_replace_ends_a_waiting_run_and_asks_a_running_one_to_end(clock):
    job = made_by_hand(clock, overlap="replace")
    schedule_due(clock.advance(minutes=4))
    schedule_due(clock.advance(minutes=5))
    assert [(run.status, run.end_reason) for run in runs_of(job)] == [("cancelled", "replaced"), ("ready", "")]
    (claimed,) = take(9)

    schedule_due(clock.advance(minutes=5))

    running, waiting = runs_of(job)[1:]
    assert (running.status, running.end_reason, running.cancel_requested_at is not None) == (
        "running",
        "replaced",
        True,
    )
    assert take(9) == []  # it begins when the old one has ended
    end(claimed)
    assert [one.id for one in take(9)] == [waiting.id]


def test_an_occurrence_whose_unique_key_an_open_run_has_is_passed_over(clock, code):
    task = code(lambda key="a": key, unique="{key}")
    job = made_by_hand(clock, task=task.module_path, overlap="allow")
    enqueue(task)

    assert schedule_due(clock.advance(minutes=4)) == []

    assert skips(job) == [(1, "overlap")]


# --------------------------------------------------------------------------------------------------- window and jitter


def test_nothing_is_due_before_starts_at_and_from_ends_at_on(clock):
    noon = START.replace(minute=0)
    job = made_by_hand(
        clock, overlap="allow", starts_at=noon + timedelta(minutes=10), ends_at=noon + timedelta(minutes=20)
    )
    assert job.next_run_at == noon + timedelta(minutes=10)
    for _ in range(6):
        schedule_due(clock.advance(minutes=5))
    assert times(job) == [10, 15]
    job.refresh_from_db()
    assert job.next_run_at is None


@pytest.mark.parametrize("hours", [0, -1])
def test_a_window_without_an_occurrence_leaves_the_job_at_rest(clock, hours):
    job = made_by_hand(clock, starts_at=START, ends_at=START + timedelta(hours=hours))
    for _ in range(3):
        assert schedule_due(clock.advance(minutes=5)) == []
    job.refresh_from_db()
    assert (job.next_run_at, job.schedule_error, skips(job)) == (None, "", [])
    assert look(clock()) == ([], None)


def test_a_start_within_a_second_counts_exactly(clock):
    noon = START.replace(minute=0)
    job = made_by_hand(clock, starts_at=noon + timedelta(minutes=5, microseconds=1))
    assert job.next_run_at == noon + timedelta(minutes=10)


def test_a_start_in_the_past_makes_nothing_up(clock):
    job = made_by_hand(clock, starts_at=START - timedelta(days=365))
    assert times(job) == []


def test_jitter_delays_each_occurrence_by_a_part_of_its_own_that_is_not_in_the_key(clock):
    job = made_by_hand(clock, jitter=60, overlap="allow")
    for _ in range(4):
        schedule_due(clock.advance(minutes=5))

    delays = [run.run_after - run.scheduled_for for run in runs_of(job)]

    assert len(set(delays)) == 4
    assert all(timedelta(0) <= one < timedelta(seconds=60) for one in delays)
    assert delays == [delay(job, run.scheduled_for, None) for run in runs_of(job)]  # wherever and whenever it is asked
    assert times(job) == [5, 10, 15, 20]


def test_jitter_spreads_the_jobs_of_one_instant(clock):
    assert len({delay(Job(name=f"job {n}", jitter=600), START, None) for n in range(20)}) > 15


@pytest.mark.parametrize("jitter", [299, 600, 1e9])
def test_jitter_never_reaches_the_next_occurrence(clock, jitter):
    job = made_by_hand(clock, jitter=jitter, overlap="allow", misfire="all")
    schedule_due(clock.advance(hours=3))
    schedule_due(clock.advance(minutes=5))

    runs = list(runs_of(job))

    assert len(runs) == 37
    assert all(run.run_after < run.scheduled_for + timedelta(minutes=5) for run in runs)
    assert [run.place for run in runs] == sorted(run.place for run in runs)


def test_jitter_of_a_run_that_is_made_late_has_passed(clock):
    job = made_by_hand(clock, jitter=60)
    schedule_due(clock.advance(hours=3, minutes=2))
    assert [run.status for run in runs_of(job)] == ["ready"]


def test_a_run_with_jitter_waits_until_its_time(clock):
    job = made_by_hand(clock, jitter=250)
    schedule_due(clock.advance(minutes=4))
    (run,) = runs_of(job)
    assert (run.status, run.run_after) == ("scheduled", run.scheduled_for + delay(job, run.scheduled_for, None))


# -------------------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("by", ["save", "update"])
def test_an_edit_of_the_schedule_takes_effect_with_the_next_look_and_runs_nothing(clock, by):
    job = made_by_hand(clock, "0 9 * * *")
    if by == "save":
        job.schedule = "0 8 * * *"
        job.save()
    else:
        edit(job, schedule="0 8 * * *")

    assert schedule_due(clock.advance(seconds=1)) == []

    job.refresh_from_db()
    assert job.next_run_at == datetime(2026, 5, 2, 8, tzinfo=UTC)


def test_an_edit_two_seconds_after_the_due_time_does_not_lose_the_run(clock):
    job = made_by_hand(clock)
    now = clock.advance(minutes=4, seconds=2)
    edit(job, schedule="0 9 * * *")
    schedule_due(now)
    assert times(job) == [5]


def test_an_edit_to_an_earlier_time_of_today_fires_tomorrow(clock):
    job = made_by_hand(clock, "0 13 * * *")
    edit(job, schedule="30 12 * * *")
    clock.set(START.replace(minute=45))
    schedule_due(clock())
    job.refresh_from_db()
    assert (times(job), job.next_run_at) == ([], datetime(2026, 5, 2, 12, 30, tzinfo=UTC))


def test_an_edit_of_the_zone_takes_effect(clock):
    job = made_by_hand(clock, "0 9 * * *")
    edit(job, timezone="Europe/Paris")
    schedule_due(clock.advance(seconds=1))
    job.refresh_from_db()
    assert job.next_run_at == datetime(2026, 5, 2, 7, tzinfo=UTC)


def test_an_edit_of_the_arguments_keeps_the_next_time(clock):
    job = made_by_hand(clock)
    edit(job, args=["new"])
    assert schedule_due(clock.advance(minutes=1)) == []
    schedule_due(clock.advance(minutes=3))
    assert [run.args for run in runs_of(job)] == [["new"]]


def test_an_edit_of_the_window_takes_effect(clock):
    job = made_by_hand(clock)
    edit(job, ends_at=START)
    schedule_due(clock.advance(seconds=1))
    job.refresh_from_db()
    assert job.next_run_at is None


def test_removing_the_schedule_ends_it(clock):
    job = made_by_hand(clock)
    edit(job, schedule="")
    schedule_due(clock.advance(seconds=1))
    job.refresh_from_db()
    assert job.next_run_at is None
    assert schedule_due(clock.advance(hours=1)) == []


@pytest.mark.parametrize("by", ["save", "update", "verbs"])
def test_a_job_that_is_enabled_again_runs_no_slot_that_it_missed(clock, by):
    job = made_by_hand(clock)
    if by == "verbs":
        job.pause()
    else:
        edit(job, enabled=False)
    schedule_due(clock.advance(seconds=1))
    clock.advance(minutes=15)
    assert schedule_due(clock()) == []
    if by == "save":
        job.refresh_from_db()
        job.enabled = True
        job.save()
    elif by == "update":
        edit(job, enabled=True)
    else:
        job.resume()

    schedule_due(clock.advance(seconds=1))

    job.refresh_from_db()
    assert (times(job), skips(job), job.next_run_at) == ([], [], START.replace(minute=20))
    schedule_due(clock.set(START.replace(minute=20)))
    assert times(job) == [20]


def test_a_job_that_was_paused_and_resumed_while_no_host_looked_runs_no_slot_of_the_pause(clock):
    job = made_by_hand(clock)
    job.pause()
    edit(job, paused_at=clock())
    clock.advance(minutes=15)
    job.resume()
    schedule_due(clock())
    assert times(job) == []
    schedule_due(clock.advance(minutes=4))
    assert times(job) == [20]


def test_pauses_that_no_host_has_seen_do_not_lose_what_was_due_before_them(clock):
    job = made_by_hand(clock)
    for _ in range(2):
        job.pause()
        edit(job, paused_at=clock.advance(minutes=4, seconds=1))  # 12:05:01, 12:09:02
        job.resume()
    clock.advance(minutes=2)  # 12:11:02
    schedule_due(clock())
    assert times(job) == [5]


def test_resuming_a_job_that_is_not_paused_loses_nothing(clock):
    job = made_by_hand(clock)
    clock.advance(minutes=4, seconds=1)
    job.resume()
    schedule_due(clock())
    assert times(job) == [5]


def test_a_pause_after_the_due_time_does_not_lose_the_run(clock):
    job = made_by_hand(clock)
    clock.advance(minutes=4, seconds=1)
    job.pause()
    schedule_due(clock())
    assert times(job) == [5]


def test_a_disabled_job_can_be_triggered(clock):
    job = made_by_hand(clock, enabled=False)
    assert job.trigger().status == "ready"
    assert job.next_run_at is None


def test_deleting_a_job_keeps_its_runs_with_its_name(clock):
    job = made_by_hand(clock)
    schedule_due(clock.advance(minutes=4))
    job.delete()
    run = Run.objects.get()
    assert (run.job_id, run.job_name) == (None, "mine")


# ------------------------------------------------------------------------------------------------------------- clocks


def test_a_clock_that_is_set_back_a_little_runs_nothing_twice_and_goes_on(clock):
    job = made_by_hand(clock, overlap="allow")
    schedule_due(clock.advance(minutes=4))
    schedule_due(clock.advance(minutes=-2))
    schedule_due(clock.advance(minutes=2))
    assert times(job) == [5]
    schedule_due(clock.advance(minutes=5))
    assert times(job) == [5, 10]


def test_a_clock_that_is_set_back_ten_minutes_runs_nothing_twice_and_goes_on(clock, caplog):
    job = made_by_hand(clock, overlap="allow")
    for _ in range(3):
        schedule_due(clock.advance(minutes=5))  # up to 12:15
    schedule_due(clock.set(START.replace(minute=6)))
    assert "the clock was set back" in caplog.text
    for _ in range(4):
        schedule_due(clock.advance(minutes=5))
    assert times(job) == [5, 10, 15, 20, 25]


def test_a_clock_that_showed_2040_and_was_set_right_does_not_silence_the_job(clock):
    job = made_by_hand(clock, overlap="allow")
    schedule_due(datetime(2040, 1, 1, tzinfo=UTC))
    Run.objects.all().delete()
    schedule_due(clock.advance(minutes=1))
    schedule_due(clock.advance(minutes=3))
    assert times(job) == [5]


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "nonsense"},
        {"schedule": "0 0 31 2 *"},
        {"timezone": "Mars/Olympus"},
        {"schedule": "every 1s from x"},
    ],
    ids=str,
)
def test_a_schedule_that_is_none_says_so_and_does_not_stop_others(clock, fields, caplog):
    bad, good = made_by_hand(clock, "0 9 * * *", name="bad"), made_by_hand(clock, name="good")
    edit(bad, **fields)

    schedule_due(clock.advance(minutes=4))

    assert times(good) == [5]
    bad.refresh_from_db()
    assert bad.schedule_error and bad.next_run_at is None
    assert "job bad cannot be scheduled" in caplog.text
    edit(bad, schedule="0 13 * * *", timezone="UTC")
    schedule_due(clock.advance(minutes=1))
    bad.refresh_from_db()
    assert (bad.schedule_error, bad.next_run_at) == ("", START.replace(hour=13, minute=0))


def test_a_broken_schedule_is_reported_once(clock, caplog):
    job = made_by_hand(clock)
    edit(job, schedule="nonsense")
    for _ in range(5):
        schedule_due(clock.advance(seconds=1))
    assert caplog.text.count("cannot be scheduled") == 1


def test_arguments_that_do_not_fit_stop_neither_others_nor_the_next_occurrence(clock, code):
    task = code(lambda key: key, unique="{key}")
    bad = made_by_hand(clock, task=task.module_path, name="bad", overlap="allow")
    good = made_by_hand(clock, name="good")

    schedule_due(clock.advance(minutes=4))

    bad.refresh_from_db()
    assert "missing a required argument: 'key'" in bad.schedule_error
    assert (times(bad), times(good)) == ([], [5])
    edit(bad, args=["a"])
    schedule_due(clock.advance(minutes=5))
    bad.refresh_from_db()
    assert (times(bad), bad.schedule_error) == ([10], "")


def test_a_key_that_raises_stops_no_other_job(clock, code):
    def broken(key="a"):
        raise ZeroDivisionError

    task = code(lambda key="a": key, unique=broken)
    bad, good = made_by_hand(clock, task=task.module_path, name="bad"), made_by_hand(clock, name="good")
    schedule_due(clock.advance(minutes=4))
    bad.refresh_from_db()
    assert "ZeroDivisionError" in bad.schedule_error
    assert times(good) == [5]


def test_a_job_of_a_task_that_this_host_does_not_know_is_left_to_others(clock):
    job = Job.objects.create(name="theirs", task="theirs.task", schedule="every 5m")
    schedule_due(clock())
    schedule_due(clock.advance(minutes=5))
    job.refresh_from_db()
    assert (times(job), job.cursor) == ([], None)


def test_an_orphaned_job_is_not_scheduled(clock):
    job = made_by_hand(clock)
    edit(job, orphaned=True)
    assert schedule_due(clock.advance(minutes=5)) == []


def test_values_that_no_form_lets_through_do_no_harm(clock):
    job = made_by_hand(clock, jitter=-5, misfire="all", misfire_limit=0, overlap="allow")
    schedule_due(clock.advance(minutes=9))
    assert times(job) == [10]


def test_a_schedule_without_a_further_time_rests(clock):
    job = made_by_hand(clock, "at 2026-05-01T12:05:00Z")
    schedule_due(clock.advance(minutes=4))
    schedule_due(clock.advance(days=1))
    job.refresh_from_db()
    assert (times(job), job.next_run_at) == ([5], None)


def test_a_single_time_that_has_passed_is_not_made_up(clock):
    job = made_by_hand(clock, "at 2026-05-01T11:00:00Z")
    schedule_due(clock.advance(days=1))
    assert (times(job), job.next_run_at) == ([], None)


# ---------------------------------------------------------------------------------------------------- zones and summer


def through_the_night(clock, job, start, hours):
    clock.set(start)
    edit(job, cursor=None, planned_enabled=False)
    for _ in range(hours * 6):
        schedule_due(clock.advance(minutes=10))
    return [instant.strftime("%H:%M") for instant in runs_of(job).values_list("scheduled_for", flat=True)]


def test_an_hour_that_comes_twice_runs_a_fixed_time_once(clock):
    job = made_by_hand(clock, "30 1 * * *", timezone="America/New_York", overlap="allow")
    assert through_the_night(clock, job, datetime(2024, 11, 3, 4, 0, tzinfo=UTC), 4) == ["05:30"]


def test_the_long_day_with_a_look_at_each_minute_of_the_repeated_hour_has_25_full_hours_and_each_fixed_time_once(clock):
    jobs = {
        text: made_by_hand(clock, text, name=text, timezone="America/New_York", overlap="allow")
        for text in ("30 1 * * *", "0 * * * *", "0 0-23 * * *")
    }
    midnight = clock.set(datetime(2024, 11, 3, 4, 0, tzinfo=UTC)) - timedelta(seconds=1)
    Job.objects.update(cursor=midnight, next_run_at=midnight)
    while clock() < midnight + timedelta(hours=25):
        schedule_due(clock())
        clock.advance(minutes=1 if 5 <= clock().hour < 8 else 12)
    assert {text: runs_of(job).count() for text, job in jobs.items()} == {
        "30 1 * * *": 1,
        "0 * * * *": 25,
        "0 0-23 * * *": 24,
    }
    assert not Skip.objects.exists()


def test_an_hour_that_is_skipped_runs_a_fixed_time_right_after(clock):
    job = made_by_hand(clock, "30 2 * * *", timezone="America/New_York", overlap="allow")
    assert through_the_night(clock, job, datetime(2024, 3, 10, 6, 0, tzinfo=UTC), 2) == ["07:00"]


# ---------------------------------------------------------------------------------------------------------- the service


@pytest.fixture
def scheduler():
    id = uuid.uuid4()
    return Scheduler(SimpleNamespace(id=id, name="one", holder=Holder(id, "one"), filter=Filter(), database_away=False))


def test_a_step_schedules_by_the_databases_clock_and_tells_when_to_come_again(scheduler):
    job = Job.objects.create(name="mine", task=tasks.note.module_path, schedule="every 20s")
    stop = StopToken()
    scheduler.step(stop)
    edit(job, cursor=datetime.now(UTC) - timedelta(seconds=60), next_run_at=datetime.now(UTC) - timedelta(seconds=40))

    assert scheduler.step(stop) == 0  # there may be more to do

    assert runs_of(job).count() == 1
    assert 0 < scheduler.step(stop) <= 30


def test_without_a_job_that_is_due_soon_it_leaves_it_to_the_hosts_look_to_call_it(scheduler):
    Job.objects.all().update(enabled=False)
    scheduler.step(StopToken())
    assert scheduler.step(StopToken()) == 30.0


def test_rows_that_another_has_locked_are_asked_for_less_and_less_often(scheduler, monkeypatch):
    monkeypatch.setattr("background.engine.scheduler.decide_jobs", lambda pks: [])
    Job.objects.create(name="mine", task=tasks.note.module_path, schedule="every 1s")
    pauses = [scheduler.step(StopToken()) for _ in range(30)]
    assert (pauses[0], pauses[-1]) == (0.05, 1.0)


def test_run_due_follows_the_declared_jobs(clock):
    run_due(clock())
    assert "app.often" in [run.job_name for run in run_due(clock.advance(minutes=4))]


def test_run_due_without_a_time_takes_the_databases(clock):
    run_due()
    assert Job.objects.get(name="app.often").next_run_at > datetime.now(UTC)


def test_a_further_job_of_a_task_is_run_with_its_own_policies(clock, code, drain):
    from background import schedule

    task = code(lambda: 1 / 0)
    schedule(task, every(minutes=5), name="tough", max_attempts=2, backoff=Backoff(0, 0), discard_on=(ArithmeticError,))
    run_due(clock())
    run_due(clock.advance(minutes=4))

    (run,) = [run for run in drain(now=clock()) if run.job_name == "tough"]

    assert (run.job_name, run.status, run.max_attempts, run.attempt) == ("tough", "failed", 2, 1)
