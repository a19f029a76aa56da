"""Outcomes are written in groups and kept until they are written."""

import logging
import threading
import uuid
from types import SimpleNamespace

import pytest
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from background.engine import recorder as module
from background.engine.recorder import Recorder
from background.execution.capture import Capture
from background.execution.runner import Execution
from background.models import Run
from background.queue.claim import Filter, Holder
from background.queue.enqueue import enqueue
from background.queue.finish import finish, finish_within
from background.queue.outcome import Kind, Outcome
from background.signals import run_finished
from background.stopping import Deadline, StopToken
from tests.app import background as tasks
from tests.queue.helpers import error, status, take

pytestmark = pytest.mark.django_db


class Harness:
    """A recorder with what it asks of its host and its worker."""

    def __init__(self):
        id = uuid.uuid4()
        self.active, self.asked = [], []
        host = SimpleNamespace(id=id, name="one", holder=Holder(id, "one"), filter=Filter(), database_away=False)
        self.host = host
        self.recorder = Recorder(host, lambda: self.active, lambda *what: self.asked.append(what))

    def claimed(self, count=1):
        for n in range(count):
            enqueue(tasks.note, [str(n)])
        return [Execution(one) for one in take(count)]

    def put(self, execution, kind=Kind.SUCCEEDED, **facts):
        self.recorder.put(execution, Outcome(execution.claim, kind, **facts))

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


def refusing(monkeypatch, refused, problem=None):
    """Let the database refuse whatever group holds an outcome for which `refused` is true."""
    groups = []

    def picky(outcomes, now=None):
        groups.append(len(outcomes))
        if any(refused(one) for one in outcomes):
            raise problem or DataError("bad content")
        return finish(outcomes, now)

    monkeypatch.setattr(module, "finish", picky)
    return groups


def test_what_has_finished_is_written_in_one_step(harness, heard):
    executions = harness.claimed(3)
    for one in executions:
        harness.put(one, result="x")

    harness.step()

    assert statuses(executions) == ["succeeded"] * 3
    assert [id for id, _ in heard] == [one.claim.id for one in executions]
    assert harness.recorder.unwritten == 0


def test_a_group_is_written_in_one_transaction(harness):
    for one in harness.claimed(20):
        harness.put(one)
    with CaptureQueriesContext(connection) as queries:
        harness.step()
    assert sum("SAVEPOINT" in one["sql"] and "RELEASE" not in one["sql"] for one in queries) == 1


def test_a_step_writes_no_more_than_a_batch(harness, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    for one in harness.claimed(3):
        harness.put(one)
    harness.step()
    assert Run.objects.succeeded().count() == 2
    harness.step()
    assert Run.objects.succeeded().count() == 3


def test_a_group_that_the_database_refuses_is_written_one_by_one(harness, monkeypatch, heard, caplog):
    executions = harness.claimed(3)
    for n, one in enumerate(executions):
        harness.put(one, result="bad" if n == 1 else "good")
    refusing(monkeypatch, lambda outcome: outcome.result == "bad")

    harness.step()

    assert statuses(executions) == ["succeeded", "failed", "succeeded"]
    bad = Run.objects.get(id=executions[1].claim.id)
    assert bad.errors[0]["message"] == "The database refused what this run returned or said."
    assert bad.error_type == "django.db.utils.DataError"
    assert len(heard) == 3
    assert "written one by one" in caplog.text
    assert harness.recorder.unwritten == 0


def test_text_that_the_database_driver_cannot_encode_is_a_refusal_too(harness, monkeypatch):
    executions = harness.claimed(2)
    harness.put(executions[0], result="bad")
    harness.put(executions[1])
    refusing(monkeypatch, lambda outcome: outcome.result == "bad", UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"))

    harness.step()

    assert statuses(executions) == ["failed", "succeeded"]


def test_while_the_database_is_away_outcomes_are_kept_and_written_later(harness, monkeypatch):
    executions = harness.claimed(2)
    for one in executions:
        harness.put(one)
    with monkeypatch.context() as patch:
        patch.setattr(module, "finish", lambda outcomes: (_ for _ in ()).throw(OperationalError("server closed")))
        for _ in range(3):
            with pytest.raises(OperationalError):
                harness.step()
    assert harness.recorder.unwritten == 2

    harness.step()

    assert statuses(executions) == ["succeeded", "succeeded"]
    assert harness.recorder.unwritten == 0


def test_what_finishes_meanwhile_goes_into_a_later_group(harness, monkeypatch):
    first, second = harness.claimed(2)
    harness.put(first)
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "finish", lambda outcomes: (_ for _ in ()).throw(OperationalError("server closed")))
        harness.step()
    harness.put(second)
    harness.step()
    harness.step()
    assert statuses([first, second]) == ["succeeded", "succeeded"]


def test_an_outcome_whose_answer_was_lost_is_not_counted_twice(harness, monkeypatch, heard):
    (execution,) = harness.claimed()
    harness.put(execution)

    def lost(outcomes):
        finish(outcomes)
        raise OperationalError("server closed the connection after the commit")

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "finish", lost)
        harness.step()
    harness.step()

    run = Run.objects.get()
    assert (run.status, run.attempt, harness.recorder.unwritten) == ("succeeded", 1, 0)
    assert len(heard) == 1


