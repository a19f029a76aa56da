"""Own how a schedule is shown to people: in words, and by its next occurrences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from zoneinfo import ZoneInfo

from django.utils.translation import to_locale

from background.timing.cron import CLOCK_CORRECTION, Cron
from background.timing.grammar import FIELDS
from background.timing.schedules import UNITS, At, Every, Schedule
from background.timing.wording import _, language, ngettext, say
from background.timing.zones import as_utc, first_instant, jump, wall, zone_of

try:
    import cron_descriptor
except ImportError:  # an extra; without it people read the cron text itself
    words: ModuleType | None = None
else:
    words = cron_descriptor


_STEP = re.compile(r"/(\d+)")


@dataclass(frozen=True)
class Occurrence:
    """One coming occurrence: the instant in UTC, the same on the schedule's wall clock, and a note if clocks change there."""

    instant_utc: datetime
    local: datetime
    note: str = ""


def describe(schedule: Schedule) -> str:
    """Return a schedule in words, in the language in use; the canonical text where no words are known. Never blocks."""
    if isinstance(schedule, Every):
        return _describe_every(schedule)
    if isinstance(schedule, At):
        return say(_("once, at %(instant)s UTC"), instant=schedule.instant.replace(tzinfo=None))
    if isinstance(schedule, Cron):
        return _describe_cron(schedule)
    return str(schedule)


def remark(schedule: Schedule, zone: str | None) -> str:
    """Return what people who wrote this schedule with that zone may not expect of it; empty if nothing."""
    if zone and isinstance(schedule, Every) and not schedule.interval % UNITS["d"]:
        return say(
            _("“%(schedule)s” counts elapsed time: where the clock of %(zone)s changes, it comes at another hour. For a time of "
              "day write it as cron, such as “0 3 * * *”."),
            schedule=schedule,
            zone=zone,
        )  # fmt: skip
    return ""


def upcoming(schedule: Schedule, after: datetime, n: int, zone: str | None = None) -> list[Occurrence]:
    """Return the next `n` occurrences strictly after `after`, each with a note where clocks change.

    Local times are in the schedule's own zone, else in `zone`, else in the project's. Raises ValueError for a naive `after`.
    """
    schedule = schedule.in_zone(zone)
    clock = zone_of(schedule.timezone or zone)
    found: list[Occurrence] = []
    while len(found) < n:
        previous = found[-1].instant_utc if found else as_utc(after)
        instant = schedule.next(previous)
        if instant is None:
            break
        found.append(Occurrence(instant, instant.astimezone(clock), _note(schedule, clock, previous, instant)))
    return found


def _note(schedule: Schedule, clock: ZoneInfo, previous: datetime, instant: datetime) -> str:
    """Say what a change of clocks does to this occurrence, or did to what was due between the previous one and it."""
    local = instant.astimezone(clock)
    if isinstance(schedule, Cron) and (gap := _gap(schedule, clock, previous)):
        start, stop = gap
        skipped = f"{start:%Y-%m-%d %H:%M} – {stop:%H:%M}" if start.date() == stop.date() else f"{start} – {stop}"
        made_up = not schedule.wildcard and stop - start <= CLOCK_CORRECTION
        if made_up and wall(clock, instant) == stop:
            return say(_("The clock skips %(times)s: runs right after, once for all that was due."), times=skipped)
        return say(_("The clock skips %(times)s before this: what was due does not run."), times=skipped)
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return ""
    if local.fold:
        return say(_("The clock is put back and shows this time twice; this is the second."))
    if isinstance(schedule, Cron) and not schedule.wildcard:
        return say(_("The clock is put back and shows this time twice; runs the first time only."))
    return say(_("The clock is put back and shows this time twice; this is the first."))


def _gap(schedule: Cron, clock: ZoneInfo, previous: datetime) -> tuple[datetime, datetime] | None:
    """Return the local times between which the clock skips what is due next after `previous`; None if it does not."""
    due = schedule.local_after(wall(clock, previous))
    shown_at = first_instant(clock, due)
    shown = wall(clock, shown_at)
    return None if shown == due else (shown - jump(clock, shown_at), shown)


def _describe_every(schedule: Every) -> str:
    unit = next((u for u, size in UNITS.items() if not schedule.interval % size), "s")
    count = schedule.interval / UNITS[unit]
    match unit:
        case "d":
            text = ngettext("every day", "every %(count)s days", count)
        case "h":
            text = ngettext("every hour", "every %(count)s hours", count)
        case "m":
            text = ngettext("every minute", "every %(count)s minutes", count)
        case _:
            text = ngettext("every second", "every %(count)s seconds", count)
    if schedule.anchor is None:
        return text
    return say(
        _("%(interval)s, counted from %(anchor)s UTC"),
        interval=text,
        anchor=schedule.anchor.replace(tzinfo=None),
    )


def _describe_cron(schedule: Cron) -> str:
    if words is None or _is_misread(schedule.text.split()):
        return schedule.text
    code = to_locale(language())
    options = words.Options(
        locale_code=code if "_" in code else f"{code}_{code.upper()}",  # unknown ones give English
        use_24hour_time_format=True,
    )
    try:
        return str(words.get_description(schedule.text, options))
    except (words.FormatException, words.MissingFieldException, words.WrongArgumentException):
        return schedule.text


def _is_misread(fields: list[str]) -> bool:
    """Tell whether cron-descriptor would say something else than the fields do."""
    day, weekday = fields[2], fields[4]
    if day != "*" and weekday != "*" and "*" in (day[0], weekday[0]):
        return True  # it says “or” where cron(8) means “and”
    if any("," in one and ("L" in one or "#" in one) for one in fields):
        return True  # it reads the first only
    steps = ((field.high, int(step)) for field, one in zip(FIELDS, fields, strict=True) for step in _STEP.findall(one))
    return any(step > high for high, step in steps)  # “every 90 minutes” for what comes each hour
