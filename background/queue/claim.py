"""Own how a host takes runs: due ones become ready, ready ones are claimed under a fresh token."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Max, QuerySet

from background.dialects import dialect
from background.models import Job, Queue, Run, RunLog
from background.models.clock import DatabaseNow
from background.models.run import position_of
from background.queue.limits import Candidate, room_in_queues, within_limits
from background.queue.transitions import make_ready, move
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
    last_line: int = 0  # number of the last log line that earlier attempts left
    backoff: dict[str, Any] | None = None


_COLUMNS = (
    "id", "task", "args", "kwargs", "attempt", "max_attempts", "lost", "queue", "priority", "executor", "timeout", "job_id",
    "job_name", "backend", "errors", "started_at", "enqueued_at", "run_after", "concurrency_key",
)  # fmt: skip

# How often one claim looks again for those that it had to pass over.
_ROUNDS = 10


def claim(
    holder: Holder,
    limit: int,
    which: Filter | None = None,
    now: datetime | None = None,
    token: uuid.UUID | None = None,
) -> list[Claim]:
    """Take up to `limit` ready runs, in the order of their positions. Blocks for a short transaction, if any is ready.

    Whoever brings the token can ask with `claimed_under` what was taken, should the answer be lost on its way.
    """
    which = which or Filter()
    if limit <= 0 or not ready_rows(which).exists():
        return []
    return dialect().in_transaction(lambda: _claim(holder, limit, which, now, token or uuid.uuid4()))


def claimed_under(token: uuid.UUID, holder: Holder) -> list[Claim]:
    """Return what is still held under the token of a claim. Blocks for two queries."""
    rows = Run.objects.using(database_alias()).running().filter(host=holder.id, token=token)
    return _read(list(rows.values_list("id", flat=True)), token, holder, set())


def _claim(holder: Holder, limit: int, which: Filter, now: datetime | None, token: uuid.UUID) -> list[Claim]:
    taken: list[uuid.UUID] = []
    begun: set[uuid.UUID] = set()
    room = room_in_queues()
    suspects: int | None = None
    for _ in range(_ROUNDS):
        rows = ready_rows(which).order_by("position")
        if full := [name for name, free in room.items() if free <= 0]:
            rows = rows.exclude(queue__in=full)
        if suspects == 0:
            rows = rows.filter(lost=0)
        wanted = limit - len(taken)
        found = [Candidate(*row) for row in dialect().lock(rows).values_list(*Candidate._fields)[:wanted]]
        fit = found
        if any(one.lost for one in found):
            suspects = _room_for_suspects(holder) if suspects is None else suspects
            fit = _but_one_suspect(found) if suspects else [one for one in found if not one.lost]
            suspects = 0
        begun |= {one.id for one in found if one.started_at}
        ids = within_limits(fit, room)
        if ids:
            _take(ids, token, holder, now)
            taken += ids
        if len(taken) == limit or len(found) < wanted or len(ids) == len(found):
            break
    return _read(taken, token, holder, begun) if taken else []


def _take(ids: list[uuid.UUID], token: uuid.UUID, holder: Holder, now: datetime | None) -> None:
    move(
        ids, Status.RUNNING, token=token, position=None, attempt=F("attempt") + 1, started_at=now or DatabaseNow(),
        host_id=holder.id, host_name=holder.name, version=holder.version, cancel_requested_at=None, cancel_requested_by="",
        progress_done=None, progress_total=None, progress_message="",
    )  # fmt: skip


def _room_for_suspects(holder: Holder) -> int:
    """Return how many runs that were lost before may run on this host now: one at a time, so that bystanders are cleared."""
    held = Run.objects.using(database_alias()).running().filter(host=holder.id, lost__gt=0)
    return 0 if held.exists() else 1


def _but_one_suspect(found: list[Candidate]) -> list[Candidate]:
    first = next(one for one in found if one.lost)
    return [one for one in found if not one.lost or one is first]


def _read(ids: list[uuid.UUID], token: uuid.UUID, holder: Holder, begun: set[uuid.UUID]) -> list[Claim]:
    alias = database_alias()
    rows = {row[0]: row for row in Run.objects.using(alias).filter(id__in=ids, token=token).values_list(*_COLUMNS)}
    lines = RunLog.objects.using(alias).filter(run__in=begun & set(rows)).order_by().values_list("run")
    last = dict(lines.annotate(Max("sequence"))) if begun else {}
    jobs = {row[11] for row in rows.values() if row[11]}
    backoffs = dict(Job.objects.using(alias).filter(id__in=jobs).values_list("id", "backoff")) if jobs else {}
    return [
        Claim(
            **dict(zip(_COLUMNS, rows[id], strict=True)),
            token=token,
            host_name=holder.name,
            last_line=last.get(id, 0),
            backoff=backoffs.get(rows[id][11]),
        )
        for id in ids
        if id in rows
    ]


def ready_rows(which: Filter) -> QuerySet[Run]:
    """Return the rows that may be claimed: ready, of a served queue that is not paused."""
    rows = Run.objects.using(database_alias()).filter(position__isnull=False, status=Status.READY)
    rows = rows.exclude(queue__in=Queue.objects.using(database_alias()).filter(paused=True).values("name"))
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
    due = [
        (id, position_of(instant, priority))
        for id, instant, priority in rows.order_by("run_after").values_list("id", "run_after", "priority")[:500]
        if instant is not None
    ]
    return dialect().in_transaction(lambda: make_ready(due, of=Status.SCHEDULED)) if due else 0


def next_due() -> datetime | None:
    """Return when the next scheduled run is due. Blocks for one query."""
    rows = Run.objects.using(database_alias()).filter(status=Status.SCHEDULED, run_after__isnull=False)
    return rows.order_by("run_after").values_list("run_after", flat=True).first()
