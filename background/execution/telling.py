"""Own what Django's signals tell of a run: that an attempt began here, and that the run reached its end here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.dispatch import Signal
from django.utils import timezone

from background.compat import TaskError, TaskResult, TaskResultStatus, task_finished, task_signals, task_started
from background.exceptions import RunCancelled, RunTimedOut
from background.queue.outcome import Kind, Outcome

if TYPE_CHECKING:
    from background.execution.runner import Execution

STATUS = {
    Kind.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    Kind.FAILED: TaskResultStatus.FAILED,
    Kind.CANCELLED: TaskResultStatus.FAILED,
}

# Django's own receivers, which only write a line to its log.
OWN = {id(task_signals.log_task_started), id(task_signals.log_task_finished)}
LOG = logging.getLogger(task_signals.logger.name)


def is_told_once(record: logging.LogRecord) -> bool:
    """Tell what is no repetition, as a filter: the recorder tells each run in one line already."""
    return record.levelno > logging.INFO


def is_heard(signal: Signal) -> bool:
    """Tell whether anybody hears of it: Django's line is not wanted where the host tells the same."""
    heard = signal.receivers
    if len(heard) == 1 and heard[0][0][0] in OWN:
        return LOG.isEnabledFor(logging.INFO) and is_told_once not in LOG.filters
    return bool(heard)


def begun(execution: Execution) -> None:
    """Send `task_started` for this attempt. A receiver that fails is logged by Django. Blocks while receivers work."""
    if is_heard(task_started):
        _send(task_started, execution.context().task_result)


def ended(execution: Execution, outcome: Outcome) -> None:
    """Send `task_finished`, once, if the run is at its end; before its outcome is written, but for atomic runs."""
    if (result := _final(execution, outcome)) is not None:
        _send(task_finished, result)


async def abegun(execution: Execution) -> None:
    if is_heard(task_started):
        await _asend(task_started, execution.context().task_result)


async def aended(execution: Execution, outcome: Outcome) -> None:
    if (result := _final(execution, outcome)) is not None:
        await _asend(task_finished, result)


def _final(execution: Execution, outcome: Outcome) -> TaskResult[Any] | None:
    """Return the result as it is at the end of the run; None if it goes on, or was told already."""
    told, execution.told = execution.told, True
    if told or execution.task is None or outcome.kind not in STATUS:
        return None
    if outcome.kind is Kind.SUCCEEDED and not is_heard(task_finished):
        return None
    result = execution.context().task_result
    object.__setattr__(result, "status", STATUS[outcome.kind])
    object.__setattr__(result, "finished_at", timezone.now())
    object.__setattr__(result, "_return_value", outcome.result)
    if outcome.error is not None:
        error = TaskError(exception_class_path=outcome.error["type"], traceback=outcome.error["traceback"])
        object.__setattr__(result, "errors", [*result.errors, error])
    return result


def _send(signal: Signal, result: TaskResult[Any]) -> None:
    for _, response in signal.send_robust(type(result.task.get_backend()), task_result=result):
        if isinstance(response, (RunTimedOut, RunCancelled)):  # meant for the run, met in its receiver
            raise response


async def _asend(signal: Signal, result: TaskResult[Any]) -> None:
    if len(signal.receivers) > 1:  # some may block
        # In one thread and not `asend_robust`, which would also put Django's own logger there for every run.
        await sync_to_async(_send)(signal, result)
    else:
        _send(signal, result)
