"""Own the strip of a job's last outcomes: what its letters say, and which run stands behind one of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background.models import Job, Run, Skip
from background.scope import database_alias

# The letters of a strip: state, sign, words.
LETTERS = {
    "s": ("succeeded", "▮", gettext_lazy("succeeded")),
    "f": ("failed", "✖", gettext_lazy("failed")),
    "c": ("cancelled", "⊘", gettext_lazy("cancelled")),
    "m": ("missed", "▯", gettext_lazy("missed")),
    "o": ("overlap", "▯", gettext_lazy("skipped: the run before was open")),
}
# Those behind which there is a run.
OF_RUNS = ("s", "f", "c")
# Runs among which the thirty that ended last are looked for: they are read by their ids, which tell when they were enqueued.
LOOK, SKIPS = 200, 30


def spoken(label: Any, later: int) -> str:
    """Return how a cell of the strip is read out: its outcome, and how many came after it."""
    if not later:
        return _("%(outcome)s, the latest") % {"outcome": label}
    said = ngettext("%(outcome)s, %(count)d before the latest", "%(outcome)s, %(count)d before the latest", later)
    return said % {"outcome": label, "count": later}


def strip(job: Job, leads_to: Callable[[str], str]) -> tuple[SafeString | None, int]:
    """Return the strip, and how many of it failed; a cell leads to where its letter and all after it lead."""
    known = "".join(letter for letter in job.outcomes if letter in LETTERS)
    if not known:
        return None, 0
    failures = known.count("f")
    said = _("%(failures)d of the last %(count)d failed") % {"failures": failures, "count": len(known)}
    cells = []
    for place, letter in enumerate(known):
        word, sign, label = LETTERS[letter]
        cells.append((word, leads_to(known[place:]), label, spoken(label, len(known) - place - 1), sign))
    squares = format_html_join("", '<a class="bg-cell bg-{}" href="{}" title="{}" aria-label="{}">{}</a>', cells)
    return format_html('<span class="bg-strip" role="group" aria-label="{}">{}</span>', said, squares), failures


def run_behind(job: Job, tail: str) -> uuid.UUID | None:
    """Return the run behind the first letter of the end of a strip; None where the rows do not bear those letters (any more).

    The letters are told from the rows anew, and the end of the strip is looked for among them from the right: what has ended since
    the page was made, or was deleted, shifts it at most to a run that ended alike. Blocks for two queries.
    """
    alias = database_alias()
    runs = Run.objects.using(alias).finished().filter(job=job).order_by("-id")
    skips = Skip.objects.using(alias).filter(job=job).order_by("-id")
    found: list[tuple[Any, str, Any]] = [
        (at, str(id), status[0]) for id, status, at in runs.values_list("id", "status", "finished_at")[:LOOK] if at
    ]
    found += [
        (at, "", "o" if reason == Skip.Reason.OVERLAP else "m")
        for reason, at in skips.values_list("reason", "created_at")[:SKIPS]
    ]
    found.sort()
    place = "".join(letter for *_rest, letter in found).rfind(tail)
    return uuid.UUID(found[place][1]) if place >= 0 and tail[:1] in OF_RUNS else None
