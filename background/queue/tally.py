"""Own how ended runs become statistics: noted in memory, written now and then as sums; nothing is written per run."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.db import transaction

from background.dialects import dialect
from background.models import Job, Run, Statistic
from background.models.statistics import ALL_RUNS, EDGES, WITHOUT_JOB, Sums, percentile
from background.queue.outcome import Kind, Outcome
from background.scope import database_alias

# Minute since the epoch, id of the job, queue.
Key = tuple[int, int, str]
# Span, start, id of the job, queue: what is unique of a row.
RowKey = tuple[str, datetime, int, str]

# Sums written in one transaction: each touches up to four rows.
BATCH = 100
# Of so many runs, the latest, a job's usual time is told.
ENOUGH = 30

_lock = threading.Lock()
_noted: dict[Key, Sums] = {}
_keepers = 0


def keep() -> None:
    """Say that this process writes its notes by `flush` from now on; without such a keeper they are written at once."""
    global _keepers
    with _lock:
        _keepers += 1


def let_go() -> None:
    """Say that a keeper ends; what is noted still is his to flush."""
    global _keepers
    with _lock:
        _keepers -= 1


def note(outcomes: Iterable[Outcome]) -> None:
    """Note outcomes that are written. Takes about a microsecond for each; blocks only where this process has no keeper."""
    minute = int(time.time() // 60)
    succeeded, failed, cancelled = Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED
    with _lock:
        into = _noted if _keepers else {}
        for one in outcomes:
            kind, claim = one.kind, one.claim
            if kind is not succeeded and kind is not failed and kind is not cancelled:
                continue
            key = (minute, claim.job_id or WITHOUT_JOB, claim.queue)
            if (sums := into.get(key)) is None:
                sums = into[key] = Sums()
            if kind is cancelled:
                sums.cancelled += 1
                continue
            due = claim.run_after if claim.run_after and claim.run_after > claim.enqueued_at else claim.enqueued_at
            waited = (claim.started_at - due).total_seconds() + one.waited
            sums.waited += waited
            sums.waits[bisect_right(EDGES, waited)] += 1
            if kind is failed:
                sums.failed += 1
                continue
            sums.succeeded += 1
            if one.took is not None:
                sums.ran += one.took
                sums.runs[bisect_right(EDGES, one.took)] += 1
    _write_unkept(into)


def note_end(job_id: int | None, queue: str, status: str) -> None:
    """Note a run that ended without an outcome of its own: cancelled while it waited, or failed with its host."""
    key = (int(time.time() // 60), job_id or WITHOUT_JOB, queue)
    with _lock:
        into = _noted if _keepers else {}
        sums = into.setdefault(key, Sums())
        sums.failed += status == Run.Status.FAILED
        sums.cancelled += status == Run.Status.CANCELLED
    _write_unkept(into)


def _write_unkept(noted: dict[Key, Sums]) -> None:
    """Write at once what has no keeper; an error is logged and goes no further, for the runs have ended already."""
    if noted and noted is not _noted:
        transaction.on_commit(lambda: _write(noted), using=database_alias(), robust=True)


def flush() -> set[int]:
    """Write what was noted and return the ids of its jobs. Blocks for a short transaction; asks nothing if there is nothing.

    What could not be written is kept for the next time; what only the answer was lost of may count twice.
    """
    with _lock:
        taken = dict(
            sorted(_noted.items())
        )  # in one order everywhere, so that hosts do not wait for each other in a ring
        _noted.clear()
    jobs = {job_id for _, job_id, _ in taken if job_id != WITHOUT_JOB}
    while taken:
        batch = dict(islice(taken.items(), BATCH))
        try:
            _write(batch)
        except BaseException:
            with _lock:
                for key, sums in taken.items():
                    _noted.setdefault(key, Sums()).add(sums)
            raise
        for key in batch:
            del taken[key]
    return jobs


def _write(noted: Mapping[Key, Sums]) -> None:
    wanted: dict[RowKey, Sums] = {}
    for (minute, job_id, queue), sums in noted.items():
        for span, start in _times(minute):
            for whose in (job_id, ALL_RUNS):
                wanted.setdefault((span, start, whose, queue), Sums()).add(sums)
    dialect().in_transaction(lambda: _add(wanted))


def _times(minute: int) -> Iterator[tuple[str, datetime]]:
    start = datetime.fromtimestamp(minute * 60, UTC)
    yield Statistic.Span.MINUTE.value, start
    yield Statistic.Span.HOUR.value, start.replace(minute=0)


def _add(wanted: Mapping[RowKey, Sums]) -> None:
    """Add to the rows of these keys; those that are missing are made."""
    found = _lock_rows(wanted)
    if missing := sorted(wanted.keys() - found.keys()):
        fresh = [
            Statistic(span=span, start=start, job_id=job_id, queue=queue) for span, start, job_id, queue in missing
        ]
        Statistic.objects.using(database_alias()).bulk_create(
            fresh, ignore_conflicts=True
        )  # another host may be faster
        found |= _lock_rows(missing)
    rows = [(row.id, *_added(row, wanted[key])) for key, row in found.items()]
    dialect().update_each(Statistic, ("id",), Statistic.SUMS, rows, {}, {})


def _lock_rows(keys: Iterable[RowKey]) -> dict[RowKey, Statistic]:
    keys = set(keys)
    spans, starts, jobs, queues = map(set, zip(*keys, strict=True))
    rows = Statistic.objects.using(database_alias()).filter(
        span__in=spans, start__in=starts, job_id__in=jobs, queue__in=queues
    )
    found = dialect().lock(rows.order_by("id"), skip=False)
    by_key = {(row.span, row.start, row.job_id, row.queue): row for row in found}
    return {key: row for key, row in by_key.items() if key in keys}


def _added(row: Statistic, sums: Sums) -> list[Any]:
    """Return the values of the row's sums with these added."""
    facts: list[Any] = [getattr(row, name) + getattr(sums, name) for name in Statistic.SUMS[:-2]]
    for name in Statistic.SUMS[-2:]:
        histogram = dict(getattr(row, name))
        for step, count in getattr(sums, name).items():
            histogram[str(step)] = histogram.get(str(step), 0) + count
        facts.append(histogram)
    return facts


def refresh_durations(job_id: int) -> None:
    """Store how long the latest runs of a job took, from its sums per hour. Blocks for two statements."""
    alias = database_alias()
    runs: dict[int, int] = {}
    rows = Statistic.objects.using(alias).hours().of_job(job_id).order_by("-start")
    for histogram in rows.values_list("runs", flat=True)[:200]:
        for step, count in histogram.items():
            runs[int(step)] = runs.get(int(step), 0) + count
        if sum(runs.values()) >= ENOUGH:
            break
    facts = {f"duration_p{share}": percentile(runs, share / 100) for share in (10, 50, 90, 95)}
    Job.objects.using(alias).filter(id=job_id).update(**facts)
