"""How outcomes are written."""

import uuid
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from background import catalog
from background.models import Job, Run, RunLog
from background.queue.cancel import cancel
from background.queue.claim import promote_due
from background.queue.enqueue import enqueue
from background.queue.finish import append_letters, finish, finish_within, release, write_progress
from background.queue.outcome import Kind, Line, Outcome
from background.signals import run_finished
from tests.app import background as tasks
from tests.queue.helpers import START, end, error, status, take, take_one

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard():
    """What receivers of `run_finished` heard: (run id, status)."""
    found = []

    def receive(sender, run_id, status, **more):
        found.append((run_id, status))

    run_finished.connect(receive)
    yield found
    run_finished.disconnect(receive)


def test_a_succeeded_run_keeps_its_result_and_its_time(heard):
    run, claimed = take_one(tasks.note, "x")

    assert end(claimed, result={"a": [1, None]}) == []

    run.refresh_from_db()
    assert (run.status, run.result, run.errors, run.token, run.position) == (
        "succeeded",
        {"a": [1, None]},
        [],
        None,
        None,
    )
    assert run.finished_at >= run.started_at and run.duration >= 0
    assert heard == [(run.id, "succeeded")]


def test_a_failed_run_keeps_error_fingerprint_and_reason(heard):
    run, claimed = take_one(tasks.note, "x")

    end(claimed, Kind.FAILED, error=error("it broke"), fingerprint="abc", reason="attempts used up")

    run.refresh_from_db()
    assert (run.status, run.attempt, run.end_reason) == ("failed", 1, "attempts used up")
    assert [one["message"] for one in run.errors] == ["it broke"]
    assert (run.error_type, run.error_summary, run.fingerprint) == ("builtins.ValueError", "it broke", "abc")
    assert heard == [(run.id, "failed")]


def test_the_summary_is_the_first_line_of_the_message_and_short():
    run, claimed = take_one(tasks.note, "x")
    end(claimed, Kind.FAILED, error=error("\n  first " + "x" * 600 + "\nsecond"))
    run.refresh_from_db()
    assert run.error_summary.startswith("first xxx") and len(run.error_summary) == 500


def test_an_error_without_a_message_has_an_empty_summary():
    run, claimed = take_one(tasks.note, "x")
    end(claimed, Kind.FAILED, error=error(""))
    run.refresh_from_db()
    assert (run.error_summary, run.error_type) == ("", "builtins.ValueError")


def test_a_retry_waits_for_its_delay_with_the_error_kept(heard):
    run, claimed = take_one(tasks.note, "x")
    now = timezone.now()

    finish([Outcome(claimed, Kind.RETRY, error=error("first"), delay=60)], now)

    run.refresh_from_db()
    assert (run.status, run.attempt, run.position, run.token) == ("scheduled", 1, None, None)
    assert run.run_after == now + timedelta(seconds=60)
    assert [one["message"] for one in run.errors] == ["first"] and run.finished_at is None
    assert heard == []


def test_errors_of_all_attempts_are_kept_in_order():
    run, claimed = take_one(tasks.note, "x")
    end(claimed, Kind.RETRY, error=error("first", 1))
    (claimed,) = take()
    assert (claimed.attempt, len(claimed.errors)) == (2, 1)
    end(claimed, Kind.FAILED, error=error("second", 2))
    run.refresh_from_db()
    assert [(one["attempt"], one["message"]) for one in run.errors] == [(1, "first"), (2, "second")]


def test_a_retry_without_delay_is_ready_at_its_old_place():
    run, claimed = take_one(tasks.note, "x")
    others = [enqueue(tasks.note, ["later"]) for _ in range(2)]

    end(claimed, Kind.RETRY, error=error())

    run.refresh_from_db()
    assert (run.status, run.attempt) == ("ready", 1)
    assert [one.id for one in take(3)] == [run.id, others[0].id, others[1].id]


def test_a_snoozed_run_comes_back_without_having_burnt_an_attempt():
    run, claimed = take_one(tasks.note, "x")
    end(claimed, Kind.SNOOZED, delay=60)
    run.refresh_from_db()
    assert (run.status, run.attempt, run.errors) == ("scheduled", 0, [])
    promote_due(run.run_after)
    assert take()[0].attempt == 1


