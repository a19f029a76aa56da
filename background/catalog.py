"""Own how the code's jobs and the rows of `Job` keep in step: defaults, overrides, orphans, pauses."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.models import Q

from background import registry
from background.dialects import dialect
from background.jobs.tasks import JobDeclaration
from background.models import Host, Job, Queue
from background.models.clock import DatabaseNow
from background.scope import database_alias

logger = logging.getLogger("background.catalog")

# Rows that are locked in one transaction.
TOGETHER = 200


def sync() -> list[Job]:
    """Bring the rows of the declared jobs up to the code's defaults, keep what an operator changed, and return them.

    Blocks for a statement per 500 jobs, and for a transaction per 200 of those that are new or changed; several hosts may
    do it at once.
    """
    declared = registry.jobs()
    found = _rows(list(declared))
    stale = [one for one in declared.values() if one.name not in found or not _is_current(one, found[one.name])]
    for place in range(0, len(stale), TOGETHER):
        some = stale[place : place + TOGETHER]
        found |= dialect().in_transaction(lambda some=some: _sync(some))  # type: ignore[misc]
    return [found[name] for name in declared if name in found]


def _rows(names: list[str]) -> dict[str, Job]:
    rows = Job.objects.using(database_alias())
    parts = [names[place : place + 500] for place in range(0, len(names), 500)]
    return {job.name: job for part in parts for job in rows.filter(name__in=part)}


def _sync(declarations: list[JobDeclaration]) -> dict[str, Job]:
    rows = Job.objects.using(database_alias())
    by_name = {one.name: one for one in declarations}
    there = set(rows.filter(name__in=list(by_name)).values_list("name", flat=True))
    new = [Job(name=one.name, task=one.task.module_path) for one in declarations if one.name not in there]
    rows.bulk_create(new, ignore_conflicts=True)
    # In the order of their ids, as the scheduler takes them, so that nobody waits in a circle.
    locked = dialect().lock(rows.filter(name__in=list(by_name)).order_by("pk"), skip=False)
    return {job.name: _update(by_name[job.name], job) for job in locked if job.name in by_name}


def _is_current(declaration: JobDeclaration, job: Job) -> bool:
    return job.defaults == declaration.values() and not job.orphaned and job.description == _about(declaration)


def _about(declaration: JobDeclaration) -> str:
    return inspect.getdoc(declaration.task.func) or ""


def _update(declaration: JobDeclaration, job: Job) -> Job:
    if _is_current(declaration, job):
        return job
    values = declaration.values()
    before = job.defaults if job.defaults is not None else Job().declared_values()
    current = job.declared_values()
    changed = ["defaults", "description", "orphaned"]
    for name, value in values.items():
        untouched = name not in before or current[name] == before[name]
        if (untouched and current[name] != value) or name == "task":
            setattr(job, name, _from_json(name, value))
            changed.append(name)
    if job.orphaned:
        job.planned_enabled = False  # what passed while nobody declared it was not missed
        changed.append("planned_enabled")
    job.defaults, job.description, job.orphaned = values, _about(declaration), False
    job.save(update_fields=changed, using=database_alias())
    return job


def _from_json(name: str, value: Any) -> Any:
    if value is not None and isinstance(Job._meta.get_field(name), models.DateTimeField):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def name_queues() -> None:
    """Give the queues that jobs name a row, so that they can be seen and paused before a run waits there. Blocks."""
    rows = Queue.objects.using(database_alias())
    named = set(Job.objects.using(database_alias()).order_by().values_list("queue", flat=True).distinct())
    new = named - set(rows.values_list("name", flat=True))
    rows.bulk_create([Queue(name=name) for name in sorted(new)], ignore_conflicts=True)


def mark_orphans() -> int:
    """Mark the declared jobs that no live host's code declares, and unmark the others; returns how many changed. Blocks."""
    alias = database_alias()
    lists = list(Host.objects.using(alias).live().filter(parent=None).values_list("jobs", flat=True))
    if not lists:
        return 0
    declared = {name for names in lists for name in names}
    rows = Job.objects.using(alias).filter(defaults__isnull=False)
    gone = rows.filter(orphaned=False).exclude(name__in=declared)
    changed = rows.filter(Q(orphaned=False) & ~Q(name__in=declared) | Q(orphaned=True, name__in=declared))
    if not (names := dict(changed.values_list("name", "orphaned"))):
        return 0
    for name in (name for name, is_back in names.items() if not is_back):
        logger.warning("job %s is declared by no live host's code any more: not scheduled until it is", name)
    back = rows.filter(orphaned=True, name__in=declared)  # what passed while nobody declared it was not missed
    return gone.update(orphaned=True, next_run_at=None) + back.update(orphaned=False, planned_enabled=False)


def known(rows: Iterable[Any]) -> list[Any]:
    """Return the jobs that this host's code may schedule: those it declares, and handmade ones of tasks it knows."""
    declared, tasks = registry.jobs(), registry.tasks()
    return [row for row in rows if (row.task in tasks if row.handmade else row.name in declared)]


def pause(job: Job, user: Any = None, reason: str = "") -> None:
    """Stop following a job's schedule; written runs are not touched."""
    by = user.get_username() if user is not None else ""
    rows = Job.objects.using(database_alias()).filter(pk=job.pk)
    rows.update(enabled=False, paused_at=DatabaseNow(), paused_by=by, paused_reason=reason[:300])
    job.refresh_from_db()


def resume(job: Job, user: Any = None) -> None:
    """Follow the schedule again from now on; what passed meanwhile was not missed. Blocks for a transaction."""
    dialect().in_transaction(lambda: _resume(job.pk))
    job.refresh_from_db()


def _resume(pk: int) -> None:
    rows = Job.objects.using(database_alias()).filter(pk=pk)
    job = dialect().lock(rows, skip=False).get()
    if not job.enabled and job.planned_enabled and job.paused_at:
        # No host has seen the pause: what was due before it is still to be decided.
        job.planned_ends_at = min(job.paused_at, job.planned_ends_at or job.paused_at)
    elif not job.enabled:
        job.planned_enabled = False
    planned = {"planned_ends_at": job.planned_ends_at, "planned_enabled": job.planned_enabled}
    rows.update(enabled=True, paused_at=None, paused_by="", paused_reason="", **planned)
