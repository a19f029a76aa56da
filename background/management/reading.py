"""Own what the command `background` shows: each list as rows for people and as objects for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.db.models import Model, QuerySet
from django.utils.translation import gettext_lazy as _

from background.dialects import dialect
from background.management.attention import attention, live_hosts
from background.management.terminal import ago, duration
from background.models import Host, Job, Queue, Run, Service
from background.queue.pause import queue_names
from background.scope import database_alias

COUNTED = 10_000


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


def runs(filters: dict[str, Any], limit: int) -> QuerySet[Run]:
    rows = Run.objects.using(database_alias()).filter(**{key: value for key, value in filters.items() if value})
    return rows.select_related("host").order_by("-enqueued_at", "-id")[:limit]


def services() -> QuerySet[Service]:
    return (
        Service.objects.using(database_alias())
        .filter(host__state__in=Host.LIVE)
        .select_related("host")
        .order_by("engine", "name")
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
        "paused_queues": list(Queue.objects.using(alias).filter(paused=True).values_list("name", flat=True)),
        "attention": attention(now),
    }


def state_of(job: Job) -> Any:
    if job.orphaned:
        return _("orphaned")
    if job.schedule_error:
        return _("error")
    return _("active") if job.enabled else _("paused")


LISTINGS = {
    "jobs": Listing(
        _("Jobs"), (_("Name"), _("Schedule"), _("Zone"), _("Next run"), _("Last 30"), _("State")),
        lambda job: (job.name, job.schedule or _("by hand"), job.timezone, ago(job.next_run_at), job.outcomes, state_of(job)),
        _("No jobs. Declare one with @background.job in an app's background.py."),
    ),
    "runs": Listing(
        _("Runs"), (_("Run"), _("State"), _("Job"), _("Queue"), _("Trigger"), _("Attempt"), _("Queued"), _("Took"), _("Host")),
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
            host.name, host.get_state_display(), host.version, ago(host.started_at), ago(host.heartbeat_at),
            ", ".join(f"{used}/{host.concurrency.get(name, '?')} {name}" for name, used in host.running.items()),
            _("all") if host.queues is None else ", ".join(host.queues),
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