def test_a_released_run_is_ready_at_its_old_place_with_no_attempt_burnt(heard):
    run, claimed = take_one(tasks.note.using(priority=3), "x")
    place = Run.objects.values_list("position", flat=True)
    enqueue(tasks.note.using(priority=3), ["later"])

    release([claimed], "host stopping")

    run.refresh_from_db()
    assert (run.status, run.attempt, run.token) == ("ready", 0, None)
    assert list(place.order_by("position"))[0] == run.position
    assert heard == []


def test_a_run_that_was_scheduled_for_later_is_released_to_the_place_of_its_due_time():
    due = timezone.now() + timedelta(hours=1)
    run = enqueue(tasks.note, run_after=due)
    promote_due(due)
    place = Run.objects.get().position

    release(take())

    assert Run.objects.get(id=run.id).position == place


def test_releasing_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        release([])


def test_a_cancelled_run_keeps_who_cancelled_it_and_why(heard, django_user_model):
    run, claimed = take_one(tasks.note, "x")
    cancel(run, django_user_model.objects.create_user("ann"), "too late")

    end(claimed, Kind.CANCELLED)

    run.refresh_from_db()
    assert (run.status, run.cancel_requested_by, run.end_reason) == ("cancelled", "ann", "too late")
    assert heard == [(run.id, "cancelled")]


def test_a_run_that_succeeds_although_it_was_asked_to_end_does_not_say_that_it_was_cancelled():
    run, claimed = take_one(tasks.note, "x")
    cancel(run, reason="too late")
    end(claimed)
    run.refresh_from_db()
    assert (run.status, run.end_reason) == ("succeeded", "")


@pytest.mark.parametrize("kind", [Kind.RETRY, Kind.SNOOZED, Kind.RELEASED])
@pytest.mark.parametrize("delay", [0, 60])
def test_a_run_that_was_asked_to_end_is_not_tried_again(kind, delay, heard):
    run, claimed = take_one(tasks.single, "x")
    cancel(run, reason="too late")

    end(claimed, kind, delay=delay)

    run.refresh_from_db()
    assert (run.status, run.end_reason, run.unique_key, run.position) == ("cancelled", "too late", None, None)
    assert run.finished_at is not None
    assert heard == [(run.id, "cancelled")]


@pytest.mark.parametrize("kind", [Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED])
def test_the_unique_key_is_emptied_at_the_end(kind):
    run, claimed = take_one(tasks.single, "a")
    end(claimed, kind)
    run.refresh_from_db()
    assert run.unique_key is None


def test_log_lines_and_progress_are_written_with_the_outcome():
    run, claimed = take_one(tasks.note, "x")
    lines = tuple(Line(n, START, "INFO", f"line {n}") for n in (1, 2))

    end(claimed, lines=lines, lines_dropped=3, progress=(5, 10, "x" * 300))

    run.refresh_from_db()
    assert [(one.sequence, one.level, one.message) for one in run.logs.all()] == [
        (1, "INFO", "line 1"),
        (2, "INFO", "line 2"),
    ]
    assert (run.log_lines_dropped, run.progress_done, run.progress_total, run.progress_message) == (3, 5, 10, "x" * 200)


def test_dropped_lines_are_added_up_over_the_attempts():
    run, claimed = take_one(tasks.note, "x")
    end(claimed, Kind.RETRY, lines_dropped=3)
    end(take()[0], lines_dropped=4)
    run.refresh_from_db()
    assert run.log_lines_dropped == 7


def test_what_a_running_run_says_is_written_meanwhile():
    run, claimed = take_one(tasks.note, "x")
    assert write_progress(claimed, (1, None, "begun"), [Line(1, START, "INFO", "hello")])
    assert write_progress(claimed, None, [Line(2, START, "INFO", "again")])
    run.refresh_from_db()
    assert (run.status, run.progress_done, run.progress_total) == ("running", 1, None)
    assert [line.message for line in run.logs.all()] == ["hello", "again"]


def test_a_group_of_mixed_outcomes_is_written_in_one_transaction():
    runs = [enqueue(tasks.note, [kind.value]) for kind in Kind]
    claims = take(9)

    refused = finish([Outcome(one, Kind(one.args[0]), delay=60 * (one.args[0] == "snoozed")) for one in claims])

    assert refused == []
    assert [status(run) for run in runs] == ["succeeded", "failed", "ready", "scheduled", "cancelled", "ready"]


