"""Own the decision of jobs that are due or were edited: when the host's look tells of them, and at the next due time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import Q

from background.catalog import known
from background.dialects import dialect
from background.engine.again import Rules, Unread
from background.engine.base import EngineService, HostView
from background.engine.deciding import decide_jobs
from background.engine.occurrences import CLOCK_BACK
from background.models import Job, Run
from background.models.job import JobQuerySet
from background.scope import database_alias

if TYPE_CHECKING:
    from background.engine.lookout import Facts
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

# Jobs that are decided in one transaction: their rows are locked meanwhile.
BATCH = 200
# Edits are noticed at least so often (seconds), whatever else there is to do.
EAR = 1.0
# Until another host has let go of the rows that it locked; longer each time that they are found again.
BUSY = 0.05
# How far ahead to look for the next due time: further than the host's look tells of.
AHEAD = timedelta(seconds=2 * EAR)
# Until it looks by itself (seconds); the host's look, once a second, tells it what there is to do.
QUIET = 30.0
# By how much more than the time that passed the clock has to move on to be worth a word.
LEAP = timedelta(hours=1)


class Scheduler(EngineService):
    """Decides the jobs whose time has come or whose timing was edited; every host does, by the database's clock."""

    stops_late = False

    def __init__(self, host: HostView) -> None:
        super().__init__(host)
        self._fruitless = 0  # looks in a row that found something to decide, and nothing to make of it
        self._last: tuple[float, datetime] | None = None
        self._unread, self._rules = Unread(), Rules()

    def step(self, stop: StopToken) -> float:
        began, now = time.monotonic(), dialect().now()
        self._compare(began, now)
        self._rules.heed()
        found = look(now)
        made = 0
        for pks in batches(found.due + self._unread.readable()):
            made += len(decide_jobs(pks))
            if stop.requested or time.monotonic() - began > EAR / 2:
                return 0  # come again for the rest, and look for edits first
        self._fruitless = self._fruitless + 1 if found.due and not made else 0
        if found.due:
            return min(EAR, BUSY * self._fruitless)
        wait = min(QUIET, self._unread.wait, self._rules.wait)
        if found.nearest is not None:
            wait = min(wait, (found.nearest - now).total_seconds() - (time.monotonic() - began))
        return max(0.005, wait)

    def hear(self, facts: Facts) -> None:
        if facts.jobs_soon:
            self.wake()

    def _compare(self, began: float, now: datetime) -> None:
        """Say when the clock leapt forward: what seems to be missed then may not be. The policies bound what is made of it."""
        last, self._last = self._last, (began, now)
        if last is None:
            return
        passed, moved = timedelta(seconds=began - last[0]), now - last[1]
        if moved - passed > LEAP:
            logger.warning(
                "the database's clock went on by %s within %s: it was set, or this machine slept", moved, passed
            )


class Look(NamedTuple):
    """What a look at the jobs has found: those that are to be decided, the most urgent first, and the next due time."""

    due: list[int]
    nearest: datetime | None


class Row(NamedTuple):
    """What is read of a job that may have to be decided."""

    pk: int
    name: str
    task: str
    handmade: bool
    next_run_at: Any  # a datetime, unless it was edited


def look(now: datetime, jobs: JobQuerySet | None = None) -> Look:
    """Look for jobs that were edited, were decided by a clock that was wrong, or are due; reads no others. Blocks."""
    jobs = JobQuerySet(Job, using=database_alias()) if jobs is None else jobs
    first = [row.pk for row in known(_rows(jobs.edited().order_by()))]
    first += [row.pk for row in known(_rows(jobs.active().filter(cursor__gt=now + CLOCK_BACK).order_by()))]
    soon = known(_rows(jobs.active().filter(next_run_at__lte=now + AHEAD).order_by("next_run_at")))
    due = [row.pk for row in soon if row.next_run_at <= now]
    nearest = next((row.next_run_at for row in soon if row.next_run_at > now), None)
    return Look(list(dict.fromkeys(first + due)), nearest)


def _rows(jobs: JobQuerySet) -> list[Row]:
    rows = jobs.annotate(handmade=Q(defaults__isnull=True))
    return [Row(*row) for row in rows.values_list("pk", "name", "task", "handmade", "next_run_at")]


def batches(pks: Sequence[int]) -> Iterator[Sequence[int]]:
    return (pks[place : place + BATCH] for place in range(0, len(pks), BATCH))


def schedule_due(now: datetime, jobs: JobQuerySet | None = None) -> list[Run]:
    """Decide every job that is due at `now` or was edited, and return the runs that were made. Blocks."""
    return [run for pks in batches(look(now, jobs).due) for run in decide_jobs(pks, now)]
