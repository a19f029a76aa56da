"""Own the one sentence that says why a run is not running, and who could run it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from background.admin.lists import CAP
from background.admin.text import absolute, relative, visible
from background.conf import get_settings
from background.models import Host, Queue, Run
from background.models.queue import EVERYTHING
from background.scope import database_alias

Status = Run.Status


def is_silent(host: Host, now: datetime | None = None) -> bool:
    """Tell whether a host that counts as live has not spoken for longer than HOST_TIMEOUT."""
    return host.is_live and host.heartbeat_at < (now or timezone.now()) - timedelta(seconds=get_settings().host_timeout)


def live_hosts() -> list[Host]:
    """Return the hosts that live and speak. Blocks for one query."""
    rows = Host.objects.using(database_alias()).live().exclude(state=Host.State.STOPPING).order_by("name")
    return [host for host in rows.only(*_NEEDED) if not is_silent(host)]


_NEEDED = ("name", "state", "heartbeat_at", "queues", "excluded_queues", "works", "tasks", "concurrency", "running")


def serving(queue: str, hosts: list[Host] | None = None) -> list[Host]:
    """Return the live hosts that execute runs of a queue."""
    return [host for host in (live_hosts() if hosts is None else hosts) if host.serves(queue)]


def waiting(queue: str, before: int | None = None) -> str:
    """Return how many ready runs of a queue wait (ahead of a position), counted up to the cap."""
    rows = Run.objects.using(database_alias()).ready().filter(queue=queue, position__isnull=False)
    count = (rows if before is None else rows.filter(position__lt=before)).order_by()[: CAP + 1].count()
    return f"{CAP:,}+" if count > CAP else f"{count:,}"


def why(run: Run) -> str:
    """Return why a run is not running, or why a running one may not be; "" where there is nothing to explain. Blocks."""
    if run.status == Status.RUNNING:
        return _why_silent(run)
    if not run.is_open:
        return ""
    now = Situation()
    return now.why_paused(run) or _why_not_due(run) or _why_blocked(run) or now.why_unserved(run) or _why_behind(run)


class Situation:
    """What keeps runs waiting that is not their own: pauses and hosts, each asked for once, when the first run needs it."""

    @cached_property
    def paused(self) -> dict[str, Queue]:
        return {queue.name: queue for queue in Queue.objects.using(database_alias()).paused()[:CAP]}

    @cached_property
    def hosts(self) -> list[Host]:
        return live_hosts()

    def why_waits(self, run: Run) -> str:
        """Return why a run of a list waits, "" if it does not, without a query of its own."""
        if run.is_finished or run.status == Status.RUNNING:
            return ""
        return (
            self.why_paused(run)
            or _why_not_due(run)
            or self._why_blocked(run)
            or self.why_unserved(run)
            or (
                _("It waits for a free slot.")
                if run.position is not None
                else _("It is due and becomes ready in a moment.")
            )
        )

    def _why_blocked(self, run: Run) -> str:
        if run.status != Status.BLOCKED:
            return ""
        return _("It waits for a concurrency slot; at most %(limit)s may run at once.") % {"limit": run.concurrency}

    def why_paused(self, run: Run) -> str:
        queue = self.paused.get(EVERYTHING) or self.paused.get(run.queue)
        if queue is None:
            return ""
        facts: dict[str, Any] = {
            "queue": visible(queue),
            "by": visible(queue.paused_by),
            "ago": relative(queue.paused_at) if queue.paused_at else "",
        }
        if queue.name == EVERYTHING:
            by = queue.paused_by and queue.paused_at
            return (_("Everything was paused by %(by)s %(ago)s.") if by else _("Everything is paused.")) % facts
        if queue.paused_by and queue.paused_at:
            return _("Queue “%(queue)s” was paused by %(by)s %(ago)s.") % facts
        return _("Queue “%(queue)s” is paused.") % facts

    def why_unserved(self, run: Run) -> str:
        hosts = serving(run.queue, self.hosts)
        if not hosts:
            return _("No live host serves queue “%(queue)s”.") % {"queue": visible(run.queue)}
        if all(host.tasks and run.task not in host.tasks for host in hosts):
            return _("No live host of queue “%(queue)s” knows the task %(task)s.") % {
                "queue": visible(run.queue),
                "task": visible(run.task),
            }
        return ""


def _why_silent(run: Run) -> str:
    host = Host.objects.using(database_alias()).filter(pk=run.host_id).first() if run.host_id else None
    if host is None or not (is_silent(host) or not host.is_live):
        return ""
    at = host.heartbeat_at + timedelta(seconds=get_settings().host_timeout)
    return _("Host “%(host)s” is silent since %(since)s; the run will be rescued soon after %(at)s.") % {
        "host": visible(host), "since": absolute(host.heartbeat_at), "at": absolute(at),
    }  # fmt: skip


def _why_not_due(run: Run) -> str:
    if run.status != Status.SCHEDULED or run.run_after is None or run.run_after <= timezone.now():
        return ""
    return _("Due %(span)s, at %(at)s.") % {"span": relative(run.run_after), "at": absolute(run.run_after)}


def _why_blocked(run: Run) -> str:
    if run.status != Status.BLOCKED:
        return ""
    others = Run.objects.using(database_alias()).running().keyed().filter(concurrency_key=run.concurrency_key)
    ids = ", ".join(f"#{str(id)[-8:]}" for id in others.values_list("id", flat=True)[:3])
    if not ids:
        return _("It waits for a concurrency slot, which is free by now.")
    return _("It waits for a concurrency slot; at most %(limit)s may run at once, now %(runs)s.") % {
        "limit": run.concurrency,
        "runs": ids,
    }


def _why_behind(run: Run) -> str:
    queue = Queue.objects.using(database_alias()).filter(name=run.queue, concurrency__isnull=False).first()
    if queue is not None and queue.concurrency is not None:
        busy = Run.objects.using(database_alias()).running().filter(queue=run.queue)[: queue.concurrency].count()
        if busy >= queue.concurrency:
            return _("Queue “%(queue)s” runs at most %(limit)d at once, and so many are running.") % {
                "queue": visible(queue),
                "limit": queue.concurrency,
            }
    if run.position is None:
        return _("It is due and becomes ready in a moment.")
    ahead = waiting(run.queue, run.position)
    if ahead == "0":
        return _("It is the next of its queue; it starts as soon as a host has a free slot.")
    return _("It waits for a free slot: %(ahead)s ahead of it.") % {"ahead": ahead}
