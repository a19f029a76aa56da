"""Own how the code's jobs and the rows of `Job` keep in step: defaults, overrides, orphans, pauses."""

from __future__ import annotations

import inspect
import logging
from datetime import UTC, datetime
from typing import Any

from django.db import models

from background import registry
from background.dialects import dialect
from background.jobs.tasks import JobDeclaration
from background.models import Host, Job
from background.models.clock import DatabaseNow
from background.models.job import JobQuerySet
from background.scope import database_alias

logger = logging.getLogger("background.catalog")


def sync() -> list[Job]:
    """Bring the rows of the declared jobs up to the code's defaults, keep what an operator changed, and return them.

    Blocks for a transaction; several hosts may do it at once.
    """
    return [dialect().in_transaction(lambda one=one: _sync(one)) for one in registry.jobs().values()]  # type: ignore[misc]


def _sync(declaration: JobDeclaration) -> Job:
    rows = Job.objects.using(database_alias())
    values = declaration.values()
    description = inspect.getdoc(declaration.task.func) or ""
    job = dialect().lock(rows.filter(name=declaration.name), skip=False).first()
    if job is None:
        rows.bulk_create([Job(name=declaration.name, task=values["task"])], ignore_conflicts=True)
        job = dialect().lock(rows.filter(name=declaration.name), skip=False).get()
    if job.defaults == values and not job.orphaned and job.description == description:
        return job
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
    job.defaults, job.description, job.orphaned = values, description, False
    job.save(update_fields=changed, using=database_alias())
    return job


def _from_json(name: str, value: Any) -> Any:
    if value is not None and isinstance(Job._meta.get_field(name), models.DateTimeField):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def mark_orphans() -> int:
    """Mark the declared jobs that no live host's code declares, and unmark the others; returns how many changed. Blocks."""
    alias = database_alias()
    lists = list(Host.objects.using(alias).live().filter(parent=None).values_list("jobs", flat=True))
    if not lists:
        return 0
    declared = {name for names in lists for name in names}
    rows = Job.objects.using(alias).filter(defaults__isnull=False)
    gone = rows.filter(orphaned=False).exclude(name__in=declared)
    for name in gone.values_list("name", flat=True):
        logger.warning("job %s is declared by no live host's code any more: not scheduled until it is", name)
    back = rows.filter(orphaned=True, name__in=declared)  # what passed while nobody declared it was not missed
    return gone.update(orphaned=True) + back.update(orphaned=False, planned_enabled=False)


def known_jobs() -> JobQuerySet:
    """Return the jobs that this host's code may schedule: those it declares, and handmade ones of tasks it knows."""
    declared = models.Q(defaults__isnull=False, name__in=list(registry.jobs()))
    handmade = models.Q(defaults__isnull=True, task__in=list(registry.tasks()))
    return JobQuerySet(Job, using=database_alias()).filter(declared | handmade)


def pause(job: Job, user: Any = None, reason: str = "") -> None:
    """Stop following a job's schedule; written runs are not touched."""
    by = user.get_username() if user is not None else ""
    rows = Job.objects.using(database_alias()).filter(pk=job.pk)
    rows.update(enabled=False, paused_at=DatabaseNow(), paused_by=by, paused_reason=reason[:300])
    job.refresh_from_db()


def resume(job: Job, user: Any = None) -> None:
    """Follow the schedule again from now on; what passed meanwhile was not missed."""
    rows = Job.objects.using(database_alias()).filter(pk=job.pk)
    rows.filter(enabled=False).update(planned_enabled=False)
    rows.update(enabled=True, paused_at=None, paused_by="", paused_reason="")
    job.refresh_from_db()
