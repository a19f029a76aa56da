"""Own how many runs of a key or a queue may be running at once over all hosts: exactly, by counting under a lock."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db.models import Count

from background.dialects import dialect
from background.models import Job, Lease, Queue, Run
from background.queue.transitions import make_ready, move, place_of
from background.scope import database_alias

Status = Run.Status


# Begins the keys that stand for a job itself: its occurrences are executed one at a time.
SLOT = "job:"

Rule = tuple[int | None, str, bool, int | None]


class Candidate(NamedTuple):
    """What decides whether a ready run may be claimed; the names are columns."""

    id: uuid.UUID
    queue: str
    lost: int
    started_at: datetime | None
    job_id: int | None
    trigger: str
    concurrency_key: str
    concurrency: int | None

    @property
    def rule(self) -> Rule:
        """What decides the limit of its key."""
        return self.job_id, self.trigger, self.concurrency_key.startswith(SLOT), self.concurrency


def within_limits(candidates: list[Candidate], room: dict[str, int]) -> list[uuid.UUID]:
    """Return the candidates that may run now; those without a slot of their key become blocked.

    `room` tells how many more each limited queue takes, and is counted down. For use inside the claim's transaction: the
    lock on each key is held until it ends, so no two hosts count at once.
    """
    limits = _limits({one.rule for one in candidates if one.concurrency_key and one.concurrency})
    running: dict[str, int] = {}
    for key in sorted({one.concurrency_key for one in candidates if one.concurrency_key and one.concurrency}):
        lock_key(key)
        running[key] = _running(key)
    taken, blocked = [], []
    for one in candidates:
        if room.get(one.queue, 1) <= 0:
            continue
        limit = limits.get(one.rule) if one.concurrency_key else None
        if limit is not None:
            if running[one.concurrency_key] >= limit:
                blocked.append(one.id)
                continue
            running[one.concurrency_key] += 1
        if one.queue in room:
            room[one.queue] -= 1
        taken.append(one.id)
    if blocked:
        move(blocked, Status.BLOCKED, of=[Status.READY])
    return taken


def _limits(rules: set[Rule]) -> dict[Rule, int | None]:
    """Return the limit in force for each (job, trigger, limit when enqueued): the job's row decides, as it is now."""
    ids = {rule[0] for rule in rules if rule[0] is not None}
    rows = Job.objects.using(database_alias()).filter(id__in=ids) if ids else ()
    jobs = {job.pk: job for job in rows}

    def limit(rule: Rule) -> int | None:
        job_id, trigger, slot, limit_then = rule
        job = jobs.get(job_id) if job_id is not None else None
        if job is None:
            return limit_then
        if trigger == Run.Trigger.SCHEDULE and job.overlap != Job.Overlap.ALLOW and (slot or job.is_exclusive):
            return 1
        return None if slot else job.concurrency

    return {rule: limit(rule) for rule in rules}


def room_in_queues() -> dict[str, int]:
    """Return how many more runs each limited queue takes; its lock is held until the transaction ends."""
    alias = database_alias()
    limited = Queue.objects.using(alias).filter(concurrency__isnull=False).order_by("name")
    room = {row.name: row.concurrency or 0 for row in dialect().lock(limited, skip=False)}
    if room:
        rows = Run.objects.using(alias).running().filter(queue__in=list(room)).order_by()
        for name, count in rows.values_list("queue").annotate(Count("id")):
            room[name] -= count
    return room


def lock_key(key: str) -> None:
    """Take the lock of a key until the transaction ends. Blocks while another transaction has it."""
    rows = Lease.objects.using(database_alias())
    name = f"slots:{key}"[:200]
    while dialect().lock(rows.filter(name=name), skip=False).first() is None:
        rows.bulk_create([Lease(name=name)], ignore_conflicts=True)


def _running(key: str) -> int:
    return Run.objects.using(database_alias()).filter(concurrency_key=key, status=Status.RUNNING).count()


def unblock(keys: Iterable[str]) -> int:
    """Make as many blocked runs of these keys ready as there are free slots; returns how many.

    For use inside the transaction that frees a slot: the same lock as in the claim keeps the two from missing each other.
    """
    moved = 0
    for key in sorted(set(keys)):
        lock_key(key)
        rows = Run.objects.using(database_alias()).filter(concurrency_key=key, status=Status.BLOCKED)
        waiting = rows.order_by("enqueued_at").values_list(
            "id", "enqueued_at", "run_after", "priority", "job_id", "trigger", "concurrency"
        )
        if (first := waiting.first()) is None:
            continue
        rule = (first[4], first[5], key.startswith(SLOT), first[6])
        limit = _limits({rule})[rule]
        # Without a limit by now they all go, in portions: the sweep comes again.
        free = 500 if limit is None else limit - _running(key)
        moved += make_ready([(row[0], place_of(*row[1:4])) for row in waiting[: max(free, 0)]], of=Status.BLOCKED)
    return moved


def blocked_keys() -> list[str]:
    """Return the keys that have blocked runs. Blocks for one query."""
    return list(
        Run.objects.using(database_alias())
        .filter(status=Status.BLOCKED)
        .values_list("concurrency_key", flat=True)
        .distinct()
    )
