"""Own how many runs of a key or a queue may be running at once over all hosts: exactly, by counting under a lock."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from background.dialects import dialect
from background.models import Lease, Queue, Run
from background.queue.transitions import move
from background.scope import database_alias

Status = Run.Status

# id, queue, concurrency key, limit of the key
Candidate = tuple[uuid.UUID, str, str, int | None]


def within_limits(candidates: list[Candidate]) -> list[uuid.UUID]:
    """Return the candidates that may run now; those without a slot of their key become blocked.

    For use inside the claim's transaction: the lock on each key is held until it ends, so no two hosts count at once.
    """
    candidates = _within_queues(candidates)
    keys = sorted({key for _, _, key, limit in candidates if key and limit})
    free = {key: -_running(key) for key in keys if lock_key(key)}
    taken, blocked = [], []
    for id, _, key, limit in candidates:
        if not key or not limit:
            taken.append(id)
        elif free[key] + limit > 0:
            free[key] -= 1
            taken.append(id)
        else:
            blocked.append(id)
    if blocked:
        move(blocked, Status.BLOCKED)
    return taken


def _within_queues(candidates: list[Candidate]) -> list[Candidate]:
    alias = database_alias()
    names = {queue for _, queue, _, _ in candidates}
    limited = Queue.objects.using(alias).filter(name__in=names, concurrency__isnull=False).order_by("name")
    if not limited.exists():
        return candidates
    free = {}
    for row in dialect().lock(limited, skip=False):
        free[row.name] = (row.concurrency or 0) - Run.objects.using(alias).running().filter(queue=row.name).count()
    kept = []
    for candidate in candidates:
        if candidate[1] not in free:
            kept.append(candidate)
        elif free[candidate[1]] > 0:
            free[candidate[1]] -= 1
            kept.append(candidate)
    return kept


def lock_key(key: str) -> bool:
    """Take the lock of a key until the transaction ends. Blocks while another transaction has it."""
    rows = Lease.objects.using(database_alias())
    name = f"slots:{key}"[:200]
    rows.bulk_create([Lease(name=name)], ignore_conflicts=True)
    dialect().lock(rows.filter(name=name), skip=False).first()
    return True


def _running(key: str) -> int:
    return Run.objects.using(database_alias()).filter(concurrency_key=key, status=Status.RUNNING).count()


def unblock(keys: Iterable[str]) -> int:
    """Make as many blocked runs of these keys ready as there are free slots; returns how many.

    For use inside the transaction that frees a slot: the same lock as in the claim keeps the two from missing each other.
    """
    from background.queue.claim import make_ready  # lazy: claim uses this room

    moved = 0
    for key in sorted(set(keys)):
        lock_key(key)
        rows = Run.objects.using(database_alias()).filter(concurrency_key=key, status=Status.BLOCKED)
        first = rows.order_by("enqueued_at").values_list("id", "enqueued_at", "priority", "concurrency")
        limit = first.values_list("concurrency", flat=True).first()
        if limit is None:
            continue
        free = limit - _running(key)
        moved += make_ready([row[:3] for row in first[: max(free, 0)]], of=Status.BLOCKED)
    return moved


def blocked_keys() -> list[str]:
    """Return the keys that have blocked runs. Blocks for one query."""
    return list(
        Run.objects.using(database_alias())
        .filter(status=Status.BLOCKED)
        .values_list("concurrency_key", flat=True)
        .distinct()
    )
