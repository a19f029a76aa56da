"""Own the log of a run as its page shows it: the newest lines first, older ones by link, by level and by words, and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponseNotAllowed, StreamingHttpResponse
from django.utils import formats, timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from background.admin.permissions import OUTPUT
from background.admin.text import cut, visible, whole
from background.models import Run, RunLog
from background.scope import database_alias

LINES = 200
LONGEST_LINE = 4096
# From each level, what is at least as bad.
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def log_of(run: Run, params: Any) -> dict[str, Any]:
    """Return lines of the log, oldest first: the newest, those before a number, or (for the script) those after one."""
    after, before, show = (whole(params.get(name, "")) for name in ("after", "before", "whole"))
    level, find = params.get("level", ""), params.get("find", "").replace("\x00", "")[:200]
    rows = RunLog.objects.using(database_alias()).filter(run=run, sequence__gt=after)
    if level in LEVELS:
        # Levels of an app's own are shown with every filter.
        rows = rows.exclude(level__in=LEVELS[: LEVELS.index(level)])
    if find:
        rows = rows.filter(message__icontains=find)  # within one run, so within MAX_LOG_LINES
    if before:
        rows = rows.filter(sequence__lt=before)
    found = list(rows.order_by("sequence" if after else "-sequence")[: LINES + 1])
    shown = found[:LINES] if after else found[:LINES][::-1]
    asked = {name: value for name, value in (("level", level), ("find", find)) if value}
    return {
        "log": [_line(one, asked, show) for one in shown],
        "log_after": shown[-1].sequence if shown else after,
        "log_older": "?" + urlencode({**asked, "before": str(shown[0].sequence)}) if len(found) > LINES and not after else "",
        "log_newest": "?" + urlencode(asked) if before else "",
        "log_query": urlencode(asked),
        "log_level": level, "log_find": find, "log_levels": LEVELS,
        "log_dropped": 0 if before else run.log_lines_dropped,
    }  # fmt: skip


def _line(one: RunLog, asked: dict[str, str], show: int) -> dict[str, Any]:
    is_cut = len(one.message) > LONGEST_LINE and one.sequence != show
    return {
        "number": one.sequence,
        "at": formats.date_format(timezone.localtime(one.created_at), "H:i:s"),
        "level": visible(one.level),
        "mark": mark(one.level),
        "text": cut(one.message, LONGEST_LINE, lines=True) if is_cut else visible(one.message, lines=True),
        "whole": "?" + urlencode({**asked, "before": str(one.sequence + 1), "whole": str(one.sequence)})
        if is_cut
        else "",
    }


def mark(level: str) -> str:
    """Return the word of the stylesheet for a level."""
    return level.lower() if level in ("WARNING", "ERROR", "CRITICAL") else "info"


def log_text_view(admin: Any, request: Any, object_id: str) -> Any:
    """Send the whole log as a text file."""
    run = _run(admin, request, object_id)
    return run if isinstance(run, HttpResponseNotAllowed) else download(_text(run), f"run-{run.short_id}.log.txt")


def error_text_view(admin: Any, request: Any, object_id: str) -> Any:
    """Send what went wrong in each attempt as a text file."""
    run = _run(admin, request, object_id)
    if isinstance(run, HttpResponseNotAllowed):
        return run
    return download((visible(_error_text(one), lines=True) for one in run.errors), f"run-{run.short_id}.errors.txt")


def _error_text(error: dict[str, Any]) -> str:
    head = f"attempt {error.get('attempt')}, {error.get('at')}, {error.get('host')}"
    return f"{head}\n{error.get('traceback') or ''}\n{error.get('type')}: {error.get('message')}\n\n"


def _run(admin: Any, request: Any, object_id: str) -> Any:
    if not (admin.has_view_permission(request) and request.user.has_perm(OUTPUT)):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return admin.find(request, object_id)


def _text(run: Run) -> Iterator[str]:
    after = 0
    while True:
        rows = list(
            RunLog.objects.using(database_alias()).filter(run=run, sequence__gt=after).order_by("sequence")[:LINES]
        )
        for one in rows:
            yield f"{one.created_at.isoformat()} {visible(one.level)} {visible(one.message, lines=True)}\n"
        if len(rows) < LINES:
            break
        after = rows[-1].sequence
    if run.log_lines_dropped:
        yield _("%(count)d further lines were not kept.") % {"count": run.log_lines_dropped} + "\n"


def download(parts: Any, name: str) -> StreamingHttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return StreamingHttpResponse(parts, content_type="text/plain; charset=utf-8", headers=headers)
