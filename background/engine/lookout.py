"""Own the host's one look at the database each second: all that its services would have to ask for, one by one."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from background.conf import get_settings
from background.dialects.compiled import Compiled
from background.engine.occurrences import CLOCK_BACK
from background.models import Host, Job, Run, Service, ServicePause
from background.models.clock import DatabaseNow
from background.models.job import JobQuerySet
from background.queue.holding import Filter
from background.queue.plain import ready_rows
from background.scope import database_alias

# What is due within this time is told of: somewhat longer than until the next look.
SOON = timedelta(seconds=1.5)


class Facts(NamedTuple):
    """What a look has found, by the database's clock."""

    now: datetime
    stop_requested_at: datetime | None
    wish: bool  # of a person, about a service of this host
    paused: bool  # a service is, on all hosts
    ready: int | None  # the position of the first run that this host may claim
    waiting: int | None  # the position of the first ready run of all
    blocked: bool  # a run waits for a slot
    run_due: datetime | None  # the next time of a scheduled run
    held: bool  # some host that is gone holds a run
    heard: datetime | None  # the oldest sign of life of a host that is believed to be there, and the latest
    heard_last: datetime | None
    edited: bool  # a job's timing was
    ahead: bool  # a job was decided further than the clock has come
    job_due: datetime | None  # the next time of a job

    @property
    def runs_soon(self) -> bool:
        return self.run_due is not None and self.run_due - self.now <= SOON

    @property
    def jobs_soon(self) -> bool:
        return self.edited or self.ahead or (self.job_due is not None and self.job_due - self.now <= SOON)

    @property
    def host_gone(self) -> bool:
        """Whether a host is gone, or left runs behind."""
        silence = timedelta(seconds=get_settings().host_timeout)
        if self.held or self.heard is None or self.heard_last is None:
            return self.held
        return self.heard < self.now - silence or self.heard_last > self.now + silence


def look(host: uuid.UUID, which: Filter | None) -> Facts | None:
    """Ask for all facts at once; `which` says what the host claims. None if the host has no row. Blocks for one statement."""
    rows = _compiled(database_alias(), host, which).fetch()
    return Facts(*rows[0]) if rows else None


@lru_cache(maxsize=16)
def _compiled(alias: str, host: uuid.UUID, which: Filter | None) -> Compiled:
    rows = Host.objects.using(alias).filter(id=host)
    return Compiled(rows.annotate(**_questions(alias, host, which)).values_list(*Facts._fields))


def _questions(alias: str, host: uuid.UUID, which: Filter | None) -> dict[str, Any]:
    runs, hosts = Run.objects.using(alias), Host.objects.using(alias).live()
    jobs = JobQuerySet(Job, using=alias)
    waiting = runs.filter(position__isnull=False)
    gone = runs.running().filter(~Exists(hosts.filter(id=OuterRef("host_id"))))
    scheduled = runs.filter(status=Run.Status.SCHEDULED, run_after__isnull=False)
    return {
        "now": DatabaseNow(),
        "wish": Exists(Service.objects.using(alias).filter(host=host).exclude(request_verb="")),
        "paused": Exists(ServicePause.objects.using(alias).all()),
        "ready": _first(waiting.none() if which is None else ready_rows(which), "position"),
        "waiting": _first(waiting, "position"),
        "blocked": Exists(runs.filter(status=Run.Status.BLOCKED)),
        "run_due": _first(scheduled, "run_after"),
        "held": Exists(gone),
        "heard": _first(hosts, "heartbeat_at"),
        "heard_last": _first(hosts, "-heartbeat_at"),
        "edited": Exists(jobs.edited()),
        "ahead": Exists(jobs.active().filter(cursor__gt=DatabaseNow() + CLOCK_BACK)),
        "job_due": _first(jobs.active().filter(next_run_at__isnull=False), "next_run_at"),
    }


def _first(rows: QuerySet[Any], order: str) -> Subquery:
    """Return the first value of a column. In its order: so its index is read, and not history in search of what is not there."""
    return Subquery(rows.order_by(order).values(order.removeprefix("-"))[:1])
