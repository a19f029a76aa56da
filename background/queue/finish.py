"""Own how outcomes are written: in groups, each guarded by its claim's token."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F

from background.dialects import dialect
from background.models import Job, Run, RunLog
from background.models.run import position_of
from background.queue.claim import Claim
from background.queue.limits import unblock
from background.queue.outcome import Kind, Line, Outcome
from background.queue.transitions import move
from background.queue.wakeup import wake
from background.scope import database_alias
from background.signals import run_finished

logger = logging.getLogger("background.queue")
Status = Run.Status

LETTERS = {Kind.SUCCEEDED: "s", Kind.FAILED: "f", Kind.CANCELLED: "c"}
FINAL = {Kind.SUCCEEDED: Status.SUCCEEDED, Kind.FAILED: Status.FAILED, Kind.CANCELLED: Status.CANCELLED}


def finish(outcomes: Sequence[Outcome], now: datetime | None = None) -> list[Outcome]:
    """Write what happened and return the outcomes that were refused: someone else holds those runs by now.

    One transaction for all, tried again where the database breaks it off; sends `run_finished` after it. Blocks.
    """
    refused = dialect().in_transaction(lambda: _finish(outcomes, now))
    for outcome in refused:
        logger.warning(
            "run %s of %s is held by another host by now; its outcome here is discarded",
            outcome.claim.id,
            outcome.claim.task,
        )
    announce([one for one in outcomes if one not in refused])
    return refused


def _finish(outcomes: Sequence[Outcome], now: datetime | None) -> list[Outcome]:
    now = now or dialect().now()
    refused = [one for one in outcomes if not _write(one, now)]
    written = [one for one in outcomes if one not in refused]
    write_lines([(one.claim, one.lines) for one in written])
    note_outcomes(written)
    unblock(one.claim.concurrency_key for one in written if one.claim.concurrency_key)
    return refused


def finish_within(outcome: Outcome) -> bool:
    """Write one outcome inside the caller's transaction; False if the run is held by another host by now. Blocks."""
    return not _finish([outcome], None)


def _write(outcome: Outcome, now: datetime) -> bool:
    claim = outcome.claim
    to, changes = _changes(outcome, now)
    changes["log_lines_dropped"] = F("log_lines_dropped") + outcome.lines_dropped
    if outcome.progress:
        done, total, message = outcome.progress
        changes |= {"progress_done": done, "progress_total": total, "progress_message": message[:200]}
    return bool(move([claim.id], to, of=[Status.RUNNING], held_by=claim.token, **changes))


def _changes(outcome: Outcome, now: datetime) -> tuple[str, dict[str, Any]]:
    claim = outcome.claim
    changes: dict[str, Any] = {}
    if outcome.error is not None:
        changes["errors"] = [*claim.errors, outcome.error]
        changes["error_type"] = outcome.error["type"][:255]
        changes["error_summary"] = outcome.error["message"][:500]
        changes["fingerprint"] = outcome.fingerprint
    if outcome.kind in FINAL:
        changes |= {"finished_at": now, "end_reason": outcome.reason[:300]}
        if outcome.kind is Kind.SUCCEEDED:
            changes["result"] = outcome.result
        return FINAL[outcome.kind], changes
    if outcome.kind is not Kind.RETRY:
        changes["attempt"] = F("attempt") - 1
    if outcome.delay <= 0:
        # It keeps its place: it had waited for its turn already.
        return Status.READY, changes | {"position": position_of(claim.enqueued_at, claim.priority)}
    return Status.SCHEDULED, changes | {"run_after": now + timedelta(seconds=outcome.delay)}


def announce(outcomes: Iterable[Outcome]) -> None:
    """Tell receivers of `run_finished` and the workers of this process what was written."""
    for outcome in outcomes:
        claim = outcome.claim
        if outcome.kind in FINAL:
            run_finished.send(
                sender=Run, run_id=claim.id, task=claim.task, status=FINAL[outcome.kind].value, job_name=claim.job_name
            )
    wake()


def write_lines(batches: Iterable[tuple[Claim, Sequence[Line]]]) -> None:
    """Store captured log lines. Blocks for one statement per 500 lines."""
    rows = [
        RunLog(
            run_id=claim.id, sequence=line.sequence, created_at=line.created_at, level=line.level, message=line.message
        )
        for claim, lines in batches
        for line in lines
    ]
    if rows:
        RunLog.objects.using(database_alias()).bulk_create(rows, batch_size=500)


def write_progress(claim: Claim, progress: tuple[float, float | None, str] | None, lines: Sequence[Line]) -> bool:
    """Store what a running run says meanwhile; False if it is no longer this claim's. Blocks for two statements."""
    rows = Run.objects.using(database_alias()).filter(id=claim.id, token=claim.token, status=Status.RUNNING)
    if progress:
        done, total, message = progress
        held = rows.update(progress_done=done, progress_total=total, progress_message=message[:200])
    else:
        held = rows.exists()
    if held:
        write_lines([(claim, lines)])
    return bool(held)


def note_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Append to each job's strip of the last thirty outcomes. Blocks for two statements per job."""
    letters: dict[int, str] = {}
    for outcome in outcomes:
        if outcome.claim.job_id and outcome.kind in LETTERS:
            letters[outcome.claim.job_id] = letters.get(outcome.claim.job_id, "") + LETTERS[outcome.kind]
    for job_id in sorted(letters):
        append_letters(job_id, letters[job_id])


def append_letters(job_id: int, letters: str) -> None:
    rows = Job.objects.using(database_alias()).filter(id=job_id)
    strip = dialect().lock(rows, skip=False).values_list("outcomes", flat=True).first()
    if strip is not None:
        rows.update(outcomes=(strip + letters)[-30:])


def release(claims: Sequence[Claim], reason: str = "") -> None:
    """Hand claimed runs back, unburnt and at their old place. Blocks for a transaction."""
    if claims:
        finish([Outcome(claim, Kind.RELEASED, reason=reason) for claim in claims])
