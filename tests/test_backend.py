"""`django.tasks` at the door: enqueue, results, and what of a run they show."""

import uuid
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from background.backend import DatabaseBackend
from background.compat import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
)  # fmt: skip
from background.exceptions import InvalidArguments
from background.models import Run
from background.queue.claim import claim
from background.queue.outcome import Kind
from tests.app import background as tasks
from tests.queue.helpers import end, error, holder, take

pytestmark = pytest.mark.django_db


def of(result):
    return Run.objects.get(id=result.id)


def test_all_that_django_knows_is_supported():
    backend = task_backends["default"]
    assert isinstance(backend, DatabaseBackend)
    assert backend.supports_defer and backend.supports_async_task
    assert backend.supports_get_result and backend.supports_priority


def test_enqueue_returns_djangos_view_of_the_new_run():
    result = tasks.note.enqueue("x")

    run = of(result)
    assert (result.status, result.args, result.kwargs, result.backend) == (TaskResultStatus.READY, ["x"], {}, "default")
    assert (result.task, result.enqueued_at) == (tasks.note, run.enqueued_at)
    assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
    assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
    assert not result.is_finished


def test_enqueue_of_a_plain_task_is_one_insert():
    with CaptureQueriesContext(connection) as queries:
        tasks.note.enqueue("x")
    (one,) = queries
    assert "INSERT INTO" in one["sql"]
    assert ("pg_notify" in one["sql"]) == (connection.vendor == "postgresql")  # the same statement tells others


def test_a_coroutine_may_enqueue():
    result = async_to_sync(tasks.note.aenqueue)("x")
    assert of(result).args == ["x"]


def test_using_says_queue_priority_and_time():
    later = timezone.now() + timedelta(hours=1)
    run = of(tasks.note.using(queue_name="mail", priority=5, run_after=later).enqueue())
    assert (run.queue, run.priority, run.run_after, run.status) == ("mail", 5, later, "scheduled")


@pytest.mark.parametrize("priority", [-101, 101, 1.5])
def test_a_priority_outside_its_bounds_is_refused(priority):
    with pytest.raises(InvalidTask):
        tasks.note.using(priority=priority)


def test_a_queue_that_the_settings_do_not_name_is_refused(settings):
    settings.TASKS = {"default": {"BACKEND": "background.backend.DatabaseBackend", "QUEUES": ["default"]}}
    with pytest.raises(InvalidTask):
        tasks.note.using(queue_name="nowhere")


def test_arguments_that_are_not_json_are_refused():
    with pytest.raises(InvalidArguments):
        tasks.note.enqueue(object())
    assert not Run.objects.exists()


def test_the_enqueue_of_a_unique_task_returns_the_open_run():
    assert tasks.single.enqueue(key="a").id == tasks.single.enqueue(key="a").id


def test_django_is_told_of_what_was_enqueued():
    heard = []

    def hear(sender, task_result, **kwargs):
        heard.append((sender, task_result.id))

    task_enqueued.connect(hear)
    try:
        result = tasks.note.enqueue()
    finally:
        task_enqueued.disconnect(hear)
    assert heard == [(DatabaseBackend, result.id)]


@pytest.mark.parametrize(
    ("run_status", "status"),
    [
        ("scheduled", "READY"), ("ready", "READY"), ("blocked", "READY"), ("running", "RUNNING"),
        ("succeeded", "SUCCESSFUL"), ("failed", "FAILED"), ("cancelled", "FAILED"),
    ],
)  # fmt: skip
def test_each_state_of_a_run_is_one_of_djangos(run_status, status):
    result = tasks.note.enqueue()
    Run.objects.filter(id=result.id).update(status=run_status)
    assert tasks.note.get_result(result.id).status.name == status


def test_every_state_of_a_run_has_one_of_djangos():
    from background.jobs.results import STATUS

    assert set(STATUS) == set(Run.Status.values)


def test_a_result_can_be_refreshed_until_it_is_finished():
    result = tasks.note.enqueue("x")
    (claimed,) = claim(holder("worker 1"), 1)
    result.refresh()
    run = of(result)
    assert (result.status, result.started_at, result.last_attempted_at) == (
        TaskResultStatus.RUNNING,
        run.started_at,
        run.started_at,
    )
    assert (result.worker_ids, result.attempts) == (["worker 1"], 1)

    end(claimed, result={"a": [1]})

    result.refresh()
    assert (result.status, result.return_value, result.finished_at) == (
        TaskResultStatus.SUCCESSFUL,
        {"a": [1]},
        of(result).finished_at,
    )
    assert result.is_finished


def test_a_failed_result_shows_its_errors_and_has_no_return_value():
    result = tasks.note.enqueue("x")
    end(take(1)[0], Kind.FAILED, error=error("no"))
    result.refresh()
    (shown,) = result.errors
    assert (shown.exception_class_path, shown.exception_class, shown.traceback) == (
        "builtins.ValueError",
        ValueError,
        "Traceback …",
    )
    with pytest.raises(ValueError):
        result.return_value  # noqa: B018


def test_the_first_start_and_the_last_attempt_are_told_apart():
    result = tasks.flaky.enqueue()
    end(take(1)[0], Kind.RETRY, error=error("no", attempt=1))
    (second,) = take(1, holder("two"))
    result.refresh()
    assert result.attempts == 2
    assert result.worker_ids == ["one", "two"]
    assert result.started_at < result.last_attempted_at == second.started_at


def test_a_cancelled_run_is_failed_to_django():
    result = tasks.note.enqueue()
    of(result).cancel()
    result.refresh()
    assert (result.status, result.errors) == (TaskResultStatus.FAILED, [])


@pytest.mark.parametrize("id", [uuid.uuid4(), "nonsense", "", None, 5, "\0"])
def test_an_unknown_id_has_no_result(id):
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(id)


def test_a_result_may_be_asked_for_with_a_uuid_or_its_text():
    result = tasks.note.enqueue()
    backend = task_backends["default"]
    assert backend.get_result(uuid.UUID(result.id)).id == backend.get_result(result.id).id == result.id
    assert async_to_sync(backend.aget_result)(result.id).id == result.id


def test_a_result_of_another_task_is_refused():
    result = tasks.note.enqueue()
    with pytest.raises(Exception, match="(?i)match|task"):
        tasks.talk.get_result(result.id)


def test_a_run_whose_task_is_gone_has_no_result_and_says_why():
    result = tasks.note.enqueue()
    Run.objects.filter(id=result.id).update(task="gone.task")
    with pytest.raises(TaskResultDoesNotExist, match="gone.task"):
        task_backends["default"].get_result(result.id)
