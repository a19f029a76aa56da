"""Own what a person is told before a click on “Run now”: who will run it, what is before it, what is open already."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background import registry
from background.admin.text import rough, visible
from background.admin.why import live_hosts, serving, waiting
from background.models import Host, Job, Queue, Run
from background.models.queue import EVERYTHING
from background.scope import database_alias

WARNS = "⚠ "


def verdict(task: str, queue: str, job: Job | None) -> list[str]:
    """Return sentences about what becomes of a run of this task in this queue. Blocks for a few queries."""
    hosts = serving(queue, live_hosts())
    lines = [_served(queue, hosts), *_unknown(task, queue, hosts), *_paused(queue)]
    return [*lines, *(_beside(job) if job is not None else [])]


def _served(queue: str, hosts: list[Host]) -> str:
    name = visible(queue)
    if not hosts:
        return WARNS + _("No live host serves queue “%(queue)s”: the run will wait until one does.") % {"queue": name}
    served = ngettext(
        "Queue “%(queue)s” is served by %(count)d live host",
        "Queue “%(queue)s” is served by %(count)d live hosts",
        len(hosts),
    )
    ahead = _("%(ahead)s waiting ahead.") % {"ahead": waiting(queue)}
    return f"{served % {'queue': name, 'count': len(hosts)}}; {ahead}"


def _unknown(task: str, queue: str, hosts: list[Host]) -> list[str]:
    if not hosts or not all(host.tasks and task not in host.tasks for host in hosts):
        return []
    return [WARNS + _("None of them knows this task: their code is another than that of this page.")]


def _paused(queue: str) -> list[str]:
    rows = Queue.objects.using(database_alias()).paused().filter(name__in=[queue, EVERYTHING]).order_by("name")
    paused = rows.first()
    if paused is None:
        return []
    if paused.name == EVERYTHING:
        return [WARNS + _("Everything is paused: the run will wait until it is resumed.")]
    return [WARNS + _("This queue is paused: the run will wait until it is resumed.")]


def _beside(job: Job) -> list[str]:
    """Say which run of the job is open, and what the overlap policy makes of it."""
    rows = Run.objects.using(database_alias()).light().open().filter(job=job).exclude(status=Run.Status.SCHEDULED)
    run = rows.order_by("-id").first()
    if run is None:
        return []
    since = rough((timezone.now() - (run.started_at or run.enqueued_at)).total_seconds())
    facts: dict[str, Any] = {
        "run": f"#{run.short_id}", "state": run.get_status_display(), "since": since, "overlap": job.get_overlap_display(),
        "limit": job.concurrency,
    }  # fmt: skip
    opened = _("A run of this job is open: %(run)s, %(state)s since %(since)s.") % facts
    if getattr(registry.tasks().get(job.task), "unique", None):
        return [WARNS + opened + " " + _("If its unique key is the same, no second one is made.")]
    if job.concurrency:
        return [WARNS + opened + " " + _("At most %(limit)d run at once: this one may have to wait.") % facts]
    said = _("Overlap (“%(overlap)s”) holds for the schedule: this one starts beside it.") % facts
    return [WARNS + opened + " " + said]
