"""Own what is done to many runs at once: cancelled, run again or deleted in few statements, and why some were passed over."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction

from background import registry
from background.dialects import dialect
from background.exceptions import BackgroundError
from background.models import Run
from background.models.clock import DatabaseNow
from background.queue.enqueue import again, again_many
from background.queue.finish import note_letters, send_finished
from background.queue.limits import unblock
from background.queue.prune import delete
from background.queue.transitions import move
from background.scope import database_alias

Status = Run.Status
WAITING = (Status.SCHEDULED, Status.READY, Status.BLOCKED)

# Why a run is passed over.
OPEN, ENDED, ASKED, UNKNOWN, REFUSED, GONE = "open", "ended", "asked", "unknown", "refused", "gone"


@dataclass
class Result:
    """Which runs were acted upon, and how many were passed over for which reason."""

    done: list[uuid.UUID] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    ended: list[Run] = field(default_factory=list)  # of whose end receivers of `run_finished` are still to be told

    def tell(self) -> None:
        """Tell receivers of `run_finished`; to be called when the transaction is committed."""
        for run in self.ended:
            send_finished(run, Status.CANCELLED)


def cancel_all(ids: Iterable[uuid.UUID], by: str, reason: str) -> Result:
    """End the waiting ones and ask the running ones to end, in the caller's transaction. Blocks for a few statements."""
    rows = _locked(ids)
    result, why = Result(), (reason or f"cancelled by {by}")[:300]
    said: dict[str, Any] = {"cancel_requested_at": DatabaseNow(), "cancel_requested_by": by, "end_reason": why}
    waiting = [run for run in rows if run.status in WAITING]
    move([run.pk for run in waiting], Status.CANCELLED, of=WAITING, finished_at=DatabaseNow(), **said)
    running = [run for run in rows if run.status == Status.RUNNING and run.cancel_requested_at is None]
    Run.objects.using(database_alias()).running().filter(dialect().among("id", [run.pk for run in running])).update(
        **said
    )
    note_letters((run.job_id, "c") for run in waiting)
    unblock({run.concurrency_key for run in waiting if run.concurrency_key})
    result.ended, result.done = waiting, [run.pk for run in (*waiting, *running)]
    result.skipped[ENDED] = sum(run.is_finished for run in rows)
    result.skipped[ASKED] = len(rows) - len(result.done) - result.skipped[ENDED]
    return result


def delete_all(ids: Iterable[uuid.UUID]) -> Result:
    """Delete the finished ones with all that hangs on them, in the caller's transaction. Blocks for a few statements."""
    rows = _locked(ids)
    finished = [run.pk for run in rows if run.is_finished]
    delete(finished)
    return Result(finished, Counter({OPEN: len(rows) - len(finished)}))


def again_all(ids: Sequence[uuid.UUID], user: Any, reason: str, key: str) -> Result:
    """Make a new run of each finished one, in the caller's transaction; with the same key none is made twice. Blocks for few statements."""
    result = Result()
    found = Run.objects.using(database_alias()).filter(dialect().among("id", ids)).defer("result", "errors")
    rows = list(found.select_related("job").order_by("id"))
    keys = {run.pk: hashlib.sha256(f"{key}:{run.pk}".encode()).hexdigest() for run in rows}
    made = Run.objects.using(database_alias()).filter(request_key__in=list(keys.values()))
    there = set(made.values_list("request_key", flat=True))
    result.skipped[OPEN] = sum(run.is_open for run in rows)
    finished = [run for run in rows if run.is_finished]
    tasks = registry.tasks()
    known = [run for run in finished if run.task in tasks]
    result.skipped[UNKNOWN] = len(finished) - len(known)
    refused = _again([run for run in known if keys[run.pk] not in there], user, reason, keys)
    result.skipped[REFUSED] = len(refused)
    result.done = [run.pk for run in known if run.pk not in refused]
    return result


def _again(runs: Sequence[Run], user: Any, reason: str, keys: Mapping[Any, str]) -> set[Any]:
    """Return the ids of those for which there is no new run; those that somebody else has repeated by the same key have one."""
    try:
        with transaction.atomic(using=database_alias()):
            return again_many(runs, user, reason, keys)
    except IntegrityError:
        return {run.pk for run in runs if not _again_alone(run, user, reason, keys[run.pk])}


def _again_alone(run: Run, user: Any, reason: str, key: str) -> bool:
    try:
        with transaction.atomic(using=database_alias()):
            return again(run, user=user, reason=reason, request_key=key).request_key == key
    except (BackgroundError, IntegrityError):
        return False


def _locked(ids: Iterable[uuid.UUID]) -> list[Run]:
    """Lock the rows in the order of their ids, as the queue's other verbs do."""
    rows = Run.objects.using(database_alias()).light().filter(dialect().among("id", list(ids))).order_by("id")
    return list(dialect().lock(rows, skip=False))
