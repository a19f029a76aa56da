"""What `drain` and `run_due` do for a site's tests."""

from datetime import UTC, datetime, timedelta

import pytest

from background.models import Job, Run
from background.testing import FakeClock, run_due
from tests.app import background as tasks
from tests.app.models import Effect

pytestmark = pytest.mark.django_db


def test_drain_executes_what_is_ready_and_returns_the_runs_in_order(drain):
    tasks.note.enqueue("first")
    tasks.anote.enqueue("second")

    runs = drain()

    assert [run.status for run in runs] == ["succeeded", "succeeded"]
    assert [run.result for run in runs] == ["first", "second"]
    assert list(Effect.objects.values_list("note", flat=True)) == ["first", "second"]


def test_drain_goes_on_until_retries_are_used_up(drain):
    result = tasks.flaky.enqueue(fails=2)

    runs = drain()

    assert [run.id for run in runs] == [Run.objects.get(id=result.id).id]
    run = runs[0]
    assert (run.status, run.attempt, run.result) == ("succeeded", 3, 2)
    assert [error["message"] for error in run.errors] == ["failure 1", "failure 2"]


def test_drain_takes_only_the_named_queues_and_no_more_runs_than_asked_for(drain):
    tasks.note.using(queue_name="mail").enqueue("mail")
    for number in range(3):
        tasks.note.enqueue(str(number))

    assert [run.result for run in drain(queues=["mail"])] == ["mail"]
    assert len(drain(max_runs=2)) == 2
    assert Run.objects.ready().count() == 1


def test_drain_leaves_what_is_due_later_unless_told_that_it_is_later(drain):
    clock = FakeClock()
    tasks.note.using(run_after=clock() + timedelta(hours=1)).enqueue("later")

    assert drain() == []
    assert [run.result for run in drain(now=clock.advance(hours=2))] == ["later"]


def test_what_a_run_says_is_kept(drain):
    tasks.talk.enqueue(lines=2)

    run = drain()[0]

    assert (run.progress_done, run.progress_total, run.progress_message) == (2, 2, "line 1")
    assert [(line.level, line.message) for line in run.logs.all()] == [("INFO", "line 0"), ("INFO", "line 1")]
    assert run.result == 1


def test_run_due_makes_each_occurrence_once(drain):
    start = datetime(2026, 5, 1, 12, 1, tzinfo=UTC)
    run_due(start)
    assert Job.objects.get(name="app.often").next_run_at == datetime(2026, 5, 1, 12, 5, tzinfo=UTC)

    made = [run for run in run_due(start + timedelta(minutes=5)) if run.job_name == "app.often"]

    assert [run.scheduled_for for run in made] == [datetime(2026, 5, 1, 12, 5, tzinfo=UTC)]
    assert run_due(start + timedelta(minutes=5)) == []
