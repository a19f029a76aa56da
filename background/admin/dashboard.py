"""Own the dashboard: the page, its live panels, its figures for programs, and the way to a job that is to be run."""

from __future__ import annotations

import json
import logging
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, OperationalError, ProgrammingError
from django.http import Http404, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin import live
from background.admin.base import ReadOnlyAdmin
from background.admin.fields import LongSelect
from background.admin.panels import PANELS, Panel, figures_of
from background.admin.permissions import may
from background.admin.queue import PAUSE_ALL, RESUME_ALL
from background.admin.text import cut
from background.admin.usage import window_of
from background.attention import Glance, attention
from background.dialects import dialect
from background.exceptions import TookTooLong
from background.models import Job
from background.scope import database_alias

logger = logging.getLogger("background.admin")

# Of `status.json`: another number where the meaning of a name changes.
VERSION = 1
# Names are other people's text: no browser may take them for markup, whatever it thinks of the content type.
AS_TEXT = {ord(letter): f"\\u{ord(letter):04X}" for letter in "<>&"}
# Jobs that are offered at most; more are found by their list.
OFFERED = 500


class JobForm(forms.Form):
    job = forms.ChoiceField(label=gettext_lazy("Job"), widget=LongSelect)

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__()
        field: Any = self.fields["job"]
        field.choices = [(job.pk, cut(job.name, 100)) for job in jobs]


class DashboardAdmin(ReadOnlyAdmin):
    """The changelist of a model without a table, so that it has its place in any admin site."""

    def get_urls(self):
        page = self.admin_site.admin_view(self.changelist_view)
        return [
            path("", page, name="background_dashboard"),
            self.own_url("run/", "run", self.run_view),
            self.own_url("status.json", "status", self.status_view),
            self.live_url("live/<slug:panel>/", "live", self.live_view),
            path("", page, name="background_dashboard_changelist"),
        ]

    def rows(self, request, model):
        """Return the records of a model as its own pages narrow them for the person."""
        room = self.admin_site._registry.get(model)
        return room.get_queryset(request) if room else model.objects.using(database_alias())

    def panels(self, request):
        return [one for one in PANELS.values() if not one.needs or request.user.has_perm(one.needs)]

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        window = window_of(request.GET.get("window", "")).name
        problem, shown, look = "", {}, Glance()
        for panel in self.panels(request):
            try:
                shown[panel.name] = self.drawn(request, panel, window, look)
            except TookTooLong:
                shown[panel.name] = self.failed(
                    request, panel, window, _("This took too long; choose a smaller window.")
                )
            except DatabaseError as error:
                if is_missing(error):
                    problem = str(error)
                    break
                logger.error("panel %s of the dashboard could not be read: %s", panel.name, error)
                shown[panel.name] = self.failed(request, panel, window, _("This could not be read from the database."))
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": _("Dashboard"),
            "opts": self.opts,
            "media": self.media,
            **self.as_list(),
            "panels": {} if problem else shown,
            "missing": problem,
            "tools": self.buttons(request, look, problem),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/background/dashboard/page.html", context)

    def as_list(self):
        """Return what the template of a list asks for, which knows where the breadcrumbs lead."""
        return {"cl": {"opts": self.opts}, "actions_on_top": True}

    def buttons(self, request, look, missing):
        found = []
        if may(request.user, "job.run"):
            found.append((_("Run a job…"), self.url("run")))
        if may(request.user, "queue.pause_all") and not missing:
            verb = RESUME_ALL if look.everything else PAUSE_ALL
            found.append((_("%(verb)s…") % {"verb": verb.label}, self.url(verb.name, model="queue")))
        return found

    def drawn(self, request, panel: Panel, window: str, look: Glance) -> str:
        """Return a panel as HTML, with the address under which it is asked for again. Blocks for a few queries."""
        with dialect().time_limit(live.LONGEST_STATEMENT):
            context = {**self.frame(request, panel, window), **panel.read(self, request, look)}
            return render_to_string(f"admin/background/dashboard/{panel.name}.html", context, request)

    def failed(self, request, panel: Panel, window: str, sentence: str) -> str:
        context = {**self.frame(request, panel, window), "sentence": sentence}
        return render_to_string("admin/background/dashboard/failed.html", context, request)

    def frame(self, request, panel: Panel, window: str) -> dict[str, Any]:
        address = self.url("live", panel.name) + (f"?window={window}" if panel.name == "charts" else "")
        run = self.url("run") if may(request.user, "job.run") else ""
        return {"panel": panel, "address": address, "every": live.every(request, panel.every), "run_a_job": run}

    def live_view(self, request, panel):
        """Answer with one panel."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = PANELS.get(panel)
        if found is None:
            raise Http404
        if found.needs and not request.user.has_perm(found.needs):
            raise PermissionDenied
        context = {
            **self.frame(request, found, window_of(request.GET.get("window", "")).name),
            **found.read(self, request, Glance()),
        }
        return TemplateResponse(request, f"admin/background/dashboard/{found.name}.html", context)

    def status_view(self, request):
        """Answer with the attention list and the figures for programs: codes and ISO times, no translated words."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        look = Glance()
        with dialect().time_limit(live.LONGEST_STATEMENT):
            found = attention(glance=look)
            facts = {
                "version": VERSION,
                "at": look.now,
                "ok": not found,
                "attention": [one.facts() for one in found if one.may_be_seen_by(request.user)],
                "figures": figures_of(request.user, look),
            }
        text = json.dumps(facts, cls=DjangoJSONEncoder).translate(AS_TEXT)
        return HttpResponse(text, content_type="application/json")

    def run_view(self, request):
        """Let a person choose a job, and go to the form from which it is run."""
        self.require_run(request)
        rows = self.rows(request, Job).order_by("name")
        chosen = request.GET.get("job", "")
        if chosen.isdecimal() and (job := rows.filter(pk=int(chosen[:18])).first()):
            return HttpResponseRedirect(self.url("run", job.pk, model="job"))
        found = [job for job in rows.only("name", "task")[:OFFERED] if may(request.user, "job.run", job)]
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": _("Run a job"),
            "opts": self.opts,
            "media": self.media,
            **self.as_list(),
            "form": JobForm(found),
            "found": found,
            "back": self.url("changelist"),
        }
        return TemplateResponse(request, "admin/background/dashboard/run.html", context)

    def require_run(self, request):
        if not (self.has_view_permission(request) and may(request.user, "job.run")):
            raise PermissionDenied


def is_missing(error: DatabaseError) -> bool:
    """Tell whether a table or column is not there: the site's migrations have not been applied."""
    return isinstance(error, ProgrammingError) or (isinstance(error, OperationalError) and "no such" in str(error))
