"""Own the page that confirms what is done to many runs: to those that were ticked, or to all that match."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.http import HttpResponseNotAllowed
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from background import registry
from background.admin import lists, sweep
from background.admin.acting import EFFECTS, LABELS, Foreseen, act_on, button, outcome
from background.admin.forms import ReasonForm
from background.admin.paging import PAGE, Walk
from background.admin.permissions import ARGUMENTS, BULK
from background.admin.run_list import Asked, asked_by
from background.admin.search import ask, fix, split
from background.admin.start import new_key, request_key
from background.admin.text import Shown, visible
from background.admin.why import Situation
from background.dialects import dialect
from background.models import Run
from background.models.queue import EVERYTHING
from background.queue.enqueue import enqueue
from background.scope import database_alias


def bulk_view(admin: Any, request: Any) -> Any:
    """Show what will be done on GET, or on a POST that does not confirm; do it on one that does."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    given = request.POST if request.method == "POST" else request.GET
    verb = given.get("verb") or given.get("action", "").partition("_")[0]
    if not admin.has_view_permission(request) or not may_do(request.user, verb):
        raise PermissionDenied
    if request.method == "POST" and "_selected_action" in request.POST and "across" not in request.POST:
        return _Ticked(admin, request, verb).answer()
    return _Matching(admin, request, verb).answer()


def may_do(user: Any, verb: str) -> bool:
    return user.has_perm(BULK[verb]) if verb in BULK else any(user.has_perm(one) for one in BULK.values())


class _Choice:
    """What both have in common: a confirmation, and the way back to the list as it was."""

    def __init__(self, admin: Any, request: Any, verb: str) -> None:
        self.admin, self.request, self.verb = admin, request, verb
        self.rows = admin.get_queryset(request)
        self.query = urlencode([(k, v) for k, v in request.GET.items() if k not in ("verb", "action", "key", "index")])
        self.back = admin.url("changelist") + (f"?{self.query}" if self.query else "")

    def answer(self) -> Any:
        if self.verb not in BULK:
            return self._back(_("No action selected."), messages.WARNING)
        form = ReasonForm(self.request.POST if "confirmed" in self.request.POST else None)
        if form.is_bound and form.is_valid():
            return self.act(form.cleaned_data["reason"])
        return self._confirm(form)

    def act(self, reason: str) -> Any:
        raise NotImplementedError

    def facts(self) -> tuple[Foreseen, bool, list[tuple[str, str]], list[str]]:
        """Return what is foreseen, whether there may be more, the form's hidden fields, and further sentences."""
        raise NotImplementedError

    def foresee(self, rows: Any) -> Foreseen:
        return Foreseen(
            self.verb,
            rows.order_by().values_list("status", "task", "job_name", "cancel_requested_at"),
            self.request.user,
        )

    def _confirm(self, form: Any) -> Any:
        foreseen, is_capped, hidden, further = self.facts()
        label = button(self.verb, foreseen.count, is_capped)
        nothing = not foreseen.count and not is_capped
        context = {
            "title": label,
            "lines": [EFFECTS[self.verb], *foreseen.lines(is_capped), *further],
            "refusal": _("There is nothing to do.") if nothing else "",
            "forms": [form],
            "button": label,
            "action": f"{self.admin.url('bulk')}?{self.query}",
            "hidden": [
                ("verb", self.verb),
                ("confirmed", "1"),
                ("key", self.request.POST.get("key") or new_key()),
                *hidden,
            ],
            "back": self.back,
        }
        return self.admin.ask(self.request, None, context)

    def at_once(self, ids: Sequence[uuid.UUID], reason: str) -> Any:
        """Act in this request, in one transaction with the lines of the History."""
        user = self.request.user
        key = request_key(self.request, self.request.user, self.request.POST.get("key", ""))

        def work() -> Any:
            shown = {run.pk: Shown(run) for run in self.rows.light().filter(pk__in=ids)}
            result = act_on(self.verb, ids, user, reason, key or uuid.uuid4().hex)
            note = "; ".join(
                [str(LABELS[self.verb]), *([_("reason: %(reason)s") % {"reason": reason}] if reason else [])]
            )
            flag = DELETION if self.verb == "delete" else CHANGE
            for pk in result.done:
                self.log(user, shown[pk], flag, note)
            return result

        result = dialect().in_transaction(work)
        result.tell()
        level = messages.SUCCESS if result.done else messages.WARNING
        return self._back(outcome(self.verb, len(result.done), result.skipped), level)

    def log(self, user: Any, shown: Any, flag: int, note: str) -> None:
        LogEntry.objects.log_actions(user.pk, [shown], flag, visible(note), single_object=True)

    def _back(self, said: Any, level: int = messages.SUCCESS) -> Any:
        return self.admin.done(self.request, None, said, level, self.back)


