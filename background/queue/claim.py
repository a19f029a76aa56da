"""Own how a host takes runs: due ones become ready, ready ones are claimed under a fresh token."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

from django.db.models import F, QuerySet

from background.dialects import dialect
from background.models import Queue, Run
from background.models.clock import DatabaseNow
from background.models.queue import EVERYTHING
from background.queue.holding import BESIDES, FROM_ROW, Claim, Filter, Holder, claims_from, stamp
from background.queue.limits import COLUMNS, REPLACEABLE, Candidate, Depth, room_in_queues, slots_in_use, within_limits
from background.queue.plain import given_up, ready_rows, take_plain
from background.queue.transitions import move
from background.scope import database_alias

Status = Run.Status


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
    token = token or uuid.uuid4()
    if now is not None:
        return dialect().in_transaction(lambda: _claim(holder, limit, which, now, token, depth))
    found, taken = take_plain(holder, limit, which, token)
    return taken + _the_rest(found[len(taken) :], holder, limit - len(taken), which, depth)


def claim_next(
    holder: Holder, rooms: dict[str, int], which: Filter, depth: Callable[[str], Depth | None]
) -> tuple[str, list[Claim], bool]:
    """Take runs for the executor of the one that is next in line, as many as there is room for.

    Returns its name, the claims, and whether there may be more to claim, of whatever executor.

    The first of `rooms` is the one that is expected: if it is not that, one statement was in vain. Blocks as `claim`.
    """
    name = next(iter(rooms))
    found, taken = take_plain(holder, rooms[name], which.of(tuple(rooms)), uuid.uuid4(), name)
    if found and not taken:
        name = found[0].executor
    rest = [one for one in found[len(taken) :] if one.executor == name]
    more = len(found) >= rooms[next(iter(rooms))] or len(found) > len(taken)
    if rest:
        taken += _the_rest(rest, holder, rooms[name] - len(taken), which.of((name,)), depth(name))
    return name, taken, more


def _the_rest(found: list[Candidate], holder: Holder, limit: int, which: Filter, depth: Depth | None) -> list[Claim]:
    """Take what was found and not taken because it is not plain, the long way."""
    if not found or limit <= 0:
        return []
    return dialect().in_transaction(lambda: _claim(holder, limit, which, None, uuid.uuid4(), depth))


def held_rows(holder: Holder) -> QuerySet[Run]:
    """Return the runs that a host holds by the database's word."""
    return Run.objects.using(database_alias()).running().filter(host=holder.id)


def claims_of(holder: Holder, ids: Iterable[uuid.UUID]) -> list[Claim]:
    """Return the claims under which a host holds these runs, as far as it does. Blocks for a query."""
    rows = held_rows(holder).filter(id__in=list(ids)).values_list("token", "started_at", *FROM_ROW)
    return [
        Claim(**dict(zip(FROM_ROW, rest, strict=True)), token=token, started_at=started_at, host_name=holder.name)
        for token, started_at, *rest in rows
        if token and started_at
    ]


def _claim(
    holder: Holder, limit: int, which: Filter, now: datetime | None, token: uuid.UUID, depth: Depth | None
) -> list[Claim]:
    taken: list[Claim] = []
    room = room_in_queues()
    suspects: int | None = None
    if given_up(holder).exists():
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
    columns = dialect().lock(rows).values_list(*COLUMNS, *BESIDES)[:most]
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
        ids, Status.RUNNING, of=[Status.READY, Status.BLOCKED], attempt=F("attempt") + 1, started_at=at, **stamp(holder, token)
    )  # fmt: skip
    return claims_from(lane, token, holder, at, in_lane)


def lengthen(holder: Holder, first: Claim, most: int) -> list[Claim]:
    """Take more of the runs that wait for the key of a lane, while it holds its slot. Blocks for a short transaction."""
    return dialect().in_transaction(lambda: _lengthen(holder, first, most))


def _lengthen(holder: Holder, first: Claim, most: int) -> list[Claim]:
    slots_in_use([first.concurrency_key])
    if given_up(holder).exists() or not held_rows(holder).filter(token=first.token).exists():
        return []
    rows = (
        Run.objects.using(database_alias()).keyed().filter(concurrency_key=first.concurrency_key, status=Status.BLOCKED)
    )
    rows = rows.filter(task=first.task, job=first.job_id, queue=first.queue, executor=first.executor, lost=0)
    # Not what this lane had before: its token would fit again, and with it an outcome whose answer was lost.
    rows = rows.exclude(started_at=first.started_at)
    queues = Queue.objects.using(database_alias()).filter(name__in=[first.queue, EVERYTHING])
    if queues.exclude(paused=False, concurrency=None).exists():
        return []
    found = _look(rows.order_by("place"), most)
    return _take(found, first.token, holder, first.started_at, in_lane=True)  # one anchor for all of a lane


def _room_for_suspects(holder: Holder) -> int:
    """Return how many runs that were lost before may run on this host now: one at a time, so that bystanders are cleared."""
    return 0 if held_rows(holder).filter(lost__gt=0).exists() else 1


def _but_one_suspect(found: list[Candidate]) -> list[Candidate]:
    first = next(one for one in found if one.lost)
    return [one for one in found if not one.lost or one is first]


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
