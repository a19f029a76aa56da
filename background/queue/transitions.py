"""Own the table of a run's states and the one guarded update through which each change goes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Case, Value, When

from background.models import Run
from background.models.run import position_of
from background.scope import database_alias

Status = Run.Status

# From each state, where a run may go next.
NEXT: dict[str, frozenset[str]] = {
    Status.SCHEDULED: frozenset({Status.READY, Status.BLOCKED, Status.CANCELLED}),
    Status.READY: frozenset({Status.RUNNING, Status.BLOCKED, Status.CANCELLED, Status.SCHEDULED, Status.FAILED}),
    Status.BLOCKED: frozenset({Status.READY, Status.CANCELLED}),
    Status.RUNNING: frozenset(
        {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.READY, Status.SCHEDULED, Status.BLOCKED}
    ),
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
    rows = Run.objects.using(database_alias()).filter(id__in=list(ids), status__in=sources)
    if held_by is not None:
        rows = rows.filter(token=held_by)
    if to != Status.READY:
        changes.setdefault("position", None)
    if to != Status.RUNNING:
        changes.setdefault("token", None)
    if to in Run.FINISHED:
        changes.setdefault("unique_key", None)
    return rows.update(status=to, **changes)


def make_ready(rows: list[tuple[uuid.UUID, int]], of: str) -> int:
    """Make (id, position) ready; returns how many were. Blocks for one statement."""
    if not rows:
        return 0
    places = [When(id=id, then=Value(position)) for id, position in rows]
    return move([id for id, _ in rows], Status.READY, of=[of], position=Case(*places, output_field=BigIntegerField()))


def place_of(enqueued_at: datetime, run_after: datetime | None, priority: int) -> int:
    """Return the place of a run that is ready once more: where it stood when it first was."""
    return position_of(max(enqueued_at, run_after or enqueued_at), priority)
