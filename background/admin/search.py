"""Own the words by which runs are searched: what may be typed, and what it asks of the database."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import CharField, F, Q
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from background.admin.matching import argument
from background.admin.text import absolute, cut
from background.models import Job, Run
from background.models.ids import first_id
from background.scope import database_alias

Status = Run.Status
Pair = tuple[str, str]  # a word and its value

WORDS = ("id", "job", "queue", "host", "state", "trigger", "by", "error", "since", "until", "took")
WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7), "31d": timedelta(days=31)}
DEFAULT, WIDEST, ALL = "24h", "31d", "all"
# What lets a search go beyond the widest window: it has an index that is led by it.
NARROW = {"id", "job", "state"}

_TERM = re.compile(r'\s*([a-z]+(?:\.[^\s:>"]+)?)(:|>)("(?:[^"\\]|\\.)*"|[^\s"]\S*)(?=\s|$)')
_SPAN = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhd]?)")
_TAIL = re.compile(r"[0-9a-f]{4,12}")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# States that are the beginning of an index of their own; most runs are in none of them.
INDEXED = {Status.SCHEDULED, Status.BLOCKED, Status.FAILED, Status.CANCELLED, Status.READY, Status.RUNNING}
GROUPS = {"open": Run.OPEN, "finished": Run.FINISHED, "waiting": (Status.SCHEDULED, Status.READY, Status.BLOCKED)}


class InvalidSearch(ValueError):
    """What was typed is not understood."""


@dataclass(frozen=True)
class Question:
    """Which runs are meant: one condition that has an index, the rest, and the bounds of their ids."""

    base: Q = field(default_factory=Q)
    rest: Q | None = None  # is looked for among so many rows of the base only
    since: datetime | None = None
    until: datetime | None = None
    one: bool = False  # single runs are named: no window is needed
    notes: tuple[str, ...] = ()  # what has to be said about it

    @property
    def bounds(self) -> Q:
        found = Q()
        if self.since:
            found &= Q(id__gte=first_id(self.since))
        if self.until:
            found &= Q(id__lt=first_id(self.until))
        return found


def parse(text: str) -> list[Pair]:
    """Return the words and values of a search; InvalidSearch names what is not understood."""
    text, pairs, place = text.replace("\x00", "").strip(), [], 0
    while place < len(text):
        found = _TERM.match(text, place)
        if found is None:
            raise InvalidSearch(_not_understood(text[place:].split()[0]))
        word, sign, value = found.groups()
        if not (word in WORDS or word.startswith("arg.")) or (sign == ">") != (word == "took"):
            raise InvalidSearch(_not_understood(found[0].strip()))
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        pairs.append((word, value))
        place = found.end()
    return pairs


def _not_understood(text: str) -> str:
    plain = text.lstrip("#").lower()
    guess = f"id:{plain}" if _TAIL.fullmatch(plain) or _as_uuid(plain) else f"job:{text}"
    facts = {"text": cut(text, 60), "guess": cut(guess, 60)}
    if re.fullmatch(r'[^:>"]+', text):
        return _("“%(text)s” is not understood: each term is a word, a colon and a value. Perhaps %(guess)s?") % facts
    return _("“%(text)s” is not understood. The words are those below.") % facts


def ask(pairs: Sequence[Pair], window: str = "", now: datetime | None = None, arguments: bool = False) -> Question:
    """Return what is meant by words and a window; InvalidSearch where a value is none. Blocks for a query per job or person.

    `arguments` tells whether the person may see them: else they may not be searched.
    """
    now = now or timezone.now()
    if not arguments and any(word.startswith("arg.") for word, _value in pairs):
        raise InvalidSearch(_("Searching in arguments needs “Can view run arguments and results”."))
    conditions = sorted(_conditions(pairs, now), key=lambda one: one[0])
    rank, base = conditions.pop(0) if conditions and conditions[0][0] < UNINDEXED else (UNINDEXED, Q())
    rest = Q(*(q for _rank, q in conditions)) if conditions else None
    since, until, notes = _window(pairs, window, now, narrowed=any(word in NARROW for word, _value in pairs))
    return Question(base, rest, since, until, rank == 0, tuple(notes))


def split(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return one search for each of the states that are asked for: each has an index of its own, together they have none."""
    states = [one for word, value in pairs if word == "state" for one in _states(value)]
    if len(states) < 2 or sum(word == "state" for word, _value in pairs) > 1:
        return [list(pairs)]
    others = [pair for pair in pairs if pair[0] != "state"]
    return [[*others, ("state", state)] for state in states]


def fix(pairs: Sequence[Pair], question: Question) -> list[Pair]:
    """Return the same search with its window as instants: what it means does not move with the clock."""
    found = [pair for pair in pairs if pair[0] not in ("since", "until")]
    bounds = (("since", question.since), ("until", question.until))
    return [*found, *((word, at.isoformat()) for word, at in bounds if at is not None)]


