"""Own how a person or code ends runs: waiting ones at once, running ones through their stop token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from background.dialects import dialect
from background.models import Run
from background.models.clock import DatabaseNow
from background.queue.finish import append_letters, send_finished
from background.queue.limits import unblock
from background.queue.transitions import move
from background.scope import database_alias

Status = Run.Status


def cancel(run: Run, user: Any = None, reason: str = "") -> bool:
    """End a waiting run at once, or ask a running one to end; False if it is finished already. Blocks for a transaction."""
    by = user.get_username() if user is not None else ""
    why = (reason or (f"cancelled by {by}" if by else "cancelled"))[:300]
    ended, asked = dialect().in_transaction(lambda: cancel_within(run, by, why))
    if ended:
        send_finished(run, Status.CANCELLED)
    run.refresh_from_db(fields=["status", "finished_at", "end_reason", "cancel_requested_at", "cancel_requested_by"])
    return bool(ended or asked)


def cancel_within(run: Run, by: str, why: str) -> tuple[int, int]:
    """Return (whether a waiting run was ended, whether a running one was asked to end), in the caller's transaction.

    Receivers of `run_finished` are the caller's to tell, once it is committed. Blocks.
    """
    rows = Run.objects.using(database_alias()).filter(id=run.id)
    while True:
        ended = move(
            [run.id], Status.CANCELLED, of=[Status.SCHEDULED, Status.READY, Status.BLOCKED], finished_at=DatabaseNow(),
            end_reason=why, cancel_requested_at=DatabaseNow(), cancel_requested_by=by,
        )  # fmt: skip
        if ended:
            if run.job_id:
                append_letters(run.job_id, "c")
            if run.concurrency_key:
                unblock([run.concurrency_key])
            return ended, 0
        asked = rows.filter(status=Status.RUNNING).update(
            cancel_requested_at=DatabaseNow(), cancel_requested_by=by, end_reason=why
        )
        if asked or not rows.open().exists():  # else it moved on between the two statements
            return 0, asked


def cancel_requests(ids: Iterable[Any]) -> dict[Any, str]:
    """Return which of these running runs were asked to end, and why. Blocks for one query."""
    rows = Run.objects.using(database_alias()).filter(
        id__in=list(ids), status=Status.RUNNING, cancel_requested_at__isnull=False
    )
    return dict(rows.values_list("id", "end_reason"))
