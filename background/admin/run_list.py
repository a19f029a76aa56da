"""Own the list of runs: its filters, its window, and the page of it that is shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import TextChoices
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.columns import shown_state, took, waited
from background.admin.lists import RoomList, TextFilter
from background.admin.paging import Page, Walk
from background.admin.permissions import ARGUMENTS
from background.admin.search import (
    ALL,
    NARROW,
    WINDOWS,
    InvalidSearch,
    Pair,
    Question,
    ask,
    parse,
    said,
    window_label,
)
from background.admin.text import absolute
from background.admin.why import Situation
from background.models import Run
from background.models.ids import first_id, made_at

# What stands in the address besides the filters.
PLACES = ("before", "after")
# Addresses of other pages, and of Django's own filters.
ALIASES = {"status__exact": "state", "status": "state", "trigger__exact": "trigger"}


class Word(TextFilter):
    """A filter that is a word of the search: the list asks for all of them together."""

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset


class QueueWord(Word):
    title, parameter_name = gettext_lazy("queue"), "queue"


class JobWord(Word):
    title, parameter_name = gettext_lazy("job"), "job"


class HostWord(Word):
    title, parameter_name = gettext_lazy("host"), "host"


class LongerWord(Word):
    title, parameter_name = gettext_lazy("duration over (seconds)"), "longer"


class Chosen(SimpleListFilter):
    """The same with a choice."""

    offered: tuple[type[TextChoices], ...] = ()

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [one for offer in self.offered for one in offer.choices]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset


class Groups(TextChoices):
    WAITING = "waiting", gettext_lazy("all that wait")
    OPEN = "open", gettext_lazy("all that are open")


class StateWord(Chosen):
    title, parameter_name, offered = gettext_lazy("state"), "state", (Run.Status, Groups)


class TriggerWord(Chosen):
    title, parameter_name, offered = gettext_lazy("trigger"), "trigger", (Run.Trigger,)


class WindowWord(SimpleListFilter):
    """How far back: one of four, or from and to."""

    title, parameter_name = gettext_lazy("window"), "window"
    template = "admin/background/run/window_filter.html"

    def __init__(self, request: Any, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in ("since", "until"):
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name, "since", "until"]

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [(one, window_label(one)) for one in (*WINDOWS, ALL)]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        for name, label in self.lookup_choices:
            if name == ALL and not changelist.is_narrowed:
                continue
            link = changelist.get_query_string({self.parameter_name: name}, ["since", "until"])
            yield {"selected": changelist.window == name, "query_string": link, "display": label}
        rest = [(k, v) for k, v in changelist.params.items() if k not in self.expected_parameters()]
        given = {name: self.used_parameters.get(name) or "" for name in ("since", "until")}
        yield {"form": True, "rest": rest, **given}


FILTERS = (StateWord, TriggerWord, QueueWord, JobWord, HostWord, WindowWord, LongerWord)


def pairs_of(params: Any, query: str) -> list[Pair]:
    """Return the words of the filters and of the search field; InvalidSearch."""
    found = [
        (word, params[word])
        for word in ("state", "trigger", "queue", "job", "host", "since", "until")
        if params.get(word)
    ]
    if params.get("longer"):
        found.append(("took", params["longer"]))
    return [*((word, str(value).replace("\x00", "").strip()[:200]) for word, value in found), *parse(query)]


class Asked:
    """What the address of a list asks for: the same for the list, its export and what is done to all of it."""

    def __init__(self, request: Any, params: Any, query: str) -> None:
        self.window = params.get("window", "")
        self.complaint = ""
        self.pairs: list[Pair] = []
        try:
            self.pairs = pairs_of(params, query)
            self.question: Question | None = ask(self.pairs, self.window, arguments=request.user.has_perm(ARGUMENTS))
        except InvalidSearch as error:
            self.question, self.complaint = None, str(error)


def asked_by(request: Any) -> Asked:
    params = {ALIASES.get(name, name): value for name, value in request.GET.items()}
    return Asked(request, params, params.get("q", ""))


class RunList(RoomList):
    """A page of runs without their heavy columns: found by their ids, and counted up to the cap."""

    page: Page
    asked: Asked

    def __init__(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.title = " · ".join(
            filter(None, [str(self.opts.verbose_name_plural).capitalize(), self.said, self.counted])
        )

    def get_queryset(self, request: Any, exclude_parameters: Any = None) -> Any:
        for name in PLACES:
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        for old, new in ALIASES.items():
            if old in self.params:
                self.params[new] = self.params.pop(old)
                self.filter_params[new] = self.filter_params.pop(old)
        rows: Any = super().get_queryset(request, exclude_parameters)
        self.asked = Asked(request, self.params, self.query)
        return rows.light()

    def get_results(self, request: Any) -> None:
        question, self.page = self.asked.question, Page([])
        self.result_count, self.is_capped = 0, False
        if question is not None:
            walk = Walk(self.queryset, question)
            before, after = _place(request, "before"), _place(request, "after")
            self.page = walk.newer(after, self.list_per_page) if after else walk.older(before, self.list_per_page)
            self._count(walk, first=not (before or after))
        self.result_list: Any = self.page.runs
        self._say_why()
        self.full_result_count = self.result_count  # else the search field would tell a number of its own
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = self.multi_page = False
        self.paginator: Any = None

    def _count(self, walk: Walk, first: bool) -> None:
        """Count only what is not known: a first page that is not full needs no question."""
        if first and len(self.page.runs) < self.list_per_page:
            self.result_count, self.is_capped = len(self.page.runs), self.page.edge is not None
        else:
            self.result_count, self.is_capped = walk.count()

    def _say_why(self) -> None:
        situation = Situation()
        for run in self.result_list:
            run.why = situation.why_waits(run)

    # What the templates ask

    @property
    def complaint(self) -> str:
        return self.asked.complaint

    @property
    def is_narrowed(self) -> bool:
        return any(word in NARROW for word, _value in self.asked.pairs)

    @property
    def said(self) -> str:
        return said(self.asked.question, self.asked.pairs, self.asked.window) if self.asked.question else ""

    @property
    def window(self) -> str:
        """The chosen window, if it is one of those offered."""
        said_now = self.said
        return next((one for one in (*WINDOWS, ALL) if window_label(one) == said_now), "")

    @property
    def counted(self) -> str:
        if self.asked.question is None:
            return ""
        return f"{self.result_count:,}+" if self.is_capped else f"{self.result_count:,}"

    @property
    def capped(self) -> str:
        return f"{self.result_count:,}"

    @property
    def notes(self) -> list[str]:
        found = list(self.asked.question.notes) if self.asked.question else []
        if self.page.edge:
            found.append(
                _("10,000 runs were looked through, to %(at)s; go on with “Older” or “Newer”.")
                % {"at": absolute(made_at(self.page.edge))}
            )
        return found

    @property
    def wider(self) -> tuple[str, str] | None:
        """The next wider window, as link and label."""
        order = [*WINDOWS, *([ALL] if self.is_narrowed else [])]
        if self.window not in order[:-1]:
            return None
        name = order[order.index(self.window) + 1]
        return self.get_query_string({"window": name}, ["since", "until"]), window_label(name)

    @property
    def newer(self) -> str:
        return self._beside("after", self.page.newer)

    @property
    def older(self) -> str:
        return self._beside("before", self.page.older)

    def _beside(self, name: str, id: uuid.UUID | None) -> str:
        return self.get_query_string({name: str(id)}) if id else ""

    @property
    def live_query(self) -> str:
        """What the fragment of this page is asked for: the open runs on it, and the newest one if it is the first page."""
        ids = ",".join(run.pk.hex for run in self.result_list if run.is_open)
        newest = {} if self.page.newer else {"than": self.newest.hex}
        return urlencode([*sorted(self.params.items()), ("ids", ids), *newest.items()])

    @property
    def newest(self) -> uuid.UUID:
        return self.result_list[0].pk if self.result_list else first_id(timezone.now())

    @property
    def filters_query(self) -> str:
        """What leads back to this list, and to the export of it."""
        return urlencode(sorted(self.params.items()))


# Newer runs are counted so far.
MOST_NEW = 1000


def live_list_view(admin: Any, request: Any) -> TemplateResponse:
    """Answer with the cells of the open runs on a page, and with how many newer runs there are; no row moves."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    asked, rows = asked_by(request), admin.get_queryset(request).light()
    try:
        ids = [uuid.UUID(one) for one in request.GET.get("ids", "").split(",") if one][: admin.list_per_page]
    except ValueError as error:
        raise BadRequest from error
    runs, situation, count = list(rows.filter(pk__in=ids)) if ids else [], Situation(), 0
    for run in runs:
        run.why = situation.why_waits(run)
    than = _place(request, "than")
    if than and asked.question is not None:
        count = Walk(rows, asked.question).count_newer(than, MOST_NEW)
    cells = [cell(run) for run in runs for cell in (shown_state, waited, took)]
    query = urlencode([(name, value) for name, value in request.GET.items() if name not in ("ids", "than", "live")])
    context = {
        "cells": cells,
        "newer_count": count,
        "newer_url": f"{admin.url('changelist')}?{query}",
        "is_over": count >= MOST_NEW,
    }
    return TemplateResponse(request, "admin/background/run/live_list.html", context)


def _place(request: Any, name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(request.GET[name]) if name in request.GET else None
    except ValueError as error:
        raise BadRequest from error


def search_words() -> list[tuple[str, str]]:
    """Return each word of the search with what it finds."""
    return [
        ("id:1a2b3c4d", _("a run, by its whole id or the last letters of it")),
        ("job:send_digest", _("a job by its name or task, by the last part of either, or by a beginning: job:digest*")),
        ("queue:mail", _("a queue")),
        ("host:web-1", _("a host, with or without its process")),
        ("state:failed", _("a state, several (state:ready,blocked), or waiting, open, finished")),
        ("trigger:manual", _("schedule, manual or code")),
        ("by:ana", _("who asked for it")),
        ("error:TimeoutError", _("the type of the last error, or its fingerprint; without a state among failed runs")),
        ("arg.region:EU", _("an argument, at any depth (arg.address.city:Bonn), or a positional one (arg.0:EU); needs a permission")),
        ("since:2h until:2027-01-31", _("when it was queued: 30m, 2h, 3d ago, a date, or date and time")),
        ("took>60", _("that it took longer: seconds, or 5m, 2h")),
        ('job:"daily digest"', _("a value with blanks in it")),
    ]  # fmt: skip
