"""Stands in for Django's immediate backend: our own, drained at once."""

from __future__ import annotations

from typing import Any

from background.backend import DatabaseBackend
from background.compat import Task, TaskResult
from background.testing import drain


class DrainedBackend(DatabaseBackend):
    """Enqueues as always, then runs what is ready in this thread before it returns."""

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult[Any]:
        """Return the result as it is after the run."""
        result = super().enqueue(task, args, kwargs)
        drain()
        result.refresh()
        return result
