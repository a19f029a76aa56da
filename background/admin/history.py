"""Own the history of a job's outcomes: a calendar of ninety days, how long its runs took, and what was passed over."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

from django.utils import formats, timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from background.admin.text import duration, moment, state
from background.engine.occurrences import MOMENT, schedule_of
from background.exceptions import InvalidSchedule
from background.models import Job, Skip
from background.models.statistics import Statistic, Sums
from background.scope import database_alias
from background.templatetags.background_charts import Bars, Cell, Column, Series, Strip
from background.timing import Schedule
from background.timing.zones import zone_of

DAYS, COMING, WEEK = 90, 7, 7
# Occurrences of a coming day that are counted; skips that are listed.
PLANNED, LISTED = 25, 20


def history(job: Job, runs_url: str) -> dict[str, Any]:
    """Return what the job's page shows of its past. Blocks for two queries."""
    schedule = _schedule(job)
    zone = zone_of(schedule.timezone if schedule else None)
    today = timezone.localtime(timezone=zone).date()
    sums = Statistic.objects.using(database_alias()).by_day(job, DAYS, zone)
    since = datetime.combine(today - timedelta(days=DAYS), time.min, zone)
    skips = list(Skip.objects.using(database_alias()).filter(job=job, last__gte=since).order_by("-last")[:1000])
    passed: Counter[tuple[date, str]] = Counter()
    for one in skips:
        passed[one.last.astimezone(zone).date(), one.reason] += one.count
    return {
        "calendar": _calendar(job, today, zone, sums, passed, schedule, runs_url),
        "durations": _durations(today, sums),
        "skips": [(moment(one.last), one.count, state("missed", one.get_reason_display())) for one in skips[:LISTED]],
    }


def _schedule(job: Job) -> Schedule | None:
    try:
        return schedule_of(job.schedule, job.timezone) if job.schedule else None
    except InvalidSchedule:
        return None


def _calendar(
    job: Job,
    today: date,
    zone: tzinfo,
    sums: dict[date, Sums],
    passed: Counter[tuple[date, str]],
    schedule: Any,
    runs_url: str,
) -> Strip:
    first = today - timedelta(days=DAYS - 1)
    first -= timedelta(days=first.weekday())  # a column is a week
    cells = [_past(first + timedelta(days=n), zone, sums, passed, runs_url) for n in range((today - first).days + 1)]
    if schedule is not None and job.enabled and not job.orphaned:
        cells += [_coming(today + timedelta(days=n), zone, schedule, job) for n in range(1, COMING)]
    bad = sum(cell.look == "failed" for cell in cells)
    missed = sum(cell.look == "missed" for cell in cells)
    sentence = _(
        "In %(days)d days, runs failed on %(bad)d and slots were missed on %(missed)d. Days are those of %(zone)s."
    )
    facts = {"days": DAYS, "bad": bad, "missed": missed, "zone": str(zone)}
    return Strip("bg-calendar", _("Ninety days, a column per week"), sentence % facts, cells, rows=WEEK)


def _past(day: date, zone: tzinfo, sums: dict[date, Sums], passed: Counter[tuple[date, str]], runs_url: str) -> Cell:
    found = sums.get(day, Sums())
    overlaps = passed[day, Skip.Reason.OVERLAP]
    missed = sum(count for (one, reason), count in passed.items() if one == day) - overlaps
    counts = (
        (found.succeeded, _("succeeded")), (found.failed, _("failed")), (found.cancelled, _("cancelled")),
        (missed, _("missed")), (overlaps, _("skipped: overlap")),
    )  # fmt: skip
    said = ", ".join(f"{count} {word}" for count, word in counts if count) or _("nothing")
    look = "failed" if found.failed else "missed" if missed else "overlap" if overlaps and not found.total else ""
    look = look or ("succeeded" if found.succeeded else "cancelled" if found.cancelled else "none")
    bounds = (datetime.combine(one, time.min, zone).isoformat() for one in (day, day + timedelta(days=1)))
    url = f"{runs_url}&{urlencode(dict(zip(('since', 'until'), bounds, strict=True)))}" if found.total else ""
    return Cell(look, f"{_named(day)}: {said}", url)


def _coming(day: date, zone: tzinfo, schedule: Schedule, job: Job) -> Cell:
    """Return a day to come, with what the scheduler will find due then."""
    start = datetime.combine(day, time.min, zone) - MOMENT
    stop = start + timedelta(days=1)
    if job.starts_at:
        start = max(start, job.starts_at - MOMENT)
    if job.ends_at:
        stop = min(stop, job.ends_at - MOMENT)
    count = len(schedule.last(start, stop, PLANNED)) if start < stop else 0
    shown = f"{count}+" if count == PLANNED else count
    said = _("%(count)s planned") % {"count": shown}
    return Cell("planned" if count else "none", f"{_named(day)}: {said}")


def _named(day: date) -> str:
    return formats.date_format(day, "D j M")


def _durations(today: date, sums: dict[date, Sums]) -> Bars:
    columns = []
    for n in range(DAYS - 1, -1, -1):
        day = today - timedelta(days=n)
        found = sums.get(day)
        values = [found.took(0.5), found.took(0.95)] if found else [None, None]
        columns.append(Column(_named(day), values, [duration(one) for one in values]))
    most = max((one or 0 for column in columns for one in column.values), default=0)
    series = [Series(_("median"), "median"), Series(_("95th percentile"), "p95")]
    sentence = (
        _("At most %(most)s in ninety days.") % {"most": duration(most)} if most else _("No run has succeeded yet.")
    )
    return Bars(
        "bg-durations", _("How long runs took, per day"), sentence, series, columns, top=duration(most), nested=True
    )
