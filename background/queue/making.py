"""Own what a run is made of before it is written: columns that a task, or its job's row, gives to all its runs, and the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from background import registry
from background.compat import Task
from background.jobs.context import ABOUT
from background.jobs.policies import bind, json_ready, key_of
from background.models import Job, Run
from background.models.run import position_of
from background.queue.limits import REPLACEABLE, SLOT
from background.scope import database_alias

Status = Run.Status

_SHARED: dict[str, Any] = {"max_attempts": 1, "timeout": None, "executor": "", "concurrency": None}


class Mold:
    """What all runs that are enqueued of one task, or job, at one time have in common."""

    def __init__(
        self, task: Task, job: Job | None = None, user: Any = None, now: datetime | None = None, **fields: Any
    ) -> None:
        self.task, self.name = task, job.name if job else task.module_path
        self.unique = getattr(task, "unique", None)
        self.prefix = REPLACEABLE if getattr(task, "replaces", False) else ""
        now = now or timezone.now()
        self.delay = delay_of(task, fields)
        run_after = fields.pop("run_after", None) or task.run_after
        if self.delay is not None:
            run_after = now + self.delay
        policies = {"queue": job.queue if job else task.queue_name, "priority": (job or task).priority}
        policies |= {one: getattr(job or task, one, default) for one, default in _SHARED.items()}
        policies["executor"] = policies["executor"] or getattr(task, "runs_on", "thread")
        self.is_limited = bool(policies["concurrency"])
        self.linked = {"job": job, "triggered_by": user, "rerun_of": fields.pop("rerun_of", None)}
        if unknown := fields.keys() - Run.blank().keys():
            raise TypeError(f"A run has no columns {sorted(unknown)}.")
        due = run_after is None or run_after <= now
        self.columns = {
            **Run.blank(), "job_name": job.name if job else getattr(task, "job_name", ""), "task": task.module_path,
            "backend": task.backend, "triggered_by_name": user.get_username() if user is not None else "",
            "run_after": run_after, "enqueued_at": now, "status": (Status.READY if due else Status.SCHEDULED).value,
            # Without a limit the key of a job's runs only tells its occurrences that they are there (see Overlap).
            "concurrency_key": slot_of(job) if job is not None and job.is_exclusive else "",
            "subject": ABOUT.get(), **policies, **fields,
        }  # fmt: skip
        self.place = position_of(now if due else run_after, self.columns["priority"])  # type: ignore[arg-type]
        self.is_due, self.alias = due, database_alias()

    def cast(self, args: Sequence[Any], kwargs: Mapping[str, Any], after: int = 0) -> Run:
        """Return a run that is to be written, with these arguments, so many places behind the first one."""
        task, place = self.task, self.place + after
        args = json_ready(list(args), self.name) if args else []
        kwargs = json_ready(dict(kwargs), self.name) if kwargs else {}
        position = place if self.is_due else None
        run = Run.lean(self.columns, self.alias, args=args, kwargs=kwargs, place=place, position=position)
        if self.unique or self.is_limited:
            bind(task.func, task.takes_context, args, kwargs, self.name)
        if self.unique:
            run.unique_key = key_of(self.unique, task, args, kwargs, self.prefix)
        if self.is_limited:
            policy = getattr(task, "concurrency_key", None)
            run.concurrency_key = key_of(policy, task, args, kwargs) if policy else task.module_path
        for name, row in self.linked.items():
            if row is not None:
                setattr(run, name, row)
        return run


def occurrence(job: Job, task: Task, scheduled_for: datetime, run_after: datetime, now: datetime) -> Run:
    """Return the unsaved run of one occurrence of a job's schedule."""
    run = Mold(task, job, trigger=Run.Trigger.SCHEDULE, scheduled_for=scheduled_for).cast(job.args, job.kwargs)
    run.run_after = run_after
    run.enqueued_at = now
    if job.is_exclusive:
        run.concurrency = 1
    run.place = position_of(run_after, run.priority)
    run.status, run.position = (Status.SCHEDULED, None) if run_after > now else (Status.READY, run.place)
    return run


def delay_of(task: Task, fields: Mapping[str, Any]) -> timedelta | None:
    """Return by how much the task's policy puts a run off, unless somebody asked for a time."""
    seconds = getattr(task, "debounce", None)
    if seconds is None or fields.get("run_after") or task.run_after:
        return None
    return timedelta(seconds=seconds)


def slot_of(job: Job) -> str:
    """Return the concurrency key that stands for the job itself."""
    return f"{SLOT}{job.name}"


def of_using(task: Task) -> dict[str, Any]:
    """Return what `task.using()` changed: the caller's word goes before that of the job's row."""
    declared = registry.tasks().get(task.module_path, task)
    fields = {"queue": (task.queue_name, declared.queue_name), "priority": (task.priority, declared.priority)}
    return {name: value for name, (value, plain) in fields.items() if value != plain}
