"""Own what becomes of a schedule that was found elsewhere: a job in the operator's name, or the reason why not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from background import registry
from background.exceptions import BackgroundError
from background.jobs.policies import as_schedule, bind, check_policies
from background.jobs.tasks import JobDeclaration
from background.models import Job
from background.scope import database_alias


class Unfit(BackgroundError):
    """A schedule that a job cannot have; says why."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A schedule of another scheduler in our words; `lost` is what a job does not have of it."""

    schedule: str
    timezone: str = ""
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    queue: str = ""
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What another scheduler calls a job: its name, the old name of its task, and how to read the rest (may raise Unfit)."""

    name: str
    task: str
    read: Callable[[], Facts]


@dataclass(frozen=True)
class Fate:
    """What became of it: the job that was or would be made, or the reason why there is none."""

    found: Found
    reason: str
    job: Job | None = None


def carry_over(found: Iterable[Found], names: Mapping[str, str], dry_run: bool) -> list[Fate]:
    """Make the jobs that can be made and are not there yet, all or none; return what became of each. Blocks.

    `names` maps old names of tasks to dotted paths of registered ones. Nothing is imported, nothing is overwritten.
    """
    alias = database_alias()
    with transaction.atomic(using=alias):
        fates = list(_fates(found, names, set(Job.objects.using(alias).values_list("name", flat=True))))
        for fate in fates:
            if fate.job is not None and not dry_run:
                fate.job.save(using=alias)
    return fates


def _fates(found: Iterable[Found], names: Mapping[str, str], there: set[str]) -> Iterator[Fate]:
    for one in found:
        if one.name in there:
            yield Fate(one, _("A job has this name already."))
            continue
        try:
            facts = one.read()
            path = names.get(one.task, one.task)
            if path not in registry.tasks():
                raise Unfit(_("No registered task has this name; say which is meant: --map “%s=…”.") % one.task)
            job = _job(one.name, registry.task(path), facts)
        except BackgroundError as refusal:
            yield Fate(one, str(refusal))
        else:
            there.add(one.name)
            yield Fate(one, "; ".join(_remarks(job, facts)), job)


def _job(name: str, task: Any, facts: Facts) -> Job:
    """Return the unsaved job, with the policies of its task; BackgroundError tells what does not fit."""
    schedule = as_schedule(facts.schedule, facts.timezone or None)
    if schedule is None or schedule.next(timezone.now()) is None:
        raise Unfit(_("Its time is over: it would never run."))
    window = {"starts_at": facts.starts_at, "ends_at": facts.ends_at}
    check_policies(name, window)
    bind(task.func, task.takes_context, facts.args, facts.kwargs, task.module_path)
    given = {one: getattr(facts, one) for one in ("timezone", "args", "kwargs", "enabled")}
    values = JobDeclaration(name=name, task=task, schedule=schedule, **given).values()
    values |= window | {"queue": facts.queue or task.queue_name}
    return Job(name=name, description=inspect.getdoc(task.func) or "", **values)


def _remarks(job: Job, facts: Facts) -> Iterator[str]:
    if not job.enabled:
        yield _("paused")
    if facts.lost:
        yield _("without %s") % ", ".join(facts.lost)
    for one in registry.jobs().values():
        if one.schedule and one.task.module_path == job.task:
            yield _("but the code schedules this task already, as %s") % one.name