def test_a_receiver_that_fails_keeps_no_outcome_from_being_written(harness, heard, caplog):
    def broken(**kwargs):
        raise ZeroDivisionError("receiver")

    run_finished.connect(broken)
    try:
        executions = harness.claimed(2)
        for one in executions:
            harness.put(one)
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
    (execution,) = harness.claimed()
    Run.objects.update(token=uuid.uuid4())
    harness.put(execution)
    harness.step()
    assert (Run.objects.get().status, heard) == ("running", [])
    assert "is held by another host" in caplog.text


def test_progress_and_lines_of_a_running_run_are_written_about_once_a_second(harness):
    (execution,) = harness.active = harness.claimed()
    execution.progress(1, 2, "half")
    execution.capture.add(logging.LogRecord("x", logging.INFO, "", 1, "hello", (), None))

    harness.step()

    run = Run.objects.get()
    assert (run.progress_done, run.progress_message) == (1, "half")
    assert [line.message for line in run.logs.all()] == ["hello"]
    execution.progress(2, 2, "done")
    harness.step()
    run.refresh_from_db()
    assert run.progress_done == 1  # not again within the second
    harness.recorder._meanwhile_at = 0
    harness.step()
    run.refresh_from_db()
    assert run.progress_done == 2


def test_what_could_not_be_written_meanwhile_is_not_lost(harness, monkeypatch):
    (execution,) = harness.active = harness.claimed()
    execution.progress(1, 2, "half")
    execution.capture.add(logging.LogRecord("x", logging.INFO, "", 1, "hello", (), None))
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
    for one in executions:
        harness.put(one)
    harness.recorder.last_step(StopToken())
    assert statuses(executions) == ["succeeded"] * 5


def test_at_the_end_it_tries_until_the_deadline_and_says_what_is_left(harness, monkeypatch, caplog):
    (execution,) = harness.claimed()
    harness.put(execution)
    monkeypatch.setattr(module, "finish", lambda outcomes: (_ for _ in ()).throw(OperationalError("gone")))
    stop = StopToken()
    stop.request("shutdown", Deadline(0))

    harness.recorder.last_step(stop)

    assert "1 outcomes could not be written: gone" in caplog.text


def test_putting_wakes_a_waiting_step(harness):
    """No timer: a step that waits for outcomes goes on when the first arrives."""
    (execution,) = harness.claimed()
    outcome = Outcome(execution.claim, Kind.FAILED, error=error())
    threading.Timer(0.05, lambda: harness.recorder.put(execution, outcome)).start()
    harness.step()
    assert statuses([execution]) == ["failed"]


def test_a_few_outcomes_get_a_line_each_and_many_one_together(harness, caplog):
    caplog.set_level(logging.INFO)
    for one in harness.claimed(2):
        harness.put(one)
    harness.step()
    assert caplog.text.count("tests.app.background.note succeeded (run ") == 2
    caplog.clear()
    for one in harness.claimed(9):
        harness.put(one)
    harness.step()
    assert "9 runs finished" in caplog.text
