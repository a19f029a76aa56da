"""Own the pages of jobs: list, form, run now, pause, resume, reset."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import HttpResponseNotAllowed
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background import registry
from background.admin.arguments import shown_arguments
from background.admin.base import RoomAdmin, Tool, Verb
from background.admin.forms import JobForm, ResetForm
from background.admin.lists import QueueFilter
from background.admin.permissions import ARGUMENTS, HIDDEN, may, may_touch
from background.admin.start import Order, new_key, start_view
from background.admin.text import absolute, cut, duration, relative, state, visible, when
from background.exceptions import InvalidSchedule
from background.models import Job
from background.scope import database_alias
from background.timing import Occurrence, Schedule, describe, parse, upcoming

AHEAD = 10
LETTERS = {
    "s": ("succeeded", "▮", gettext_lazy("succeeded")),
    "f": ("failed", "✖", gettext_lazy("failed")),
    "c": ("cancelled", "⊘", gettext_lazy("cancelled")),
    "m": ("missed", "▯", gettext_lazy("missed")),
    "o": ("overlap", "▯", gettext_lazy("skipped: the run before was open")),
}


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


class JobAdmin(RoomAdmin):
    form = JobForm
    change_form_template = "admin/background/job/change_form.html"
    list_display = (
        "shown_name",
        "shown_state",
        "shown_schedule",
        "next_run",
        "outcomes_strip",
        "median",
        "shown_queue",
    )
    list_filter = ("enabled", "orphaned", QueueFilter)
    search_fields = ("name__istartswith", "task__istartswith")
    search_help_text = gettext_lazy("The beginning of the job's or its task's name.")
    ordering = ("name",)
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
        form = super().get_form(request, obj, change=change, **kwargs)
        form.user = request.user  # type: ignore[attr-defined]  # the class is made for this request
        return form

    def get_fieldsets(self, request, obj=None):
        if obj is not None and obj.is_declared and self.has_change_permission(request, obj):
            names = ["shown_name", "shown_task", "about"]
        elif obj is not None and not self.has_change_permission(request, obj):
            names = ["shown_name", "shown_task", "about"]
        else:
            names = ["name", "task", *(["about"] if obj else [])]
        timing = [
            "schedule",
            "timezone",
            "enabled",
            *(["next_times"] if obj else []),
            ("starts_at", "ends_at"),
            "jitter",
        ]
        return [
            (None, {"fields": [*names, *(["shown_state", "outcomes_strip"] if obj else [])]}),
            (_("Arguments"), {"fields": self.argument_fields(request, obj)}),
            (_("Schedule"), {"fields": timing}),
            (_("When late or still running"), {"fields": ["overlap", "misfire", "misfire_grace", "misfire_limit"]}),
            (
                _("Queue and limits"),
                {"fields": ["queue", "priority", "timeout", "max_attempts", "backoff", "concurrency"]},
            ),
            (_("Execution and history"), {"fields": ["executor", "on_lost", "retain"]}),
        ]

    def argument_fields(self, request, obj):
        if not request.user.has_perm(ARGUMENTS):
            return ["arguments_hidden"]
        return ["args", "kwargs"] if obj is None or self.has_change_permission(request, obj) else ["arguments_shown"]

    def get_readonly_fields(self, request, obj=None):
        return [
            "shown_name", "shown_task", "about", "shown_state", "outcomes_strip", "next_times", "arguments_shown", "arguments_hidden",
        ]  # fmt: skip

    def save_model(self, request, obj, form, change):
        if not change:
            obj.save(using=database_alias())
            return
        # Only what was edited: the scheduler writes other columns of the same row meanwhile.
        edited = [name for name in form.changed_data if name != "enabled"]
        if edited:
            obj.save(using=database_alias(), update_fields=edited)
        if "enabled" in form.changed_data:
            obj.resume(user=request.user) if obj.enabled else obj.pause(user=request.user)

    # Verbs of their own

    def get_urls(self):
        return [
            self.own_url("<path:object_id>/run/", "run", self.run_view),
            self.own_url("<path:object_id>/reset/", "reset", self.reset_view),
            *super().get_urls(),
        ]

    def run_view(self, request, object_id):
        """Run a job now, with arguments that count for this run."""
        self.require(request, "run")
        job = self.find(request, object_id)
        self.require(request, "run", job)
        order = Order(job.task, job.args, job.kwargs, job, job.name, job.queue, _("Run now"))
        return start_view(self, request, job, order, why_no_run(job))

    def reset_view(self, request, object_id):
        """Give overrides back to the code."""
        self.require(request, "reset")
        job = self.find(request, object_id)
        self.require(request, "reset", job)
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        refusal = "" if job.overrides else _("Nothing differs from the code.")
        form = ResetForm(job, request.user.has_perm(ARGUMENTS), request.POST if request.method == "POST" else None)
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
            # The key is part of the address, so that going back to the form and sending it again makes no second run.
            found.insert(
                0, Tool(_("Run now…"), "" if refusal else f"{self.url('run', obj.pk)}?key={new_key()}", refusal)
            )
        if request.user.has_perm("background.view_run"):
            found.append(Tool(_("Runs"), f"{self.url('changelist', model='run')}?{urlencode({'job': obj.name})}"))
        return found

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        if obj is not None:
            context["notes"] = [note for note in (why_no_run(obj), visible(obj.schedule_error)) if note]
        return super().render_change_form(request, context, add, change, form_url, obj)

    # Facts

    @admin.display(description=gettext_lazy("Name"), ordering="name")
    def shown_name(self, job: Job) -> str:
        return cut(job.name, 200)

    @admin.display(description=gettext_lazy("Task"))
    def shown_task(self, job: Job) -> str:
        return visible(job.task)

    @admin.display(description=gettext_lazy("Queue"))
    def shown_queue(self, job: Job) -> str:
        return visible(job.queue)

    @admin.display(description=gettext_lazy("Description"))
    def about(self, job: Job) -> str:
        return cut(job.description, 2000, lines=True) or "–"

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, job: Job) -> SafeString:
        if job.orphaned:
            return state("orphaned", _("not in the code"))
        if not job.enabled and job.paused_at:
            facts = {"by": job.paused_by or _("code"), "ago": relative(job.paused_at)}
            said = state("paused", _("paused by %(by)s, %(ago)s") % facts)
            return format_html("{} “{}”", said, visible(job.paused_reason)) if job.paused_reason else said
        if not job.enabled:
            return state("paused", _("paused"))
        if job.schedule_error:
            return state("failed", _("schedule error"))
        return state("active", _("active")) if job.schedule else state("manual", _("by hand only"))

    @admin.display(description=gettext_lazy("Schedule"))
    def shown_schedule(self, job: Job) -> Any:
        if not job.schedule:
            return _("none")
        try:
            schedule = parse(job.schedule, job.timezone or None)
        except InvalidSchedule:
            return cut(job.schedule, 120)
        words = cut(describe(schedule), 160)
        words = f"{words} · {visible(schedule.timezone)}" if schedule.timezone else words
        return format_html('<span title="{}">{}</span>', visible(job.schedule), words)

    @admin.display(description=gettext_lazy("Next run"), ordering="next_run_at")
    def next_run(self, job: Job) -> Any:
        return when(job.next_run_at) if job.enabled and not job.orphaned else "–"

    @admin.display(description=gettext_lazy("Last 30"))
    def outcomes_strip(self, job: Job) -> Any:
        known = [LETTERS[letter] for letter in job.outcomes if letter in LETTERS]
        if not known:
            return _("no runs yet")
        failures = sum(word == "failed" for word, _sign, _label in known)
        said = _("%(failures)d of the last %(count)d failed") % {"failures": failures, "count": len(known)}
        cells = format_html_join(
            "", '<span class="bg-cell bg-{}" title="{}">{}</span>', ((word, label, sign) for word, sign, label in known)
        )
        return format_html('<span class="bg-strip" role="img" aria-label="{}">{}</span>', said, cells)

    @admin.display(description=gettext_lazy("Median"), ordering="duration_p50")
    def median(self, job: Job) -> str:
        return duration(job.duration_p50)

    @admin.display(description=gettext_lazy("Arguments"))
    def arguments_shown(self, job: Job) -> Any:
        return shown_arguments(job.task, job.name, job.args, job.kwargs)

    @admin.display(description=gettext_lazy("Arguments"))
    def arguments_hidden(self, job: Job) -> Any:
        return HIDDEN[ARGUMENTS]

    @admin.display(description=gettext_lazy("Next ten"))
    def next_times(self, job: Job) -> Any:
        if not job.schedule:
            return _("No schedule: it is run by hand and by code only.")
        try:
            found = coming(job, parse(job.schedule, job.timezone or None))
        except InvalidSchedule as error:
            return visible(error)
        if not found:
            return _("It does not run again.")
        return times_table(found)


def coming(job: Job, schedule: Schedule) -> list[Occurrence]:
    """Return the next ten occurrences within the job's window."""
    after = timezone.now()
    if job.starts_at and job.starts_at > after:
        after = job.starts_at - timedelta(microseconds=1)
    found = upcoming(schedule, after, AHEAD, job.timezone or None)
    return [one for one in found if job.ends_at is None or one.instant_utc < job.ends_at]


def times_table(found: list[Occurrence]) -> SafeString:
    """Return occurrences on the schedule's clock and on the person's, each with a note where clocks change."""
    rows = format_html_join(
        "",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (
                f"{one.local:%a %Y-%m-%d %H:%M:%S} {one.local.tzname()}",
                absolute(one.instant_utc),
                relative(one.instant_utc),
                one.note,
            )
            for one in found
        ),
    )
    return format_html(
        '<table class="bg-times"><caption>{}</caption><thead><tr><th scope="col">{}</th><th scope="col">{}</th><th scope="col">{}</th>'
        '<th scope="col">{}</th></tr></thead><tbody>{}</tbody></table>',
        _("If it is saved like this"),
        _("The schedule's clock"),
        _("Your time (%(zone)s)") % {"zone": timezone.get_current_timezone_name()},
        _("In"),
        _("Note"),
        rows,
    )
