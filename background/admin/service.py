"""Own the pages of services: list, detail, start, stop, restart, tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.base import ReadOnlyAdmin, Verb
from background.admin.lists import LiveFilter
from background.admin.permissions import HIDDEN, OUTPUT
from background.admin.text import block, cut, duration, last_line, moment, state, visible, when
from background.admin.why import is_silent
from background.models import Service

State = Service.State
# Verbs that make sense only in some states.
IDLE = (State.STOPPED, State.FAILED)


def ask(name: str) -> Callable[[Service, Any, str], str]:
    def act(service: Service, user: Any, reason: str) -> str:
        service.request(name, user=user)
        return _("Host %(host)s was asked: %(verb)s %(service)s.") % {
            "host": visible(service.host), "verb": service.get_request_verb_display(), "service": visible(service),
        }  # fmt: skip

    return act


def refusal(name: str) -> Callable[[Service], str]:
    def why_not(service: Service) -> str:
        if service.engine:
            return _("It is part of the host's own machinery, which stops with the host only.")
        if not service.host.is_live:
            return _("Its host is gone.")
        if is_silent(service.host):
            return _("Its host is silent: nobody would hear it.")
        if name == "start" and service.state not in (*IDLE, State.BACKOFF):
            return _("It is started already.")
        if name in ("stop", "tick") and service.state in IDLE:
            return _("It is not running.")
        if name == "tick" and not service.schedule:
            return _("It is not a periodic service.")
        return ""

    return why_not


def verb(name: str, label: Any, effect: Any, opposite: bool = False) -> Verb:
    return Verb(name=name, label=label, effect=effect, act=ask(name), refusal=refusal(name), opposite=opposite)


class ServiceAdmin(ReadOnlyAdmin):
    list_display = (
        "name_shown",
        "shown_state",
        "shown_host",
        "since_shown",
        "restarts",
        "last_sign",
        "next_shown",
        "last_error",
    )
    list_display_links = ("name_shown",)
    list_filter = ("state", LiveFilter, "engine")
    list_select_related = ("host",)
    ordering = ("engine", "name", "host__name")
    sortable_by = ()
    search_fields = ("name__istartswith",)
    search_help_text = gettext_lazy("The beginning of the service's name.")
    verbs = (
        verb("start", gettext_lazy("Start"), gettext_lazy("Its host starts it within two seconds."), opposite=True),
        verb("stop", gettext_lazy("Stop"), gettext_lazy("It stops, until it is started here or its host starts anew."), opposite=True),
        verb("restart", gettext_lazy("Restart"), gettext_lazy("Its host stops it and starts it again within a few seconds.")),
        verb("tick", gettext_lazy("Tick now"), gettext_lazy("It ticks once now; its schedule is not changed."), opposite=True),
    )  # fmt: skip

    def get_fieldsets(self, request, obj=None):
        error = "error_shown" if request.user.has_perm(OUTPUT) else "error_hidden"
        return [
            (None, {"fields": ["name_shown", "shown_state", "shown_host", "since_detail", "wish"]}),
            (_("Life"), {"fields": ["last_beat", "restarts", "next_start", "singleton", "engine"]}),
            (_("Ticks"), {"fields": ["schedule_shown", "next_tick", "iterations", "failures", "last_took"]}),
            (_("Last failure"), {"fields": ["error_time", error]}),
        ]

    def get_readonly_fields(self, request, obj=None):
        return [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    @admin.display(description=gettext_lazy("Service"))
    def name_shown(self, service: Service) -> str:
        return cut(service.name, 120)

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, service: Service) -> SafeString:
        if service.host.is_live and is_silent(service.host):
            return state("silent", _("host silent (was %(state)s)") % {"state": service.get_state_display()})
        shown = state(service.state, service.get_state_display())
        if service.healthy or service.state not in (State.RUNNING, State.BACKOFF, State.STARTING):
            return shown
        return format_html("{} {}", shown, state("unhealthy", _("unhealthy")))

    @admin.display(description=gettext_lazy("Host"))
    def shown_host(self, service: Service) -> Any:
        return self.link("host", "change", service.host_id, cut(service.host.name, 60))

    @admin.display(description=gettext_lazy("Since"))
    def since_shown(self, service: Service) -> Any:
        return when(service.since)

    @admin.display(description=gettext_lazy("In this state since"))
    def since_detail(self, service: Service) -> Any:
        return moment(service.since)

    @admin.display(description=gettext_lazy("Last sign of life"))
    def last_sign(self, service: Service) -> Any:
        return when(service.last_beat_at)

    @admin.display(description=gettext_lazy("Last sign of life"))
    def last_beat(self, service: Service) -> Any:
        return moment(service.last_beat_at)

    @admin.display(description=gettext_lazy("Next"))
    def next_shown(self, service: Service) -> Any:
        if service.state == State.BACKOFF and service.next_start_at:
            return format_html("{} {}", _("start"), when(service.next_start_at))
        return format_html("{} {}", _("tick"), when(service.next_tick_at)) if service.next_tick_at else "–"

    @admin.display(description=gettext_lazy("Last error"), empty_value="–")
    def last_error(self, service: Service) -> Any:
        if not service.error:
            return ""
        line = cut(last_line(service.error), 100)
        return format_html("{}, {}", line, when(service.error_at)) if service.error_at else line

    @admin.display(description=gettext_lazy("Next start"))
    def next_start(self, service: Service) -> Any:
        return moment(service.next_start_at)

    @admin.display(description=gettext_lazy("Next tick"))
    def next_tick(self, service: Service) -> Any:
        return moment(service.next_tick_at)

    @admin.display(description=gettext_lazy("Schedule"), empty_value="–")
    def schedule_shown(self, service: Service) -> str:
        return visible(service.schedule)

    @admin.display(description=gettext_lazy("Last tick took"))
    def last_took(self, service: Service) -> str:
        return duration(service.last_duration)

    @admin.display(description=gettext_lazy("Asked for"), empty_value="–")
    def wish(self, service: Service) -> Any:
        if not service.request_verb:
            return ""
        by = visible(service.requested_by) or _("somebody")
        return format_html("{}, {}, {}", service.get_request_verb_display(), by, when(service.requested_at))

    @admin.display(description=gettext_lazy("Failed at"))
    def error_time(self, service: Service) -> Any:
        return moment(service.error_at)

    @admin.display(description=gettext_lazy("Traceback"))
    def error_shown(self, service: Service) -> Any:
        return block(service.error)

    @admin.display(description=gettext_lazy("Error"))
    def error_hidden(self, service: Service) -> Any:
        return format_html("{} ({})", cut(last_line(service.error), 200), HIDDEN[OUTPUT]) if service.error else "–"
