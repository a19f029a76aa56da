"""Own the list of what needs a person's attention, and the look at hosts, queues, services and jobs that it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background.conf import get_settings
from background.dialects import dialect
from background.models import Host, Job, Queue, Run, Service, ServicePause, Skip
from background.models.clock import DatabaseNow
from background.models.queue import EVERYTHING
from background.scope import database_alias
from background.timing.zones import zone_of

ERROR, WARNING = "error", "warning"

# How long a run may wait in a served queue before a person should know.
LONG_WAIT = timedelta(minutes=10)
# How long a pause may last, and how late a schedule may be.
LONG_PAUSE, LATE = timedelta(hours=24), timedelta(minutes=1)
# Seconds between the clocks of a host and the database.
CLOCK = 5.0
# What is counted exactly.
COUNTED = 10_000


# Since when a ready run waits: one that was due later, or is tried again, did not wait from its first hour on.
WAITS_SINCE = Greatest("enqueued_at", Coalesce("run_after", "enqueued_at"), Coalesce("started_at", "enqueued_at"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that needs attention: what it is (a code), how bad, in words, and where to look (a model and its key)."""

    code: str
    severity: str
    message: str
    model: str = ""
    pk: Any = None
    name: str = ""
    at: datetime | None = None

    def __str__(self) -> str:
        return self.message

    def may_be_seen_by(self, user: Any) -> bool:
        """Tell whether a person may see what it is about; that no host lives may be known to all who see the list."""
        return self.code == "no_host" or not self.model or user.has_perm(f"background.view_{self.model}")

    def facts(self) -> dict[str, Any]:
        """Return it for programs: codes and times, no translated words."""
        target = {"model": self.model, "pk": self.pk, "name": self.name}
        return {"code": self.code, "severity": self.severity, "target": target, "at": self.at}


@dataclass(frozen=True, slots=True)
class Line:
    """What waits in one queue, as far as it was counted."""

    name: str
    count: int
    oldest: datetime | None


class Place(NamedTuple):
    """A queue, or a paused service."""

    kind: str
    pk: int
    name: str
    paused: bool
    at: datetime | None
    by: str


@dataclass
class Glance:
    """The facts at one moment by the database's clock, each read when it is first asked for, by one query."""

    given: datetime | None = None

    @cached_property
    def hosts(self) -> list[Host]:
        """All that are not known to have ended, silent ones too."""
        return list(Host.objects.using(database_alias()).live().annotate(clock=DatabaseNow()).order_by("name"))

    @cached_property
    def now(self) -> datetime:
        return self.given or (self.hosts[0].clock if self.hosts else dialect().now())  # type: ignore[attr-defined]

    @cached_property
    def live(self) -> list[Host]:
        """The hosts that gave a sign of life within HOST_TIMEOUT."""
        since = self.now - timedelta(seconds=get_settings().host_timeout)
        return [host for host in self.hosts if host.heartbeat_at >= since]

    @cached_property
    def lines(self) -> dict[str, Line]:
        """The queues in which ready runs wait, by the first ten thousand in order."""
        table = connections[database_alias()].ops.quote_name(Run._meta.db_table)
        # Added up by the database, and yet only so far: the ORM has no aggregate over the first rows that groups.
        first = (
            f"SELECT position FROM {table} WHERE status = 'ready' AND position IS NOT NULL ORDER BY position LIMIT %s"
        )
        last = RawSQL(f"SELECT MAX(first.position) FROM ({first}) AS first", [COUNTED + 1])
        rows = Run.objects.using(database_alias()).ready().filter(position__isnull=False, position__lte=last)
        sums = rows.order_by().values_list("queue").annotate(count=Count("id"), oldest=Min(WAITS_SINCE))
        return {queue: Line(queue, count, oldest) for queue, count, oldest in sums}

    @cached_property
    def waiting(self) -> int:
        return sum(line.count for line in self.lines.values())

    @cached_property
    def oldest(self) -> datetime | None:
        return min((line.oldest for line in self.lines.values() if line.oldest), default=None)

    @cached_property
    def running(self) -> list[tuple[Any, str]]:
        """The hosts that hold runs: id and name, once for each run, ten thousand and one at most."""
        return list(Run.objects.using(database_alias()).running().values_list("host_id", "host_name")[: COUNTED + 1])

    @cached_property
    def places(self) -> list[Place]:
        """The queues that have a row, and the services that are paused."""
        names = ("kind", "pk", "name", "paused", "paused_at", "paused_by")
        queues = Queue.objects.using(database_alias()).annotate(kind=Value("queue")).order_by()
        services = ServicePause.objects.using(database_alias()).annotate(kind=Value("service"), paused=Value(True))
        rows = queues.values_list(*names).union(services.order_by().values_list(*names), all=True)
        return sorted(Place(kind, pk, name, bool(paused), at, by) for kind, pk, name, paused, at, by in rows)

    @cached_property
    def queues(self) -> dict[str, Place]:
        return {row.name: row for row in self.places if row.kind == "queue"}

    @property
    def everything(self) -> Place | None:
        """What says that everything is paused, if it is."""
        row = self.queues.get(EVERYTHING)
        return row if row and row.paused else None

    @cached_property
    def services(self) -> list[Service]:
        """Those of hosts that live."""
        rows = Service.objects.using(database_alias()).filter(host__in=[host.id for host in self.live])
        return list(rows.order_by("engine", "name").defer("log"))

    @cached_property
    def jobs(self) -> list[Job]:
        return list(troubled_jobs(self.now))

    def served(self, queue: str) -> list[Host]:
        return [host for host in self.live if host.serves(queue)]

    def is_paused(self, queue: str) -> bool:
        return bool(self.everything or ((row := self.queues.get(queue)) and row.paused))


