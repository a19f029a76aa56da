"""Own how outcomes are written: in groups, each guarded by its claim's token."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Value
from django.db.models.functions import Concat, Right

from background.dialects import dialect
from background.models import Job, Run, RunLog
from background.models.clock import DatabaseNow
from background.models.run import position_of
from background.queue.holding import Claim, Key, key_of
from background.queue.limits import unblock
from background.queue.outcome import Kind, Line, Outcome
from background.queue.tally import note, note_end
from background.queue.transitions import move, move_each
from background.scope import database_alias
from background.signals import run_finished

logger = logging.getLogger("background.queue")
Status = Run.Status

LETTERS = {Kind.SUCCEEDED: "s", Kind.FAILED: "f", Kind.CANCELLED: "c"}
FINAL = {Kind.SUCCEEDED: Status.SUCCEEDED, Kind.FAILED: Status.FAILED, Kind.CANCELLED: Status.CANCELLED}


class _Refused(Exception):
    """Not all of them fit: which, has to be asked."""


def finish(outcomes: Sequence[Outcome], now: datetime | None = None) -> list[Outcome]:
    """Write what happened and return the outcomes that were refused: someone else holds those runs by now.

    One transaction for all, tried again where the database breaks it off; sends `run_finished` after it. Blocks.
    """
    try:
        refused, cancelled = dialect().in_transaction(lambda: _finish(outcomes, now, trusting=True))
    except _Refused:
        refused, cancelled = dialect().in_transaction(lambda: _finish(outcomes, now))
    for outcome in refused:
        logger.warning(
            "run %s of %s is not held under this claim any more; its outcome is discarded",
            outcome.claim.id,
            outcome.claim.task,
        )
    lost = {id(one) for one in refused}
    announce([one for one in outcomes if id(one) not in lost])
    for outcome in cancelled:
        send_finished(outcome.claim, Status.CANCELLED)
    return refused


def _finish(
    outcomes: Sequence[Outcome], now: datetime | None, trusting: bool = False
) -> tuple[list[Outcome], list[Outcome]]:
    """Return the refused outcomes and those that would go on but were cancelled meanwhile.

    If `trusting`, plain successes are written without a look at their rows before; raises _Refused where one does not fit.
    """
    if not outcomes:
        return [], []
    first = {one.claim.key: one for one in reversed(outcomes)}  # one claim has one outcome
    plain, others = _sort(first.values())
    held = _held(others if trusting else first.values())
    if not trusting:
        plain = [one for one in plain if one.claim.key in held]
    others = [one for one in others if one.claim.key in held]
    at = now or next(iter(held.values()), None) or _clock(plain)
    for one in others:
        _write(one, now, at)
    if _write_plain(plain, now, at) != len(plain):
        raise _Refused()
    written, refused = list(outcomes), []
    if len(plain) + len(others) < len(outcomes):
        fits = {one.claim.key for one in (*plain, *others)}
        written = [one for one in outcomes if one.claim.key in fits and first[one.claim.key] is one]
        refused = [one for one in outcomes if one.claim.key not in fits or first[one.claim.key] is not one]
    cancelled = _end_cancelled([one for one in written if one.kind not in FINAL], at)
    write_lines([(one.claim, one.lines) for one in written if one.lines])
    note_letters(
        [(one.claim.job_id, LETTERS[one.kind]) for one in written if one.claim.job_id and one.kind in LETTERS]
        + [(one.claim.job_id, "c") for one in cancelled]
    )
    unblock(one.claim.concurrency_key for one in written if one.claim.concurrency_key and one.frees)
    return refused, cancelled


def _sort(outcomes: Iterable[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Return what can be written together, in the order of ids, and the others."""
    plain: list[Outcome] = []
    others: list[Outcome] = []
    for one in outcomes:
        is_plain = one.kind is Kind.SUCCEEDED and not (one.progress or one.lines_dropped)
        (plain if is_plain else others).append(one)
    plain.sort(key=lambda one: one.claim.id.int)
    return plain, others


def _end_cancelled(outcomes: list[Outcome], now: datetime) -> list[Outcome]:
    """End the runs that would be tried again although a person asked for their end while they were running."""
    if not outcomes:
        return []
    rows = Run.objects.using(database_alias()).filter(id__in=[one.claim.id for one in outcomes])
    asked = set(rows.filter(cancel_requested_at__isnull=False).values_list("id", flat=True))
    if asked:
        move(asked, Status.CANCELLED, of=[Status.READY, Status.SCHEDULED], finished_at=now)
    return [one for one in outcomes if one.claim.id in asked]


def finish_within(outcome: Outcome) -> bool:
    """Write one outcome inside the caller's transaction; False if the run is held by another host by now. Blocks."""
    refused, _ = _finish([outcome], None)
    return not refused


def _held(outcomes: Collection[Outcome]) -> dict[Key, datetime]:
    """Lock the rows that still bear the token of a claim; returns their keys, with the database's clock."""
    if not outcomes:
        return {}
    claims = {one.claim.key for one in outcomes}  # of one run there may be two: a zombie's, and one that holds
    ids = {one.claim.id for one in outcomes}
    rows = Run.objects.using(database_alias()).running().filter(dialect().among("id", ids))
    found = dialect().lock(rows.order_by("id").annotate(at=DatabaseNow()), skip=False).values_list("id", "token", "at")
    return {key: at for id, token, at in found if token and (key := key_of(id, token)) in claims}


