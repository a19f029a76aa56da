"""Own how hosts are listed: what they have in hand, which of them are silent, and whether they run one version."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background.admin.base import ReadOnlyAdmin
from background.admin.lists import RoomList
from background.admin.live_list import LiveList
from background.admin.text import between, cut, duration, state, visible, when
from background.admin.why import is_silent
from background.conf import get_settings
from background.models import Host, Run, Service
from background.scope import database_alias

# Beats that may be missing before a person should know.
LATE = 3


class LivingFilter(SimpleListFilter):
    """Hide hosts that are gone, unless asked for."""

    title = gettext_lazy("host")
    parameter_name = "hosts"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("all", _("all, also gone ones")), ("gone", _("gone ones"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        if self.value() == "all":
            return queryset
        return queryset.exclude(state__in=Host.LIVE) if self.value() == "gone" else queryset.filter(state__in=Host.LIVE)

    def choices(self, changelist: Any) -> Any:
        for value, label in (("", _("live hosts")), *self.lookup_choices):
            query = changelist.get_query_string({self.parameter_name: value} if value else {}, [self.parameter_name])
            yield {"selected": (self.value() or "") == value, "query_string": query, "display": label}


class HostList(RoomList):
    """Hosts with the number of their runs where those are in danger: one query more."""

    def get_results(self, request):
        super().get_results(request)
        rows = list(self.result_list)
        quiet = [one for one in rows if is_quiet(one)]
        held = Run.objects.using(database_alias()).running().filter(host__in=quiet).order_by().values_list("host")
        counts = dict(held.annotate(count=Count("id"))) if quiet else {}
        for one in rows:
            one.held = counts.get(one.pk, 0)
        self.result_list = rows
        self.versions = versions(rows)


def is_quiet(host: Host) -> bool:
    """Tell whether some heartbeats of a live host are missing."""
    return host.is_live and age(host) > LATE * get_settings().heartbeat_interval + 1


def age(host: Host) -> float:
    return (timezone.now() - host.heartbeat_at).total_seconds()


def versions(hosts: list[Host]) -> str:
    """Return a sentence if live hosts run more than one version, else ""."""
    found = Counter(host.version for host in hosts if host.is_live)
    if len(found) < 2:
        return ""
    parts = [
        ngettext("%(version)s on %(count)d host", "%(version)s on %(count)d hosts", count)
        % {"version": visible(version) or _("unknown"), "count": count}
        for version, count in found.most_common(5)
    ]
    said = _("Different versions at once: %(versions)s. A deploy is in progress, or a host was forgotten.")
    return said % {"versions": ", ".join(parts)}


def slots(host: Host, executor: str) -> str:
    """Return "3 of 8" for an executor."""
    total = host.concurrency.get(executor)
    if not total or not host.is_live or is_silent(host):
        return "–"
    return _("%(used)s of %(total)s") % {"used": host.running.get(executor, 0), "total": total}


class HostColumns(LiveList, ReadOnlyAdmin):
    """What a list of hosts says of each."""

    list_display = (
        "name_shown", "shown_state", "version_shown", "up", "services_counted", "threads", "processes", "coroutines", "queues_shown",
        "heartbeat",
    )  # fmt: skip
    list_display_links = ("name_shown",)
    list_filter = (LivingFilter, "state")
    ordering = ("-started_at",)
    sortable_by = ()
    search_fields = ("name__istartswith",)
    search_help_text = gettext_lazy("The beginning of the host's name.")
    beside = "admin/background/host/beside.html"

    def get_changelist(self, request, **kwargs):
        return HostList

    def get_queryset(self, request):
        running = Q(services__engine=False, services__state=Service.State.RUNNING)
        return super().get_queryset(request).annotate(service_count=Count("services", filter=running))

    @admin.display(description=gettext_lazy("Host"))
    def name_shown(self, host: Host) -> str:
        return cut(host.name, 120)

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, host: Any) -> SafeString:
        if is_quiet(host):
            silent = state("silent", _("silent"))
            return format_html('{}<br><span class="bg-quiet">{}</span>', silent, rescue(host))
        if host.stop_requested_at and host.is_live:
            by = visible(host.stop_requested_by) or _("somebody")
            return state("stopping", _("asked to stop by %(by)s") % {"by": by})
        return state(host.state, host.get_state_display())

    @admin.display(description=gettext_lazy("Version"), empty_value="–")
    def version_shown(self, host: Host) -> str:
        return visible(host.version)

    @admin.display(description=gettext_lazy("Up"))
    def up(self, host: Host) -> str:
        return duration(between(host.started_at, timezone.now())) if host.is_live and not is_silent(host) else "–"

    @admin.display(description=gettext_lazy("Services"))
    def services_counted(self, host: Any) -> str:
        return str(host.service_count) if host.is_live and not is_silent(host) else "–"

    @admin.display(description=gettext_lazy("Threads"))
    def threads(self, host: Host) -> str:
        return slots(host, "thread")

    @admin.display(description=gettext_lazy("Processes"))
    def processes(self, host: Host) -> str:
        return slots(host, "process")

    @admin.display(description=gettext_lazy("Async"))
    def coroutines(self, host: Host) -> str:
        return slots(host, "loop")

    @admin.display(description=gettext_lazy("Queues"))
    def queues_shown(self, host: Host) -> str:
        if not host.works:
            return _("none")
        said = _("all") if host.queues is None else cut(", ".join(map(str, host.queues)), 200)
        if not host.excluded_queues:
            return said
        excluded = cut(", ".join(host.excluded_queues), 200)
        return _("%(queues)s but %(excluded)s") % {"queues": said, "excluded": excluded}

    @admin.display(description=gettext_lazy("Heartbeat"))
    def heartbeat(self, host: Host) -> Any:
        return when(host.heartbeat_at)


def rescue(host: Any) -> str:
    """Return what becomes of a silent host, and when."""
    left = host.heartbeat_at + timedelta(seconds=get_settings().host_timeout) - timezone.now()
    seconds = left.total_seconds()
    span = _("in %(span)s") % {"span": duration(seconds)} if seconds > 0 else _("as soon as another host looks")
    held = getattr(host, "held", 0)
    if not held:
        return _("given up %(when)s") % {"when": span}
    said = ngettext("%(count)d run will be rescued %(when)s", "%(count)d runs will be rescued %(when)s", held)
    return said % {"count": held, "when": span}
