"""How a claimed run passes to another host."""

import uuid

import pytest

from background.models import Job, Run, RunLog
from background.queue.cancel import cancel, cancel_requests
from background.queue.claim import held_rows
from background.queue.finish import finish
from background.queue.handover import held_still, take_over
from background.queue.holding import key_of
from background.queue.outcome import Kind, Outcome
from tests.app import background as tasks
from tests.queue.helpers import at_once, holder, take_one

pytestmark = pytest.mark.django_db


def test_who_takes_a_run_over_holds_it_and_the_outcome_of_the_other_is_refused():
    run, before = take_one(tasks.note, "x")
    heir = holder("heir")

    claimed = take_over(run.id, (before.token, uuid.uuid4()), heir)

    assert held_rows(heir).get() == run
    assert (claimed.args, claimed.attempt, claimed.host_name) == (["x"], 1, "heir")
    assert claimed.started_at >= before.started_at
    assert held_still([before, claimed]) == {claimed.key}
    assert len(finish([Outcome(before, Kind.SUCCEEDED)])) == 1
    assert finish([Outcome(claimed, Kind.SUCCEEDED)]) == []


def test_a_takeover_whose_answer_was_lost_is_asked_for_again_and_no_other_succeeds():
    run, before = take_one(tasks.note, "x")
    heir, tokens = holder("heir"), (before.token, uuid.uuid4())

    first, again = take_over(run.id, tokens, heir), take_over(run.id, tokens, heir)

    assert first.key == again.key == key_of(run.id, tokens[1])
    assert take_over(run.id, (before.token, uuid.uuid4()), holder("late")) is None
    assert held_rows(heir).get() == run


def test_what_was_said_and_wished_before_stays():
    run, before = take_one(tasks.flaky)
    RunLog.objects.create(run=run, sequence=7, created_at=before.started_at, level="INFO", message="before")
    cancel(run, reason="not needed")

    claimed = take_over(run.id, (before.token, uuid.uuid4()), holder("heir"))

    assert claimed.last_line == 7
    assert cancel_requests([run.id]) == {run.id: "not needed"}


def test_the_backoff_of_a_run_is_that_of_its_job():
    backoff = {"initial": 3, "maximum": 5}
    run, before = take_one(tasks.note, "x")
    job = Job.objects.create(name="by hand", task=tasks.note.module_path, backoff=backoff)
    Run.objects.filter(id=run.id).update(job=job)

    assert take_over(run.id, (before.token, uuid.uuid4()), holder()).backoff == backoff


@pytest.mark.django_db(transaction=True)
def test_of_many_who_take_one_run_over_at_once_one_gets_it():
    run, before = take_one(tasks.note, "x")

    got = at_once(*[lambda: take_over(run.id, (before.token, uuid.uuid4()), holder())] * 4)

    assert len([one for one in got if one is not None]) == 1