def _write_plain(outcomes: list[Outcome], now: datetime | None, at: datetime) -> int:
    """Write successes together; returns how many fitted."""
    rows = [(one.claim.id, one.claim.token, one.result, *_times(one, now, at)) for one in outcomes]
    return move_each(rows, Status.SUCCEEDED, ("result", "started_at", "finished_at"), end_reason="")


def _clock(outcomes: list[Outcome]) -> datetime:
    """Return the database's clock, or any time where none of these needs it: most know how long they took."""
    known = outcomes and all(one.took is not None for one in outcomes)
    return outcomes[0].claim.started_at if known else dialect().now()


def _times(outcome: Outcome, now: datetime | None, at: datetime) -> tuple[datetime, datetime]:
    """Return when it began and ended by the database's clock: a run may have waited for its turn, and so may its outcome."""
    began = outcome.claim.started_at
    if now is not None or outcome.took is None:
        return began, now or at
    began += timedelta(seconds=outcome.waited)
    return began, began + timedelta(seconds=outcome.took)


def _write(outcome: Outcome, now: datetime | None, at: datetime) -> None:
    claim = outcome.claim
    to, changes = _changes(outcome, now, at)
    if outcome.lines_dropped:
        changes["log_lines_dropped"] = F("log_lines_dropped") + outcome.lines_dropped
    if outcome.progress:
        done, total, message = outcome.progress
        changes |= {"progress_done": done, "progress_total": total, "progress_message": message[:200]}
    move([claim.id], to, of=[Status.RUNNING], held_by=claim.token, **changes)


def _changes(outcome: Outcome, now: datetime | None, at: datetime) -> tuple[str, dict[str, Any]]:
    claim = outcome.claim
    changes: dict[str, Any] = {}
    if outcome.error is not None:
        changes["errors"] = [*claim.errors, outcome.error]
        changes["error_type"] = outcome.error["type"][:255]
        changes["error_summary"] = first_line(outcome.error["message"])
        changes["fingerprint"] = outcome.fingerprint
    if outcome.kind in FINAL:
        changes["started_at"], changes["finished_at"] = _times(outcome, now, at)
        if outcome.reason or outcome.kind is not Kind.CANCELLED:  # what the person said who cancelled it stays
            changes["end_reason"] = outcome.reason[:300]
        if outcome.kind is Kind.SUCCEEDED:
            changes["result"] = outcome.result
        return FINAL[outcome.kind], changes
    if outcome.kind is not Kind.RETRY:
        changes["attempt"] = F("attempt") - 1
    if outcome.delay <= 0:
        return Status.READY, changes
    due = at + timedelta(seconds=outcome.delay)
    return Status.SCHEDULED, changes | {"run_after": due, "place": position_of(due, claim.priority)}


def announce(outcomes: Collection[Outcome]) -> None:
    """Note what was written, and tell receivers of `run_finished`."""
    note(outcomes)
    if run_finished.receivers:
        for outcome in outcomes:
            if outcome.kind in FINAL:
                _tell_finished(outcome.claim, FINAL[outcome.kind])


def send_finished(one: Claim | Run, status: Status) -> None:
    """Note that a run has reached its final state without an outcome that says so, and tell receivers of `run_finished`."""
    note_end(one.job_id, one.queue, status)
    _tell_finished(one, status)


def _tell_finished(one: Claim | Run, status: Status) -> None:
    """Tell receivers of `run_finished`; what they raise is logged."""
    run_finished.send_robust(sender=Run, run_id=one.id, task=one.task, status=status.value, job_name=one.job_name)


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
    """Store what a running run says meanwhile; False if it is no longer this claim's. Blocks for a short transaction."""
    return dialect().in_transaction(lambda: _write_progress(claim, progress, lines))


def _write_progress(claim: Claim, progress: tuple[float, float | None, str] | None, lines: Sequence[Line]) -> bool:
    rows = Run.objects.using(database_alias()).filter(id=claim.id, token=claim.token, status=Status.RUNNING)
    if not dialect().lock(rows, skip=False).exists():  # held until the lines are there: nobody takes it over between
        return False
    if progress:
        done, total, message = progress
        rows.update(progress_done=done, progress_total=total, progress_message=message[:200])
    write_lines([(claim, lines)])
    return True


def note_letters(letters: Iterable[tuple[int | None, str]]) -> None:
    """Append (job, letter) to each job's strip of the last thirty outcomes. Blocks for one statement per job."""
    strips: dict[int, str] = {}
    for job_id, letter in letters:
        if job_id is not None:
            strips[job_id] = strips.get(job_id, "") + letter
    for job_id in sorted(strips):
        append_letters(job_id, strips[job_id])


def append_letters(job_id: int, letters: str) -> None:
    longer = Concat("outcomes", Value(letters[-30:]))
    Job.objects.using(database_alias()).filter(id=job_id).update(outcomes=Right(longer, 30))


def first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "")[:500]


def release(claims: Sequence[Claim], reason: str = "") -> None:
    """Hand claimed runs back, unburnt and at their old place. Blocks for a transaction."""
    if claims:
        finish([Outcome(claim, Kind.RELEASED, reason=reason) for claim in claims])
