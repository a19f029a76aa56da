"""Own what a run's page tells: how it went, what it said, what it gave back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from background import registry
from background.admin.frames import own_frames
from background.admin.redact import redact, secrets_of
from background.admin.text import absolute, as_text, between, cut, duration, folded, moment, relative, visible
from background.models import Run


def headline(run: Run) -> str:
    """Return job, attempt and what comes next, in one line."""
    parts = [cut(run.job_name or run.task, 120)]
    if run.attempt:
        parts.append(_("attempt %(attempt)d of %(most)d") % {"attempt": run.attempt, "most": run.max_attempts})
    if run.errors and run.status == Run.Status.SCHEDULED and run.run_after:
        parts.append(_("next attempt at %(at)s") % {"at": absolute(run.run_after)})
    if run.cancel_requested_at and run.is_open:
        parts.append(_("asked to stop"))
    return " · ".join(parts)


def due(run: Run) -> Any:
    return max(run.enqueued_at, run.run_after) if run.run_after else run.enqueued_at


def waited(run: Run) -> float | None:
    """Return the seconds from when the run could start until it did, or until now."""
    if run.started_at:
        return between(due(run), run.started_at)
    return between(due(run), timezone.now()) if run.is_open and due(run) < timezone.now() else None


def took(run: Run) -> float | None:
    if run.status == Run.Status.RUNNING:
        return between(run.started_at, timezone.now())
    return run.duration


def timeline(run: Run) -> list[tuple[Any, Any, str]]:
    """Return (what, when, how long it lasted) of the latest attempt."""
    steps: list[tuple[Any, Any, str]] = [(_("queued"), moment(run.enqueued_at), "")]
    if run.run_after and run.run_after > run.enqueued_at:
        steps.append((_("due"), moment(run.run_after), duration(between(run.enqueued_at, run.run_after))))
    if run.started_at:
        steps.append((_("started"), moment(run.started_at), _("waited %(span)s") % {"span": duration(waited(run))}))
    if run.finished_at:
        span = _("took %(span)s") % {"span": duration(took(run))} if run.started_at else ""
        steps.append((run.get_status_display(), moment(run.finished_at), span))
    elif run.status == Run.Status.RUNNING:
        steps.append((_("running"), _("now"), _("for %(span)s") % {"span": duration(took(run))}))
    return steps


def attempts_line(run: Run) -> list[tuple[int, str, str]]:
    """Return (number, state, what is to be said) of each attempt, as far as they are known."""
    found = []
    for place, error in enumerate(run.errors, 1):
        at = datetime.fromisoformat(error["at"]) if error.get("at") else None
        when = formats.date_format(timezone.localtime(at), "H:i:s") if at and at.tzinfo else ""
        kind = str(error.get("type", "")).rpartition(".")[2]
        found.append(
            (place, "failed", " · ".join(filter(None, [when, cut(kind, 80), cut(error.get("host") or "", 80)])))
        )
    if not found:
        return []
    if run.status == Run.Status.SUCCEEDED or run.status == Run.Status.RUNNING:
        found.append((len(found) + 1, run.status, cut(run.host_name, 80)))
    elif run.is_open:
        due_at = formats.date_format(timezone.localtime(run.run_after), "H:i:s") if run.run_after else ""
        found.append((len(found) + 1, run.status, due_at))
    return found


def rescued(run: Run) -> str:
    """Return that the run was taken from a host that was lost, or handed back by one that stopped; "" if neither."""
    host = visible(run.host_name)
    if run.lost:
        facts = {"count": run.lost, "host": host, "attempt": max(run.attempt, 1)}
        if run.status == Run.Status.READY:
            return _("It was rescued from host “%(host)s”, which was lost in attempt %(attempt)d (%(count)d in all).") % {
                **facts, "attempt": run.attempt + 1,
            }  # fmt: skip
        return _("It was rescued from lost hosts: %(count)d so far; attempt %(attempt)d went to “%(host)s”.") % facts
    if run.status != Run.Status.READY or not run.started_at or not run.host_name:
        return ""
    last = run.errors[-1].get("at") if run.errors else None
    if last and datetime.fromisoformat(last) >= run.started_at:
        return ""  # that attempt ended by itself
    return _("Host “%(host)s” stopped and handed it back in attempt %(attempt)d, which does not count.") % {
        "host": host, "attempt": run.attempt + 1,
    }  # fmt: skip


def progress(run: Run) -> dict[str, Any] | None:
    if run.progress_done is None:
        return None
    # As text: a localised number is none to a browser.
    bar = {"value": plain(run.progress_done), "max": plain(run.progress_total)} if run.progress_total else None
    text = amount(run.progress_done)
    if run.progress_total:
        text = _("%(done)s of %(total)s") % {"done": text, "total": amount(run.progress_total)}
    return {"bar": bar, "text": text, "message": visible(run.progress_message)}


def plain(number: float) -> str:
    return repr(int(number) if number == int(number) else number)


def amount(number: float) -> str:
    """Return a count of units as people write it: 340, 0.5."""
    return formats.number_format(int(number) if number == int(number) else round(number, 2), use_l10n=True)


def attempt(error: dict[str, Any], output: bool) -> dict[str, Any]:
    """Return one failed attempt as the page shows it; without the permission for output only type and first line."""
    message = str(error.get("message", ""))
    at = datetime.fromisoformat(error["at"]) if error.get("at") else None
    return {
        "number": error.get("attempt"),
        "at": f"{absolute(at)} ({relative(at)})" if at and at.tzinfo else "",
        "host": visible(error.get("host") or ""),
        "type": visible(error.get("type", "")),
        "message": visible(message, lines=True) if output else cut(message.partition("\n")[0], 200),
        "traceback": visible(error.get("traceback") or "", lines=True) if output else "",
        "own": visible(own_frames(error.get("traceback") or ""), lines=True) if output else "",
    }


def shown_result(run: Run) -> Any:
    if run.status != Run.Status.SUCCEEDED or run.result is None:
        return _("none")
    if run.task not in registry.tasks() and isinstance(run.result, (dict, list)):
        return _("hidden: no installed app declares this task, so nobody knows what in it is secret")
    return folded(as_text(redact(run.result, secrets_of(run.task, run.job_name))))