def instant(text: str, now: datetime) -> datetime:
    """Return the instant that a person means by 2h, 3d, 2027-01-31 or 2027-01-31T10:00; InvalidSearch."""
    span = _SPAN.fullmatch(text)
    if span and span[2]:
        return now - timedelta(seconds=float(span[1]) * _SECONDS[span[2]])
    try:
        day = parse_date(text)
        found = datetime(day.year, day.month, day.day) if day else parse_datetime(text)  # noqa: DTZ001 - aware below
        if found is not None:
            found = found if timezone.is_aware(found) else timezone.make_aware(found)
            first_id(found)  # years before 1970 or after ids end have none
            return found
    except (ValueError, OverflowError):
        pass
    raise InvalidSearch(
        _("“%(text)s” is no time: write 2h, 3d, 2027-01-31 or 2027-01-31T10:00.") % {"text": cut(text, 40)}
    )


def _window(
    pairs: Sequence[Pair], window: str, now: datetime, narrowed: bool
) -> tuple[datetime | None, datetime | None, list[str]]:
    """Return the bounds of time, and what has to be said about them."""
    given = {word: instant(value, now) for word, value in pairs if word in ("since", "until")}
    since, until = given.get("since"), given.get("until")
    if not given:
        window = window if window in (*WINDOWS, ALL) else _default(pairs)
        if window == ALL and narrowed:
            return None, None, []
        if window == ALL:
            return now - WINDOWS[WIDEST], None, [_("Without an id, a job or a state at most 31 days are searched.")]
        return now - WINDOWS[window], None, []
    if not narrowed and (since is None or (until or now) - since > WINDOWS[WIDEST]):
        since = (until or now) - WINDOWS[WIDEST]
        return since, until, [_("Without an id, a job or a state at most 31 days are searched.")]
    return since, until, []


def _default(pairs: Sequence[Pair]) -> str:
    """Return the window that a search has by itself: what is open, or named, is shown however old it is."""
    states = [one for word, value in pairs if word == "state" for one in _states(value)]
    if any(word == "id" for word, _value in pairs) or (states and set(states) <= set(Run.OPEN)):
        return ALL
    return DEFAULT


def said(question: Question, pairs: Sequence[Pair], window: str) -> str:
    """Return the window in words."""
    if any(word in ("since", "until") for word, _value in pairs) or question.until:
        if question.until is None:
            return _("since %(since)s") % {"since": absolute(question.since)} if question.since else _("of all time")
        if question.since is None:
            return _("until %(until)s") % {"until": absolute(question.until)}
        return _("%(since)s to %(until)s") % {"since": absolute(question.since), "until": absolute(question.until)}
    if question.since is None:
        return _("of all time")
    chosen = window if window in WINDOWS else WIDEST if window == ALL else DEFAULT
    return window_label(chosen)


def window_label(window: str) -> str:
    return {
        "1h": _("last hour"), "24h": _("last 24 hours"), "7d": _("last 7 days"), "31d": _("last 31 days"), ALL: _("of all time"),
    }[window]  # fmt: skip


# How well an index narrows: of several conditions the best one leads. What has no index is looked for among the rows of that.
UNINDEXED = 9


def _conditions(pairs: Sequence[Pair], now: datetime) -> Iterator[tuple[int, Q]]:
    tasks = {path for word, value in pairs if word == "job" for path in _tasks(value)}
    states = {word for word, _value in pairs} & {"state"}
    for word, value in pairs:
        if word in ("since", "until"):
            continue
        if word.startswith("arg."):
            yield UNINDEXED, _argument(word[4:], value, tasks)
        else:
            yield _CONDITIONS[word](value, now)
        if word == "error" and not states and not _FINGERPRINT.fullmatch(value):
            yield 3, Q(status=Status.FAILED)


def _id(value: str, now: datetime) -> tuple[int, Q]:
    plain = value.strip().lstrip("#").lower()
    if found := _as_uuid(plain):
        return 0, Q(pk=found)
    if not _TAIL.fullmatch(plain):
        raise InvalidSearch(_("“%(text)s” is no id, nor the last 4 to 12 letters of one.") % {"text": cut(value, 60)})
    return UNINDEXED, Q(id_text__endswith=plain)


