"""Own the pages of hosts: detail, stop."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background.admin.base import Verb
from background.admin.host_list import HostColumns
from background.admin.text import as_text, cut, duration, moment, relative, state, visible
from background.admin.why import is_silent
from background.conf import get_settings
from background.models import Host, Run
from background.models.clock import DatabaseNow
from background.scope import database_alias

SHOWN = 100
# Seconds between two clocks that a person should know of.
CLOCK_OFF = 5


def stop(host: Host, user: Any, reason: str) -> str:
    rows = Host.objects.using(database_alias()).live().filter(pk=host.pk, stop_requested_at__isnull=True)
    if not rows.update(stop_requested_at=DatabaseNow(), stop_requested_by=user.get_username()):
        return _("Host %(host)s is stopping or gone already.") % {"host": visible(host)}
    return _("Host %(host)s was asked to stop.") % {"host": visible(host)}


def why_no_stop(host: Host) -> str:
    if not host.is_live:
        return _("It is %(state)s already.") % {"state": host.get_state_display()}
    if host.stop_requested_at or host.state == Host.State.STOPPING:
        return _("It is stopping already.")
    if is_silent(host):
        return _("It is silent: it would not hear it. Stop its process on its machine.")
    return ""


def what_runs(host: Host) -> list[str]:
    """Return what a person should know before stopping a host."""
    count = Run.objects.using(database_alias()).running().filter(host=host).order_by()[: SHOWN + 1].count()
    runs = ngettext("%(count)s run is being executed there", "%(count)s runs are being executed there", count)
    most = _("what does not end within %(span)s is handed back and starts again elsewhere.")
    lines = [f"{runs % {'count': count}}; {most % {'span': duration(get_settings().shutdown_timeout)}}"]
    others = [
        one
        for one in Host.objects.using(database_alias()).live().exclude(pk=host.pk).filter(parent=None)
        if not is_silent(one)
    ]
    return lines if others else [*lines, "⚠ " + _("It is the last live host: afterwards nothing runs.")]


class HostAdmin(HostColumns):
    verbs = (
        Verb(
            name="stop", label=gettext_lazy("Stop host"), act=stop, refusal=why_no_stop, facts=what_runs,
            effect=gettext_lazy("The process stops gracefully: services first, then runs. Only your process manager can start it again."),
        ),
    )  # fmt: skip

    def get_fieldsets(self, request, obj=None):
        work = [
            *(["runs"] if request.user.has_perm("background.view_run") else []),
            *(["services_shown"] if request.user.has_perm("background.view_service") else []),
        ]
        return [
            (None, {"fields": [("shown_state", "heartbeat_shown", "started"), ("stopped", "id")]}),
            (_("Work"), {"fields": [*work, ("threads", "processes", "coroutines"), ("queues_shown", "duties")]}),
            (
                _("Software"),
                {"fields": [("version_shown", "software_shown"), "command_shown", ("pid", "parent_shown", "clock")]},
            ),
        ]

    def get_readonly_fields(self, request, obj=None):
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    @admin.display(description=gettext_lazy("Heartbeat"))
    def heartbeat_shown(self, host: Host) -> Any:
        return moment(host.heartbeat_at)

    @admin.display(description=gettext_lazy("Started"))
    def started(self, host: Host) -> Any:
        return moment(host.started_at)

    @admin.display(description=gettext_lazy("Stopped"))
    def stopped(self, host: Host) -> Any:
        if not host.stopped_at:
            return "–"
        code = _("exit code %(code)s") % {"code": host.exit_code} if host.exit_code is not None else ""
        return format_html("{} {} {}", moment(host.stopped_at), visible(host.stop_reason), code)

    @admin.display(description=gettext_lazy("Duties"))
    def duties(self, host: Host) -> str:
        found = [
            *([_("executes runs")] if host.works else []),
            *([_("looks after schedules")] if host.schedules else []),
        ]
        return ", ".join(found) or "–"

    @admin.display(description=gettext_lazy("Runs here"))
    def runs(self, host: Host) -> Any:
        rows = Run.objects.using(database_alias()).light().running().filter(host=host).order_by("started_at")[:SHOWN]
        return self.listed(
            self.link("run", "change", run.pk, f"{cut(run, 120)}, {relative(run.started_at)}")
            for run in rows
            if run.started_at
        )

    @admin.display(description=gettext_lazy("Services"))
    def services_shown(self, host: Host) -> Any:
        rows = host.services.order_by("engine", "name").defer("log")[:SHOWN]
        return self.listed(
            format_html(
                "{} {}",
                state(one.state, one.get_state_display()),
                self.link("service", "change", one.pk, cut(one, 120)),
            )
            for one in rows
        )

    def listed(self, items: Any) -> Any:
        return format_html_join("", '<div class="bg-item">{}</div>', ((item,) for item in items)) or _("none")

    @admin.display(description=gettext_lazy("Software"))
    def software_shown(self, host: Host) -> str:
        return ", ".join(f"{visible(name)} {as_text(value)}" for name, value in host.software.items()) or "–"

    @admin.display(description=gettext_lazy("Command"))
    def command_shown(self, host: Host) -> str:
        return visible(host.command) or "–"

    @admin.display(description=gettext_lazy("Parent"))
    def parent_shown(self, host: Host) -> Any:
        return self.link("host", "change", host.parent_id, str(host.parent_id)[:8]) if host.parent_id else "–"

    @admin.display(description=gettext_lazy("Clock"))
    def clock(self, host: Host) -> Any:
        said = _("%(seconds)+.2f s against the database") % {"seconds": host.clock_offset}
        return state("unhealthy", said) if abs(host.clock_offset) > CLOCK_OFF else said
