"""Own what a person does to many runs: the same for a hundred in the request and for all that match in a run of its own."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background import registry
from background.admin.permissions import may_touch
from background.admin.text import visible
from background.models import Run
from background.queue import bulk
from background.queue.bulk import Result
from background.scope import database_alias

FOREIGN = "foreign"  # the task asks for a further permission

LABELS = {"again": gettext_lazy("Run again"), "cancel": gettext_lazy("Cancel"), "delete": gettext_lazy("Delete")}
EFFECTS = {
    "again": gettext_lazy("Each finished run gets a new one, linked to it, with the same arguments."),
    "cancel": gettext_lazy("Waiting runs end at once. Running ones are asked to stop, and are ended if they do not listen."),
    "delete": gettext_lazy("Finished runs are deleted with their logs and files. This cannot be undone."),
}  # fmt: skip
WHY = {
    bulk.OPEN: gettext_lazy("not finished yet"), bulk.ENDED: gettext_lazy("ended already"),
    bulk.ASKED: gettext_lazy("asked to stop already"),
    bulk.UNKNOWN: gettext_lazy("no installed app declares their task"), bulk.GONE: gettext_lazy("not there any more"),
    bulk.REFUSED: gettext_lazy("arguments do not fit any more, or an open run has their unique key"),
    FOREIGN: gettext_lazy("their task needs a further permission"),
}  # fmt: skip


def act_on(verb: str, ids: Sequence[uuid.UUID], user: Any, reason: str, key: str) -> Result:
    """Do it to each run where it is possible and the person may, in the caller's transaction. Blocks."""
    allowed = _allowed(verb, ids, user)
    if verb == "cancel":
        result = bulk.cancel_all(allowed, user.get_username(), reason)
    elif verb == "delete":
        result = bulk.delete_all(allowed)
    else:
        result = bulk.again_all(allowed, user, reason, key)
    result.skipped[FOREIGN] += len(ids) - len(allowed)
    return result


def _allowed(verb: str, ids: Sequence[uuid.UUID], user: Any) -> list[uuid.UUID]:
    if verb == "cancel":
        return list(ids)
    rows = Run.objects.using(database_alias()).filter(id__in=ids).values_list("id", "task", "job_name")
    may = cache(partial(may_touch, user))
    return [id for id, task, job_name in rows if may(task, job_name)]


class Foreseen:
    """What will be done and what passed over, as far as it is counted."""

    def __init__(self, verb: str, rows: Iterable[tuple[str, str, str, Any]], user: Any) -> None:
        self.states: Counter[str] = Counter()
        self.jobs: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        for (status, task, job_name, asked), count in Counter(rows).items():
            why = _refusal(verb, status, task, job_name, asked, user)
            if why:
                self.skipped[why] += count
            else:
                self.states[status] += count
                self.jobs[job_name or task] += count

    @property
    def count(self) -> int:
        return sum(self.states.values())

    def lines(self, is_capped: bool) -> list[str]:
        """Return sentences for the confirmation."""
        found = [_("More than are counted here match: these are the first of them.")] if is_capped else []
        if self.count:
            by_state = ", ".join(f"{count:,} {Run.Status(state).label}" for state, count in self.states.most_common())
            found.append(_("By state: %(counts)s.") % {"counts": by_state})
            jobs = ", ".join(f"{visible(name)[:80]} {count:,}" for name, count in self.jobs.most_common(10))
            more = len(self.jobs) - 10
            found.append(
                _("By job: %(counts)s.")
                % {"counts": jobs + (_(" and %(more)d more") % {"more": more} if more > 0 else "")}
            )
        return [*found, *([_("Passed over: %(why)s.") % {"why": said(self.skipped)}] if self.skipped.total() else [])]


def _refusal(verb: str, status: str, task: str, job_name: str, asked: Any, user: Any) -> str:
    is_open = status in Run.OPEN
    if verb == "cancel":
        return bulk.ENDED if not is_open else bulk.ASKED if asked and status == Run.Status.RUNNING else ""
    if is_open:
        return bulk.OPEN
    if verb == "again" and task not in registry.tasks():
        return bulk.UNKNOWN
    return "" if may_touch(user, task, job_name) else FOREIGN


def said(skipped: Counter[str]) -> str:
    """Return how many were passed over and why: 3 (ended already), 2 (not finished yet)."""
    return ", ".join(f"{count:,} ({WHY[why]})" for why, count in skipped.most_common() if count)


def outcome(verb: str, done: int, skipped: Counter[str]) -> str:
    words = {
        "again": ngettext("%(count)s run is run again.", "%(count)s runs are run again.", done),
        "cancel": ngettext("%(count)s run is cancelled or asked to stop.", "%(count)s runs are cancelled or asked to stop.", done),
        "delete": ngettext("%(count)s run is deleted.", "%(count)s runs are deleted.", done),
    }  # fmt: skip
    text = words[verb] % {"count": f"{done:,}"}
    return f"{text} {_('Passed over: %(why)s.') % {'why': said(skipped)}}" if skipped.total() else text


def button(verb: str, count: int, is_capped: bool) -> str:
    """Return the verb with its number: Cancel 12 runs."""
    number = f"{count:,}+" if is_capped else f"{count:,}"
    words = {
        "again": ngettext("Run %(number)s run again", "Run %(number)s runs again", count),
        "cancel": ngettext("Cancel %(number)s run", "Cancel %(number)s runs", count),
        "delete": ngettext("Delete %(number)s run", "Delete %(number)s runs", count),
    }
    return words[verb] % {"number": number}