def with_texts(rows: Any) -> Any:
    """Return rows with the columns that only a search has."""
    return rows.alias(id_text=Cast("id", CharField(max_length=36)))


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _job(value: str, now: datetime) -> tuple[int, Q]:
    """Match a job by its name, or the last part of it: then it has an index. Else by its task, or a beginning (digest*)."""
    jobs = Job.objects.using(database_alias())
    if value.endswith("*"):
        named = own = Q(task__startswith=value[:-1])
        named, own = named | Q(name__startswith=value[:-1]), own | Q(job_name__startswith=value[:-1])
    else:
        byname = list(jobs.filter(Q(name=value) | Q(name__endswith=f".{value}")).values_list("name", "id")[:2])
        exact = [id for name, id in byname if name == value]
        if exact or len(byname) == 1:
            return 4, Q(job=exact[0] if exact else byname[0][1])
        named = own = Q(task=value) | Q(task__endswith=f".{value}")
        named, own = named | Q(name__endswith=f".{value}"), own | Q(job_name=value) | Q(job_name__endswith=f".{value}")
    found = list(jobs.filter(named).order_by("id").values_list("id", flat=True)[:100])
    return UNINDEXED, Q(job__in=found) | (Q(job__isnull=True) & own)


def _tasks(value: str) -> list[str]:
    rows = Job.objects.using(database_alias()).filter(Q(name=value) | Q(name__endswith=f".{value}") | Q(task=value))
    return list(rows.values_list("task", flat=True).distinct()[:10])


def _argument(path: str, value: str, tasks: Iterable[str]) -> Q:
    try:
        return argument(path, value, tasks)
    except ValueError as error:
        raise InvalidSearch(str(error)) from error


def _queue(value: str, now: datetime) -> tuple[int, Q]:
    return (UNINDEXED, Q(queue=value)) if value == "default" else (5, Q(queue=value) & ~Q(queue="default"))


def _host(value: str, now: datetime) -> tuple[int, Q]:
    return UNINDEXED, Q(host_name=value) | Q(host_name__startswith=f"{value}:")


def _states(value: str) -> list[str]:
    found: list[str] = []
    for one in value.lower().split(","):
        if one not in Status.values and one not in GROUPS:
            known = ", ".join([*Status.values, *GROUPS])
            raise InvalidSearch(_("There is no state “%(text)s”: %(known)s.") % {"text": cut(one, 40), "known": known})
        found += GROUPS.get(one, (one,))
    return list(dict.fromkeys(str(one) for one in found))


def _state(value: str, now: datetime) -> tuple[int, Q]:
    states = _states(value)
    if len(states) > 1 or states[0] not in INDEXED:
        return UNINDEXED, Q(status__in=states)
    if states[0] == Status.READY:
        return 3, Q(status=Status.READY, position__isnull=False)  # as everywhere here, the condition of its index
    if states[0] == Status.RUNNING:  # few, and found by an index that is not in the order of the list
        return 3, Q(id__in=Run.objects.using(database_alias()).running().values("id"))
    return 3, Q(status=states[0])


def _trigger(value: str, now: datetime) -> tuple[int, Q]:
    if value not in Run.Trigger.values:
        known = ", ".join(Run.Trigger.values)
        raise InvalidSearch(_("There is no trigger “%(text)s”: %(known)s.") % {"text": cut(value, 40), "known": known})
    return UNINDEXED, Q(trigger=value)


def _by(value: str, now: datetime) -> tuple[int, Q]:
    users = get_user_model()._default_manager.filter(**{get_user_model().USERNAME_FIELD: value})
    user = users.values_list("pk", flat=True).first()
    return (2, Q(triggered_by=user)) if user is not None else (UNINDEXED, Q(triggered_by_name=value))


_FINGERPRINT = re.compile(r"[0-9a-f]{8,32}")


def _error(value: str, now: datetime) -> tuple[int, Q]:
    """Match a fingerprint, or the name of an exception with or without its module; without a state among failed runs."""
    if _FINGERPRINT.fullmatch(value):
        return 1, Q(fingerprint=value) & ~Q(fingerprint="")
    if value.endswith("*"):
        return UNINDEXED, Q(error_type__startswith=value[:-1]) | Q(error_type__contains=f".{value[:-1]}")
    return UNINDEXED, Q(error_type=value) | Q(error_type__endswith=f".{value}")


def _took(value: str, now: datetime) -> tuple[int, Q]:
    span = _SPAN.fullmatch(value)
    if span is None or not (seconds := float(span[1]) * _SECONDS[span[2]]) < 1e9:
        raise InvalidSearch(_("“%(text)s” is no span: write took>60 or took>5m.") % {"text": cut(value, 40)})
    running = Q(status=Status.RUNNING, started_at__lt=now - timedelta(seconds=seconds))
    return UNINDEXED, running | Q(finished_at__gt=F("started_at") + timedelta(seconds=seconds))


_CONDITIONS: dict[str, Any] = {
    "id": _id, "job": _job, "queue": _queue, "host": _host, "state": _state, "trigger": _trigger, "by": _by, "error": _error,
    "took": _took,
}  # fmt: skip
