"""Own what is done to several jobs at once: run, pause, resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background import registry
from background.admin.forms import ReasonForm
from background.admin.permissions import may
from background.admin.start import new_key, request_key
from background.admin.text import cut, visible
from background.exceptions import BackgroundError
from background.jobs.policies import bind
from background.models import Job, Run
from background.queue.enqueue import enqueue
from background.scope import database_alias

# Jobs that one confirmation may hold.
MOST = 100


@dataclass(frozen=True)
class Candidate:
    """A job that a person has ticked, and why it would be passed over."""

    job: Job
    skipped: str = ""


class ManyForm(ReasonForm):
    """The confirmation for several jobs; the key makes a second click of it nothing new."""

    key = forms.CharField(max_length=64, widget=forms.HiddenInput)


@admin.action(description=gettext_lazy("Run selected…"), permissions=["run"])
def run_selected(room: Any, request: Any, queryset: Any) -> Any:
    """Ask on a page of its own which jobs will run and which will not; then run them."""
    jobs = list(queryset.order_by("name")[: MOST + 1])
    if len(jobs) > MOST:
        room.message_user(request, _("At most %(most)d at once.") % {"most": MOST}, messages.WARNING)
        return None
    found = [Candidate(job, why_skipped(room, request.user, job)) for job in jobs]
    confirmed = "_confirmed" in request.POST
    form = ManyForm(request.POST if confirmed else None, initial={"key": new_key()})
    if confirmed and form.is_valid():
        run_them(room, request, found, form.cleaned_data["key"], form.cleaned_data["reason"])
        return HttpResponseRedirect(request.get_full_path())
    return ask(room, request, found, form)


def why_skipped(room: Any, user: Any, job: Job) -> str:
    """Return why a job cannot be run as it is stored, or ""."""
    if not may(user, "job.run", job):
        return _("it needs a permission of its own")
    if why := room.why_no_run(job):
        return why
    task = registry.task(job.task)
    try:
        bind(task.func, task.takes_context, job.args, job.kwargs, job.name)
    except BackgroundError as error:
        return cut(error, 200)
    return ""


def run_them(room: Any, request: Any, found: list[Candidate], key: str, reason: str) -> None:
    made = 0
    for one in found:
        if one.skipped:
            continue
        try:
            with transaction.atomic(using=database_alias()):
                made += run_one(room, request, one.job, key, reason)
        except BackgroundError as error:
            said = _("%(job)s was not run: %(error)s") % {"job": visible(one.job), "error": visible(error)}
            room.message_user(request, said, messages.ERROR)
    queued = ngettext("%(count)d run is queued.", "%(count)d runs are queued.", made) % {"count": made}
    skipped = len(found) - made
    left = ngettext("%(count)d job was passed over.", "%(count)d jobs were passed over.", skipped) % {"count": skipped}
    room.message_user(
        request, f"{queued} {left}" if skipped else queued, messages.SUCCESS if made else messages.WARNING
    )


def run_one(room: Any, request: Any, job: Job, key: str, reason: str) -> bool:
    """Enqueue a run as the job is stored; False if this form, or an open run with its unique key, had made it before."""
    wanted = request_key(request, job, key)
    if Run.objects.using(database_alias()).filter(request_key=wanted).exists():
        return False
    run = enqueue(
        registry.task(job.task), job.args, job.kwargs, job=job, user=request.user, request_key=wanted,
        trigger=Run.Trigger.MANUAL, reason=reason,
    )  # fmt: skip
    made = run.request_key == wanted  # else it is an open one with the same unique key
    if made:
        room.note(request, job, _("Run now"), reason, _("run %(run)s") % {"run": run.pk})
    return made


def ask(room: Any, request: Any, found: list[Candidate], form: ManyForm) -> Any:
    count = sum(not one.skipped for one in found)
    context = {
        **room.admin_site.each_context(request),
        "opts": room.opts,
        "title": _("Run selected jobs"),
        "original": _("Run selected jobs"),
        "has_view_permission": True,
        "media": room.media,
        "found": [(visible(one.job), visible(one.job.queue), one.skipped) for one in found],
        "selected": [one.job.pk for one in found],
        "checkbox": ACTION_CHECKBOX_NAME,
        "form": form,
        "button": ngettext("Run %(count)d job", "Run %(count)d jobs", count) % {"count": count} if count else "",
        "back": request.get_full_path(),
    }
    request.current_app = room.admin_site.name
    return TemplateResponse(request, "admin/background/job/run_selected.html", context)


def each(room: Any, request: Any, queryset: Any, name: str, said: Any) -> None:
    """Do a verb to each selected job to which it can be done."""
    verb = next(one for one in room.verbs if one.name == name)
    done = 0
    for job in queryset.order_by("name")[:MOST]:
        if may(request.user, f"job.{name}", job) and not verb.refusal(job):
            verb.act(job, request.user, "")
            room.note(request, job, verb.label)
            done += 1
    room.message_user(request, said(done) % {"count": done}, messages.SUCCESS if done else messages.WARNING)


def is_paused(count: int) -> str:
    return ngettext("%(count)d job is paused.", "%(count)d jobs are paused.", count)


def goes_on(count: int) -> str:
    return ngettext("%(count)d job follows its schedule again.", "%(count)d jobs follow their schedules again.", count)


@admin.action(description=gettext_lazy("Pause"), permissions=["pause"])
def pause_selected(room: Any, request: Any, queryset: Any) -> None:
    each(room, request, queryset, "pause", is_paused)


@admin.action(description=gettext_lazy("Resume"), permissions=["resume"])
def resume_selected(room: Any, request: Any, queryset: Any) -> None:
    each(room, request, queryset, "resume", goes_on)
