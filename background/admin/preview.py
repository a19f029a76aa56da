"""Own the preview of a schedule: the next ten times if it is saved now, beside those that are in force."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background.admin.forms import zone_choices
from background.admin.job_form import check_schedule
from background.admin.text import cut, duration, relative, visible
from background.engine.occurrences import MOMENT, schedule_of
from background.exceptions import InvalidSchedule
from background.models import Job
from background.timing import Occurrence, Schedule, describe, upcoming

AHEAD = 10
# Other jobs whose times are compared with the next one, and how many of them are named.
COMPARED, NAMED = 100, 5
MINUTE = timedelta(minutes=1)


class TimingForm(forms.Form):
    """The fields of a job's form that decide when it runs, as they are typed."""

    schedule = forms.CharField(required=False, max_length=1000)
    timezone = forms.ChoiceField(required=False, choices=zone_choices)
    starts_at = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)
    ends_at = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)


# The names of their inputs: what the script sends along.
INPUTS = "schedule timezone starts_at_0 starts_at_1 ends_at_0 ends_at_1"


@dataclass(frozen=True)
class Line:
    """One coming occurrence as people read it."""

    number: int
    local: str
    mine: str
    away: str
    change: str
    note: str


@dataclass
class Preview:
    """What a page shows of a schedule that is not saved yet."""

    words: str = ""
    error: str = ""
    zone: str = ""
    lines: list[Line] = field(default_factory=list)
    notes: list[tuple[bool, str]] = field(default_factory=list)  # (whether it warns, sentence)
    changes: bool = False

    @property
    def my_zone(self) -> str:
        return timezone.get_current_timezone_name()


def preview(job: Job | None, data: Any, others: Any) -> Preview:
    """Return what would come if the job were saved with the timing in `data` (None: as it is); `others` are jobs beside it."""
    timing = _timing(job, data)
    found = Preview()
    if "error" in timing:
        found.error = timing["error"]
        return found
    text, stored = timing["schedule"], job.schedule if job else ""
    if not text:
        found.words = _("No schedule: it is run by hand and by code only.")
        return found
    now = timezone.now()
    try:
        schedule = check_schedule(text, timing["timezone"], stored)
        new = coming(schedule, now, timing["timezone"], timing["starts_at"], timing["ends_at"])
    except InvalidSchedule as error:
        found.error = visible(error)
        return found
    found.words = visible(describe(schedule))
    if not new:
        found.error = _("It would not run again.")
        return found
    found.zone = visible(new[0].local.tzinfo)
    old = _in_force(job, now)
    found.changes = data is not None and [one.instant_utc for one in old] != [one.instant_utc for one in new]
    found.lines = [_line(number, one, old, found.changes, now) for number, one in enumerate(new, 1)]
    found.notes = [*_fits(job, new), *_paused(job), *_neighbours(new[0].instant_utc, others)]
    return found


def _timing(job: Job | None, data: Any) -> dict[str, Any]:
    if data is None:
        return {name: getattr(job, name) if job else "" for name in TimingForm.base_fields}
    form = TimingForm(data)
    if form.is_valid():
        return form.cleaned_data
    name, errors = next(iter(form.errors.items()))
    label = Job._meta.get_field(name).verbose_name  # type: ignore[union-attr]
    return {"error": visible(f"{label}: {errors[0]}")}


def coming(schedule: Schedule, now: datetime, zone: str, starts_at: Any, ends_at: Any) -> list[Occurrence]:
    """Return the next ten occurrences within the window, by the scheduler's own arithmetic."""
    after = max(now, starts_at - MOMENT) if starts_at else now
    found = upcoming(schedule, after, AHEAD, zone or None)
    return [one for one in found if not ends_at or one.instant_utc < ends_at]


def _in_force(job: Job | None, now: datetime) -> list[Occurrence]:
    if job is None or not job.schedule:
        return []
    try:
        schedule = schedule_of(job.schedule, job.timezone)
    except InvalidSchedule:
        return []
    return coming(schedule, now, job.timezone, job.starts_at, job.ends_at)


def _line(number: int, one: Occurrence, old: list[Occurrence], changes: bool, now: datetime) -> Line:
    change = ""
    if changes and one.instant_utc not in {before.instant_utc for before in old}:
        before = old[number - 1] if number <= len(old) else None
        change = _("was %(time)s") % {"time": _clock(before.local)} if before else _("new")
    mine = timezone.localtime(one.instant_utc)
    return Line(number, _clock(one.local), _clock(mine), relative(one.instant_utc, now), change, visible(one.note))


def _clock(local: datetime) -> str:
    seconds = ":s" if local.second else ""
    return f"{formats.date_format(local, f'D j M Y H:i{seconds}')} {local.tzname()}"


def _fits(job: Job | None, new: list[Occurrence]) -> list[tuple[bool, str]]:
    if job is None or job.duration_p50 is None or job.duration_p95 is None or len(new) < 2:
        return []
    pairs = zip(new, new[1:], strict=False)
    shortest = min((later.instant_utc - earlier.instant_utc).total_seconds() for earlier, later in pairs)
    facts = {
        "median": duration(job.duration_p50), "most": duration(job.duration_p95), "gap": duration(shortest),
        "overlap": job.get_overlap_display(),
    }  # fmt: skip
    if job.duration_p95 < shortest:
        return [(False, _("Usually takes %(median)s (p95 %(most)s): fits into %(gap)s.") % facts)]
    said = _("Usually takes %(median)s (p95 %(most)s), which does not fit into %(gap)s; overlap is “%(overlap)s”.")
    return [(True, said % facts)]


def _paused(job: Job | None) -> list[tuple[bool, str]]:
    return [(True, _("It is paused: nothing runs before it is resumed."))] if job and not job.enabled else []


def _neighbours(instant: datetime, others: Any) -> list[tuple[bool, str]]:
    """Name the jobs whose schedule has the same minute as the next time."""
    minute = instant.replace(second=0, microsecond=0)
    names = [job.name for job in others[:COMPARED] if _is_due(job, minute)]
    if not names:
        return []
    said = cut(", ".join(visible(name) for name in names[:NAMED]), 300)
    if surplus := len(names) - NAMED if len(names) > NAMED else 0:
        more = ngettext("%(count)d more", "%(count)d more", surplus) % {"count": surplus}
        said = f"{said}, {more}"
    return [(False, _("The next time has the same minute as: %(names)s.") % {"names": said})]


def _is_due(job: Job, minute: datetime) -> bool:
    try:
        found = schedule_of(job.schedule, job.timezone).next(minute - MOMENT)
    except InvalidSchedule:
        return False
    return found is not None and found < minute + MINUTE