class _Ticked(_Choice):
    """The runs that were ticked in the list: a page of them at most, done in the request."""

    def ids(self) -> list[uuid.UUID]:
        try:
            ids = [uuid.UUID(one) for one in self.request.POST.getlist("_selected_action")]
        except ValueError as error:
            raise BadRequest from error
        if len(ids) > PAGE:
            raise BadRequest
        return list(self.rows.filter(pk__in=ids).values_list("pk", flat=True))

    def facts(self) -> tuple[Foreseen, bool, list[tuple[str, str]], list[str]]:
        ids = self.ids()
        return self.foresee(self.rows.filter(pk__in=ids)), False, [("_selected_action", str(one)) for one in ids], []

    def act(self, reason: str) -> Any:
        return self.at_once(self.ids(), reason)


class _Matching(_Choice):
    """All runs that match the list's filters: beyond a page they become a run of their own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: Asked = asked_by(self.request)

    def answer(self) -> Any:
        if self.asked.question is None:
            return self._back(self.asked.complaint, messages.WARNING)
        return super().answer()

    def matching(self, newest: uuid.UUID | None) -> tuple[Any, list[Any], bool, int]:
        """Return rows, the search with fixed bounds, whether there are more than are counted, and how many are."""
        pairs = fix(self.asked.pairs, self.asked.question)  # type: ignore[arg-type]
        rows = self.rows if newest is None else self.rows.filter(id__lte=newest)
        counted = [
            Walk(rows, ask(part, "all", arguments=self.request.user.has_perm(ARGUMENTS))).sample()
            for part in split(pairs)
        ]
        ids = [id for some, _more in counted for id in some][: lists.CAP]
        return (
            ids,
            pairs,
            any(more for _some, more in counted) or sum(len(some) for some, _more in counted) > lists.CAP,
            len(ids),
        )

    def newest(self) -> uuid.UUID | None:
        """Return the newest run of all that the person has confirmed, or that there are now."""
        given = self.request.POST.get("newest")
        try:
            return uuid.UUID(given) if given else self.rows.order_by("-id").values_list("id", flat=True).first()
        except ValueError as error:
            raise BadRequest from error

    def facts(self) -> tuple[Foreseen, bool, list[tuple[str, str]], list[str]]:
        newest = self.newest()
        ids, _pairs, is_capped, count = self.matching(newest)
        foreseen = self.foresee(self.rows.filter(dialect().among("id", ids)))
        further = []
        if count > PAGE or is_capped:
            further = [
                _("It is done by a run of its own, which shows how far it is and can be cancelled."),
                *_warnings(),
            ]
        return foreseen, is_capped, [("newest", str(newest or ""))], further

    def act(self, reason: str) -> Any:
        newest = self.newest()
        ids, pairs, is_capped, count = self.matching(newest)
        if count <= PAGE and not is_capped:
            return self.at_once(ids, reason)
        kwargs = {
            "verb": self.verb,
            "search": [list(pair) for pair in pairs],
            "newest": str(newest),
            "site": self.admin.admin_site.name,
        }
        key = request_key(self.request, self.request.user, self.request.POST.get("key", ""))
        with transaction.atomic(using=database_alias()):
            is_new = key is None or not Run.objects.using(database_alias()).filter(request_key=key).exists()
            run = enqueue(
                registry.task(sweep.task.module_path), (), {**kwargs, "about": None if is_capped else count}, user=self.request.user,
                request_key=key, trigger=Run.Trigger.MANUAL, reason=reason, queue=served_queue(), priority=sweep.task.priority,
            )  # fmt: skip
            if is_new:  # else the form was sent twice
                foreseen = self.foresee(self.rows.filter(dialect().among("id", ids)))
                said = f"{button(self.verb, foreseen.count, is_capped)}; {self.query}"
                self.admin.log_addition(self.request, Shown(run), visible(said[:500]))
        link = self.admin.link("run", "change", run.pk, f"#{run.short_id}", self.request.user)
        return self._back(format_html(_("Run {} does it; its page shows how far it is and lets you cancel it."), link))


def served_queue() -> str:
    """Return a queue in which the run will not wait for ever: its own, unless nobody serves it."""
    now = Situation()
    names = [sweep.QUEUE, *sorted({name for host in now.hosts for name in host.queues or ["default"]})]
    free = [name for name in names if name not in now.paused and any(host.serves(name) for host in now.hosts)]
    return free[0] if free else sweep.QUEUE


def _warnings() -> list[str]:
    now = Situation()
    if EVERYTHING in now.paused:
        return ["⚠ " + _("Everything is paused: the run will wait until it is resumed.")]
    return [] if now.hosts else ["⚠ " + _("No host is alive: the run will wait until one is.")]
