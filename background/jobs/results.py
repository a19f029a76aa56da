"""Own how a run looks to `django.tasks`: its status, its errors, its workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from background.compat import Task, TaskError, TaskResult, TaskResultStatus

STATUS = {
    "scheduled": TaskResultStatus.READY,
    "ready": TaskResultStatus.READY,
    "blocked": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "succeeded": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}


def result_of(record: Any, task: Task) -> TaskResult[Any]:
    """Return Django's view of a run or of a claim."""
    status = STATUS[getattr(record, "status", "running")]
    errors: list[dict[str, Any]] = record.errors
    # Each failed attempt left its host in the errors; the one that did not fail (yet) has it in the row.
    workers = [error["host"] for error in errors if error["attempt"]]
    if record.attempt > len(workers) and record.host_name:
        workers.append(record.host_name)
    first = errors[0].get("started_at") if errors else None
    result: TaskResult[Any] = TaskResult(
        task=task,
        id=str(record.id),
        status=status,
        enqueued_at=record.enqueued_at,
        started_at=datetime.fromisoformat(first) if first else record.started_at,
        finished_at=getattr(record, "finished_at", None),
        last_attempted_at=record.started_at,
        args=record.args,
        kwargs=record.kwargs,
        backend=record.backend,
        errors=[TaskError(exception_class_path=one["type"], traceback=one["traceback"]) for one in errors],
        worker_ids=workers,
    )
    object.__setattr__(result, "_return_value", getattr(record, "result", None))
    return result
