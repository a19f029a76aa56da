"""Own the sums of what ended, how long it waited and how long it took: per job, queue and minute or hour."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, TypeVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from background.models.job import Job

K = TypeVar("K", bound=Hashable)

# Ids in the place of a job's: of runs without a job, and of the sums over all runs (so that a chart reads few rows).
WITHOUT_JOB, ALL_RUNS = 0, -1

# Limits of the histogram's classes in seconds: a millisecond to a day, twelve steps to a power of ten.
EDGES = tuple(10 ** (step / 12 - 3) for step in range(97))


def class_of(seconds: float) -> int:
    """Return the number of the class of the histogram to which a span belongs."""
    return bisect_right(EDGES, seconds)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the seconds that `share` (0 to 1) of the spans did not exceed, to about a tenth; None if there are none."""
    wanted = share * sum(histogram.values())
    passed = 0
    for step in sorted(histogram):
        count = histogram[step]
        if count and passed + count >= wanted:
            low = EDGES[step - 1] if step else 0.0
            high = EDGES[step] if step < len(EDGES) else low
            return low + (high - low) * max(wanted - passed, 0) / count
        passed += count
    return None


@dataclass(slots=True)
class Sums:
    """What ended within some time; `waits` and `runs` are histograms of the seconds of those that succeeded or failed, or succeeded."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    waited: float = 0.0
    ran: float = 0.0
    waits: Counter[int] = field(default_factory=Counter)
    runs: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    def add(self, other: Sums) -> None:
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.cancelled += other.cancelled
        self.waited += other.waited
        self.ran += other.ran
        self.waits.update(other.waits)
        self.runs.update(other.runs)

    def wait(self, share: float) -> float | None:
        """Return the seconds after which this share of the runs had begun."""
        return percentile(self.waits, share)

    def took(self, share: float) -> float | None:
        """Return the seconds within which this share of the succeeded runs was done."""
        return percentile(self.runs, share)


class StatisticQuerySet(models.QuerySet["Statistic"]):
    def minutes(self) -> StatisticQuerySet:
        """Sums per minute: of the last 48 hours."""
        return self.filter(span=Statistic.Span.MINUTE)

    def hours(self) -> StatisticQuerySet:
        """Sums per hour: of the last year."""
        return self.filter(span=Statistic.Span.HOUR)

    def overall(self) -> StatisticQuerySet:
        """Sums over all runs, per queue."""
        return self.filter(job_id=ALL_RUNS)

    def of_job(self, job: Job | int) -> StatisticQuerySet:
        return self.filter(job_id=job if isinstance(job, int) else job.pk)

    def sums(self, by: Callable[[datetime, str], K]) -> dict[K, Sums]:
        """Return the sums of these rows by what `by(start, queue)` says, in order of time. Blocks for one query."""
        found: dict[K, Sums] = {}
        rows = self.order_by("start").values_list("start", "queue", *Statistic.SUMS)
        for start, queue, succeeded, failed, cancelled, waited, ran, waits, runs in rows.iterator():
            waits, runs = (Counter({int(step): count for step, count in one.items()}) for one in (waits, runs))
            sums = Sums(succeeded, failed, cancelled, waited, ran, waits, runs)
            found.setdefault(by(start, queue), Sums()).add(sums)
        return found

    def by_day(self, job: Job | int, days: int = 90, zone: tzinfo | None = None) -> dict[date, Sums]:
        """Return the sums of a job per day of a zone (default: the current one), without days on which nothing ended.

        From whole hours in UTC, so half an hour may count to the day beside where the zone is off by one. Blocks for a query.
        """
        zone = zone or timezone.get_current_timezone()
        midnight = timezone.localtime(timezone=zone).replace(hour=0, minute=0, second=0, microsecond=0)
        since = midnight - timedelta(days=days - 1)
        rows = self.hours().of_job(job).filter(start__gte=since)
        return rows.sums(lambda start, queue: start.astimezone(zone).date())


class Statistic(models.Model):
    """The sums of one job and queue over one minute or hour."""

    class Span(models.TextChoices):
        # Kept for 48 hours.
        MINUTE = "minute", _("minute")
        # Kept for a year.
        HOUR = "hour", _("hour")

    SUMS = ("succeeded", "failed", "cancelled", "waited", "ran", "waits", "runs")

    span = models.CharField(_("span"), max_length=6, choices=Span.choices, help_text=_("How long the time is."))
    start = models.DateTimeField(_("start"), help_text=_("Begin of the minute or hour, in UTC."))
    # Not a foreign key: what was counted stays when the job is deleted, and null would not be unique.
    job_id = models.BigIntegerField(_("job"), help_text=_("Id of the job; 0: runs without a job, -1: all runs."))
    queue = models.CharField(_("queue"), max_length=100, help_text=_("Where the runs waited."))
    succeeded = models.PositiveIntegerField(_("succeeded"), default=0, help_text=_("Runs that ended so."))
    failed = models.PositiveIntegerField(_("failed"), default=0, help_text=_("Runs that ended so."))
    cancelled = models.PositiveIntegerField(_("cancelled"), default=0, help_text=_("Runs that ended so."))
    waited = models.FloatField(_("waited"), default=0, help_text=_("Seconds from due to begun, of those that ran."))
    ran = models.FloatField(_("ran"), default=0, help_text=_("Seconds that those took that succeeded."))
    waits = models.JSONField(_("waits"), default=dict, help_text=_("Histogram of the waiting times."))
    runs = models.JSONField(_("running times"), default=dict, help_text=_("Histogram of the running times."))

    objects = StatisticQuerySet.as_manager()

    class Meta:
        verbose_name = _("statistic")
        verbose_name_plural = _("statistics")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job_id", "span", "start", "queue"], name="background_one_sum_per_time")
        ]
        indexes = [models.Index(fields=["span", "start"], name="background_sum_by_time")]

    def __str__(self) -> str:
        return f"{self.span} {self.start:%Y-%m-%d %H:%M}"
