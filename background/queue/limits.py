"""Own how many runs of a key or a queue may be running at once over all hosts: exactly, by counting under a lock."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, QuerySet

from background.dialects import dialect
from background.models import Job, Lease, Queue, Run
from background.queue.transitions import move
from background.scope import database_alias

Status = Run.Status


# Begins the keys that stand for a job itself: its occurrences are executed one at a time.
SLOT = "job:"
# Begins the unique keys that a run gives up when it is claimed (`on_duplicate="replace"` and `debounce`).
REPLACEABLE = "~"

# Runs that one slot of a key takes behind its first at most.
LANE = 500

Rule = tuple[int | None, str, bool, int | None]


class Candidate(NamedTuple):
    """A ready run, and what decides whether it may be claimed; the first names are columns."""

    id: uuid.UUID
    queue: str
    lost: int
    started_at: datetime | None
    job_id: int | None
    trigger: str
    concurrency_key: str
    concurrency: int | None
    task: str
    max_attempts: int
    executor: str
    unique_key: str | None
    row: Sequence[Any]  # what else the claim is made of

    @property
    def limited(self) -> bool:
        return bool(self.concurrency_key and self.concurrency)

    @property
    def rule(self) -> Rule:
        """What decides the limit of its key."""
        return self.job_id, self.trigger, self.concurrency_key.startswith(SLOT), self.concurrency


COLUMNS = Candidate._fields[:-1]

Look = Callable[[QuerySet[Run], int], list[Candidate]]
Depth = Callable[[str], int]


def within_limits(
    candidates: list[Candidate], room: dict[str, int], depth: Depth | None, look: Look
) -> tuple[list[Candidate], list[list[Candidate]]]:
    """Return the candidates that may run now: those without a limit, and lanes; those without a slot become blocked.

    A lane is what one slot of a key executes, one after another. `room` tells how many more each limited queue takes, and
    is counted down. For use inside the claim's transaction: the lock on each key is held until it ends, so no two hosts
    count at once.
    """
    limited = [one for one in candidates if one.limited]
    limits = _limits({one.rule for one in limited})
    used = slots_in_use({one.concurrency_key for one in limited})
    free: list[Candidate] = []
    lanes: dict[str, list[list[Candidate]]] = {key: [] for key in used}
    blocked: dict[str, list[Candidate]] = {key: [] for key in used}
    for one in candidates:
        key, limit = one.concurrency_key, limits.get(one.rule) if one.limited else None
        if room.get(one.queue, 1) <= 0:
            continue
        if limit is None:
            free.append(one)
        elif used[key] + len(lanes[key]) < limit:
            lanes[key].append([one])
        else:
            blocked[key].append(one)
            continue
        if one.queue in room:
            room[one.queue] -= 1
    for key, mine in lanes.items():
        if depth is not None and mine and mine[0][0].queue not in room:
            blocked[key] = _lengthen(mine, blocked[key], depth(mine[0][0].task), look)
    if ids := [one.id for rest in blocked.values() for one in rest]:
        move(ids, Status.BLOCKED, of=[Status.READY])
    return free, [lane for mine in lanes.values() for lane in mine]


def _lengthen(lanes: list[list[Candidate]], waiting: list[Candidate], more: int, look: Look) -> list[Candidate]:
    """Put up to `more` runs that wait for a slot of the key behind the first of each lane; returns the others."""
    first, more = lanes[0][0], min(more, LANE)
    lanes = [lane for lane in lanes if lane[0].task == first.task]
    if more <= 0 or any(lane[0].lost for lane in lanes):
        return waiting
    rows = (
        Run.objects.using(database_alias())
        .keyed()
        .filter(
            concurrency_key=first.concurrency_key, status=Status.BLOCKED, queue=first.queue, executor=first.executor
        )
    )
    wanted = more * len(lanes) - len(waiting)
    found = waiting + (look(rows.order_by("place"), wanted) if wanted > 0 else [])
    fit = [one for one in found if (one.task, one.rule, one.lost) == (first.task, first.rule, 0)][: more * len(lanes)]
    for number, lane in enumerate(lanes):
        lane += fit[number :: len(lanes)]
    taken = {one.id for one in fit}
    return [one for one in waiting if one.id not in taken]


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


def slots_in_use(keys: Collection[str]) -> dict[str, int]:
    """Return how many slots of each key are in use, and keep the locks of the keys until the transaction ends.

    Runs that bear one token follow each other in one slot.
    """
    for key in sorted(keys):
        lock_key(key)
    if not keys:
        return {}
    rows = (
        Run.objects.using(database_alias()).keyed().filter(concurrency_key__in=keys, status=Status.RUNNING).order_by()
    )
    counts = dict(rows.values_list("concurrency_key").annotate(Count("token", distinct=True)))
    return {key: counts.get(key, 0) for key in keys}


def unblock(keys: Iterable[str]) -> int:
    """Make as many blocked runs of these keys ready as there are free slots; returns how many.

    For use inside the transaction that frees a slot: the same lock as in the claim keeps the two from missing each other.
    """
    moved = 0
    used = slots_in_use(set(keys))
    for key in sorted(used):
        rows = Run.objects.using(database_alias()).keyed().filter(concurrency_key=key, status=Status.BLOCKED)
        waiting = rows.order_by("place").values_list("id", "job_id", "trigger", "concurrency")
        if (first := waiting.first()) is None:
            continue
        rule = (first[1], first[2], key.startswith(SLOT), first[3])
        limit = _limits({rule})[rule]
        # Without a limit by now they all go, in portions: the sweep comes again.
        free = 500 if limit is None else limit - used[key]
        if free > 0:
            moved += move([row[0] for row in waiting[:free]], Status.READY, of=[Status.BLOCKED])
    return moved


def blocked_keys() -> list[str]:
    """Return the keys that have blocked runs. Blocks for one query."""
    return list(
        Run.objects.using(database_alias())
        .filter(status=Status.BLOCKED)
        .values_list("concurrency_key", flat=True)
        .distinct()
    )
