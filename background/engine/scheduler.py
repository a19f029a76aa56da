"""Own the making of due runs: what is due, what is missed, and the cursor move in one transaction per job."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q

from background import registry
from background.catalog import known_jobs
from background.conf import get_settings
from background.dialects import dialect
from background.engine.base import EngineService, HostView
from background.exceptions import InvalidArguments, InvalidPolicy, InvalidSchedule, TaskNotFound
from background.models import Job, Run, Skip
from background.models.job import JobQuerySet
from background.queue.cancel import cancel
from background.queue.enqueue import insert_unique, occurrence, slot_of
from background.queue.finish import append_letters
from background.queue.wakeup import wake
from background.scope import database_alias
from background.timing import Schedule, parse

if TYPE_CHECKING:
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

# A cursor so far ahead of the clock was set by a clock that was wrong.
CLOCK_BACK = timedelta(minutes=5)
# The step before an instant, as finely as databases keep them.
MOMENT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


class Scheduler(EngineService):
    """Looks once a second, and at the next due time, for jobs whose time has come or whose timing was edited."""

    stops_late = False

    def __init__(self, host: HostView, jobs: Callable[[], JobQuerySet] = known_jobs) -> None:
        super().__init__(host)
        self._jobs = jobs

    def step(self, stop: StopToken) -> float:
        now = dialect().now()
        schedule_due(now, self._jobs())
        upcoming = self._jobs().active().filter(next_run_at__isnull=False).order_by("next_run_at")
        nearest = upcoming.values_list("next_run_at", flat=True).first()
        wait = (nearest - dialect().now()).total_seconds() if nearest else get_settings().poll_interval
        return max(0.005, min(wait, get_settings().poll_interval, 1.0))


def schedule_due(now: datetime, jobs: JobQuerySet | None = None) -> list[Run]:
    """Decide every job that is due at `now` or was edited, and return the runs that were made. Blocks."""
    jobs = known_jobs() if jobs is None else jobs
    made: list[Run] = []
    due = jobs.active().filter(Q(next_run_at__lte=now) | Q(cursor__gt=now + CLOCK_BACK))
    names = list(due.values_list("pk", flat=True)) + list(jobs.edited().values_list("pk", flat=True))
    for pk in dict.fromkeys(names):
        made += dialect().in_transaction(lambda pk=pk: decide(pk, now))  # type: ignore[misc]
    if made:
        wake()
    return made


def decide(pk: int, now: datetime) -> list[Run]:
    """Decide one job up to `now` under its row's lock; for use inside a transaction."""
    job = dialect().lock(Job.objects.using(database_alias()).filter(pk=pk)).first()
    if job is None:
        return []  # another host decides it
    made: list[Run] = []
    error = ""
    if job.planned_enabled and job.planned_schedule and job.cursor is not None and not job.orphaned:
        try:
            made = _decide_planned(job, now)
        except InvalidSchedule:
            pass  # it may have been mended since: `_plan` says what is wrong with the one that is there now
        except (TaskNotFound, InvalidArguments, InvalidPolicy) as refusal:
            error = str(refusal)  # it is tried again at its next occurrence; other jobs go on
    _plan(job, now, error)
    return made


def _decide_planned(job: Job, now: datetime) -> list[Run]:
    """Decide the timing as it was planned: an edit at 09:00:02 does not lose the run of 09:00."""
    assert job.cursor is not None
    if job.cursor > now + CLOCK_BACK:
        logger.warning("job %s was decided up to %s, ahead of the clock: the clock was set back", job.name, job.cursor)
        job.cursor = now
    task = registry.task(job.task, job.name)
    chosen, skipped = choose(job, planned_schedule(job), job.cursor, now)
    runs = [occurrence(job, task, instant, instant + jitter(job), now) for instant in chosen]
    for first, last, count, reason in skipped:
        _skip(job, first, last, count, reason)
    return _write(job, runs)


def planned_schedule(job: Job) -> Schedule:
    return parse(job.planned_schedule, job.planned_timezone or None)


def choose(
    job: Job, schedule: Schedule, cursor: datetime, now: datetime
) -> tuple[list[datetime], list[tuple[datetime, datetime, int, str]]]:
    """Return the missed or due occurrences to run, oldest first, and (first, last, count, reason) of those passed over."""
    start = max(cursor, job.planned_starts_at - MOMENT) if job.planned_starts_at else cursor
    stop = min(now, job.planned_ends_at - MOMENT) if job.planned_ends_at else now
    limit = min(max(job.misfire_limit, 1), 1000) if job.misfire == Job.Misfire.ALL else 1
    found = schedule.last(start, stop, limit) if start < stop else []
    if not found:
        return [], []
    earlier = _count(schedule, start, found[0])
    skipped: list[tuple[datetime, datetime, int, str]] = []
    if job.misfire == Job.Misfire.SKIP and (now - found[-1]).total_seconds() > job.misfire_grace:
        first = schedule.next(start) or found[0]
        return [], [(first, found[-1], earlier + 1, Skip.Reason.MISSED)]
    if earlier:
        reason = {Job.Misfire.ALL: Skip.Reason.LIMIT, Job.Misfire.SKIP: Skip.Reason.MISSED}.get(
            job.misfire, Skip.Reason.SUPERSEDED
        )  # type: ignore[call-overload]
        first = schedule.next(start) or found[0]
        before = schedule.last(start, found[0] - MOMENT, 1) or [first]
        skipped.append((first, before[-1], earlier, reason))
    return found, skipped


