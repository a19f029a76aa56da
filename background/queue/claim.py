"""Own how a host takes runs: due ones become ready, ready ones are claimed under a fresh token."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, F, Max, QuerySet

from background.dialects import dialect
from background.models import Host, Job, Queue, Run, RunLog
from background.models.clock import DatabaseNow
from background.models.queue import EVERYTHING
from background.queue.limits import COLUMNS, REPLACEABLE, Candidate, Depth, room_in_queues, slots_in_use, within_limits
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


@dataclass(slots=True)  # not frozen: that takes three times as long to make
class Claim:
    """A run in a host's hands: what is needed to execute it, and the token that every later write shows."""

    args: list[Any]
    kwargs: dict[str, Any]
    priority: int
    timeout: float | None
    job_name: str
    backend: str
    errors: list[dict[str, Any]]
    enqueued_at: datetime
    run_after: datetime | None
    attempt: int
    id: uuid.UUID
    task: str
    max_attempts: int
    lost: int
    queue: str
    executor: str
    job_id: int | None
    concurrency_key: str
    token: uuid.UUID
    started_at: datetime
    host_name: str
    lane: uuid.UUID | None = None  # runs that share one are executed one after another, in one slot of their key
    last_line: int = 0  # number of the last log line that earlier attempts left
    backoff: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[uuid.UUID, uuid.UUID]:
        """What tells it from every other claim, also of the same run."""
        return self.id, self.token


# What a claim takes from the row as it is: what a candidate has besides, and what it has of its own.
_BESIDES = (
    "args", "kwargs", "priority", "timeout", "job_name", "backend", "errors", "enqueued_at", "run_after", "attempt",
)  # fmt: skip
_FROM_ROW = (*_BESIDES, "id", "task", "max_attempts", "lost", "queue", "executor", "job_id", "concurrency_key")

# How often one claim looks again for those that it had to pass over.
_ROUNDS = 10


def claim(
    holder: Holder,
    limit: int,
    which: Filter | None = None,
    now: datetime | None = None,
    token: uuid.UUID | None = None,
    depth: Depth | None = None,
) -> list[Claim]:
    """Take up to `limit` ready runs, in the order of their positions. Blocks for a short transaction.

    `depth` says of a task how many more runs of one concurrency key may be taken behind the first, to be executed after
    it in the same slot: they bear the same `lane`. Nothing is taken for a host that others have declared lost.
    """
    which = which or Filter()
    if limit <= 0:
        return []
    return dialect().in_transaction(lambda: _claim(holder, limit, which, now, token or uuid.uuid4(), depth))


def next_executor(which: Filter) -> str | None:
    """Return the executor of the run that is next in line; None if none is ready. Blocks for one query."""
    return ready_rows(which).order_by("position").values_list("executor", flat=True).first()


def held_rows(holder: Holder) -> QuerySet[Run]:
    """Return the runs that a host holds by the database's word."""
    return Run.objects.using(database_alias()).running().filter(host=holder.id)


def claims_of(holder: Holder, ids: Iterable[uuid.UUID]) -> list[Claim]:
    """Return the claims under which a host holds these runs, as far as it does. Blocks for a query."""
    rows = held_rows(holder).filter(id__in=list(ids)).values_list("token", "started_at", *_FROM_ROW)
    return [
        Claim(**dict(zip(_FROM_ROW, rest, strict=True)), token=token, started_at=started_at, host_name=holder.name)
        for token, started_at, *rest in rows
        if token and started_at
    ]


def _claim(
    holder: Holder, limit: int, which: Filter, now: datetime | None, token: uuid.UUID, depth: Depth | None
) -> list[Claim]:
    taken: list[Claim] = []
    room = room_in_queues()
    suspects: int | None = None
    if is_given_up(holder):
        return []
    for _ in range(_ROUNDS):
        rows = ready_rows(which).order_by("position")
        if full := [name for name, free in room.items() if free <= 0]:
            rows = rows.exclude(queue__in=full)
        if suspects == 0:
            rows = rows.filter(lost=0)
        wanted = limit - len(taken)
        found = _look(rows, wanted)
        fit = found
        if any(one.lost for one in found):
            suspects = _room_for_suspects(holder) if suspects is None else suspects
            fit = _but_one_suspect(found) if suspects else [one for one in found if not one.lost]
            suspects = 0
        free, lanes = within_limits(fit, room, depth, _look)
        if not (free or lanes) and len(found) < wanted:
            break
        at = now or dialect().now()  # since the keys are locked, and not from before
        taken += _take(free, token, holder, at)
        for lane in lanes:
            taken += _take(lane, uuid.uuid4(), holder, at, in_lane=True)
        if len(taken) >= limit or len(found) < wanted or len(free) + len(lanes) == len(found):
            break
    return taken


def _look(rows: QuerySet[Run], most: int) -> list[Candidate]:
    """Lock and read up to so many rows that others do not have."""
    columns = dialect().lock(rows).values_list(*COLUMNS, *_BESIDES)[:most]
    width = len(COLUMNS)
    return [Candidate(*row[:width], row[width:]) for row in columns]  # type: ignore[call-arg]