def test_an_outcome_that_cannot_be_written_undoes_its_group(monkeypatch):
    runs = [enqueue(tasks.note, [str(n)]) for n in range(2)]
    claims = take(2)
    good, bad = Outcome(claims[0], Kind.SUCCEEDED), Outcome(claims[1], Kind.SUCCEEDED, result=object())

    with pytest.raises(TypeError), transaction.atomic():
        finish([good, bad])

    assert [status(run) for run in runs] == ["running", "running"]
    assert not RunLog.objects.exists()


def test_refused_outcomes_are_returned_and_the_others_written(heard, caplog):
    runs = [enqueue(tasks.note, [str(n)]) for n in range(3)]
    claims = take(3)
    Run.objects.filter(id=claims[1].id).update(token=uuid.uuid4())
    line = Line(1, START, "INFO", "zombie")
    outcomes = [Outcome(one, Kind.SUCCEEDED, lines=(line,)) for one in claims]

    assert finish(outcomes) == [outcomes[1]]

    assert [status(run) for run in runs] == ["succeeded", "running", "succeeded"]
    assert [run_id for run_id, _ in heard] == [runs[0].id, runs[2].id]
    assert not RunLog.objects.filter(run=runs[1]).exists()
    assert f"run {claims[1].id}" in caplog.text and "discarded" in caplog.text


def test_an_outcome_that_comes_twice_is_written_once(heard):
    run, claimed = take_one(tasks.note, "x")
    outcome = Outcome(claimed, Kind.SUCCEEDED)
    assert finish([outcome]) == [] and finish([outcome]) == [outcome]
    again = Outcome(claimed, Kind.SUCCEEDED)
    assert len(heard) == 1 and finish([outcome, again]) == [outcome, again]


def test_of_one_outcome_twice_in_a_group_the_first_counts(heard):
    run, claimed = take_one(tasks.note, "x")
    outcomes = [Outcome(claimed, Kind.SUCCEEDED), Outcome(claimed, Kind.SUCCEEDED)]
    assert len(finish(outcomes)) == 1
    assert heard == [(run.id, "succeeded")]


def test_finish_within_joins_the_callers_transaction():
    run, claimed = take_one(tasks.note, "x")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert finish_within(Outcome(claimed, Kind.SUCCEEDED))
        assert status(run) == "succeeded"
        raise ZeroDivisionError
    assert status(run) == "running"


# ------------------------------------------------------------------------------------------------------------ strip


def strip(name="app.plain"):
    return Job.objects.get(name=name).outcomes


def test_each_end_adds_a_letter_to_the_strip_of_its_job():
    catalog.sync()
    for kind in (Kind.SUCCEEDED, Kind.FAILED, Kind.RETRY, Kind.CANCELLED, Kind.SNOOZED):
        _, claimed = take_one(tasks.plain)
        end(claimed, kind, delay=60)
    assert strip() == "sfc"


def test_the_strip_keeps_the_last_thirty():
    catalog.sync()
    job = Job.objects.get(name="app.plain")
    append_letters(job.id, "f" * 29)
    for _ in range(3):
        enqueue(tasks.plain)
    finish([Outcome(one, Kind.SUCCEEDED) for one in take(3)])
    assert strip() == "f" * 27 + "sss"


def test_waiting_runs_that_are_cancelled_are_on_the_strip_too():
    catalog.sync()
    cancel(enqueue(tasks.plain))
    run, claimed = take_one(tasks.plain)
    cancel(run)
    release([claimed])
    assert strip() == "cc"


def test_a_run_whose_job_was_deleted_is_finished_all_the_same():
    catalog.sync()
    run, claimed = take_one(tasks.plain)
    Job.objects.filter(name="app.plain").delete()
    assert end(claimed) == []
    run.refresh_from_db()
    assert (run.status, run.job_name) == ("succeeded", "app.plain")


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_outcomes_of_one_run_that_whose_token_fits_is_written(order):
    run, old = take_one(tasks.note, "x")
    release([old])
    (new,) = take()
    outcomes = [Outcome(old, Kind.FAILED, error=error()), Outcome(new, Kind.SUCCEEDED, result="new")][::order]
    assert finish(outcomes) == [one for one in outcomes if one.claim is old]
    assert status(run) == "succeeded"
