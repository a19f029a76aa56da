"""Own what the command `background` shows: each list as rows for people and as objects for programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from django.core.management.base import CommandError
from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from background.attention import Finding, attention, live_hosts
from background.conf import get_settings
from background.dialects import dialect
from background.management.acting import find_run, known_queues
from background.management.arguments import no_such
from background.management.terminal import ago, duration
from background.models import Host, Job, Queue, Run, Service
from background.models.queue import EVERYTHING
from background.queue.pause import queue_names
from background.scope import database_alias

COUNTED = 10_000
# Not printed: arguments and results may hold secrets, and the admin has a permission for them.
HEAVY = {"runs": ("args", "kwargs", "result"), "jobs": ("args", "kwargs", "defaults"), "services": ("log",)}


class Listing(NamedTuple):
    """One list: its heads, and how a row of it is shown."""

    title: Any
    heads: tuple[Any, ...]
    row: Callable[[Any], tuple[Any, ...]]
    empty: Any


def objects(model: type[Model], rows: QuerySet[Any] | list[Any], *without: str) -> list[dict[str, Any]]:
    """Return rows as plain objects named like the model's fields."""
    names = [
        field.attname if field.is_relation else field.name
        for field in model._meta.concrete_fields
        if field.name not in without
    ]
    return [{name.removesuffix("_id") if name != "id" else name: getattr(row, name) for name in names} for row in rows]


def jobs() -> QuerySet[Job]:
    return Job.objects.using(database_alias()).order_by("name")


def runs(options: dict[str, Any]) -> QuerySet[Run]:
    """Return the newest runs of these filters; CommandError for a name that nothing bears."""
    rows: QuerySet[Run] = Run.objects.using(database_alias()).defer(*HEAVY["runs"])
    if text := options.get("id"):
        rows = rows.filter(id=find_run(text).id)
    if status := options.get("status"):
        rows = rows.filter(status=status)
    if name := options.get("job"):
        rows = of_job(rows, name)
    if name := options.get("queue"):
        of_queue = rows.filter(queue=name)
        if not of_queue.exists() and name not in (known := known_queues()):
            raise CommandError(no_such(gettext("queue"), name, known))
        rows = of_queue
    return rows.order_by("-id")[: options.get("limit") or 50]


def of_job(rows: QuerySet[Run], name: str) -> QuerySet[Run]:
    """Return the runs of a job: by its row, for which there is an index, else by the name that outlives it."""
    jobs = Job.objects.using(database_alias())
    if job := jobs.filter(name=name).first():
        return rows.filter(job=job)
    if not rows.filter(job_name=name).exists():
        raise CommandError(no_such(gettext("job"), name, jobs.values_list("name", flat=True)))
    return rows.filter(job_name=name)


def services() -> QuerySet[Service]:
    return (
        Service.objects.using(database_alias())
        .filter(host__state__in=Host.LIVE)
        .select_related("host")
        .order_by("engine", "name")
        .defer(*HEAVY["services"])
    )


def hosts() -> QuerySet[Host]:
    return Host.objects.using(database_alias()).order_by("-started_at")[:100]


def queues() -> list[dict[str, Any]]:
    """Return each queue with its pause and its counts (up to 10,000). Blocks for a few queries per queue."""
    alias = database_alias()
    rows = {row.name: row for row in Queue.objects.using(alias).all()}
    live = live_hosts(dialect().now())
    found = []
    for name in queue_names():
        row = rows.get(name) or Queue(name=name)
        mine = Run.objects.using(alias).filter(queue=name)
        found.append(
            {
                **objects(Queue, [row], "id")[0],
                "waiting": mine.filter(status__in=["ready", "blocked"])[:COUNTED].count(),
                "running": mine.filter(status="running")[:COUNTED].count(),
                "served_by": [host.name for host in live if host.serves(name)],
            }
        )
    return found


def findings(found: list[Finding]) -> list[dict[str, Any]]:
    """Return what needs attention as plain objects, with the words beside the codes."""
    return [{**one.facts(), "message": one.message} for one in found]


def status() -> dict[str, Any]:
    """Return the whole in one object. Blocks for a few queries."""
    now = dialect().now()
    alias = database_alias()
    open_runs = {state: Run.objects.using(alias).filter(status=state)[:COUNTED].count() for state in Run.OPEN}
    return {
        "now": now,
        "hosts": [host.name for host in live_hosts(now)],
        "runs": {str(state): count for state, count in open_runs.items()},
        "jobs": Job.objects.using(alias).count(),
        "paused_queues": list(Queue.objects.using(alias).named().paused().values_list("name", flat=True)),
        "everything_paused": Queue.objects.using(alias).paused().filter(name=EVERYTHING).exists(),
        "attention": attention(now),
    }


def state_of(job: Job) -> Any:
    if job.orphaned:
        return _("orphaned")
    if job.schedule_error:
        return _("error")
    return _("active") if job.enabled else _("paused")


def state_of_host(host: Host) -> Any:
    silent = timezone.now() - host.heartbeat_at > timedelta(seconds=get_settings().host_timeout)
    return _("silent") if host.is_live and silent else host.get_state_display()


def served_by(host: Host) -> Any:
    if not host.works:
        return "–"
    if host.queues is None and host.excluded_queues:
        return _("all but %(names)s") % {"names": ", ".join(host.excluded_queues)}
    return _("all") if host.queues is None else ", ".join(host.queues)


LISTINGS = {
    "jobs": Listing(
        _("Jobs"), (_("Name"), _("Schedule"), _("Zone"), _("Next run"), _("Last 30"), _("State")),
        lambda job: (job.name, job.schedule or _("by hand"), job.timezone, ago(job.next_run_at), job.outcomes, state_of(job)),
        _("No jobs. Declare one with @background.job in an app's background.py."),
    ),
    "runs": Listing(
        _("Runs"), (
            pgettext_lazy("noun", "Run"), _("State"), _("Job"), _("Queue"), _("Trigger"), _("Attempt"), _("Queued"), _("Took"), _("Host")),
        lambda run: (
            run.short_id, run.get_status_display(), run.job_name or run.task, run.queue, run.get_trigger_display(),
            f"{run.attempt}/{run.max_attempts}", ago(run.enqueued_at), duration(run.duration), run.host_name,
        ),
        _("No runs."),
    ),
    "services": Listing(
        _("Services"), (_("Service"), _("State"), _("Healthy"), _("Host"), _("Since"), _("Ticks"), _("Restarts"), _("Last error")),
        lambda row: (
            row.name, row.get_state_display(), _("yes") if row.healthy else _("no"), row.host.name, ago(row.since), row.iterations,
            row.restarts, row.error.strip().rpartition("\n")[2][:60],
        ),
        _("No services. Start a host with `python manage.py runbackground`."),
    ),
    "hosts": Listing(
        _("Hosts"), (_("Host"), _("State"), _("Version"), _("Started"), _("Heartbeat"), _("In use"), _("Queues")),
        lambda host: (
            host.name, state_of_host(host), host.version, ago(host.started_at), ago(host.heartbeat_at),
            ", ".join(f"{used}/{host.concurrency.get(name, '?')} {name}" for name, used in host.running.items()),
            served_by(host),
        ),
        _("No hosts. Start one with `python manage.py runbackground`."),
    ),
    "queues": Listing(
        _("Queues"), (_("Queue"), _("State"), _("Waiting"), _("Running"), _("Served by")),
        lambda row: (
            row["name"], _("paused") if row["paused"] else _("active"), row["waiting"], row["running"], ", ".join(row["served_by"]) or "–",
        ),
        _("No queues: they appear when a run names one."),
    ),
}  # fmt: skip
