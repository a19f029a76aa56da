"""Own how services are listed: one row for each on each host, a singleton once, and those that no host runs beneath."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, Max, OuterRef, Q
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background import registry
from background.admin.base import ReadOnlyAdmin
from background.admin.lists import LiveFilter, RoomList
from background.admin.live_list import LiveList
from background.admin.text import ahead, cut, duration, last_line, relative, state, visible, when
from background.admin.why import is_silent
from background.models import Host, Service, ServicePause, ServiceStart
from background.scope import database_alias

State = Service.State
DAY = timedelta(days=1)
# Names that are listed beneath the table.
MOST = 50
# States in which a singleton holds its lease.
HOLDING = (State.STARTING, State.RUNNING, State.BACKOFF, State.STOPPING)


class ServiceList(RoomList):
    """Services with what is known of them elsewhere: four queries more, whatever their number."""

    def get_queryset(self, request, exclude_parameters=None):
        rows = super().get_queryset(request, exclude_parameters).defer("log")
        if "state__exact" in self.params:
            return rows
        holder = Service.objects.filter(
            name=OuterRef("name"), state__in=HOLDING, singleton=True, host__state__in=Host.LIVE
        )
        return rows.exclude(Exists(holder), state=State.STANDBY)

    def get_results(self, request):
        super().get_results(request)
        rows, alias = list(self.result_list), database_alias()
        names = {one.name for one in rows}
        starts = ServiceStart.objects.using(alias).filter(name__in=names, restart__gt=0)
        today = starts.filter(started_at__gt=timezone.now() - DAY)
        restarts = Counter(today.values_list("name", "host"))  # a hundred of each name are kept
        standby = Service.objects.using(alias).filter(name__in=names, state=State.STANDBY, host__state__in=Host.LIVE)
        pairs = list(standby.order_by("host__name").values_list("name", "host__name")[: 10 * MOST])
        pauses = {one.name: one for one in ServicePause.objects.using(alias)}
        for one in rows:
            one.restarts_today = restarts.get((one.name, one.host_id), 0)
            one.standbys = [host for name, host in pairs if name == one.name] if one.state in HOLDING else []
            one.pause = pauses.get(one.name)
        self.result_list = rows
        self.elsewhere = elsewhere(pauses)


def elsewhere(pauses: Any) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return groups of services that no live host runs, as (title, [(name, when last seen, its pause)])."""
    rows = Service.objects.using(database_alias()).filter(engine=False).order_by("name").values_list("name")
    lives = Count("id", filter=Q(host__state__in=Host.LIVE))
    known = {name: (last, live) for name, last, live in rows.annotate(last=Max("since"), live=lives)[:1000]}
    declared = {one.get_name() for one in registry.services()}
    idle = sorted(name for name in declared if name not in known or not known[name][1])
    old = [(name, last) for name, (last, live) in known.items() if not live and name not in declared]
    groups = [
        (_("Declared, but on no live host"), [_told(name, None, pauses) for name in idle[:MOST]]),
        (_("No longer declared"), [_told(name, last, pauses) for name, last in old[:MOST]]),
    ]
    return [(title, found) for title, found in groups if found]


def _told(name: str, last: Any, pauses: Any) -> tuple[str, str, str]:
    pause = pauses.get(name)
    return cut(name, 120), relative(last) if last else "", paused_words(pause) if pause else ""


def paused_words(pause: ServicePause) -> str:
    facts = {"by": visible(pause.paused_by) or _("somebody"), "ago": relative(pause.paused_at)}
    return _("paused by %(by)s, %(ago)s") % facts


class ServiceColumns(LiveList, ReadOnlyAdmin):
    """What a list of services says of each."""

    list_display = ("name_shown", "shown_state", "shown_host", "up_since", "restarts_shown", "last_sign", "last_error")
    list_display_links = ("name_shown",)
    list_filter = ("state", LiveFilter, "engine")
    list_select_related = ("host",)
    ordering = ("engine", "name", "host__name")
    sortable_by = ()
    search_fields = ("name__istartswith",)
    search_help_text = gettext_lazy("The beginning of the service's name.")
    beside = "admin/background/service/elsewhere.html"

    def get_changelist(self, request, **kwargs):
        return ServiceList

    @admin.display(description=gettext_lazy("Service"))
    def name_shown(self, service: Service) -> Any:
        name = cut(service.name, 120)
        if not service.engine:
            return name
        return format_html('{} <span class="bg-quiet" title="{}">ℹ</span>', name, _("part of the host's machinery"))

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, service: Service) -> SafeString:
        shown = self.plain_state(service)
        if service.state == State.BACKOFF and service.next_start_at:
            facts = {"when": ahead(service.next_start_at), "number": service.restarts + 2}
            said = _("next start %(when)s (try %(number)d)") % facts
        elif service.state == State.RUNNING and service.next_tick_at:
            said = _("next tick %(when)s") % {"when": ahead(service.next_tick_at)}
        else:
            pause = getattr(service, "pause", None)
            said = paused_words(pause) if pause else ""
        return format_html('{}<br><span class="bg-quiet">{}</span>', shown, said) if said else shown

    def plain_state(self, service: Service) -> SafeString:
        if service.host.is_live and is_silent(service.host):
            return state("silent", _("host silent (was %(state)s)") % {"state": service.get_state_display()})
        if service.state == State.RUNNING and service.schedule and service.healthy:
            return state("running", _("idle"))
        shown = state(service.state, service.get_state_display())
        if service.healthy or service.state not in (State.RUNNING, State.BACKOFF, State.STARTING):
            return shown
        return format_html("{} {}", shown, state("unhealthy", _("unhealthy")))

    @admin.display(description=gettext_lazy("Host"))
    def shown_host(self, service: Any) -> Any:
        link = self.link("host", "change", service.host_id, cut(service.host.name, 60))
        if not service.singleton or service.state not in HOLDING:
            return link
        standbys = getattr(service, "standbys", ())
        said = _("holds the lease")
        if standbys:
            said = _("holds the lease; standing by: %(hosts)s") % {"hosts": cut(", ".join(standbys), 120)}
        return format_html('{} <span class="bg-quiet">({})</span>', link, said)

    @admin.display(description=gettext_lazy("Up since"))
    def up_since(self, service: Service) -> Any:
        return when(service.since) if service.state == State.RUNNING else "–"

    @admin.display(description=gettext_lazy("Restarts, 24 h"))
    def restarts_shown(self, service: Any) -> str:
        return str(getattr(service, "restarts_today", service.restarts))

    @admin.display(description=gettext_lazy("Last sign of life"))
    def last_sign(self, service: Service) -> Any:
        sign = when(service.last_beat_at)
        if service.last_duration is None:
            return sign
        took = _("tick took %(span)s") % {"span": duration(service.last_duration)}
        return format_html('{} <span class="bg-quiet">{}</span>', sign, took)

    @admin.display(description=gettext_lazy("Last error"), empty_value="–")
    def last_error(self, service: Service) -> Any:
        if not service.error:
            return ""
        line = cut(last_line(service.error), 100)
        return format_html("{}, {}", line, when(service.error_at)) if service.error_at else line