def _take(lane: list[Candidate], token: uuid.UUID, holder: Holder, at: datetime, in_lane: bool = False) -> list[Claim]:
    """Stamp the rows of one lane, or those that have none, with a token."""
    if not lane:
        return []
    ids = [one.id for one in lane]
    if replaceable := [one.id for one in lane if (one.unique_key or "").startswith(REPLACEABLE)]:
        Run.objects.using(database_alias()).filter(id__in=replaceable).update(unique_key=None)
    move(
        ids, Status.RUNNING, of=[Status.READY, Status.BLOCKED], token=token, attempt=F("attempt") + 1, started_at=at, host_id=holder.id,
        host_name=holder.name, version=holder.version, cancel_requested_at=None, cancel_requested_by="", progress_done=None,
        progress_total=None, progress_message="",
    )  # fmt: skip
    alias = database_alias()
    begun = [one.id for one in lane if one.started_at]
    lines = RunLog.objects.using(alias).filter(run__in=begun).order_by().values_list("run") if begun else None
    last = dict(lines.annotate(Max("sequence"))) if lines is not None else {}
    jobs = {one.job_id for one in lane if one.job_id and one.max_attempts > 1}
    backoffs = dict(Job.objects.using(alias).filter(id__in=jobs).values_list("id", "backoff")) if jobs else {}
    claims = []
    for one in lane:
        *besides, attempt = one.row
        claims.append(
            Claim(  # type: ignore[call-arg]
                *besides,
                attempt + 1,
                one.id,
                one.task,
                one.max_attempts,
                one.lost,
                one.queue,
                one.executor,
                one.job_id,
                one.concurrency_key,
                token,
                at,
                holder.name,
                token if in_lane else None,
                last.get(one.id, 0),
                backoffs.get(one.job_id or 0),
            )
        )
    return claims


def lengthen(holder: Holder, first: Claim, most: int) -> list[Claim]:
    """Take more of the runs that wait for the key of a lane, while it holds its slot. Blocks for a short transaction."""
    return dialect().in_transaction(lambda: _lengthen(holder, first, most))


def _lengthen(holder: Holder, first: Claim, most: int) -> list[Claim]:
    slots_in_use([first.concurrency_key])
    if is_given_up(holder) or not held_rows(holder).filter(token=first.token).exists():
        return []
    rows = Run.objects.using(database_alias()).filter(concurrency_key=first.concurrency_key, status=Status.BLOCKED)
    rows = rows.filter(task=first.task, job=first.job_id, queue=first.queue, executor=first.executor, lost=0)
    # Not what this lane had before: its token would fit again, and with it an outcome whose answer was lost.
    rows = rows.exclude(started_at=first.started_at)
    queues = Queue.objects.using(database_alias()).filter(name__in=[first.queue, EVERYTHING])
    if queues.exclude(paused=False, concurrency=None).exists():
        return []
    found = _look(rows.order_by("place"), most)
    return _take(found, first.token, holder, first.started_at, in_lane=True)  # one anchor for all of a lane


def is_given_up(holder: Holder) -> bool:
    """Tell whether others have declared this host lost: what it took now would be taken from it again."""
    rows = Host.objects.using(database_alias()).filter(id=holder.id)
    return rows.exclude(state__in=Host.LIVE).exists()


def _room_for_suspects(holder: Holder) -> int:
    """Return how many runs that were lost before may run on this host now: one at a time, so that bystanders are cleared."""
    return 0 if held_rows(holder).filter(lost__gt=0).exists() else 1


def _but_one_suspect(found: list[Candidate]) -> list[Candidate]:
    first = next(one for one in found if one.lost)
    return [one for one in found if not one.lost or one is first]


def ready_rows(which: Filter) -> QuerySet[Run]:
    """Return the rows that may be claimed: ready, of a served queue that is not paused."""
    rows = Run.objects.using(database_alias()).filter(position__isnull=False, status=Status.READY)
    paused = Queue.objects.using(database_alias()).paused()
    rows = rows.exclude(queue__in=paused.values("name")).exclude(Exists(paused.filter(name=EVERYTHING)))
    if which.queues is not None:
        rows = rows.filter(queue__in=which.queues)
    if which.excluded:
        rows = rows.exclude(queue__in=which.excluded)
    if set(which.executors) != {"thread", "loop", "process"}:
        rows = rows.filter(executor__in=which.executors)
    return rows.exclude(task__in=which.not_tasks) if which.not_tasks else rows


def promote_due(now: datetime | None = None) -> int:
    """Make scheduled runs whose time has come ready; returns how many. Blocks for a query, and a short transaction if any is.

    A run that somebody is about to put off (`debounce`) is passed over: nobody waits for that transaction.
    """
    rows = Run.objects.using(database_alias()).filter(status=Status.SCHEDULED, run_after__lte=now or DatabaseNow())
    return dialect().in_transaction(lambda: _promote(rows.order_by("run_after"))) if rows.exists() else 0


def _promote(rows: QuerySet[Run]) -> int:
    due = list(dialect().lock(rows).values_list("id", flat=True)[:500])
    return move(due, Status.READY, of=[Status.SCHEDULED]) if due else 0


def next_due() -> datetime | None:
    """Return when the next scheduled run is due. Blocks for one query."""
    rows = Run.objects.using(database_alias()).filter(status=Status.SCHEDULED, run_after__isnull=False)
    return rows.order_by("run_after").values_list("run_after", flat=True).first()
