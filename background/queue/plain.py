"""Own which runs may be claimed, and the claim of plain ones: those on which no limit, no key and no loss has a say."""

from __future__ import annotations

import uuid
from functools import lru_cache

from django.db.models import BooleanField, Exists, ExpressionWrapper, Q, QuerySet

from background.dialects.compiled import Compiled
from background.models import Host, Queue, Run
from background.models.clock import DatabaseNow
from background.models.queue import EVERYTHING
from background.queue.holding import BESIDES, Claim, Filter, Holder, claims_from, stamp
from background.queue.limits import COLUMNS, REPLACEABLE, Candidate
from background.queue.transitions import take
from background.scope import database_alias


def ready_rows(which: Filter) -> QuerySet[Run]:
    """Return the rows that may be claimed: ready, of a served queue that is not paused."""
    rows = Run.objects.using(database_alias()).filter(position__isnull=False, status=Run.Status.READY)
    paused = Queue.objects.using(database_alias()).paused()
    rows = rows.exclude(queue__in=paused.values("name")).exclude(Exists(paused.filter(name=EVERYTHING)))
    if which.queues is not None:
        rows = rows.filter(queue__in=which.queues)
    if which.excluded:
        rows = rows.exclude(queue__in=which.excluded)
    if set(which.executors) != {"thread", "loop", "process"}:
        rows = rows.filter(executor__in=which.executors)
    return rows.exclude(task__in=which.not_tasks) if which.not_tasks else rows


def given_up(holder: Holder) -> QuerySet[Host]:
    """Return this host's row if others have declared it lost: what it took now would be taken from it again."""
    return Host.objects.using(database_alias()).filter(id=holder.id).exclude(state__in=Host.LIVE)


def take_plain(
    holder: Holder, limit: int, which: Filter, token: uuid.UUID, executor: str = ""
) -> tuple[list[Candidate], list[Claim]]:
    """Look at the ready runs that are next in line and take the plain ones among them that come before any other.

    Plain is one whose claim depends on nothing but itself; with `executor`, only what that is to execute. Returns what was
    found, and the claims. Blocks for one statement, or a look and a short transaction where one cannot do that.
    """
    found = take(_compiled(database_alias(), holder.id, which, executor), limit, **stamp(holder, token))
    width = 1 + len(COLUMNS)
    candidates = [Candidate(row[0], *row[2:width], row[width:-3]) for row in found]  # type: ignore[call-arg]
    taken = [one for one, row in zip(candidates, found, strict=True) if row[-1]]
    return candidates, claims_from(taken, token, holder, found[0][-3]) if taken else []


@lru_cache(maxsize=64)
def _compiled(alias: str, host: uuid.UUID, which: Filter, executor: str) -> Compiled:
    rows = ready_rows(which).exclude(Exists(given_up(Holder(host, ""))))
    limited = Queue.objects.using(alias).filter(concurrency__isnull=False)
    may = Q(lost=0) & (Q(concurrency_key="") | Q(concurrency__isnull=True) | Q(concurrency=0))
    may &= (Q(unique_key__isnull=True) | ~Q(unique_key__startswith=REPLACEABLE)) & ~Q(queue__in=limited.values("name"))
    if executor and which.executors != (executor,):
        may &= Q(executor=executor)
    rows = rows.order_by("position").annotate(at=DatabaseNow(), may=ExpressionWrapper(may, BooleanField()))
    _id, *others = COLUMNS
    return Compiled(rows.values_list("id", "position", *others, *BESIDES, "at", "may"))
