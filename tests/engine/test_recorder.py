"""Outcomes are written in groups and kept until they are written."""

import logging
import time
import uuid
from types import SimpleNamespace

import pytest
from django.db import DataError, OperationalError

from background.engine import recorder as module
from background.engine.recorder import Recorder
from background.execution.capture import Capture
from background.execution.runner import Execution
from background.models import Run, RunLog
from background.queue.enqueue import enqueue
from background.queue.finish import finish, finish_within
from background.queue.holding import Filter, Holder
from background.queue.outcome import Kind, Outcome
from background.queue.wakeup import listen
from background.signals import run_finished
from background.stopping import Deadline, StopToken
from background.testing import run_host
from tests.app import background as tasks
from tests.queue.helpers import status, take

pytestmark = pytest.mark.django_db


class Harness:
    """A recorder with what it asks of its host and its worker."""

    def __init__(self):
        id = uuid.uuid4()
        self.active, self.asked = [], []
        host = SimpleNamespace(id=id, name="one", holder=Holder(id, "one"), filter=Filter(), database_away=False)
        self.recorder = Recorder(host, lambda: self.active, lambda *what: self.asked.append(what))

    def claimed(self, count=1):
        for n in range(count):
            enqueue(tasks.note, [str(n)])
        return [Execution(one) for one in take(count)]

    def put(self, *executions, kind=Kind.SUCCEEDED, **facts):
        for one in executions:
            self.recorder.put(one, Outcome(one.claim, kind, **facts))

    def step(self):
        return self.recorder.step(StopToken())


@pytest.fixture
def harness():
    return Harness()


@pytest.fixture
def heard():
    found = []

    def hear(*, run_id, status, **kwargs):
        found.append((run_id, status))

    run_finished.connect(hear)
    yield found
    run_finished.disconnect(hear)


def statuses(executions):
    return [status(Run(id=one.claim.id)) for one in executions]


def failing(problem, written=False):
    """Stand in for `finish` while the database is in trouble."""

    def fail(outcomes, now=None):
        if written:
            finish(outcomes, now)
        raise problem

    return fail


def refusing(problem):
    """Stand in for `finish` where the database refuses a group with the result "bad"."""

    def picky(outcomes, now=None):
        if any(one.result == "bad" for one in outcomes):
            raise problem
        return finish(outcomes, now)

    return picky


def test_what_has_finished_is_written_in_one_step(harness, heard):
    executions = harness.claimed(3)
    harness.put(*executions, result="x")

    harness.step()

    assert statuses(executions) == ["succeeded"] * 3
    assert [id for id, _ in heard] == [one.claim.id for one in executions]
    assert len(harness.recorder.pending) == 0