def live_hosts(now: datetime) -> list[Host]:
    """Return the hosts that gave a sign of life within HOST_TIMEOUT. Blocks for one query."""
    return Glance(now).live


def attention(now: datetime | None = None, glance: Glance | None = None) -> list[Finding]:
    """Return what needs attention, the worst first. Blocks for six queries."""
    look = glance or Glance(now)
    rules = (_engine, _hosts, _held, _services, _queues, _everything, _jobs, _clocks, _pauses)
    found = [finding for rule in rules for finding in rule(look)]
    return sorted(found, key=lambda one: one.severity != ERROR)


# The rules, in order of rank


def _engine(look: Glance) -> Iterator[Finding]:
    if not look.live:
        yield Finding("no_host", ERROR, _("No live host: start one with python manage.py runbackground"), "host")


def _hosts(look: Glance) -> Iterator[Finding]:
    for host in look.hosts:
        if host not in look.live:
            text = _("Host %(name)s is silent since %(at)s.") % {"name": host.name, "at": _time(host.heartbeat_at)}
            yield Finding("host_silent", ERROR, text, "host", host.pk, host.name, host.heartbeat_at)


def _held(look: Glance) -> Iterator[Finding]:
    live = {host.pk for host in look.live}
    lost = Counter((host, name) for host, name in look.running if host is not None and host not in live)
    for (host, name), count in sorted(lost.items(), key=str):
        text = ngettext(
            "%(count)d run is held by host %(name)s, which is gone or silent.",
            "%(count)d runs are held by host %(name)s, which is gone or silent.",
            count,
        )
        yield Finding("runs_held", ERROR, text % {"count": count, "name": name}, "host", host, name)


def _services(look: Glance) -> Iterator[Finding]:
    for service in look.services:
        if service.state not in (Service.State.FAILED, Service.State.BACKOFF) and service.healthy:
            continue
        last = service.error.strip().rpartition("\n")[2] or _("misses its watchdog")
        facts = {"name": service.name, "state": service.get_state_display(), "error": last[:200]}
        text = _("Service %(name)s is %(state)s: %(error)s") % facts
        if service.state == Service.State.BACKOFF and service.next_start_at:
            facts |= {"count": str(service.failures), "span": _span(service.next_start_at - look.now)}
            text = _("Service %(name)s failed (%(count)s in a row), next start in %(span)s: %(error)s") % facts
        yield Finding("service_failing", ERROR, text, "service", service.pk, service.name, service.error_at)


def _span(span: timedelta) -> str:
    seconds = max(round(span.total_seconds()), 0)
    minutes = _("%(minutes)d min") % {"minutes": round(seconds / 60)}
    return _("%(seconds)s s") % {"seconds": seconds} if seconds < 100 else minutes


def _queues(look: Glance) -> Iterator[Finding]:
    for name, line in sorted(look.lines.items()):
        row = look.queues.get(name)
        target = ("queue", row.pk if row else None, name, line.oldest)
        if look.is_paused(name) or line.oldest is None:
            continue
        if look.live and not look.served(name):
            text = _("Queue %(name)s has runs waiting and no live host serves it.") % {"name": name}
            yield Finding("queue_unserved", ERROR, text, *target)
        elif look.now - line.oldest > LONG_WAIT:
            facts = {"name": name, "at": _time(line.oldest)}
            text = _("Queue %(name)s: the oldest run waits since %(at)s.") % facts
            yield Finding("queue_waits", WARNING, text, *target)


def _everything(look: Glance) -> Iterator[Finding]:
    if row := look.everything:
        text = _("Everything is paused: no run starts until everything is resumed.")
        yield Finding("everything_paused", WARNING, text, "queue", None, EVERYTHING, row.at)


