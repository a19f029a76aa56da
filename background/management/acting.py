"""Own what the command `background` does: each verb finds its thing by name and says one sentence."""

from __future__ import annotations

import difflib
import json
import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.translation import gettext as _

from background import registry
from background.exceptions import BackgroundError, TaskNotFound
from background.models import Host, Job, Run, Service
from background.queue.enqueue import enqueue
from background.queue.pause import pause_queue, queue_names, resume_queue
from background.queue.prune import prune
from background.scope import database_alias
from background.timing import Occurrence, Schedule, parse, upcoming

ROLES = {
    "Background viewer": "view_job view_run view_service view_host view_queue",
    "Background operator": "view_run_arguments view_run_output run_job cancel_run pause_queue pause_job",
    "Background manager": "change_job add_job delete_job delete_run control_service stop_host pause_all",
}


def unknown(what: str, name: str, known: Iterable[str]) -> CommandError:
    """Return the error for a wrong name: with the nearest right ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:10]
    hint = _("Did you mean %(near)s?") % {"near": ", ".join(near)} if near else _("There is none yet.")
    return CommandError(_("There is no %(what)s %(name)r. %(hint)s") % {"what": what, "name": name, "hint": hint})


def find_job(name: str) -> Job:
    rows = Job.objects.using(database_alias())
    job = rows.filter(name=name).first()
    if job is None:
        raise unknown(_("job"), name, rows.values_list("name", flat=True))
    return job


def find_run(text: str) -> Run:
    """Return the run of this id, whole or its tail of eight characters among the newest runs."""
    rows = Run.objects.using(database_alias())
    try:
        run = rows.filter(id=uuid.UUID(text)).first()
    except ValueError:
        tail = text.lstrip("#").lower()
        recent = rows.order_by("-enqueued_at").values_list("id", flat=True)[:10_000]
        found = [id for id in recent if len(tail) >= 4 and str(id).endswith(tail)]
        if len(found) > 1:
            raise CommandError(
                _("%(text)r is the tail of %(count)d runs; give the whole id.") % {"text": text, "count": len(found)}
            ) from None
        run = rows.filter(id=found[0]).first() if found else None
    if run is None:
        raise CommandError(_("There is no run %(text)r; `background runs` lists them.") % {"text": text})
    return run


def read_json(text: str | None, kind: type, flag: str) -> Any:
    if not text:
        return kind()
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(_("%(flag)s is not JSON: %(error)s.") % {"flag": flag, "error": error}) from None
    if not isinstance(value, kind):
        shape = _("an object") if kind is dict else _("an array")
        raise CommandError(_("%(flag)s must be %(shape)s of JSON.") % {"flag": flag, "shape": shape})
    return value


def run_job(name: str, kwargs: str | None) -> Run:
    job = find_job(name)
    return told(job.trigger, **read_json(kwargs, dict, "--kwargs"))


def enqueue_task(path: str, args: str | None, kwargs: str | None) -> Run:
    try:
        task = registry.task(path)
    except TaskNotFound:
        raise unknown(_("task"), path, registry.tasks()) from None
    return told(enqueue, task, read_json(args, list, "--args"), read_json(kwargs, dict, "--kwargs"))


def told(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Call, and turn what the app raises into the command's one sentence."""
    try:
        return call(*args, **kwargs)
    except BackgroundError as error:
        raise CommandError(str(error)) from error


def wait_for(run: Run, seconds: float | None) -> Run:
    try:
        return run.wait(seconds)
    except TimeoutError as error:
        raise CommandError(str(error)) from None


def control_service(name: str, verb: str) -> int:
    rows = Service.objects.using(database_alias()).filter(host__state__in=Host.LIVE)
    mine = rows.filter(name=name)
    if not mine.exists():
        raise unknown(_("running service"), name, rows.values_list("name", flat=True).distinct())
    for row in mine:
        row.request(verb)
    return mine.count()


def set_pause(kind: str, name: str, paused: bool, reason: str) -> None:
    if kind == "job":
        job = find_job(name)
        job.pause(reason=reason) if paused else job.resume()
    elif paused:
        if name not in {*queue_names(), *(task.queue_name for task in registry.tasks().values()), "default"}:
            raise unknown(_("queue"), name, queue_names())
        pause_queue(name, reason=reason)
    elif name not in queue_names():
        raise unknown(_("queue"), name, queue_names())
    else:
        resume_queue(name)


def next_times(name: str, count: int) -> tuple[Job, Schedule, list[Occurrence]]:
    job = find_job(name)
    if not job.schedule:
        raise CommandError(_("Job %(name)s has no schedule: it is run by hand and by code.") % {"name": name})
    schedule = told(parse, job.schedule, job.timezone or None)
    return job, schedule, upcoming(schedule, timezone.now(), count, job.timezone or None)


def prune_history() -> int:
    return prune()


def create_roles() -> list[str]:
    """Make the three groups of the roles table, each with the permissions of those before it; idempotent."""
    names: list[str] = []
    for role, codenames in ROLES.items():
        names += codenames.split()
        group, _created = Group.objects.get_or_create(name=role)
        group.permissions.add(*Permission.objects.filter(content_type__app_label="background", codename__in=names))
    return list(ROLES)
