"""Own the pages of queues: detail, pause, resume; and the pause of everything."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import Http404
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.base import Tool, Verb
from background.admin.lists import CAP
from background.admin.permissions import BULK, may
from background.admin.queue_list import QueueColumns, counted, paused_words
from background.admin.text import cut, moment, visible
from background.admin.why import serving
from background.models import Job, Queue, Run
from background.models.queue import EVERYTHING
from background.queue.pause import pause_everything, pause_queue, resume_everything, resume_queue
from background.scope import database_alias


def pause(queue: Queue, user: Any, reason: str) -> str:
    pause_queue(queue.name, user=user, reason=reason)
    return _("Queue %(queue)s is paused.") % {"queue": visible(queue)}


def resume(queue: Queue, user: Any, reason: str) -> str:
    resume_queue(queue.name)
    return _("Queue %(queue)s is open again.") % {"queue": visible(queue)}


def pause_all(queue: Queue, user: Any, reason: str) -> str:
    pause_everything(user=user, reason=reason)
    return _("Everything is paused: no run starts until everything is resumed.")


def resume_all(queue: Queue, user: Any, reason: str) -> str:
    resume_everything()
    return _("Runs start again, but for those of queues that are paused by themselves.")


# What is done to all queues at once, by a permission of its own.
PAUSE_ALL = Verb(
    name="pause_all", label=gettext_lazy("Pause all"), act=pause_all, opposite=True,
    effect=gettext_lazy("No run of any queue starts on any host until everything is resumed. Running ones go on, and so do schedules."),
    refusal=lambda row: _("Everything is paused already.") if row.paused else "",
)  # fmt: skip
RESUME_ALL = Verb(
    name="resume_all", label=gettext_lazy("Resume all"), act=resume_all, opposite=True,
    effect=gettext_lazy("Runs start again, but for those of queues that are paused by themselves."),
    refusal=lambda row: "" if row.paused else _("Nothing is paused by “Pause all”."),
)  # fmt: skip


class QueueAdmin(QueueColumns):
    verbs = (
        Verb(
            name="pause", label=gettext_lazy("Pause"), act=pause, opposite=True,
            effect=gettext_lazy("No run of this queue starts until it is resumed, on any host. Running ones go on."),
            refusal=lambda queue: _("It is paused already.") if queue.paused else "",
        ),
        Verb(
            name="resume", label=gettext_lazy("Resume"), act=resume, opposite=True,
            effect=gettext_lazy("Its runs start again."),
            refusal=lambda queue: "" if queue.paused else _("It is not paused."),
        ),
    )  # fmt: skip

    def get_urls(self):
        whole = [
            self.own_url(f"{verb.name.replace('_', '-')}/", verb.name, partial(self.all_view, verb=verb))
            for verb in (PAUSE_ALL, RESUME_ALL)
        ]
        return [*whole, *super().get_urls()]

    def all_view(self, request, verb):
        """Ask for confirmation on GET, act on POST: on the row that stands for all queues."""
        self.require(request, verb.name)
        row = self.model.objects.using(database_alias()).filter(name=EVERYTHING).first() or Queue(name=EVERYTHING)
        return self.confirm(request, row, verb, title=verb.label)

    def find(self, request, object_id):
        """Return the queue of that id; or of that name, which need not have a row yet."""
        try:
            return super().find(request, object_id)
        except Http404:
            name = unquote(object_id)
            found = self.get_queryset(request).filter(name=name).first()
            if found is None and self.is_named(name):
                return Queue(name=name)
            if found is None:
                raise
            return found

    def is_named(self, name):
        alias = database_alias()
        return (
            Run.objects.using(alias).open().filter(queue=name).exists()
            or Job.objects.using(alias).filter(queue=name).exists()
        )

    def act(self, request, obj, verb, reason):
        said = verb.act(obj, request.user, reason)
        row = self.model.objects.using(database_alias()).get(name=obj.name)  # it has one by now
        self.note(request, row, verb.label, reason)
        return self.done(request, row, said)

    def page_of(self, request, obj):
        if obj.name == EVERYTHING:
            to = "dashboard" if request.user.has_perm("background.view_dashboard") else "queue"
            allowed = request.user.has_perm(f"background.view_{to}")
            return self.url("changelist", model=to) if allowed else super().page_of(request, obj)
        return super().page_of(request, obj) if obj.pk else self.url("changelist")

    def pause_of(self, name):
        return "" if name.isdecimal() else self.url("pause", name)  # digits alone would be read as the id of another

    def changelist_view(self, request, extra_context=None):
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        changelist = context.get("cl")
        if changelist is None:
            return response
        offered = may(request.user, "queue.pause")
        context["rowless"] = [
            (visible(name), counted(load.waiting), counted(load.running), self.pause_of(name) if offered else "")
            for name, load in changelist.rowless
        ]
        everything = changelist.everything if changelist.everything and changelist.everything.paused else None
        if everything is not None:
            context["everything"] = paused_words(everything)
            context["everything_reason"] = visible(everything.paused_reason)
        verb = RESUME_ALL if everything is not None else PAUSE_ALL
        if may(request.user, f"queue.{verb.name}"):
            context["list_tools"] = [Tool(_("%(verb)s…") % {"verb": verb.label}, self.url(verb.name))]
        return response

    def get_fieldsets(self, request, obj=None):
        return [(None, {"fields": self.get_readonly_fields(request, obj)})]

    def get_readonly_fields(self, request, obj=None):
        return ["name_shown", "shown_state", "paused_since", "paused_why", "limit", "waits", "oldest", "served_now"]

    def tools(self, request, obj):
        found = super().tools(request, obj)
        if request.user.has_perms(["background.view_run", BULK["cancel"]]):
            asked = urlencode({"verb": "cancel", "state": "waiting", "queue": obj.name})
            found.append(Tool(_("Cancel waiting…"), f"{self.url('bulk', model='run')}?{asked}"))
        if request.user.has_perm("background.view_run"):
            found.append(Tool(_("Runs"), f"{self.url('changelist', model='run')}?{urlencode({'queue': obj.name})}"))
        return found

    @admin.display(description=gettext_lazy("Served by"))
    def served_now(self, queue: Queue) -> str:
        return cut(", ".join(host.name for host in serving(queue.name)) or "–", 500)

    @admin.display(description=gettext_lazy("Paused since"))
    def paused_since(self, queue: Queue) -> Any:
        return moment(queue.paused_at)

    @admin.display(description=gettext_lazy("Reason"))
    def paused_why(self, queue: Queue) -> str:
        return visible(queue.paused_reason) or "–"

    @admin.display(description=gettext_lazy("Open runs"))
    def waits(self, queue: Queue) -> str:
        rows, parts = Run.objects.using(database_alias()).filter(queue=queue.name).order_by(), []
        for status in Run.OPEN:
            # What is ready has a position, and an index for it.
            further = {"position__isnull": False} if status == Run.Status.READY else {}
            if count := rows.filter(status=status, **further)[: CAP + 1].count():
                parts.append(f"{counted(count)} {status.label}")
        return ", ".join(parts) or _("none")

    @admin.display(description=gettext_lazy("Oldest that waits"))
    def oldest(self, queue: Queue) -> Any:
        rows = Run.objects.using(database_alias()).light().ready().filter(queue=queue.name, position__isnull=False)
        first = rows.order_by("position").first()
        return (
            format_html("{}, {}", self.link("run", "change", first.pk, f"#{first.short_id}"), moment(first.enqueued_at))
            if first
            else "–"
        )