def test_a_step_writes_no_more_than_a_batch(harness, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    harness.put(*harness.claimed(3))
    harness.step()
    assert Run.objects.succeeded().count() == 2
    harness.step()
    assert Run.objects.succeeded().count() == 3


def test_the_worker_is_woken_once_the_recorder_has_caught_up(harness, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    heard = []
    forget = listen(lambda: heard.append(len(harness.recorder.pending)))
    harness.put(*harness.claimed(4))
    assert harness.recorder.is_behind
    for _ in range(4):
        harness.step()
    forget()
    assert heard == [2] and not harness.recorder.is_behind


@pytest.mark.parametrize(
    "problem", [DataError("bad content"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")], ids=["database", "driver"]
)
def test_a_group_that_the_database_refuses_is_written_one_by_one(harness, monkeypatch, heard, caplog, problem):
    executions = harness.claimed(3)
    for one, result in zip(executions, ["good", "bad", "good"], strict=True):
        harness.put(one, result=result)
    monkeypatch.setattr(module, "finish", refusing(problem))

    harness.step()

    assert statuses(executions) == ["succeeded", "failed", "succeeded"]
    bad = Run.objects.get(id=executions[1].claim.id)
    assert bad.errors[0]["message"] == "The database refused what this run returned or said."
    assert bad.error_type.endswith(type(problem).__name__)
    assert len(heard) == 3
    assert "written one by one" in caplog.text
    assert len(harness.recorder.pending) == 0


def test_while_the_database_is_away_outcomes_are_kept_and_written_later(harness, monkeypatch):
    first, second = harness.claimed(2)
    harness.put(first)
    with monkeypatch.context() as patch:
        patch.setattr(module, "finish", failing(OperationalError("server closed")))
        for _ in range(3):
            with pytest.raises(OperationalError):
                harness.step()
    harness.put(second)
    assert len(harness.recorder.pending) == 2

    harness.step()
    harness.step()

    assert statuses([first, second]) == ["succeeded", "succeeded"]
    assert len(harness.recorder.pending) == 0


def test_an_outcome_whose_answer_was_lost_on_the_way_is_not_counted_twice(harness, monkeypatch, heard):
    harness.put(*harness.claimed())
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "finish", failing(OperationalError("closed after the commit"), written=True))
        harness.step()

    harness.step()

    run = Run.objects.get()
    assert (run.status, run.attempt, len(harness.recorder.pending), len(heard)) == ("succeeded", 1, 0, 1)


def test_a_receiver_that_fails_keeps_no_outcome_from_being_written(harness, heard, caplog):
    def broken(**kwargs):
        raise ZeroDivisionError("receiver")

    executions = harness.claimed(2)
    harness.put(*executions)
    run_finished.connect(broken)
    try:
        harness.step()
    finally:
        run_finished.disconnect(broken)

    assert statuses(executions) == ["succeeded", "succeeded"]
    assert len(heard) == 2
    assert "receiver" in caplog.text


def test_the_success_of_an_atomic_run_is_told_but_not_written_again(harness, heard, caplog):
    (execution,) = harness.claimed()
    outcome = Outcome(execution.claim, Kind.SUCCEEDED)
    assert finish_within(outcome)
    execution.stored = outcome
    assert heard == []

    harness.recorder.put(execution, outcome)
    harness.step()

    assert heard == [(execution.claim.id, "succeeded")]
    assert "held by another host" not in caplog.text


def test_an_outcome_of_a_run_that_someone_else_holds_is_dropped_with_a_warning(harness, heard, caplog):
    harness.put(*harness.claimed())
    Run.objects.update(token=uuid.uuid4())
    harness.step()
    assert (Run.objects.get().status, heard) == ("running", [])
    assert "is not held under this claim" in caplog.text


def say(execution, done, message):
    execution.progress(done, 2, message)
    execution.capture.add(logging.LogRecord("x", logging.INFO, "", 1, message, (), None))


def test_what_a_running_run_says_is_written_about_once_a_second(harness):
    (execution,) = harness.active = harness.claimed()
    say(execution, 1, "half")
    harness.step()
    run = Run.objects.get()
    assert (run.progress_done, run.progress_message) == (1, "half")
    assert [line.message for line in run.logs.all()] == ["half"]

    say(execution, 2, "all")
    harness.recorder._meanwhile_at = time.monotonic() + 5
    harness.step()
    run.refresh_from_db()
    assert run.progress_done == 1  # within the second
    harness.recorder._meanwhile_at = 0
    harness.step()
    run.refresh_from_db()
    assert run.progress_done == 2


def test_what_could_not_be_written_meanwhile_is_not_lost(harness, monkeypatch):
    (execution,) = harness.active = harness.claimed()
    say(execution, 1, "half")
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "write_progress", lambda *what: (_ for _ in ()).throw(OperationalError("gone")))
        harness.recorder.write_meanwhile()

    harness.recorder.write_meanwhile()

    run = Run.objects.get()
    assert (run.progress_message, run.logs.count()) == ("half", 1)


def test_newer_progress_goes_before_what_is_given_back():
    capture = Capture()
    capture.progress = (2, None, "newer")
    capture.give_back([], (1, None, "older"))
    assert capture.progress == (2, None, "newer")


def test_a_wish_to_end_a_running_run_is_heard(harness):
    (execution,) = harness.active = harness.claimed()
    Run.objects.get().cancel(reason="enough")
    harness.recorder.write_meanwhile()
    assert harness.asked == [(execution, "enough")]


def test_without_running_runs_nothing_is_asked(harness, django_assert_num_queries):
    with django_assert_num_queries(0):
        harness.recorder.write_meanwhile()


def test_at_the_end_everything_is_written(harness, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    executions = harness.claimed(5)
    harness.put(*executions)
    harness.recorder.last_step(StopToken())
    assert statuses(executions) == ["succeeded"] * 5


def test_at_the_end_it_tries_until_the_deadline_and_says_what_is_left(harness, monkeypatch, caplog):
    harness.put(*harness.claimed())
    monkeypatch.setattr(module, "finish", failing(OperationalError("gone")))
    stop = StopToken()
    stop.request("shutdown", Deadline(0))

    harness.recorder.last_step(stop)

    assert "1 outcomes could not be written: gone" in caplog.text


def test_a_few_outcomes_get_a_line_each_and_many_one_together(harness, caplog):
    caplog.set_level(logging.INFO)
    harness.put(*harness.claimed(2))
    harness.step()
    assert caplog.text.count("tests.app.background.note succeeded (run ") == 2
    harness.put(*harness.claimed(9))
    harness.step()
    assert "9 runs finished" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_words_and_progress_can_be_seen_while_a_run_is_running():
    tasks.GATES.clear()
    run = Run.objects.get(id=tasks.speak_and_wait.enqueue("live").id)
    with run_host() as host:
        host.wait_for(lambda: RunLog.objects.filter(run=run, message="I am live").exists())
        host.wait_for(lambda: Run.objects.filter(id=run.id, status="running", progress_done=3).exists())
        tasks.gate("live").set()
        run.wait(10)
    assert RunLog.objects.filter(run=run).count() == 1
