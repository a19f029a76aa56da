"""atomic=True: effects and success together, or neither."""

import logging
import uuid

import pytest

import background
from background.compat import InvalidTask, task_started
from background.models import Run, RunLog
from background.testing import drain, run_host
from tests.app import background as tasks
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


def test_effects_and_success_are_kept_together():
    tasks.booked.enqueue()

    (run,) = drain()

    assert (run.status, run.result, Effect.objects.count()) == ("succeeded", "yes", 1)


def test_effects_of_a_failure_are_undone_and_its_error_is_kept():
    tasks.booked.enqueue(fail=True)

    (run,) = drain()

    assert (run.status, run.error_summary, Effect.objects.count()) == ("failed", "no", 0)


def test_a_host_does_both_as_well():
    good, bad = tasks.booked.enqueue(), tasks.booked.enqueue(fail=True)
    with run_host() as host:
        host.wait_for(lambda: Run.objects.finished().count() == 2)

    assert Run.objects.get(id=good.id).status == "succeeded"
    assert Run.objects.get(id=bad.id).status == "failed"
    assert Effect.objects.count() == 1


def test_nothing_is_kept_when_someone_else_holds_the_run_by_the_end(task, caplog):
    other = uuid.uuid4()

    def overtake(task_result, **kwargs):
        Run.objects.filter(id=task_result.id).update(token=other)

    def overtaken():
        Effect.objects.create(name="booked")

    task(overtaken, atomic=True).enqueue()
    task_started.connect(overtake)
    try:
        drain()
    finally:
        task_started.disconnect(overtake)

    run = Run.objects.get()
    assert (run.status, run.token, run.errors) == ("running", other, [])
    assert Effect.objects.count() == 0
    assert "not held under this claim" in caplog.text
    assert not any(record.levelno >= logging.ERROR for record in caplog.records)


def test_a_result_that_is_not_json_undoes_the_effects(execute):
    def book():
        Effect.objects.create(name="booked")
        return object()

    run = execute(book, atomic=True)

    assert (run.status, run.error_type, Effect.objects.count()) == ("failed", "builtins.TypeError", 0)


def test_what_an_undone_run_said_is_kept(execute):
    def book():
        logging.getLogger("words").info("before")
        Effect.objects.create(name="booked")
        raise ValueError

    run = execute(book, atomic=True)

    assert list(RunLog.objects.filter(run=run).values_list("message", flat=True)) == ["before"]


def test_a_coroutine_cannot_be_atomic(task):
    async def book():
        pass

    with pytest.raises(InvalidTask, match="plain function"):
        task(book, atomic=True)


def test_a_failure_after_the_commit_does_not_make_a_failed_run(execute, settings):
    settings.BACKGROUND = {**settings.BACKGROUND, "MIDDLEWARE": ["tests.execution.test_atomic.break_after"]}

    def book():
        Effect.objects.create(name="booked")
        return "done"

    run = execute(book, atomic=True)

    assert (run.status, run.result, Effect.objects.count()) == ("succeeded", "done", 1)


class break_after:
    def __init__(self, unit):
        pass

    def __enter__(self):
        assert background.current_run() is not None

    def __exit__(self, *error):
        raise RuntimeError("too late")
