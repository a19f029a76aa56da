"""Own the list of runs as CSV: the same filters, streamed, in codes instead of words, and without a formula in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseNotAllowed, StreamingHttpResponse
from django.utils import timezone

from background.admin import story
from background.admin.arguments import masked
from background.admin.paging import Walk
from background.admin.permissions import ARGUMENTS
from background.admin.run_list import asked_by
from background.admin.text import visible
from background.dialects import dialect
from background.models import Run

MOST = 50_000
BATCH = 1000
LONGEST_STATEMENT = 60.0  # seconds
# What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

COLUMNS = (
    "id", "state", "attempt", "max_attempts", "job", "task", "trigger", "scheduled_for", "queue", "host", "version", "enqueued_at",
    "started_at", "finished_at", "waited", "took", "by", "reason", "end_reason", "error_type", "fingerprint",
)  # fmt: skip


def export_view(admin: Any, request: Any) -> Any:
    """Stream what the list of the same address shows, page after page."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    asked = asked_by(request)
    if asked.question is None:
        return admin.done(request, None, asked.complaint, messages.WARNING, admin.url("changelist"))
    with_arguments = request.user.has_perm(ARGUMENTS)
    rows = admin.get_queryset(request)
    rows = rows.defer("result", "errors") if with_arguments else rows.light()
    lines = _lines(Walk(rows, asked.question), with_arguments)
    name = f"runs-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
    return StreamingHttpResponse(
        lines if request.method == "GET" else iter(()),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"},
    )


class _Echo:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        return text


def _lines(walk: Walk, with_arguments: bool) -> Iterator[str]:
    writer, left, before = csv.writer(_Echo()), MOST, None
    yield writer.writerow([*COLUMNS, *(["arguments"] if with_arguments else [])])
    while left > 0:
        with dialect().time_limit(LONGEST_STATEMENT):
            page = walk.older(before, min(BATCH, left))
        for run in page.runs:
            yield writer.writerow([safe(one) for one in _row(run, with_arguments)])
        left, before = left - len(page.runs), page.older
        if before is None:
            return


def _row(run: Run, with_arguments: bool) -> list[Any]:
    row = [
        run.pk, run.status, run.attempt, run.max_attempts, run.job_name, run.task, run.trigger, _iso(run.scheduled_for), run.queue,
        run.host_name, run.version, _iso(run.enqueued_at), _iso(run.started_at), _iso(run.finished_at), _seconds(story.waited(run)),
        _seconds(story.took(run)), run.triggered_by_name, run.reason, run.end_reason, run.error_type, run.fingerprint,
    ]  # fmt: skip
    if with_arguments:
        args, kwargs = masked(run.task, run.job_name, run.args, run.kwargs)
        row.append(json.dumps({"args": args, "kwargs": kwargs}, ensure_ascii=False))
    return row


def safe(value: Any) -> str:
    """Return a cell in which every character can be seen, and which no spreadsheet takes for a formula."""
    text = visible(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _iso(at: Any) -> str:
    return at.isoformat() if at else ""


def _seconds(span: float | None) -> str:
    return "" if span is None else f"{span:.3f}"
