"""Own the pages of services: detail, and the verbs start, stop, restart, pause, resume, tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.base import Verb
from background.admin.permissions import HIDDEN, OUTPUT
from background.admin.service_life import day, last_starts, log_of, settings_of, starts_of
from background.admin.service_list import ServiceColumns, paused_words
from background.admin.text import block, cut, duration, last_line, moment, visible, when
from background.admin.why import is_silent
from background.engine.pauses import pause_service, resume_service
from background.models import Service, ServicePause
from background.scope import database_alias

State = Service.State
# Verbs that make sense only in some states.
IDLE = (State.STOPPED, State.FAILED)
MACHINERY = gettext_lazy("It is part of the host's own machinery, which stops with the host only.")


def pause_of(service: Any) -> ServicePause | None:
    """Return the pause of a service, asking once for each instance."""
    if not hasattr(service, "pause"):
        service.pause = ServicePause.objects.using(database_alias()).filter(name=service.name).first()
    return service.pause


def pause(service: Service, user: Any, reason: str) -> str:
    pause_service(service.name, user=user, reason=reason)
    return _("Service %(service)s is paused on every host.") % {"service": visible(service)}


def resume(service: Service, user: Any, reason: str) -> str:
    resume_service(service.name)
    return _("Service %(service)s may run again on every host.") % {"service": visible(service)}


def why_no_pause(service: Service) -> str:
    if service.engine:
        return str(MACHINERY)
    return _("It is paused already.") if pause_of(service) else ""


def why_no_resume(service: Service) -> str:
    return "" if pause_of(service) else _("It is not paused.")


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
            return str(MACHINERY)
        if not service.host.is_live:
            return _("Its host is gone.")
        if is_silent(service.host):
            return _("Its host is silent: nobody would hear it.")
        if pause_of(service):
            return _("It is paused: resume it.")
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


class ServiceAdmin(ServiceColumns):
    change_form_template = "admin/background/service/change_form.html"
    verbs = (
        verb("start", gettext_lazy("Start"), gettext_lazy("Its host starts it within two seconds."), opposite=True),
        verb("stop", gettext_lazy("Stop"), gettext_lazy("It stops, until it is started here or its host starts anew."), opposite=True),
        verb("restart", gettext_lazy("Restart"), gettext_lazy("Its host stops it and starts it again within a few seconds.")),
        Verb(
            name="pause", label=gettext_lazy("Pause"), act=pause, refusal=why_no_pause, opposite=True,
            effect=gettext_lazy("It stops on every host and rests, also over restarts and deploys, until it is resumed."),
        ),
        Verb(
            name="resume", label=gettext_lazy("Resume"), act=resume, refusal=why_no_resume, opposite=True,
            effect=gettext_lazy("Every host starts it again within two seconds."),
        ),
        verb("tick", gettext_lazy("Tick now"), gettext_lazy("It ticks once now; its schedule is not changed."), opposite=True),
    )  # fmt: skip

    def get_fieldsets(self, request, obj=None):
        error = "error_shown" if request.user.has_perm(OUTPUT) else "error_hidden"
        return [
            (None, {"fields": [("shown_state", "shown_host", "since_detail"), ("paused_shown", "wish")]}),
            (
                _("Life"),
                {"fields": [("last_beat", "restarts", "failures", "next_start"), ("singleton_shown", "engine_shown")]},
            ),
            *(
                [(_("Ticks"), {"fields": [("schedule_shown", "next_tick", "last_took", "iterations")]})]
                if obj and obj.schedule
                else []
            ),
            *([(_("Last failure"), {"fields": ["error_time", error]})] if obj and obj.error else []),
        ]

    def get_readonly_fields(self, request, obj=None):
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        starts, output = starts_of(obj), request.user.has_perm(OUTPUT)
        context |= {
            "day": day(obj, starts),
            "starts": last_starts(self, request.user, starts, output),
            "declared": settings_of(obj),
            "log": log_of(obj) if output else [],
            "log_hidden": "" if output else HIDDEN[OUTPUT],
        }
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description=gettext_lazy("Pause"))
    def paused_shown(self, service: Service) -> str:
        found = pause_of(service)
        if found is None:
            return "–"
        words = paused_words(found)
        return f"{words}: “{visible(found.paused_reason)}”" if found.paused_reason else words

    @admin.display(description=gettext_lazy("In this state since"))
    def since_detail(self, service: Service) -> Any:
        return moment(service.since)

    @admin.display(description=gettext_lazy("Last sign of life"))
    def last_beat(self, service: Service) -> Any:
        return moment(service.last_beat_at)

    # In words: Django's red cross would look like a fault.
    @admin.display(description=gettext_lazy("singleton"))
    def singleton_shown(self, service: Service) -> str:
        return _("yes") if service.singleton else _("no")

    @admin.display(description=gettext_lazy("engine"))
    def engine_shown(self, service: Service) -> str:
        return _("yes") if service.engine else _("no")

    @admin.display(description=gettext_lazy("Next start"))
    def next_start(self, service: Service) -> Any:
        return moment(service.next_start_at)

    @admin.display(description=gettext_lazy("Next tick"))
    def next_tick(self, service: Service) -> Any:
        return moment(service.next_tick_at)

    @admin.display(description=gettext_lazy("Schedule"))
    def schedule_shown(self, service: Service) -> str:
        return visible(service.schedule) or "–"

    @admin.display(description=gettext_lazy("Last tick took"))
    def last_took(self, service: Service) -> str:
        return duration(service.last_duration)

    @admin.display(description=gettext_lazy("Asked for"))
    def wish(self, service: Service) -> Any:
        if not service.request_verb:
            return "–"
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
