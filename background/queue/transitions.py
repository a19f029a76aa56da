"""Own the table of a run's states and the one guarded update through which each change goes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import F

from background.dialects import dialect
from background.dialects.compiled import Compiled
from background.exceptions import InvalidTransition
from background.models import Run
from background.queue.wakeup import wake_on_commit
from background.scope import database_alias

Status = Run.Status

# From each state, where a run may go next.
NEXT: dict[str, frozenset[str]] = {
    Status.SCHEDULED: frozenset({Status.READY, Status.CANCELLED}),
    Status.READY: frozenset({Status.RUNNING, Status.BLOCKED, Status.CANCELLED, Status.SCHEDULED, Status.FAILED}),
    Status.BLOCKED: frozenset({Status.READY, Status.RUNNING, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.READY, Status.SCHEDULED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def move(
    ids: Iterable[uuid.UUID],
    to: str,
    *,
    of: Iterable[str] | None = None,
    held_by: uuid.UUID | None = None,
    **changes: Any,
) -> int:
    """Move runs to a state if they still are in one from which that is possible (and still bear the claim token `held_by`, if given).

    Returns how many rows were changed: fewer than asked for means that someone else was faster. Blocks for one statement.
    """
    sources = [state for state, following in NEXT.items() if to in following and (of is None or state in of)]
    rows = Run.objects.using(database_alias()).filter(dialect().among("id", ids), status__in=sources)
    if held_by is not None:
        rows = rows.filter(token=held_by)
    moved = rows.update(status=to, **_with(to, changes))
    wake_on_commit(to == Status.READY and bool(moved))
    return moved


def move_each(rows: Sequence[tuple[Any, ...]], to: str, columns: Sequence[str], **changes: Any) -> int:
    """Move running runs to a final state, each row (id, token, *columns) with values of its own, where id and token fit.

    Returns how many fitted. Blocks for one statement, or one per row where the database has none for that.
    """
    if to not in NEXT[Status.RUNNING] or to not in Run.FINISHED:
        raise InvalidTransition(f"A running run cannot become {to} in a group.")
    fixed = _with(to, {**changes, "status": to})
    return dialect().update_each(Run, ("id", "token"), columns, rows, fixed, {"status": Status.RUNNING})


def take(rows: Compiled, limit: int, **changes: Any) -> list[tuple[Any, ...]]:
    """Move ready runs that lead a query to running, so many at most, as `Dialect.take` says. Blocks for one statement.

    Returns what was found.
    """
    return dialect().take(rows, limit, _with(Status.RUNNING, {**changes, "status": Status.RUNNING.value}))


def _with(to: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Add what comes with every change to a state."""
    # It takes the place that it had when it was first ready: it has waited for its turn already.
    changes["position"] = F("place") if to == Status.READY else None
    if to != Status.RUNNING:
        changes.setdefault("token", None)
    if to in Run.FINISHED:
        changes.setdefault("unique_key", None)
    return changes
