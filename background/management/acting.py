"""Own what the command `background` does: each verb finds its thing by name and says one sentence."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import CommandError
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from background import registry
from background.attention import live_hosts
from background.compat import Task, task_backends
from background.dialects import dialect
from background.engine.pauses import pause_service, paused_services, resume_service
from background.exceptions import BackgroundError, TaskNotFound
from background.jobs.policies import bind
from background.management.arguments import no_such
from background.models import Host, Job, Run, Service
from background.queue.enqueue import enqueue
from background.queue.pause import pause_everything, pause_queue, queue_names, resume_everything, resume_queue
from background.scope import database_alias
from background.timing import Occurrence, Schedule, parse, upcoming

# The table of docs: a permission that a later version brings is given by running the command again.
ROLES = {
    "Background viewer": "view_dashboard view_job view_run view_service view_host view_queue",
    "Background operator": "view_run_arguments view_run_output run_job cancel_run pause_queue pause_job",
    "Background manager": "change_job add_job delete_job delete_run control_service stop_host pause_all",
}


def find_job(name: str) -> Job:
    rows = Job.objects.using(database_alias())
    job = rows.filter(name=name).first()
    if job is None:
        raise CommandError(no_such(_("job"), name, rows.values_list("name", flat=True)))
    return job


def known_queues() -> set[str]:
    """Return the queues that anything names: a row, an open run, a job, a task, a live host, the settings."""
    found = {"default", *queue_names(), *(task.queue_name for task in registry.tasks().values())}
    found.update(Job.objects.using(database_alias()).values_list("queue", flat=True).order_by().distinct())
    for backend in task_backends.settings.values():
        found.update(backend.get("QUEUES") or ())
    for host in Host.objects.using(database_alias()).live():
        found.update(host.queues or ())
    return found


def find_queue(name: str) -> str:
    known = known_queues()
    if name not in known:
        raise CommandError(no_such(_("queue"), name, known))
    return name


def find_run(text: str) -> Run:
    """Return the run of this id, whole or its tail of eight characters among the newest runs."""
    rows = Run.objects.using(database_alias())
    try:
        run = rows.filter(id=uuid.UUID(text)).first()
    except ValueError:
        tail = text.lstrip("#").lower()
        recent = rows.order_by("-id").values_list("id", flat=True)[:10_000]
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
    """Trigger a job. Not by Job.trigger: a task's own arguments may be called `user` or `reason`, as its parameters are."""
    job = find_job(name)
    given = {**job.kwargs, **read_json(kwargs, dict, "--kwargs")}
    task = told(registry.task, job.task)
    check_arguments(task, job.args, given, name)
    return told(enqueue, task, job.args, given, job=job, trigger=Run.Trigger.MANUAL)


def enqueue_task(path: str, args: str | None, kwargs: str | None) -> Run:
    try:
        task = registry.task(path)
    except TaskNotFound:
        raise CommandError(no_such(_("task"), path, registry.tasks())) from None
    positional, keywords = read_json(args, list, "--args"), read_json(kwargs, dict, "--kwargs")
    check_arguments(task, positional, keywords, path)
    return told(enqueue, task, positional, keywords)


def check_arguments(task: Task, args: list[Any], kwargs: dict[str, Any], name: str) -> None:
    """Refuse now what could only fail later."""
    told(bind, task.func, task.takes_context, args, kwargs, name)


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
    except Run.DoesNotExist:
        raise CommandError(_("Run %(id)s has been deleted meanwhile.") % {"id": run.id}) from None
    except KeyboardInterrupt:
        raise CommandError(_("Nobody waits any more; run %(id)s goes on.") % {"id": run.id}, returncode=130) from None


def is_served(run: Run) -> bool:
    return any(host.serves(run.queue) for host in live_hosts(dialect().now()))


def where_to_look(run: Run) -> str:
    """Return how to look at a run: the command, and its page in the admin where the site has one."""
    command = f"python manage.py background runs --id {run.short_id}"
    try:
        page = reverse("admin:background_run_change", args=[run.pk])
    except (NoReverseMatch, ImportError):
        return _("Look at it: %(command)s") % {"command": command}
    return _("Look at it: %(command)s, or %(page)s in the admin.") % {"command": command, "page": page}


def control_service(name: str, verb: str) -> int:
    """Leave a wish for a service on every live host; returns on how many."""
    rows = Service.objects.using(database_alias()).filter(host__state__in=Host.LIVE)
    mine = list(rows.filter(name=name))
    if not mine:
        names = rows.filter(engine=False).values_list("name", flat=True).distinct()
        raise CommandError(no_such(_("running service"), name, names))
    refuse_machinery(name)
    if verb == Service.Request.TICK and not any(row.schedule for row in mine):
        raise CommandError(_("Service %(name)s is not periodic: it has no tick.") % {"name": name})
    heard = {host.id for host in live_hosts(dialect().now())}
    mine = [row for row in mine if row.host_id in heard]
    if not mine:
        raise CommandError(_("The hosts of service %(name)s are silent: nobody would hear it.") % {"name": name})
    for row in mine:
        row.request(verb)
    return len(mine)


def refuse_machinery(name: str) -> None:
    if Service.objects.using(database_alias()).filter(name=name, engine=True).exists():
        raise CommandError(
            _("Service %(name)s is part of the host's own machinery, which stops with the host only.") % {"name": name}
        )


def find_service(name: str) -> str:
    """Return the name of a service that the code declares, that a host has told of, or that is paused."""
    refuse_machinery(name)
    told_of = Service.objects.using(database_alias()).filter(engine=False).values_list("name", flat=True)
    known = {*(one.get_name() for one in registry.services()), *told_of, *paused_services()}
    if name not in known:
        raise CommandError(no_such(_("service"), name, known))
    return name


def set_pause(kind: str, name: str, paused: bool, reason: str) -> None:
    if kind == "everything":
        pause_everything(reason=reason) if paused else resume_everything()
    elif kind == "job":
        job = find_job(name)
        job.pause(reason=reason) if paused else job.resume()
    elif kind == "service":
        service = find_service(name)
        pause_service(service, reason=reason) if paused else resume_service(service)
    elif paused:
        pause_queue(find_queue(name), reason=reason)
    else:
        resume_queue(find_queue(name))


def next_times(name: str, count: int) -> tuple[Job, Schedule, list[Occurrence]]:
    """Return the next times of a job's schedule within its window."""
    job = find_job(name)
    if not job.schedule:
        raise CommandError(_("Job %(name)s has no schedule: it is run by hand and by code.") % {"name": name})
    schedule = told(parse, job.schedule, job.timezone or None)
    after = timezone.now()
    if job.starts_at and job.starts_at > after:
        after = job.starts_at - timedelta(microseconds=1)
    found = upcoming(schedule, after, count, job.timezone or None)
    return job, schedule, [one for one in found if job.ends_at is None or one.instant_utc < job.ends_at]


def create_roles() -> list[str]:
    """Make the three groups of the roles table, each with the permissions of those before it; idempotent."""
    if not Permission.objects.filter(content_type__app_label="background").exists():
        raise CommandError(_("There are no permissions yet: run `python manage.py migrate` first."))
    names: list[str] = []
    for role, codenames in ROLES.items():
        names += codenames.split()
        group, _created = Group.objects.get_or_create(name=role)
        group.permissions.add(*Permission.objects.filter(content_type__app_label="background", codename__in=names))
    return list(ROLES)
