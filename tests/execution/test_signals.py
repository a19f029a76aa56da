"""Django's own signals: when they are sent, with what, and what their receivers may do."""

import sys

import pytest

from background import Backoff, Snooze
from background.backend import DatabaseBackend
from background.compat import task_finished, task_started
from background.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard():
    """(signal, status, attempt or errors, name of the exception being handled), in the order of their sending."""
    found = []

    def begun(sender, task_result, **kwargs):
        assert sender is DatabaseBackend
        found.append(("started", task_result.status.name, task_result.id, None))

    def ended(sender, task_result, **kwargs):
        assert sender is DatabaseBackend
        assert task_result.finished_at is not None
        error = sys.exc_info()[0]
        found.append(("finished", task_result.status.name, task_result.id, error and error.__name__))

    task_started.connect(begun)
    task_finished.connect(ended)
    yield found
    task_started.disconnect(begun)
    task_finished.disconnect(ended)


def good():
    return 1


async def agood():
    return 1


def bad():
    raise KeyError


async def abad():
    raise KeyError


@pytest.mark.parametrize("function", [good, agood])
def test_a_success_is_told_by_both(execute, heard, function):
    run = execute(function)

    assert heard == [("started", "RUNNING", str(run.id), None), ("finished", "SUCCESSFUL", str(run.id), None)]


@pytest.mark.parametrize("function", [bad, abad])
def test_a_failure_is_told_while_its_exception_is_handled(execute, heard, function):
    execute(function)

    assert [one[:2] for one in heard] == [("started", "RUNNING"), ("finished", "FAILED")]
    assert heard[1][3] == "KeyError"


def test_each_attempt_is_told_and_one_end(execute, heard):
    execute(bad, max_attempts=3, backoff=Backoff(0, 0))

    assert [one[0] for one in heard] == ["started", "started", "started", "finished"]


def test_a_snooze_is_no_end(execute, heard):
    def later():
        raise Snooze(after=100)

    execute(later)
    assert [one[0] for one in heard] == ["started"]


def test_an_atomic_run_is_told_after_its_commit(execute, heard):
    seen = []

    def look(task_result, **kwargs):
        seen.append(Run.objects.get(id=task_result.id).status)

    task_finished.connect(look)
    try:
        execute(good, atomic=True)
    finally:
        task_finished.disconnect(look)
    assert seen == ["succeeded"]


@pytest.mark.parametrize("function", [good, agood])
def test_a_receiver_that_fails_harms_no_run(execute, function):
    def fail(**kwargs):
        raise RuntimeError("receiver")

    task_started.connect(fail)
    task_finished.connect(fail)
    try:
        assert execute(function).status == "succeeded"
    finally:
        task_started.disconnect(fail)
        task_finished.disconnect(fail)


def test_a_receiver_may_use_the_database_for_a_coroutine_too(execute):
    counted = []

    def count(**kwargs):
        counted.append(Run.objects.count())

    task_finished.connect(count)
    try:
        execute(agood)
    finally:
        task_finished.disconnect(count)
    assert counted == [1]
