"""Own how a site adopts a job of this part: one call, with a schedule, arguments and policies."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from background.jobs.tasks import BackgroundTask, backend_alias, own_queue, schedule
from background.timing import Schedule


class Adoptable:
    """A task that becomes a job when it is called with a schedule: `clear_sessions("0 4 * * *")`.

    Further keywords are arguments of the task (operators may change them in the admin) or policies of `@job`; `name` is that
    of the job. Without a schedule it is run by hand and by code. Returns the task; raises InvalidSchedule and InvalidPolicy.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__ = function.__doc__
        self._arguments = set(inspect.signature(function).parameters) - {"context"}
        self.task = BackgroundTask(
            func=function,
            backend=backend_alias(),
            queue_name=own_queue("default"),
            takes_context=True,
            concurrency=1,
        )

    def __call__(
        self, schedule_: Schedule | str | None = None, *, name: str | None = None, **more: Any
    ) -> BackgroundTask:
        kwargs = {key: more.pop(key) for key in self._arguments & more.keys()}
        label = name or f"maintenance.{self.task.func.__name__}"
        return schedule(self.task, schedule_, name=label, kwargs=kwargs, **more)  # type: ignore[return-value]