def _jobs(look: Glance) -> Iterator[Finding]:
    """Name jobs that fail, that are late or have missed a time, that have no schedule one can follow, or no code any more."""
    for job in look.jobs:
        name, target = {"name": job.name}, ("job", job.pk, job.name)
        if job.schedule_error:
            text = _("Job %(name)s cannot be scheduled: %(error)s") % {**name, "error": job.schedule_error}
            yield Finding("job_unschedulable", ERROR, text, *target)
        if job.outcomes.endswith("fff"):
            count = len(job.outcomes) - len(job.outcomes.rstrip("f"))
            text = _("Job %(name)s failed three times in a row.") % name
            if count > 3:
                more = f"{count}+" if count == 30 else f"{count}"
                text = _("Job %(name)s failed %(count)s times in a row.") % {**name, "count": more}
            yield Finding("job_fails", ERROR, text, *target)
        if job.orphaned and job.enabled:
            text = _("Job %(name)s is declared by no live host's code any more: it is not scheduled.") % name
            yield Finding("job_orphaned", WARNING, text, *target)
        elif job.enabled and not job.orphaned and job.next_run_at and job.next_run_at < look.now - LATE and look.live:
            text = _("Job %(name)s is late: it was due at %(at)s.") % {**name, "at": _time(job.next_run_at)}
            yield Finding("job_late", WARNING, text, *target, job.next_run_at)
        if job.outcomes.endswith("m") and job.enabled and not job.orphaned:
            at: datetime | None = job.missed_at  # type: ignore[attr-defined]
            text = _("Job %(name)s missed its last time.") % name
            if at:
                local = in_zone_of(job, at)
                facts = {**name, "at": f"{local:%Y-%m-%d %H:%M}", "zone": str(local.tzinfo)}
                text = _("Job %(name)s missed %(at)s (%(zone)s).") % facts
            yield Finding("job_missed", WARNING, text, *target, at)


def _clocks(look: Glance) -> Iterator[Finding]:
    for host in look.live:
        if abs(host.clock_offset) > CLOCK:
            facts = {"name": host.name, "seconds": host.clock_offset}
            text = _("The clock of host %(name)s is %(seconds)+.0f s off the database's.") % facts
            yield Finding("clock_off", WARNING, text, "host", host.pk, host.name, host.heartbeat_at)


def _pauses(look: Glance) -> Iterator[Finding]:
    since = look.now - LONG_PAUSE
    for row in look.places:
        if not row.paused or row.name == EVERYTHING or row.at is None or row.at >= since:
            continue
        facts = {"name": row.name, "at": _time(row.at)}
        if row.kind == "queue":
            text = _("Queue %(name)s is paused since %(at)s.") % facts
            yield Finding("queue_paused", WARNING, text, "queue", row.pk, row.name, row.at)
        else:
            pk = next((one.pk for one in look.services if one.name == row.name), None)
            text = _("Service %(name)s is paused since %(at)s.") % facts
            yield Finding("service_paused", WARNING, text, "service", pk, row.name, row.at)
    for job in look.jobs:
        if not job.enabled and job.paused_at and job.paused_at < since:
            text = _("Job %(name)s is paused since %(at)s.") % {"name": job.name, "at": _time(job.paused_at)}
            yield Finding("job_paused", WARNING, text, "job", job.pk, job.name, job.paused_at)


def troubled_jobs(now: datetime) -> QuerySet[Job]:
    """Return the jobs with which something is wrong; `missed_at` is the last time that one missed."""
    skips = Skip.objects.filter(job=OuterRef("pk")).exclude(reason=Skip.Reason.OVERLAP).order_by("-last")
    failing = Q(outcomes__endswith="fff") | ~Q(schedule_error="")
    late = Q(enabled=True, orphaned=False) & (Q(next_run_at__lt=now - LATE) | Q(outcomes__endswith="m"))
    gone = Q(enabled=True, orphaned=True)
    resting = Q(enabled=False, paused_at__lt=now - LONG_PAUSE)
    rows = Job.objects.using(database_alias()).filter(failing | late | gone | resting)
    return (
        rows.annotate(missed_at=Subquery(skips.values("last")[:1])).defer("args", "kwargs", "defaults").order_by("name")
    )


def in_zone_of(job: Job, at: datetime) -> datetime:
    """Return an instant on the clock of a job's schedule; in UTC where its zone is none."""
    try:
        return at.astimezone(zone_of(job.timezone or None))
    except (KeyError, ValueError, OSError):  # what zoneinfo raises for names that somebody has written into the row
        return at.astimezone(UTC)


def _time(at: datetime | None) -> str:
    local = timezone.localtime(at) if at else None
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}" if local else "?"
