"""Own the second look at jobs of which nothing is due: schedules that could not be read, and zones with other rules."""

from __future__ import annotations

import logging
import math
import time
from datetime import datetime
from typing import Any

from django.db.models import Q

from background.catalog import known
from background.engine.occurrences import FAULTS, next_time
from background.models import Job
from background.models.job import JobQuerySet
from background.scope import database_alias
from background.timing import Backoff

logger = logging.getLogger("background.engine")

# Between looks at the same unreadable schedules, in seconds.
PATIENCE = Backoff(initial=2, maximum=60, jitter=0)
# Jobs whose next time is compared at once, and the seconds until the next of them.
SLICE, PACE = 200, 1.0
COLUMNS = ("name", "task", "cursor", "next_run_at", "orphaned", *Job.TIMING)


class Unread:
    """Jobs whose schedule could not be read: looked at less and less often as long as they are the same."""

    def __init__(self) -> None:
        self._pks: set[int] = set()
        self._looks = 0
        self._look_at = 0.0  # time.monotonic()

    @property
    def wait(self) -> float:
        """Seconds until a look is worth while."""
        return self._look_at - time.monotonic() if self._pks else math.inf

    def readable(self) -> list[int]:
        """Return those that can be read now: a zone is back, or this host knows it. Blocks for a statement, at times.

        Their cursor stands where it stood, so what passed meanwhile was missed and is not lost.
        """
        if time.monotonic() < self._look_at:
            return []
        jobs = known(_read(_active().filter(next_run_at=None).exclude(schedule_error="")))
        pks = {job.pk for job in jobs}
        self._looks = self._looks + 1 if pks == self._pks else 1
        self._pks, self._look_at = pks, time.monotonic() + PATIENCE.delay(self._looks)
        return [job.pk for job in jobs if _next(job) is not None]


class Rules:
    """Next times that come earlier by other rules of their zone: corrected once, some in each second.

    A process keeps the rules that it has read; whoever updates the zone database starts it anew. What comes later by them needs no
    correction: at its old time nothing is due.
    """

    def __init__(self) -> None:
        self._last: int | None = 0  # the key up to which all have been compared; None once all have
        self._next_at = 0.0  # time.monotonic()

    @property
    def wait(self) -> float:
        """Seconds until the next comparison."""
        return math.inf if self._last is None else self._next_at - time.monotonic()

    def heed(self) -> None:
        """Compare the next times of some jobs, and compute those that differ from the cursor. Blocks for a few statements."""
        if self._last is None or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + PACE
        by_clock = ~Q(schedule__startswith="every") & ~Q(schedule__startswith="at")
        planned = _active().filter(by_clock, pk__gt=self._last, next_run_at__isnull=False, cursor__isnull=False)
        rows = _read(planned.order_by("pk")[:SLICE])
        self._last = rows[-1].pk if rows else None
        for job in known(rows):
            at = _next(job)
            if at is not None and at < job.next_run_at:
                logger.warning("job %s comes at %s by the rules of its zone, not at %s", job.name, at, job.next_run_at)
                planned.filter(pk=job.pk, cursor=job.cursor, next_run_at=job.next_run_at).update(next_run_at=at)


def _active() -> JobQuerySet:
    return JobQuerySet(Job, using=database_alias()).active()


def _read(jobs: JobQuerySet) -> list[Any]:
    return list(jobs.annotate(handmade=Q(defaults__isnull=True)).only(*COLUMNS))


def _next(job: Job) -> datetime | None:
    """Return the next time from the cursor; None if there is none, or it cannot be read."""
    try:
        return next_time(job, job.cursor) if job.cursor else None
    except FAULTS:
        return None
