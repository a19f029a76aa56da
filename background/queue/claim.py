"""Own how a host takes runs: due ones become ready, ready ones are claimed under a fresh token."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Case, F, QuerySet, Value, When

from background.dialects import dialect
from background.dialects.base import DatabaseNow
from background.models import Job, Queue, Run
from background.models.run import position_of
from background.queue.limits import within_limits
from background.queue.transitions import move
from background.scope import database_alias

Status = Run.Status


@dataclass(frozen=True, slots=True)
class Holder:
    """The host as its claims know it."""

    id: uuid.UUID
    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs a host takes."""

    queues: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    executors: tuple[str, ...] = ("thread", "loop", "process")
    not_tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A run in a host's hands: what is needed to execute it, and the token that every later write shows."""

    id: uuid.UUID
    token: uuid.UUID
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    attempt: int
    max_attempts: int
    lost: int
    queue: str
    priority: int
    executor: str
    timeout: float | None
    job_id: int | None
    job_name: str
    backend: str
    errors: list[dict[str, Any]]
    started_at: datetime
    enqueued_at: datetime
    run_after: datetime | None
    concurrency_key: str
    host_name: str
    backoff: dict[str, Any] | None = None


_COLUMNS = (
    "id", "task", "args", "kwargs", "attempt", "max_attempts", "lost", "queue", "priority", "executor", "timeout", "job_id",
    "job_name", "backend", "errors", "enqueued_at", "run_after", "concurrency_key",
)  # fmt: skip


def claim(holder: Holder, limit: int, which: Filter | None = None, now: datetime | None = None) -> list[Claim]:
    """Take up to `limit` ready runs, in the order of their positions. Blocks for a short transaction, if any is ready."""
    which = which or Filter()
    if limit <= 0 or not ready_rows(which).exists():
        return []
    return dialect().in_transaction(lambda: _claim(holder, limit, which, now))


def _claim(holder: Holder, limit: int, which: Filter, now: datetime | None) -> list[Claim]:
    rows = ready_rows(which).order_by("position")
    found = dialect().lock(rows).values_list("id", "queue", "concurrency_key", "concurrency")[:limit]
    ids = within_limits(list(found))
    if not ids:
        return []
    token = uuid.uuid4()
    started = now or dialect().now()
    move(
        ids, Status.RUNNING, token=token, position=None, attempt=F("attempt") + 1, started_at=started, host_id=holder.id,
        host_name=holder.name, version=holder.version, cancel_requested_at=None, cancel_requested_by="",
        progress_done=None, progress_total=None, progress_message="",
    )  # fmt: skip
    return _read(ids, token, started, holder)


def _read(ids: list[uuid.UUID], token: uuid.UUID, started: datetime, holder: Holder) -> list[Claim]:
    alias = database_alias()
    rows = {row[0]: row for row in Run.objects.using(alias).filter(id__in=ids, token=token).values_list(*_COLUMNS)}
    jobs = {row[11] for row in rows.values() if row[11]}
    backoffs = dict(Job.objects.using(alias).filter(id__in=jobs).values_list("id", "backoff")) if jobs else {}
    return [
        Claim(
            **dict(zip(_COLUMNS, rows[id], strict=True)),
            token=token,
            started_at=started,
            host_name=holder.name,
            backoff=backoffs.get(rows[id][11]),
        )
        for id in ids
        if id in rows
    ]


def ready_rows(which: Filter) -> QuerySet[Run]:
    """Return the rows that may be claimed: ready, of a served queue that is not paused."""
    rows = Run.objects.using(database_alias()).filter(position__isnull=False, status=Status.READY)
    rows = rows.exclude(queue__in=Queue.objects.filter(paused=True).values("name"))
    if which.queues is not None:
        rows = rows.filter(queue__in=which.queues)
    if which.excluded:
        rows = rows.exclude(queue__in=which.excluded)
    if set(which.executors) != {"thread", "loop", "process"}:
        rows = rows.filter(executor__in=which.executors)
    return rows.exclude(task__in=which.not_tasks) if which.not_tasks else rows


def promote_due(now: datetime | None = None) -> int:
    """Make scheduled runs whose time has come ready; returns how many. Blocks for one or two statements."""
    rows = Run.objects.using(database_alias()).filter(status=Status.SCHEDULED, run_after__lte=now or DatabaseNow())
    due = list(rows.order_by("run_after").values_list("id", "run_after", "priority")[:500])
    return make_ready(due, of=Status.SCHEDULED)


def make_ready(rows: list[tuple[uuid.UUID, datetime, int]], of: str) -> int:
    """Make (id, instant, priority) ready, each with its own position; returns how many were. Blocks for one statement."""
    if not rows:
        return 0
    places = [When(id=id, then=Value(position_of(instant, priority))) for id, instant, priority in rows]
    return move(
        [id for id, _, _ in rows], Status.READY, of=[of], position=Case(*places, output_field=BigIntegerField())
    )


def next_due() -> datetime | None:
    """Return when the next scheduled run is due. Blocks for one query."""
    rows = Run.objects.using(database_alias()).filter(status=Status.SCHEDULED, run_after__isnull=False)
    return rows.order_by("run_after").values_list("run_after", flat=True).first()
