"""Own the list of what needs a person's attention."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Count, Min
from django.db.models.functions import Coalesce, Greatest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background.conf import get_settings
from background.dialects import dialect
from background.models import Host, Job, Queue, Run, Service
from background.models.queue import EVERYTHING
from background.queue.pause import queue_names
from background.scope import database_alias

# Minutes that a run may wait in a served queue before a person should know.
LONG_WAIT = timedelta(minutes=10)
# Since when a ready run waits: one that was due later, or is tried again, did not wait from its first hour on.
WAITS_SINCE = Greatest("enqueued_at", Coalesce("run_after", "enqueued_at"), Coalesce("started_at", "enqueued_at"))


def live_hosts(now: datetime) -> list[Host]:
    """Return the hosts that gave a sign of life within HOST_TIMEOUT. Blocks for one query."""
    since = now - timedelta(seconds=get_settings().host_timeout)
    return list(Host.objects.using(database_alias()).live().filter(heartbeat_at__gte=since).order_by("name"))


def attention(now: datetime | None = None) -> list[str]:
    """Return a sentence for each thing that needs attention, the worst first. Blocks for a few queries."""
    alias = database_alias()
    now = now or dialect().now()
    hosts = live_hosts(now)
    found = [] if hosts else [_("No live host: start one with `python manage.py runbackground`.")]
    for host in Host.objects.using(alias).live().exclude(id__in=[one.id for one in hosts]):
        found.append(
            _("Host %(name)s is silent since %(at)s.")
            % {"name": host.name, "at": host.heartbeat_at.isoformat(timespec="seconds")}
        )
    held = Run.objects.using(alias).running().exclude(host=None).exclude(host__in=[one.id for one in hosts])
    for name, count in held.values_list("host_name").annotate(count=Count("id")).order_by("host_name"):
        text = ngettext(
            "%(count)d run is held by host %(name)s, which is gone or silent.",
            "%(count)d runs are held by host %(name)s, which is gone or silent.",
            count,
        )
        found.append(text % {"count": count, "name": name})
    rows = Service.objects.using(alias).filter(host__in=hosts).order_by("name")
    for service in rows:
        if service.state in (Service.State.FAILED, Service.State.BACKOFF) or not service.healthy:
            last = service.error.strip().rpartition("\n")[2] or _("misses its watchdog")
            found.append(
                _("Service %(name)s is %(state)s: %(error)s")
                % {"name": service.name, "state": service.get_state_display(), "error": last[:200]}
            )
    paused = set(Queue.objects.using(alias).paused().values_list("name", flat=True))
    for name in queue_names():
        ready = Run.objects.using(alias).ready().filter(queue=name, position__isnull=False)
        oldest = ready.aggregate(oldest=Min(WAITS_SINCE))["oldest"]
        if oldest is None or name in paused or EVERYTHING in paused:
            continue
        if hosts and not any(host.serves(name) for host in hosts):
            found.append(_("Queue %(name)s has runs waiting and no live host serves it.") % {"name": name})
        elif now - oldest > LONG_WAIT:
            found.append(
                _("Queue %(name)s: the oldest run waits since %(at)s.")
                % {"name": name, "at": oldest.isoformat(timespec="seconds")}
            )
    for job in Job.objects.using(alias).exclude(schedule_error=""):
        found.append(_("Job %(name)s cannot be scheduled: %(error)s") % {"name": job.name, "error": job.schedule_error})
    for job in Job.objects.using(alias).filter(outcomes__endswith="fff"):
        found.append(_("Job %(name)s failed three times in a row.") % {"name": job.name})
    return found
