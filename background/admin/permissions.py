"""Own the one table of which permission a verb or a sight needs, and the further permission that a task may ask for."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from background import registry
from background.compat import Task

# A verb of the admin, as <model>.<verb>, and the one permission that allows it.
VERBS: dict[str, str] = {
    "job.run": "background.run_job",
    "job.pause": "background.pause_job",
    "job.resume": "background.pause_job",
    "job.reset": "background.change_job",
    "run.again": "background.run_job",
    "run.cancel": "background.cancel_run",
    "service.start": "background.control_service",
    "service.stop": "background.control_service",
    "service.restart": "background.control_service",
    "service.tick": "background.control_service",
    "service.pause": "background.control_service",
    "service.resume": "background.control_service",
    "host.stop": "background.stop_host",
    "queue.pause": "background.pause_queue",
    "queue.resume": "background.pause_queue",
    "queue.pause_all": "background.pause_all",
    "queue.resume_all": "background.pause_all",
}

# The same for what is done to many runs at once.
BULK: dict[str, str] = {
    "again": VERBS["run.again"],
    "cancel": VERBS["run.cancel"],
    "delete": "background.delete_run",
}

# What is shown of a run beyond its state.
ARGUMENTS = "background.view_run_arguments"
OUTPUT = "background.view_run_output"

# Verbs that run a job's code or change what it does: here a task's own permission counts as well.
OF_TASK = frozenset({"job.run", "job.reset", "run.again"})

HIDDEN = {
    ARGUMENTS: _("hidden (needs “Can view run arguments and results”)"),
    OUTPUT: _("hidden (needs “Can view run output”)"),
}


def declarations(task: str, job_name: str = "") -> list[Task]:
    """Return what the code says about a task, and about the job of that name where it declares the task with other policies."""
    found = [one for one in (registry.tasks().get(task),) if one is not None]
    declared = registry.jobs().get(job_name)
    if declared is not None and declared.task.module_path == task:
        found.append(declared.task)
    return found


def extra_permissions(task: str, job_name: str = "") -> set[str]:
    """Return the further permissions that running, changing and deleting jobs of this task needs."""
    return {asked for one in declarations(task, job_name) if (asked := getattr(one, "permission", None))}


def may_touch(user: Any, task: str, job_name: str = "") -> bool:
    """Tell whether the person has the task's own permission, if it asks for one."""
    return user.has_perms(extra_permissions(task, job_name))


def may(user: Any, verb: str, obj: Any = None) -> bool:
    """Tell whether the person may do this verb; with an object, whether to this one."""
    if not user.has_perm(VERBS[verb]):
        return False
    if obj is None or verb not in OF_TASK:
        return True
    return may_touch(user, obj.task, obj.job_name if hasattr(obj, "job_name") else obj.name)
