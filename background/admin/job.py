"""Own the pages of jobs: list, form, run now, pause, resume, reset."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.forms import Field
from django.http import HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background import registry
from background.admin.arguments import shown_arguments
from background.admin.base import Tool, Verb
from background.admin.forms import ResetForm
from background.admin.history import history
from background.admin.job_actions import pause_selected, resume_selected, run_selected
from background.admin.job_form import JobForm, in_lines, typed_names
from background.admin.job_list import JobColumns
from background.admin.outcomes import LETTERS, OF_RUNS, run_behind
from background.admin.permissions import ARGUMENTS, HIDDEN, may, may_touch
from background.admin.preview import INPUTS, preview
from background.admin.start import Order, new_key, start_view
from background.admin.text import cut, visible
from background.models import Job, Run
from background.scope import database_alias

# Open runs that are counted before it says “and more”.
SOME = 99


def why_no_run(job: Job) -> str:
    if job.orphaned:
        return _("No live host's code declares this job any more: it cannot be run.")
    if job.task not in registry.tasks():
        return _("No installed app declares the task %(task)s: it cannot be run.") % {"task": visible(job.task)}
    return ""


def pause(job: Job, user: Any, reason: str) -> str:
    job.pause(user=user, reason=reason)
    return _("The schedule of %(job)s is paused.") % {"job": visible(job)}


def resume(job: Job, user: Any, reason: str) -> str:
    job.resume(user=user)
    return _("The schedule of %(job)s is followed again.") % {"job": visible(job)}


class JobAdmin(JobColumns):
    form = JobForm
    change_form_template = "admin/background/job/change_form.html"
    actions = [run_selected, pause_selected, resume_selected]
    verbs = (
        Verb(
            name="pause", label=gettext_lazy("Pause"), act=pause, opposite=True,
            effect=gettext_lazy("Its schedule is not followed until it is resumed. Runs that exist already are not touched."),
            refusal=lambda job: "" if job.enabled else _("It is paused already."),
        ),
        Verb(
            name="resume", label=gettext_lazy("Resume"), act=resume, opposite=True,
            effect=gettext_lazy("Its schedule is followed again from now on; what passed meanwhile is not made up."),
            refusal=lambda job: _("It is not paused.") if job.enabled else "",
        ),
    )  # fmt: skip

    # Who may

    def has_run_permission(self, request):
        return may(request.user, "job.run")

    def has_pause_permission(self, request):
        return may(request.user, "job.pause")

    def has_resume_permission(self, request):
        return may(request.user, "job.resume")

    def why_no_run(self, job):
        return why_no_run(job)

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and (
            obj is None or may_touch(request.user, obj.task, obj.name)
        )

    def has_delete_permission(self, request, obj=None):
        if not super().has_delete_permission(request, obj):
            return False
        if obj is None:
            return True
        # A declared job would be back after the next start, without the operator's changes.
        return (not obj.is_declared or obj.orphaned) and may_touch(request.user, obj.task, obj.name)

    # The form

    def get_form(self, request, obj=None, change=False, **kwargs):
        typed = {name: Field(required=False) for name in self.typed(request, obj)}
        kwargs["form"] = type("JobForm", (JobForm,), typed)  # so that the fieldsets may name the arguments
        form = super().get_form(request, obj, change=change, **kwargs)
        form.user = request.user  # type: ignore[attr-defined]  # the class is made for this request
        form.reset_url = self.url("reset", obj.pk) if obj else ""  # type: ignore[attr-defined]
        return form

    def typed(self, request, obj):
        shown = request.user.has_perm(ARGUMENTS) and self.has_change_permission(request, obj)
        return typed_names(obj) if obj and shown else []

    def get_fieldsets(self, request, obj=None):
        fixed = obj is not None and (obj.is_declared or not self.has_change_permission(request, obj))
        names = ["shown_name", "shown_task", "about"] if fixed else ["name", "task", *(["about"] if obj else [])]
        return [
            (None, {"fields": [*names, "enabled", *([("shown_state", "outcomes_strip")] if obj else [])]}),
            *self.argument_fieldsets(request, obj),
            (_("Queue and limits"), {"fields": [("queue", "priority"), ("timeout", "max_attempts", "concurrency"), "backoff"]}),
            (_("Execution and history"), {"fields": [("executor", "on_lost", "retain")]}),
            (_("When late or still running"), {"fields": [("overlap", "misfire"), ("misfire_grace", "misfire_limit")]}),
            (_("Schedule"), {"fields": [("schedule", "timezone"), ("starts_at", "ends_at"), "jitter"]}),
        ]  # fmt: skip

    def argument_fieldsets(self, request, obj):
        if not request.user.has_perm(ARGUMENTS):
            return [(_("Arguments"), {"fields": ["arguments_hidden"]})]
        if obj is not None and not self.has_change_permission(request, obj):
            return [(_("Arguments"), {"fields": ["arguments_shown"]})]
        typed = self.typed(request, obj)
        if not typed:
            return [(_("Arguments"), {"fields": ["args", "kwargs"]})]
        as_json = {"fields": ["args", "kwargs"], "classes": ["collapse"]}
        return [(_("Arguments"), {"fields": in_lines(typed, obj)}), (_("Edit arguments as JSON"), as_json)]

    def get_readonly_fields(self, request, obj=None):
        return [
            "shown_name",
            "shown_task",
            "about",
            "shown_state",
            "outcomes_strip",
            "arguments_shown",
            "arguments_hidden",
        ]

    def save_model(self, request, obj, form, change):
        if not change:
            obj.save(using=database_alias())
            return
        # Only what was edited: the scheduler writes other columns of the same row meanwhile.
        edited = [name for name in form.edited if name != "enabled"]
        if edited:
            obj.save(using=database_alias(), update_fields=edited)
        if "enabled" in form.changed_data:
            obj.resume(user=request.user) if obj.enabled else obj.pause(user=request.user)

    def response_add(self, request, obj, post_url_continue=None):
        return self.run_next(request, obj) or super().response_add(request, obj, post_url_continue)

    def response_change(self, request, obj):
        return self.run_next(request, obj) or super().response_change(request, obj)

    def run_next(self, request, obj):
        """After “Save and run now…” go on to the form for a run."""
        if "_run" not in request.POST or not may(request.user, "job.run", obj):
            return None
        return self.done(request, obj, _("%(job)s is saved.") % {"job": visible(obj)}, to=self.run_url(obj))

    def save_form(self, request, form, change):
        if change and form.edited:
            self.message_user(request, takes_effect(form), messages.INFO)
        return super().save_form(request, form, change)

    # Verbs of their own

    def get_urls(self):
        return [
            self.live_url("add/preview/", "preview_new", self.preview_view),
            self.live_url("<path:object_id>/preview/", "preview", self.preview_view),
            self.own_url("<path:object_id>/run/", "run", self.run_view),
            self.own_url("<path:object_id>/reset/", "reset", self.reset_view),
            self.own_url("<path:object_id>/outcome/", "outcome", self.outcome_view),
            *super().get_urls(),
        ]

    def run_url(self, job):
        # The key is part of the address, so that going back to the form and sending it again makes no second run.
        return f"{self.url('run', job.pk)}?key={new_key()}"

    def preview_view(self, request, object_id=None):
        """Return the preview alone, for the timing in the address."""
        job = self.find(request, object_id) if object_id else None
        if not (self.has_view_or_change_permission(request, job) if job else self.has_add_permission(request)):
            raise PermissionDenied
        context = {"preview": preview(job, request.GET, self.others(request, job))}
        return TemplateResponse(request, "admin/background/job/preview.html", context)

    def others(self, request, job):
        """Return the jobs whose times are compared with this one's."""
        return self.get_queryset(request).active().exclude(pk=job.pk if job else None).order_by("name")

    def run_view(self, request, object_id):
        """Run a job now, with arguments that count for this run."""
        self.require(request, "run")
        job = self.find(request, object_id)
        self.require(request, "run", job)
        order = Order(job.task, job.args, job.kwargs, job, job.name, job.queue, _("Run now"))
        return start_view(self, request, job, order, why_no_run(job))

    def outcome_view(self, request, object_id):
        """Lead from a cell of the strip to its run; where that cannot be told, to those of the job that ended alike."""
        if not (self.has_view_or_change_permission(request) and request.user.has_perm("background.view_run")):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        job, tail = self.find(request, object_id), request.GET.get("tail", "")
        run = run_behind(job, tail)
        state = LETTERS[tail[0]][0] if tail[:1] in OF_RUNS else ""
        return HttpResponseRedirect(self.url("change", run, model="run") if run else self.runs_url(job, state))

    def reset_view(self, request, object_id):
        """Give overrides back to the code."""
        self.require(request, "reset")
        job = self.find(request, object_id)
        self.require(request, "reset", job)
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        refusal = "" if job.overrides else _("Nothing differs from the code.")
        data, chosen = request.POST if request.method == "POST" else None, request.GET.getlist("names")
        form = ResetForm(job, request.user.has_perm(ARGUMENTS), data, chosen=chosen)
        if request.method == "POST" and refusal:
            return self.done(request, job, refusal, messages.WARNING)
        if request.method == "POST" and form.is_valid():
            return self.reset(request, job, form.cleaned_data["names"], form.cleaned_data["reason"])
        lines = [_("The chosen fields follow the code again, now and at later deploys.")]
        context = {"title": _("Reset overrides: %(job)s") % {"job": visible(job)}, "lines": lines, "button": _("Reset")}
        return self.ask(request, job, {**context, "refusal": refusal, "forms": [form]})

    def reset(self, request, job, names, reason):
        labels = ", ".join(str(job._meta.get_field(name).verbose_name) for name in names)
        rest = [name for name in names if name != "enabled"]
        if rest:
            job.reset(*rest)
        if "enabled" in names:
            job.resume(user=request.user) if job.defaults["enabled"] else job.pause(user=request.user, reason=reason)
        self.note(request, job, _("Reset overrides"), reason, labels)
        return self.done(request, job, _("Back to the code: %(fields)s.") % {"fields": labels})

    def tools(self, request, obj):
        found = super().tools(request, obj)
        if may(request.user, "job.reset", obj) and obj.overrides:
            found.append(Tool(_("Reset overrides…"), self.url("reset", obj.pk)))
        if may(request.user, "job.run", obj):
            refusal = why_no_run(obj)
            found.insert(0, Tool(_("Run now…"), "" if refusal else self.run_url(obj), refusal))
        if request.user.has_perm("background.view_run"):
            found.append(Tool(_("Runs"), self.runs_url(obj)))
        return found

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        form = context["adminform"].form
        saved = self.find(request, str(obj.pk)) if obj is not None else None  # a form with errors has changed its own
        if saved is not None and request.user.has_perm("background.view_run"):
            context["history"] = history(saved, self.runs_url(saved))
        if obj is not None:
            context["notes"] = [note for note in (why_no_run(obj), visible(obj.schedule_error)) if note]
        context["preview"] = preview(saved, form.data if form.is_bound else None, self.others(request, obj))
        if add or self.has_change_permission(request, obj):
            context["preview_url"] = self.url("preview", obj.pk) if obj else self.url("preview_new")
            context["preview_inputs"] = INPUTS
            context["may_run_after_saving"] = may(request.user, "job.run", obj) and not (obj and why_no_run(obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    # Facts

    @admin.display(description=gettext_lazy("Task"))
    def shown_task(self, job: Job) -> str:
        return visible(job.task)

    @admin.display(description=gettext_lazy("Description"))
    def about(self, job: Job) -> str:
        return cut(job.description, 2000, lines=True) or "–"

    @admin.display(description=gettext_lazy("Arguments"))
    def arguments_shown(self, job: Job) -> Any:
        return shown_arguments(job.task, job.name, job.args, job.kwargs)

    @admin.display(description=gettext_lazy("Arguments"))
    def arguments_hidden(self, job: Job) -> Any:
        return HIDDEN[ARGUMENTS]


def takes_effect(form: JobForm) -> str:
    """Return when what was just edited counts, and what it leaves alone."""
    timed = set(form.edited) & set(Job.TIMING)
    said = _("Hosts follow the new timing within two seconds.") if timed else _("It counts from the next run on.")
    rows = Run.objects.using(database_alias()).open().filter(job=form.instance.pk).order_by()[: SOME + 1]
    if not (count := rows.count()):
        return said
    left = ngettext("%(count)s open run is left as it is.", "%(count)s open runs are left as they are.", count)
    return f"{said} {left % {'count': f'{SOME}+' if count > SOME else count}}"
