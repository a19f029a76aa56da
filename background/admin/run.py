"""Own the pages of runs: list, detail, cancel, run again, files."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background import registry
from background.admin import live, story
from background.admin.arguments import arguments_json, shown_arguments
from background.admin.base import ReadOnlyAdmin, RoomAdmin, Tool, Verb
from background.admin.bulk import bulk_view
from background.admin.columns import COLUMNS, name
from background.admin.export import export_view
from background.admin.logs import error_text_view, log_of, log_text_view
from background.admin.permissions import ARGUMENTS, BULK, HIDDEN, OUTPUT, may, may_touch
from background.admin.run_list import FILTERS, RunList, live_list_view, search_words
from background.admin.start import Order, new_key, start_view
from background.admin.subject import subject_link
from background.admin.text import (
    Shown,
    cut,
    duration,
    moment,
    state,
    visible,
)
from background.admin.why import why
from background.models import Artifact, Run, RunLog
from background.scope import database_alias

_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?charset=[\w-]+)?", re.ASCII)


def cancel(run: Run, user: Any, reason: str) -> str:
    if not run.cancel(user=user, reason=reason):
        return _("Run %(run)s had ended before.") % {"run": f"#{run.short_id}"}
    if run.is_finished:
        return _("Run %(run)s is cancelled.") % {"run": f"#{run.short_id}"}
    return _("Run %(run)s was asked to stop.") % {"run": f"#{run.short_id}"}


def why_no_cancel(run: Run) -> str:
    if run.is_finished:
        return _("It has ended already: %(state)s.") % {"state": run.get_status_display()}
    return _("It was asked to stop already.") if run.cancel_requested_at else ""


def why_not_again(run: Run) -> str:
    if run.is_open:
        return _("It is still %(state)s: only a finished run can be run again.") % {"state": run.get_status_display()}
    if run.task not in registry.tasks():
        return _("No installed app declares the task %(task)s: it cannot be run.") % {"task": visible(run.task)}
    return ""


class RunAdmin(ReadOnlyAdmin):
    change_form_template = "admin/background/run/change_form.html"
    list_display = COLUMNS
    list_display_links = (name,)
    list_filter = FILTERS
    ordering = ("-id",)
    sortable_by = ()
    actions = ("again_selected", "cancel_selected", "delete_selected")
    search_fields = ("id",)  # shows the field; what is searched is in `search`
    search_help_text = gettext_lazy("For example: job:send_digest state:failed took>60")
    verbs = (
        Verb(
            name="cancel", label=gettext_lazy("Cancel run"), act=cancel, refusal=why_no_cancel,
            effect=gettext_lazy("A waiting run ends at once. A running one is asked to stop, and is ended if it does not listen."),
        ),
    )  # fmt: skip

    def has_delete_permission(self, request, obj=None):
        if not RoomAdmin.has_delete_permission(self, request, obj):
            return False
        return obj is None or (obj.is_finished and may_touch(request.user, obj.task, obj.job_name))

    def get_deleted_objects(self, objs, request):
        """Tell the runs, and only how much goes with them: Django would list each line of their logs."""
        counts = {self.opts.verbose_name_plural: len(objs)}
        for model in (RunLog, Artifact):
            if count := model.objects.using(database_alias()).filter(run__in=objs).count():
                counts[model._meta.verbose_name_plural] = count
        return [cut(run, 200) for run in objs], counts, set(), []

    def delete_model(self, request, obj):
        for artifact in obj.artifacts.all():
            artifact.file.delete(save=False)
        super().delete_model(request, obj)

    # The list

    @admin.action(permissions=["again"], description=gettext_lazy("Run again"))
    def again_selected(self, request, queryset):
        return bulk_view(self, request)

    @admin.action(permissions=["cancel"], description=gettext_lazy("Cancel"))
    def cancel_selected(self, request, queryset):
        return bulk_view(self, request)

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete"))
    def delete_selected(self, request, queryset):
        return bulk_view(self, request)

    def has_again_permission(self, request):
        return request.user.has_perm(BULK["again"])

    def has_cancel_permission(self, request):
        return request.user.has_perm(BULK["cancel"])

    def get_changelist(self, request, **kwargs):
        return RunList

    def get_search_results(self, request, queryset, search_term):
        return queryset, False  # the list asks for the words of search and filters together

    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(
            request, {"search_words": search_words(), "live_every": live.every(request, 5)} | (extra_context or {})
        )

    # The detail

    def get_fieldsets(self, request, obj=None):
        return []

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        if obj is not None:
            context |= self.state_of(request, obj) | self.rest_of(request, obj) | self.log_of(request, obj)
            if obj.is_open:
                addresses = {"state": self.url("live", obj.pk), "log": self.url("log", obj.pk)}
                if context.get("log_query"):
                    addresses["log"] += f"?{context['log_query']}"
                context["live"] = {**addresses, "every": live.every(request, 2)}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def state_of(self, request, run):
        """Return what changes while the run is open: what the person may not see is not in it."""
        output = request.user.has_perm(OUTPUT)
        return {
            "state": state(run.status, run.get_status_display()),
            "subtitle_line": story.headline(run),
            "reason_line": visible(run.end_reason or (run.error_summary.partition("\n")[0] if run.errors else "")),
            "why": why(run),
            "rescued": story.rescued(run),
            "attempts_line": story.attempts_line(run),
            "progress": story.progress(run),
            "facts": self.facts(request, run),
            "timeline": story.timeline(run),
            "attempts": [story.attempt(one, output) for one in run.errors],
            "output_hidden": "" if output else HIDDEN[OUTPUT],
        }

    def rest_of(self, request, run):
        found: dict[str, Any] = {"arguments": HIDDEN[ARGUMENTS], "result": HIDDEN[ARGUMENTS]}
        if request.user.has_perm(ARGUMENTS):
            found["arguments"] = shown_arguments(run.task, run.job_name, run.args, run.kwargs)
            found["arguments_json"] = arguments_json(run)
            found["result"] = story.shown_result(run)
        if request.user.has_perm(OUTPUT):
            found["artifacts"] = [
                (self.url("artifact", run.pk, one.pk), cut(one.name, 200), visible(one.content_type), one.size)
                for one in run.artifacts.all()
            ]
        return found

    def log_of(self, request, run):
        return log_of(run, request.GET) if request.user.has_perm(OUTPUT) else {}

    def facts(self, request, run):
        """Return (label, text) pairs about where the run comes from and where it is executed."""
        user = request.user
        by = _("by %(name)s") % {"name": visible(run.triggered_by_name)} if run.triggered_by_name else ""
        reruns = Run.objects.using(database_alias()).light().filter(rerun_of=run).order_by("-id")[:10]
        host = self.link("host", "change", run.host_id, run.host_name, user) if run.host_name else "–"
        rows = [
            (_("Job"), self.link("job", "change", run.job_id, run.job_name, user) if run.job_name else ""),
            (_("Task"), visible(run.task)),
            (_("Trigger"), f"{run.get_trigger_display()} {by}".strip()),
            (_("Reason"), visible(run.reason)),
            (_("Scheduled for"), moment(run.scheduled_for) if run.scheduled_for else ""),
            (_("Queue"), visible(run.queue)),
            (_("Priority"), run.priority),
            (_("Host"), format_html("{} ({})", host, visible(run.version)) if run.version else host),
            (_("Executor"), run.executor),
            (_("Timeout"), duration(run.timeout) if run.timeout else ""),
            (_("About"), subject_link(self.admin_site, request, run.subject) if run.subject else ""),
            (
                _("Rerun of"),
                self.link("run", "change", run.rerun_of_id, f"#{str(run.rerun_of_id)[-8:]}") if run.rerun_of_id else "",
            ),
            *(
                (_("Run again as"), self.link("run", "change", one.pk, f"#{one.short_id} ({one.get_status_display()})"))
                for one in reruns
            ),
            (_("Cancel asked by"), visible(run.cancel_requested_by) if run.cancel_requested_at else ""),
            (_("Error fingerprint"), visible(run.fingerprint)),
            (_("Id"), str(run.id)),
        ]
        return [(label, value) for label, value in rows if value != ""]

    def tools(self, request, obj):
        found = super().tools(request, obj)
        if may(request.user, "run.again", obj):
            refusal = why_not_again(obj)
            found.insert(
                0, Tool(_("Run again…"), "" if refusal else f"{self.url('again', obj.pk)}?key={new_key()}", refusal)
            )
        if obj.job_id and request.user.has_perm("background.view_job"):
            found.append(Tool(_("Job"), self.url("change", obj.job_id, model="job")))
        return found

    # Verbs of their own

    def get_urls(self):
        return [
            self.own_url("bulk/", "bulk", partial(bulk_view, self)),
            self.live_url("live/", "live_list", partial(live_list_view, self)),
            self.own_url("export.csv", "export", partial(export_view, self)),
            self.own_url("<path:object_id>/again/", "again", self.again_view),
            self.live_url("<path:object_id>/live/", "live", self.live_view),
            self.live_url("<path:object_id>/log/", "log", self.log_view),
            self.own_url("<path:object_id>/log.txt", "log_text", partial(log_text_view, self)),
            self.own_url("<path:object_id>/errors.txt", "error_text", partial(error_text_view, self)),
            self.own_url("<path:object_id>/artifacts/<int:number>/", "artifact", self.artifact_view),
            *super().get_urls(),
        ]

    def again_view(self, request, object_id):
        """Make a new run of a finished one, linked to it."""
        self.require(request, "again")
        run = self.find(request, object_id)
        self.require(request, "again", run)
        fields = {"rerun_of": run, "queue": run.queue, "priority": run.priority, "subject": run.subject}
        order = Order(run.task, run.args, run.kwargs, run.job, run.job_name, run.queue, _("Run again"), fields)
        return start_view(self, request, run, order, why_not_again(run))

    def live_view(self, request, object_id):
        """Answer with the state of the run; after its end with all that an end changes."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = self.find(request, object_id)
        context = {"opts": self.opts, "original": Shown(run), "over": run.is_finished, **self.state_of(request, run)}
        if run.is_finished:
            context |= {"tools": self.tools(request, run), **self.rest_of(request, run)}
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/background/run/live.html", context)

    def log_view(self, request, object_id):
        """Answer with the lines of the log after those that the page has."""
        if not (self.has_view_permission(request) and request.user.has_perm(OUTPUT)):
            raise PermissionDenied
        run = self.find(request, object_id)
        found = log_of(run, request.GET)
        context = {"over": run.is_finished and not found["log"], **found}
        return TemplateResponse(request, "admin/background/run/log.html", context)

    def artifact_view(self, request, object_id, number):
        """Send a file of the run as a download; never as a page."""
        if not (self.has_view_permission(request) and request.user.has_perm(OUTPUT)):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        run = self.find(request, object_id)
        artifact = Artifact.objects.using(database_alias()).filter(run=run, pk=number).first()
        try:
            content = artifact.file.open("rb") if artifact else None
        except (OSError, ValueError):
            content = None
        if artifact is None or content is None:
            raise Http404(_("There is no such file."))
        kind = artifact.content_type if _CONTENT_TYPE.fullmatch(artifact.content_type) else "application/octet-stream"
        response = FileResponse(content, as_attachment=True, filename=visible(artifact.name), content_type=kind)
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response
