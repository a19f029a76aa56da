"""Own `BackgroundTask`, which is Django's Task with policies, and the decorators that declare jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from background.compat import InvalidTask, Task, task_backends
from background.exceptions import InvalidPolicy
from background.jobs.policies import (
    OF_SCHEDULE,
    OF_TASK,
    Key,
    as_schedule,
    check_key,
    check_policies,
    json_ready,
    retention_text,
    utc,
)
from background.services.base import app_label_of
from background.timing import Backoff, Schedule

BACKEND = "background.backend.DatabaseBackend"
MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask(Task):
    """A task of Django's with the policies of DESIGN's table; durations are seconds."""

    max_attempts: int = 1
    backoff: Backoff = field(default_factory=Backoff)
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    discard_on: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    executor: str | None = None
    atomic: bool = False
    unique: Key = None
    on_duplicate: str = "return"
    debounce: float | None = None
    concurrency: int | None = None
    concurrency_key: Key = None
    on_lost: str = "retry"
    retain: str | int | None = None
    permission: str | None = None
    form: Any = None
    secret: tuple[str, ...] = ()
    # The job whose row holds the operator's overrides, for tasks made by @job.
    job_name: str = ""

    def __post_init__(self) -> None:
        # No zero-argument super(): it does not work in slotted dataclasses on Python 3.11 (bpo-46757).
        Task.__post_init__(self)
        check_policies(self.module_path, {name: getattr(self, name) for name in OF_TASK})
        if self.replaces and self.unique is None:
            name = "on_duplicate" if self.debounce is None else "debounce"
            raise InvalidPolicy(f"{self.module_path}: {name} needs unique, which says what a duplicate is.")
        for name in ("unique", "concurrency_key"):
            check_key(self.module_path, name, getattr(self, name), self.func)
        if self.atomic and self.is_async:
            raise InvalidTask(
                f"{self.module_path}: atomic=True needs a plain function; a coroutine cannot hold Django's transaction."
            )
        if self.executor == "loop" and not self.is_async:
            raise InvalidTask(f'{self.module_path}: executor="loop" needs an async def function.')
        if self.executor in ("thread", "process") and self.is_async:
            raise InvalidTask(f"{self.module_path}: executor={self.executor!r} needs a plain function, not async def.")
        KNOWN.setdefault(self.module_path, self)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    @property
    def replaces(self) -> bool:
        """Whether a run that waits takes the arguments of its duplicate."""
        return self.on_duplicate == "replace" or self.debounce is not None

    @property
    def runs_on(self) -> str:
        """The executor that calls it: thread, loop or process."""
        return self.executor or ("loop" if self.is_async else "thread")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDeclaration:
    """A job as the code declares it; the row in the database follows it except where an operator says otherwise."""

    name: str
    task: Task
    schedule: Schedule | None = None
    timezone: str | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True
    overlap: str = "skip"
    misfire: str = "once"
    misfire_grace: float = 300
    misfire_limit: int = 100
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > MAX_NAME:
            raise InvalidPolicy(f"The name of a job has from 1 to {MAX_NAME} characters, not {self.name!r}.")
        json_ready([list(self.args), dict(self.kwargs)], self.name)

    def values(self) -> dict[str, Any]:
        """The declared values of the job's row, as JSON."""
        task = self.task
        backoff = getattr(task, "backoff", None)
        return {
            "task": task.module_path,
            "args": json_ready(list(self.args), self.name),
            "kwargs": json_ready(dict(self.kwargs), self.name),
            "schedule": str(self.schedule) if self.schedule else "",
            "timezone": getattr(self.schedule, "timezone", None) or self.timezone or "",
            "enabled": self.enabled,
            "queue": task.queue_name,
            "priority": task.priority,
            "max_attempts": getattr(task, "max_attempts", 1),
            "backoff": backoff.as_dict() if backoff else None,
            "timeout": getattr(task, "timeout", None),
            "executor": getattr(task, "executor", None) or "",
            "concurrency": getattr(task, "concurrency", None),
            "overlap": self.overlap,
            "misfire": self.misfire,
            "misfire_grace": self.misfire_grace,
            "misfire_limit": self.misfire_limit,
            "starts_at": instant.isoformat() if (instant := utc(self.starts_at)) else None,
            "ends_at": instant.isoformat() if (instant := utc(self.ends_at)) else None,
            "jitter": self.jitter or 0,
            "on_lost": getattr(task, "on_lost", "retry"),
            "retain": retention_text(getattr(task, "retain", None), self.name),
        }


