"""Own what becomes of a job's occurrences up to a moment: which are run, which are passed over and why, what comes next."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings

from background import registry
from background.compat import Task
from background.exceptions import InvalidArguments, InvalidPolicy, InvalidSchedule, TaskNotFound
from background.jobs.tasks import JobDeclaration
from background.models import Job, Run, Skip
from background.queue.making import occurrence
from background.timing import Schedule, parse

logger = logging.getLogger("background.engine")

# A cursor so far ahead of the clock was set by a clock that was wrong.
CLOCK_BACK = timedelta(minutes=5)
# The step before an instant, as finely as databases keep them.
MOMENT = timedelta(microseconds=1)
# Why the run of an occurrence cannot be made; the last three by values that no form lets through.
FAULTS = (TaskNotFound, InvalidArguments, InvalidPolicy, ValueError, TypeError, OverflowError)

Declared = Mapping[str, JobDeclaration]


@dataclass(frozen=True)
class Passed:
    """Occurrences that are not run."""

    first: datetime
    last: datetime
    count: int
    reason: str


class Due(NamedTuple):
    """What a schedule has up to a moment, as the policy for missed occurrences sees it, oldest first."""

    chosen: list[datetime]
    passed: list[Passed]
    upcoming: datetime | None  # what comes after it; None where nobody has looked


@dataclass
class Decision:
    """What was decided about a job: `job` bears the columns that are to be written."""

    job: Job
    runs: list[Run] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    known_error: str = ""  # was said before

    def pass_over(self, runs: Sequence[Run], reason: str) -> None:
        """Take back some of the runs, oldest first."""
        if runs:
            self._note([run.scheduled_for for run in runs if run.scheduled_for], reason)
            gone = {run.id for run in runs}
            self.runs = [run for run in self.runs if run.id not in gone]

    def refuse(self, times: Sequence[datetime], fault: object) -> None:
        """Note that the runs of these occurrences cannot be made; later ones are tried anew, other jobs go on."""
        self.runs = []
        if times:
            self._note(times, Skip.Reason.ERROR)
        self.job.schedule_error = (str(fault) or type(fault).__name__)[:300]
        if times or self.job.schedule_error != self.known_error:
            logger.error("job %s cannot be scheduled: %s", self.job.name, self.job.schedule_error)

    def _note(self, times: Sequence[datetime], reason: str) -> None:
        self.passed.append(Passed(times[0], times[-1], len(times), reason))


def is_due(job: Job, now: datetime) -> bool:
    """Tell whether there is something to decide about a job."""
    if job.is_edited:
        return True
    if not job.enabled or job.orphaned or not job.schedule:
        return False
    if job.cursor and job.cursor > now + CLOCK_BACK:
        return True
    if job.next_run_at is None:
        return bool(job.schedule_error)  # it could not be read, and perhaps can be now
    return job.next_run_at <= now


def decide(job: Job, now: datetime, declared: Declared) -> Decision:
    """Decide the occurrences of a job up to `now` and compute when it is due next. Writes nothing."""
    decision, due = Decision(job, known_error=job.schedule_error), Due([], [], None)
    job.schedule_error = ""
    if job.cursor is not None and job.cursor > now + CLOCK_BACK:
        logger.warning("job %s was decided up to %s, ahead of the clock: the clock was set back", job.name, job.cursor)
        job.cursor = now
    if job.planned_enabled and job.planned_schedule and job.cursor is not None and not job.orphaned:
        # By the timing as it was planned: an edit at 09:00:02 does not lose the run of 09:00.
        try:
            schedule = schedule_of(job.planned_schedule, job.planned_timezone)
            due = choose(job, schedule, job.cursor, now)
            decision.passed += due.passed
            decision.runs = _runs(job, schedule, due, now, declared)
        except InvalidSchedule:
            pass  # it may have been mended since: `_plan` says what is wrong with the one that is there now
        except FAULTS as fault:
            decision.refuse(due.chosen, fault)
    _plan(decision, now, due.upcoming)
    return decision


def schedule_of(text: str, timezone: str) -> Schedule:
    """Return the schedule of a job; many jobs have the same. Raises InvalidSchedule."""
    return _parsed(text, timezone or None, settings.TIME_ZONE)


@lru_cache(maxsize=1024)
def _parsed(text: str, timezone: str | None, default: str) -> Schedule:
    """Times without an offset mean those of the zone, or by `default`, which is why it is part of the key."""
    return parse(text, timezone)


def choose(job: Job, schedule: Schedule, cursor: datetime, now: datetime) -> Due:
    """Return which of the occurrences after `cursor` and up to `now` are run, and which are passed over."""
    start = max(cursor, job.planned_starts_at - MOMENT) if job.planned_starts_at else cursor
    stop = min(now, job.planned_ends_at - MOMENT) if job.planned_ends_at else now
    first = schedule.next(start)
    if first is None or first > stop:
        return Due([], [], first)
    upcoming = schedule.next(first)
    if upcoming is None or upcoming > stop:
        found, earlier = [first], 0
    else:
        found, upcoming = schedule.last(start, stop, _most(job)), None
        earlier = _count(schedule, start, found[0])
    if job.misfire == Job.Misfire.SKIP and (now - found[-1]).total_seconds() > job.misfire_grace:
        return Due([], [Passed(first, found[-1], earlier + 1, Skip.Reason.MISSED)], upcoming)
    if not earlier:
        return Due(found, [], upcoming)
    last = schedule.last(start, found[0] - MOMENT, 1)[0]
    return Due(found, [Passed(first, last, earlier, _REASONS.get(job.misfire, Skip.Reason.SUPERSEDED))], upcoming)


_REASONS: dict[str, Skip.Reason] = {Job.Misfire.ALL: Skip.Reason.LIMIT, Job.Misfire.SKIP: Skip.Reason.MISSED}


def _most(job: Job) -> int:
    return min(max(job.misfire_limit, 1), 1000) if job.misfire == Job.Misfire.ALL else 1


def _count(schedule: Schedule, start: datetime, stop: datetime) -> int:
    """Count the occurrences in (start, stop), up to 1,000; `stop` is one itself."""
    return len(schedule.last(start, stop, 1001)) - 1


def _runs(job: Job, schedule: Schedule, due: Due, now: datetime, declared: Declared) -> list[Run]:
    if not due.chosen:
        return []
    task = _task(job, declared)
    last = due.upcoming or (schedule.next(due.chosen[-1]) if job.jitter else None)
    following = [*due.chosen[1:], last]
    return [
        occurrence(job, task, instant, instant + delay(job, instant, after), now)
        for instant, after in zip(due.chosen, following, strict=True)
    ]


def _task(job: Job, declared: Declared) -> Task:
    one = declared.get(job.name)
    return one.task if one is not None and one.task.module_path == job.task else registry.task(job.task)


def delay(job: Job, instant: datetime, following: datetime | None) -> timedelta:
    """Return by how much the jitter puts an occurrence off: the same on every host and after every restart.

    It never reaches the occurrence that follows: so they keep their order.
    """
    if not job.jitter > 0:
        return timedelta(0)
    most = job.jitter if following is None else min(job.jitter, (following - instant).total_seconds())
    digest = hashlib.sha256(f"{job.name} {instant.timestamp():.6f}".encode()).digest()
    share = (int.from_bytes(digest[:8]) >> 11) / 2**53  # below 1, whatever is rounded
    return timedelta(milliseconds=int(share * most * 1000))


def _plan(decision: Decision, now: datetime, upcoming: datetime | None) -> None:
    """Compute when the job is due next by the timing as it is now, and remember for which timing that was."""
    job = decision.job
    anew = job.is_edited or job.cursor is None
    cursor = now if anew or job.cursor is None else max(job.cursor, now)
    try:
        job.next_run_at = next_time(job, cursor, None if anew else upcoming)
    except FAULTS as fault:
        job.next_run_at = None
        job.cursor = cursor if anew else job.cursor  # nothing was decided that could not be read
        decision.refuse([], fault)
    else:
        job.cursor = cursor
    for name in Job.TIMING:
        setattr(job, f"planned_{name}", getattr(job, name))


def next_time(job: Job, cursor: datetime, upcoming: datetime | None = None) -> datetime | None:
    """Return the next time of the timing that is in force; `upcoming` if that is known to be it. Raises one of FAULTS."""
    if not job.schedule or not job.enabled or job.orphaned:
        return None
    if upcoming is None:
        start = max(cursor, job.starts_at - MOMENT) if job.starts_at else cursor
        upcoming = schedule_of(job.schedule, job.timezone).next(start)
    return upcoming if upcoming and (not job.ends_at or upcoming < job.ends_at) else None
