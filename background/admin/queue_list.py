"""Own how queues are listed: what waits and runs in each, what was done, who serves it; bounded, however much waits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import IntegerField, Q, Subquery, Sum, Value
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.base import ReadOnlyAdmin
from background.admin.lists import CAP, RoomList
from background.admin.live_list import LiveList
from background.admin.text import cut, relative, rough, state, visible
from background.admin.why import live_hosts, serving
from background.models import Job, Queue, Run
from background.models.queue import EVERYTHING
from background.models.statistics import Statistic
from background.scope import database_alias

Status = Run.Status
# Minutes over which “done per minute” is taken, and hours of “failed”.
DONE, FAILED = 10, 24


class Capped(Subquery):
    """The number of rows of a sliced queryset, as a column."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) capped)"
    output_field = IntegerField()


@dataclass
class Load:
    """What is known of the runs of one queue."""

    waiting: int = 0
    running: int = 0
    oldest: datetime | None = None
    done: int = 0  # within the last ten minutes
    ended: int = 0  # within the last day
    failed: int = 0
    hosts: list[Any] = field(default_factory=list)


def loads() -> tuple[dict[str, Load], bool]:
    """Return the load of each queue with open runs, and whether so many wait that some counts are too low. Three queries."""
    found: dict[str, Load] = {}
    rows = Run.objects.using(database_alias())
    facts = ("queue", "enqueued_at", "run_after")
    # By their index: only those that are ready have a position.
    ready = list(rows.filter(position__isnull=False).order_by("position").values_list(*facts)[: CAP + 1])
    for queue, enqueued_at, run_after in ready:
        load = found.setdefault(queue, Load())
        load.waiting += 1
        since = max(enqueued_at, run_after) if run_after else enqueued_at
        load.oldest = min(load.oldest, since) if load.oldest else since
    pairs = ("queue", "status")
    held = rows.filter(status=Status.RUNNING).order_by().values_list(*pairs)
    blocked = rows.filter(status=Status.BLOCKED).order_by().values_list(*pairs)
    others: Counter[tuple[str, str]] = Counter(held.union(blocked, all=True)[: CAP + 1])
    for (queue, status), count in others.items():
        load = found.setdefault(queue, Load())
        load.running += count if status == Status.RUNNING else 0
        load.waiting += count if status == Status.BLOCKED else 0
    _add_ended(found)
    return found, len(ready) > CAP


def _add_ended(found: dict[str, Load]) -> None:
    """Add what ended, from the sums that are kept per minute and hour."""
    now = timezone.now()
    span = Statistic.Span
    recent = Q(span=span.MINUTE, start__gte=now - timedelta(minutes=DONE))
    day = Q(span=span.HOUR, start__gte=now - timedelta(hours=FAILED))
    rows = Statistic.objects.using(database_alias()).overall().filter(recent | day).order_by()
    sums = rows.values_list("queue", "span").annotate(
        ended=Sum("succeeded") + Sum("failed") + Sum("cancelled"), bad=Sum("failed")
    )
    for queue, kind, ended, bad in sums:
        load = found.setdefault(queue, Load())
        if kind == span.MINUTE:
            load.done = ended
        else:
            load.ended, load.failed = ended, bad


def recount(names: list[str], found: dict[str, Load]) -> None:
    """Count the ready runs of each queue apart, where too many wait in all for one look. One query."""
    ready = Run.objects.using(database_alias()).filter(position__isnull=False).order_by()
    counts = {
        f"count_{place}": Capped(ready.filter(queue=name).values(one=Value(1))[: CAP + 1])
        for place, name in enumerate(names)
    }
    row = Queue.objects.using(database_alias()).order_by().annotate(**counts).values(*counts).first()
    for place, name in enumerate(names):
        found.setdefault(name, Load()).waiting = (row or {}).get(f"count_{place}", 0)