# What was declared so far, in order; the registry makes sense of it.
KNOWN: dict[str, Task] = {}
DECLARED: list[JobDeclaration] = []


def job(
    schedule: Schedule | str | Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    timezone: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    enabled: bool = True,
    queue: str = "default",
    priority: int = 0,
    backend: str | None = None,
    takes_context: bool = False,
    **policies: Any,
) -> Any:
    """Declare a task and a job of that name; without `schedule` it is run by hand and by code only.

    Returns Django's Task. Raises InvalidSchedule, InvalidPolicy or InvalidTask where the declaration does not fit.
    """
    if callable(schedule) and not hasattr(schedule, "next"):  # @job without brackets
        return job()(schedule)
    own, of_schedule = split(name or "job", policies)

    def declare(function: Callable[..., Any]) -> BackgroundTask:
        label = name or default_name(function)
        timing = as_schedule(schedule, timezone)  # type: ignore[arg-type]
        task = BackgroundTask(
            func=function,
            queue_name=queue,
            priority=priority,
            backend=backend or backend_alias(),
            takes_context=takes_context,
            job_name=label,
            **{**own, "secret": tuple(own.get("secret") or ())},
        )
        DECLARED.append(
            JobDeclaration(
                name=label,
                task=task,
                schedule=timing,
                timezone=timezone,
                args=args,
                kwargs=kwargs or {},
                enabled=enabled,
                **of_schedule,
            )
        )
        return task

    return declare


def schedule(
    task: Task,
    schedule: Schedule | str | None = None,
    *,
    name: str,
    timezone: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    enabled: bool = True,
    queue: str | None = None,
    priority: int | None = None,
    **policies: Any,
) -> Task:
    """Declare a further job for a task, under a name of its own; takes the policies of `job`."""
    own, of_schedule = split(name, policies)
    changed = task.using(queue_name=queue, priority=priority)
    if own:
        fields = {one: getattr(changed, one) for one in ("func", "priority", "backend", "queue_name", "takes_context")}
        kept = {one: getattr(changed, one) for one in OF_TASK if hasattr(changed, one)}
        changed = BackgroundTask(**fields, **{**kept, **own}, job_name=getattr(changed, "job_name", ""))
    timing = as_schedule(schedule, timezone)
    DECLARED.append(
        JobDeclaration(
            name=name,
            task=changed,
            schedule=timing,
            timezone=timezone,
            args=args,
            kwargs=kwargs or {},
            enabled=enabled,
            **of_schedule,
        )
    )
    return changed


def split(owner: str, policies: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the policies of the task and those of the schedule; InvalidPolicy if one is unknown."""
    for name in policies:
        if name not in OF_TASK and name not in OF_SCHEDULE:
            raise InvalidPolicy(
                f"{owner}: there is no policy {name!r}; known are {', '.join(sorted((*OF_TASK, *OF_SCHEDULE)))}."
            )
    check_policies(owner, policies)
    own = {name: value for name, value in policies.items() if name in OF_TASK}
    return own, {name: value for name, value in policies.items() if name in OF_SCHEDULE}


def default_name(function: Callable[..., Any]) -> str:
    return f"{app_label_of(function.__module__)}.{function.__name__}"


def backend_alias() -> str:
    """Return the alias in TASKS that keeps runs in the database: "default" if it does, else the first that does."""
    settings = task_backends.settings
    fitting = [alias for alias, params in settings.items() if params.get("BACKEND") == BACKEND]
    return fitting[0] if fitting and "default" not in fitting else "default"


def own_queue(name: str) -> str:
    """Return the queue of this name where the site's TASKS allow it, else one that they do allow."""
    allowed = sorted(task_backends.settings.get(backend_alias(), {}).get("QUEUES", ["default"]))
    return name if not allowed or name in allowed else "default" if "default" in allowed else allowed[0]