def _count(schedule: Schedule, start: datetime, stop: datetime) -> int:
    """Count the occurrences in (start, stop), up to 1,000."""
    return max(0, len(schedule.last(start, stop, 1001)) - 1)


def jitter(job: Job) -> timedelta:
    """Return the delay of this job's occurrences: the same on every host and after every restart."""
    if job.jitter <= 0:
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(job.name.encode()).digest()[:8]) / 2**64
    return timedelta(seconds=round(share * job.jitter, 3))


def _write(job: Job, runs: list[Run]) -> list[Run]:
    alias = database_alias()
    times = [run.scheduled_for for run in runs]
    # The cursor may have gone back with a clock; the key says which were made.
    known = set(
        Run.objects.using(alias).filter(job=job, scheduled_for__in=times).values_list("scheduled_for", flat=True)
    )
    made = []
    for run in _let_start(job, [run for run in runs if run.scheduled_for not in known]):
        if insert_unique(run) is run:
            made.append(run)
        else:  # its unique key is that of an open run
            _skip(job, run.scheduled_for, run.scheduled_for, 1, Skip.Reason.OVERLAP)
    return made


def _let_start(job: Job, runs: list[Run]) -> list[Run]:
    """Apply the policy for occurrences that meet open runs of their job, and return those to be written."""
    if not runs or job.overlap == Job.Overlap.ALLOW:
        return runs
    opened = _in_the_way(job, runs[-1])
    if opened and job.overlap == Job.Overlap.SKIP:
        _skip(job, runs[0].scheduled_for, runs[-1].scheduled_for, len(runs), Skip.Reason.OVERLAP)
        return []
    if len(runs) > 1 and (opened or job.overlap == Job.Overlap.REPLACE):
        _skip(job, runs[0].scheduled_for, runs[-2].scheduled_for, len(runs) - 1, Skip.Reason.SUPERSEDED)
        runs = runs[-1:]
    for other in opened:
        waits = other.status != Run.Status.RUNNING
        if job.overlap == Job.Overlap.REPLACE or (waits and other.trigger == Run.Trigger.SCHEDULE):
            cancel(other, reason="replaced" if job.overlap == Job.Overlap.REPLACE else "superseded")
    if len(runs) > 1:  # missed ones, made up together: one after the other
        for run in runs:
            run.concurrency_key, run.concurrency = run.concurrency_key or slot_of(job), 1
    return runs


def _in_the_way(job: Job, run: Run) -> list[Run]:
    """Return the open runs of a job but for those that were asked for in the second of this occurrence: both are meant."""
    assert run.scheduled_for is not None
    start, stop = run.scheduled_for - SECOND, run.scheduled_for + SECOND
    same = Q(enqueued_at__gt=start, enqueued_at__lt=stop) & ~Q(trigger=Run.Trigger.SCHEDULE)
    rows = Run.objects.using(database_alias()).open().filter(job=job).exclude(same)
    return list(rows.order_by("enqueued_at")[:100])


def _skip(job: Job, first: datetime | None, last: datetime | None, count: int, reason: str) -> None:
    assert first is not None and last is not None  # occurrences, not manual runs
    Skip.objects.using(database_alias()).create(job=job, first=first, last=last, count=min(count, 1000), reason=reason)
    append_letters(job.pk, "o" if reason == Skip.Reason.OVERLAP else "m")
    logger.info("job %s: %d occurrences up to %s passed over (%s)", job.name, count, last, reason)


def _plan(job: Job, now: datetime, error: str) -> None:
    """Compute when it runs next by the timing as it is now, and remember for which timing that was."""
    edited = any(getattr(job, f"planned_{name}") != getattr(job, name) for name in Job.TIMING)
    job.cursor = now if edited or job.cursor is None else max(job.cursor, now)
    job.next_run_at = None
    if job.schedule and job.enabled:
        try:
            start = max(job.cursor, job.starts_at - MOMENT) if job.starts_at else job.cursor
            upcoming = parse(job.schedule, job.timezone or None).next(start)
            job.next_run_at = upcoming if upcoming and (not job.ends_at or upcoming < job.ends_at) else None
        except InvalidSchedule as refusal:
            error = str(refusal)
    job.schedule_error = error[:300]
    if error:
        logger.error("job %s cannot be scheduled: %s", job.name, error)
    for name in Job.TIMING:
        setattr(job, f"planned_{name}", getattr(job, name))
    fields = ["cursor", "next_run_at", "schedule_error", *(f"planned_{name}" for name in Job.TIMING)]
    job.save(update_fields=fields, using=database_alias())
