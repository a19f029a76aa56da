"""Own the transaction in which due jobs are decided: many together where that is simple, each alone where it is not."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db import DatabaseError, OperationalError
from django.db.models import Count, Max, Min, Q

from background import registry
from background.dialects import dialect
from background.engine.occurrences import Decision, decide, is_due
from background.models import Job, Run, Skip
from background.models.run import RunQuerySet
from background.queue.cancel import cancel_within
from background.queue.enqueue import insert, insert_unique
from background.queue.finish import send_finished
from background.queue.making import slot_of
from background.scope import database_alias

logger = logging.getLogger("background.engine")

SECOND = timedelta(seconds=1)
# Rows of one statement.
ROWS = 500
BY_SCHEDULE = Q(trigger=Run.Trigger.SCHEDULE)
# The columns of a job that a decision changes, and those that it changes where the timing was edited.
MOVED = ("cursor", "next_run_at", "schedule_error", "outcomes")
PLANNED = (*MOVED, *(f"planned_{name}" for name in Job.TIMING))


def decide_jobs(pks: Sequence[int], now: datetime | None = None) -> list[Run]:
    """Decide those of the jobs that are due, and return the runs that were made.

    Without `now` the database's clock decides, asked once the rows are locked: whoever was suspended before that does
    not go by an old time. Rows that another host has locked are left to it. Blocks.
    """
    try:
        made, left = dialect().in_transaction(lambda: _together(pks, now))
    except DatabaseError as error:  # if the database is away, the next statement says so
        logger.warning("%d jobs could not be decided together, each is now on its own: %s", len(pks), error)
        made, left = [], list(pks)
    for pk in left:
        made += _alone(pk, now)
    return made


def _together(pks: Sequence[int], now: datetime | None) -> tuple[list[Run], list[int]]:
    """Decide jobs with few statements; returns what was made, and the jobs that each need a transaction of their own."""
    decisions = list(_decisions(pks, now))
    simple = [one for one in decisions if len(one.runs) <= 1 and not any(run.unique_key for run in one.runs)]
    _forget_known(simple)
    busy = _in_the_way(simple)
    ready = [one for one in simple if one.job.pk not in busy or not one.job.is_exclusive]
    for one in ready:
        if one.job.pk in busy:
            one.pass_over(one.runs, Skip.Reason.OVERLAP)
    made = _insert(run for one in ready for run in one.runs)
    _write(ready)
    done = {one.job.pk for one in ready}
    return made, [one.job.pk for one in decisions if one.job.pk not in done]


def _alone(pk: int, now: datetime | None) -> list[Run]:
    """Decide one job; what the database refuses is noted with the job and stops no other."""
    try:
        made, ended = dialect().in_transaction(lambda: _one(pk, now))
    except OperationalError as error:
        if not dialect().is_passing(error):
            raise
        logger.warning("job %s could not be decided, it is tried again: %s", pk, error)
        return []
    except DatabaseError as error:
        refusal = error
        dialect().in_transaction(lambda: _refuse(pk, now, refusal))
        return []
    for run in ended:
        send_finished(run, Run.Status.CANCELLED)
    return made


def _one(pk: int, now: datetime | None) -> tuple[list[Run], list[Run]]:
    """Return the runs that were made, and those that ended for them."""
    _hold_open_runs(pk)
    for decision in _decisions([pk], now):
        _forget_known([decision])
        ended = _meet(decision)
        if decision.runs and decision.runs[0].unique_key:
            _insert_unique(decision)
        else:
            _insert(decision.runs)
        if ended:  # each has left its letter
            decision.job.refresh_from_db(fields=["outcomes"])
        _write([decision])
        return decision.runs, ended
    return [], []


def _refuse(pk: int, now: datetime | None, error: DatabaseError) -> None:
    for decision in _decisions([pk], now):
        decision.refuse([run.scheduled_for for run in decision.runs if run.scheduled_for], error)
        _write([decision])


def _decisions(pks: Sequence[int], now: datetime | None) -> Iterator[Decision]:
    """Lock the jobs that nobody else has and yield what is to become of each that is due."""
    rows = Job.objects.using(database_alias()).filter(pk__in=pks).defer("defaults", "description").order_by("pk")
    jobs = list(dialect().lock(rows))
    at = now or dialect().now()
    declared = registry.jobs()
    return (decide(job, at, declared) for job in jobs if is_due(job, at))


def _forget_known(decisions: Sequence[Decision]) -> None:
    """Take out the runs that were made already: the cursor may have gone back with a clock; the key says which were."""
    runs = {(one.job.pk, run.scheduled_for) for one in decisions for run in one.runs}
    if runs:
        jobs, times = {pk for pk, _ in runs}, {at for _, at in runs}
        rows = Run.objects.using(database_alias()).filter(job__in=jobs, scheduled_for__in=times)
        known = set(rows.values_list("job_id", "scheduled_for"))
        for one in decisions:
            one.runs = [run for run in one.runs if (one.job.pk, run.scheduled_for) not in known]


def _in_the_way(decisions: Sequence[Decision]) -> set[int]:
    """Return the jobs that must heed an open run; one asked for in the second of the occurrence is meant to be beside it."""
    due = {one.job.pk: one.runs[-1].scheduled_for for one in decisions if one.runs and not _overlaps(one.job)}
    if not due:
        return set()
    rows = Run.objects.using(database_alias()).open().filter(job__in=list(due)).order_by().values("job_id")
    counts = rows.annotate(
        planned=Count("pk", filter=BY_SCHEDULE),
        first=Min("enqueued_at", filter=~BY_SCHEDULE),
        last=Max("enqueued_at", filter=~BY_SCHEDULE),
    )
    return {
        pk
        for pk, planned, first, last in counts.values_list("job_id", "planned", "first", "last")
        if (at := due[pk]) and (planned or first <= at - SECOND or last >= at + SECOND)
    }


def _overlaps(job: Job) -> bool:
    return job.overlap == Job.Overlap.ALLOW


def _hold_open_runs(pk: int) -> None:
    """Lock the runs that the job may be about to cancel, before its own row: in the order in which outcomes are written."""
    job = Job.objects.using(database_alias()).filter(pk=pk).only("overlap").first()
    if job is not None and job.is_exclusive:
        rows = _replaceable(job, Run.objects.using(database_alias()).open().filter(job=job)).order_by("id")
        list(dialect().lock(rows, skip=False).values_list("id", flat=True))


def _replaceable(job: Job, opened: RunQuerySet) -> RunQuerySet:
    """Return those of the open runs that a new occurrence cancels where they wait, or also where they run."""
    return opened if job.overlap == Job.Overlap.REPLACE else opened.filter(BY_SCHEDULE)


def _meet(decision: Decision) -> list[Run]:
    """Apply the policy for occurrences that meet open runs of their job; returns the runs that ended for them."""
    job, runs = decision.job, decision.runs
    if not runs or _overlaps(job):
        return []
    opened = _open_beside(job, runs[-1])
    if opened and job.overlap == Job.Overlap.SKIP:
        decision.pass_over(runs, Skip.Reason.OVERLAP)
        return []
    if opened or job.overlap == Job.Overlap.REPLACE:
        decision.pass_over(runs[:-1], Skip.Reason.SUPERSEDED)
    if len(decision.runs) > 1:  # missed ones, made up together: one after the other
        for run in decision.runs:
            run.concurrency_key, run.concurrency = run.concurrency_key or slot_of(job), 1
    return _replace(job, opened)


def _replace(job: Job, opened: list[Run]) -> list[Run]:
    """Cancel what must not go on beside the new occurrence, or not wait beside it; returns what has ended by that."""
    ended = []
    for run in opened:
        waits = run.status != Run.Status.RUNNING and run.trigger == Run.Trigger.SCHEDULE
        if job.overlap == Job.Overlap.REPLACE or waits:
            reason = "replaced" if job.overlap == Job.Overlap.REPLACE else "superseded"
            if cancel_within(run, "", reason)[0]:
                ended.append(run)
    return ended


def _open_beside(job: Job, run: Run) -> list[Run]:
    """Return the open runs that the policy cancels, or else one of the others that the occurrence must heed.

    One that was asked for in the second of the occurrence is meant to be beside it.
    """
    assert run.scheduled_for is not None  # an occurrence
    start, stop = run.scheduled_for - SECOND, run.scheduled_for + SECOND
    same = Q(enqueued_at__gt=start, enqueued_at__lt=stop) & ~BY_SCHEDULE
    rows = Run.objects.using(database_alias()).open().filter(job=job).exclude(same).light().order_by()
    return (list(_replaceable(job, rows)) if job.is_exclusive else []) or list(rows[:1])


def _insert(runs: Iterable[Run]) -> list[Run]:
    made = list(runs)
    insert(made)
    return made


def _insert_unique(decision: Decision) -> None:
    """Insert the runs one by one; those whose unique key an open run has are passed over."""
    for run in tuple(decision.runs):
        if insert_unique(run) is not run:
            decision.pass_over([run], Skip.Reason.OVERLAP)


def _write(decisions: Sequence[Decision]) -> None:
    """Write what was passed over, and the columns of the jobs: for use under the locks of their rows."""
    skips = []
    for one in decisions:
        for passed in one.passed:
            count = min(passed.count, 1000)
            skips.append(Skip(job=one.job, first=passed.first, last=passed.last, count=count, reason=passed.reason))
            one.job.outcomes = (one.job.outcomes + ("o" if passed.reason == Skip.Reason.OVERLAP else "m"))[-30:]
            logger.info(
                "job %s: %d occurrences up to %s passed over (%s)", one.job.name, count, passed.last, passed.reason
            )
    Skip.objects.using(database_alias()).bulk_create(skips, batch_size=ROWS)
    for columns, edited in ((MOVED, False), (PLANNED, True)):
        jobs = [one.job for one in decisions if one.job.is_edited == edited]
        rows = [(job.pk, *(getattr(job, name) for name in columns)) for job in jobs]
        dialect().update_each(Job, ("id",), columns, rows, {}, {})
