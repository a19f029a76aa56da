"""Own the door of `django.tasks`: a backend whose runs are rows."""

from __future__ import annotations

import uuid
from typing import Any

from background import registry
from background.compat import BaseTaskBackend, Task, TaskResult, TaskResultDoesNotExist, task_enqueued
from background.exceptions import TaskNotFound
from background.jobs.results import result_of
from background.jobs.tasks import BackgroundTask
from background.models import Run
from background.queue.enqueue import enqueue
from background.scope import database_alias


class DatabaseBackend(BaseTaskBackend):
    """Enqueues by one INSERT in the caller's transaction; hosts (`runbackground`) execute."""

    task_class = BackgroundTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult[Any]:
        """Write a run and return Django's view of it. InvalidTask, InvalidArguments where it does not fit. Blocks for the INSERT."""
        self.validate_task(task)
        run = enqueue(task, args, kwargs)
        result = result_of(run, task)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Return Django's view of a run; TaskResultDoesNotExist without such a run. Blocks for one query."""
        try:
            run = Run.objects.using(database_alias()).get(id=uuid.UUID(str(result_id)))
        except (ValueError, Run.DoesNotExist):
            raise TaskResultDoesNotExist(result_id) from None
        try:
            task = registry.task(run.task)
        except TaskNotFound as error:
            raise TaskResultDoesNotExist(f"{result_id}: {error}") from None
        return result_of(run, task)
