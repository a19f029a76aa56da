"""Own what a host knows of the runs it takes: who it is, which it takes, and each claim."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Max

from background.models import Job, RunLog
from background.queue.limits import Candidate
from background.scope import database_alias

Key = tuple[int, int]


def key_of(id: uuid.UUID, token: uuid.UUID) -> Key:
    """Return what tells one claim from every other: numbers, because those are hashed in a tenth of the time."""
    return id.int, token.int


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

    def of(self, executors: tuple[str, ...]) -> Filter:
        """Return what of it these executors take."""
        return self if executors == self.executors else replace(self, executors=executors)


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
    def key(self) -> Key:
        """What tells it from every other claim, also of the same run."""
        return key_of(self.id, self.token)


# What a claim takes from the row as it is: what a candidate has besides, and what it has of its own.
BESIDES = (
    "args", "kwargs", "priority", "timeout", "job_name", "backend", "errors", "enqueued_at", "run_after", "attempt",
)  # fmt: skip
FROM_ROW = (*BESIDES, "id", "task", "max_attempts", "lost", "queue", "executor", "job_id", "concurrency_key")


def stamp(holder: Holder, token: uuid.UUID) -> dict[str, Any]:
    """Return the columns that say of a run who has claimed it; what the attempt before left is emptied."""
    return {
        "token": token, "host_id": holder.id, "host_name": holder.name, "version": holder.version, "cancel_requested_at": None,
        "cancel_requested_by": "", "progress_done": None, "progress_total": None, "progress_message": "",
    }  # fmt: skip


def claims_from(
    found: list[Candidate], token: uuid.UUID, holder: Holder, at: datetime, in_lane: bool = False
) -> list[Claim]:
    """Return the claims of rows that bear this token by now. Blocks for a query if some were begun before, and one for backoffs."""
    alias = database_alias()
    begun = [one.id for one in found if one.started_at]
    lines = RunLog.objects.using(alias).filter(run__in=begun).order_by().values_list("run") if begun else None
    last = dict(lines.annotate(Max("sequence"))) if lines is not None else {}
    jobs = {one.job_id for one in found if one.job_id and one.max_attempts > 1}
    backoffs = dict(Job.objects.using(alias).filter(id__in=jobs).values_list("id", "backoff")) if jobs else {}
    claims = []
    for one in found:
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