class QueueList(RoomList):
    """Queues with their loads: six queries more, whatever their number."""

    def get_results(self, request):
        super().get_results(request)
        rows = list(self.result_list)
        listed = [one.name for one in rows]
        found, capped = loads()
        if capped and listed:
            recount(listed, found)
        hosts = live_hosts()
        for queue in rows:
            queue.load = found.get(queue.name, Load())
            queue.load.hosts = serving(queue.name, hosts)
        jobs = Job.objects.using(database_alias()).order_by().values_list("queue", flat=True).distinct()
        busy = {name for name, load in found.items() if load.waiting or load.running}.union(jobs) - set(listed)
        known = Queue.objects.using(database_alias()).filter(name__in=[*sorted(busy)[:1000], EVERYTHING])
        names = {one.name: one for one in known}
        self.everything = names.get(EVERYTHING)
        self.rowless = [(name, found.get(name, Load())) for name in sorted(busy - set(names))[:100]]
        self.result_list = rows


def counted(number: int) -> str:
    return f"{CAP:,}+" if number > CAP else f"{number:,}"


def paused_words(queue: Queue) -> str:
    if queue.paused_at is None:
        return _("paused")
    facts = {"by": visible(queue.paused_by) or _("somebody"), "ago": relative(queue.paused_at)}
    return _("paused by %(by)s, %(ago)s") % facts


class QueueColumns(LiveList, ReadOnlyAdmin):
    """What a list of queues says of each."""

    list_display = (
        "name_shown", "shown_state", "waiting", "oldest_shown", "running", "per_minute", "failed_share", "limit", "served",
    )  # fmt: skip
    list_display_links = ("name_shown",)
    list_filter = ("paused",)
    ordering = ("name",)
    sortable_by = ()
    beside = "admin/background/queue/beside.html"

    def get_queryset(self, request):
        return super().get_queryset(request).exclude(name=EVERYTHING)

    def get_changelist(self, request, **kwargs):
        return QueueList

    def runs_link(self, queue: Any, text: str, status: str) -> Any:
        query = urlencode({"queue": queue.name, "status__exact": status})
        return format_html('<a href="{}?{}">{}</a>', self.url("changelist", model="run"), query, text)

    @admin.display(description=gettext_lazy("Queue"))
    def name_shown(self, queue: Queue) -> str:
        return cut(queue.name, 100)

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, queue: Any) -> SafeString:
        load = getattr(queue, "load", None)
        if queue.paused:
            said = state("paused", paused_words(queue))
            if not queue.paused_reason:
                return said
            return format_html('{} <span class="bg-quiet">“{}”</span>', said, visible(queue.paused_reason))
        if load and load.waiting and not load.hosts:
            return state("orphaned", _("nobody serves it"))
        return state("active", _("active"))

    @admin.display(description=gettext_lazy("Waiting"))
    def waiting(self, queue: Any) -> Any:
        return self.runs_link(queue, counted(queue.load.waiting), Status.READY)

    @admin.display(description=gettext_lazy("Oldest"))
    def oldest_shown(self, queue: Any) -> str:
        since = queue.load.oldest
        return rough(max((timezone.now() - since).total_seconds(), 0)) if since else "–"

    @admin.display(description=gettext_lazy("Running"))
    def running(self, queue: Any) -> Any:
        return self.runs_link(queue, counted(queue.load.running), Status.RUNNING)

    @admin.display(description=gettext_lazy("Done/min"))
    def per_minute(self, queue: Any) -> str:
        pace = queue.load.done / DONE
        return formats.number_format(pace, 0 if pace >= 10 else 1) if queue.load.done else "–"

    @admin.display(description=gettext_lazy("Failed, 24 h"))
    def failed_share(self, queue: Any) -> Any:
        load = queue.load
        if not load.ended:
            return "–"
        share = f"{formats.number_format(100 * load.failed / load.ended, 1)} %"
        return self.runs_link(queue, share, Status.FAILED) if load.failed else share

    @admin.display(description=gettext_lazy("At once at most"))
    def limit(self, queue: Queue) -> Any:
        return queue.concurrency or "–"

    @admin.display(description=gettext_lazy("Served by"), empty_value="–")
    def served(self, queue: Any) -> str:
        return cut(", ".join(host.name for host in queue.load.hosts), 200)
