"""Own how jobs are listed: the columns, which the job's page shows as well, and the filters."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Q
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.lists import TextFilter
from background.admin.live_list import LiveList
from background.admin.outcomes import OF_RUNS, strip
from background.admin.text import cut, duration, relative, state, visible, when
from background.engine.occurrences import schedule_of
from background.exceptions import InvalidSchedule
from background.models import Job
from background.timing import describe
from background.timing.zones import zone_names, zone_of


def clock_of(job: Job) -> Any:
    """Return the zone of a job's schedule; None for the person's own."""
    return zone_of(job.timezone) if job.timezone in zone_names() else None


class StateFilter(SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    STATES = {
        "active": (gettext_lazy("active"), Q(enabled=True, orphaned=False) & ~Q(schedule="")),
        "manual": (gettext_lazy("by hand only"), Q(enabled=True, orphaned=False, schedule="")),
        "paused": (gettext_lazy("paused"), Q(enabled=False, orphaned=False)),
        "orphaned": (gettext_lazy("not in the code"), Q(orphaned=True)),
        "wrong": (gettext_lazy("schedule error"), ~Q(schedule_error="")),
        "failing": (gettext_lazy("failed last"), Q(outcomes__endswith="f")),
    }

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, label) for name, (label, _condition) in self.STATES.items()]

    def queryset(self, request: Any, queryset: Any) -> Any:
        chosen = self.STATES.get(self.value() or "")
        return queryset.filter(chosen[1]) if chosen else queryset


class FieldFilter(TextFilter):
    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(Q((str(self.parameter_name), self.value()))) if self.value() else queryset


class QueueFilter(FieldFilter):
    title, parameter_name = gettext_lazy("queue"), "queue"


class TaskFilter(FieldFilter):
    title, parameter_name = gettext_lazy("task"), "task"


class ZoneFilter(FieldFilter):
    title, parameter_name = gettext_lazy("time zone"), "timezone"


class JobColumns(LiveList):
    """What a list of jobs says of each."""

    list_display = (
        "shown_name",
        "shown_schedule",
        "next_run",
        "outcomes_strip",
        "median",
        "shown_queue",
        "shown_state",
    )
    list_display_links = ("shown_name",)
    list_filter = (StateFilter, QueueFilter, TaskFilter, ZoneFilter)
    search_fields = ("name__istartswith", "task__istartswith")
    search_help_text = gettext_lazy("The beginning of the job's or its task's name.")
    ordering = ("name",)

    @admin.display(description=gettext_lazy("Name"), ordering="name")
    def shown_name(self, job: Job) -> str:
        return cut(job.name, 200)

    @admin.display(description=gettext_lazy("Queue"), ordering="queue")
    def shown_queue(self, job: Job) -> str:
        return visible(job.queue)

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, job: Job) -> SafeString:
        if job.orphaned:
            return state("orphaned", _("not in the code"))
        if not job.enabled and job.paused_at:
            facts = {"by": job.paused_by or _("code"), "ago": relative(job.paused_at)}
            said = state("paused", _("paused by %(by)s, %(ago)s") % facts)
            if not job.paused_reason:
                return said
            return format_html('{} <span class="bg-quiet">“{}”</span>', said, visible(job.paused_reason))
        if not job.enabled:
            return state("paused", _("paused"))
        if job.schedule_error:
            return state("failed", _("schedule error"))
        return state("active", _("active")) if job.schedule else state("manual", _("by hand only"))

    @admin.display(description=gettext_lazy("Schedule"))
    def shown_schedule(self, job: Job) -> Any:
        if not job.schedule:
            return _("none, by hand only")
        try:
            schedule = schedule_of(job.schedule, job.timezone)
        except InvalidSchedule:
            return cut(job.schedule, 120)
        words = cut(describe(schedule), 160)
        words = f"{words} · {visible(schedule.timezone)}" if schedule.timezone else words
        return format_html('<span title="{}">{}</span>', visible(job.schedule), words)

    @admin.display(description=gettext_lazy("Next run"), ordering="next_run_at")
    def next_run(self, job: Job) -> Any:
        if job.orphaned or not job.enabled or job.next_run_at is None:
            return "–"
        local = timezone.localtime(job.next_run_at, clock_of(job))
        clock = f"{formats.date_format(local, 'H:i')} {local.tzname()}"
        return format_html('{} <span class="bg-quiet bg-short">{}</span>', when(job.next_run_at), clock)

    @admin.display(description=gettext_lazy("Last 30"))
    def outcomes_strip(self, job: Job) -> Any:
        runs, skips = self.url("outcome", job.pk), f"{self.url('change', job.pk)}#bg-skips"
        drawn, failures = strip(job, lambda tail: f"{runs}?tail={tail}" if tail[0] in OF_RUNS else skips)
        if drawn is None:
            return format_html('<span class="bg-quiet">{}</span>', _("no runs yet"))
        if not failures:
            return drawn
        failed = self.runs_url(job, "failed")
        return format_html('{} <a class="bg-failed bg-short" href="{}">{} ✖</a>', drawn, failed, failures)

    def runs_url(self, job: Job, state: str = "") -> str:
        query = {"job": job.name, "window": "all", **({"status__exact": state} if state else {})}
        return f"{self.url('changelist', model='run')}?{urlencode(query)}"

    @admin.display(description=gettext_lazy("Median"), ordering="duration_p50")
    def median(self, job: Job) -> str:
        return duration(job.duration_p50)
