"""Own how a schedule is shown to people: in words, and by its next occurrences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import ModuleType

from django.utils.translation import to_locale

from background.timing.cron import Cron
from background.timing.schedules import UNITS, At, Every, Schedule
from background.timing.wording import _, language, ngettext, say
from background.timing.zones import wall, zone_of

try:
    import cron_descriptor
except ImportError:  # an extra; without it people read the cron text itself
    words: ModuleType | None = None
else:
    words = cron_descriptor


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


def upcoming(schedule: Schedule, after: datetime, n: int, zone: str | None = None) -> list[Occurrence]:
    """Return the next `n` occurrences strictly after `after`, each with a note where clocks change.

    Local times are in the schedule's own zone, else in `zone`, else in the project's. Raises ValueError for a naive `after`.
    """
    schedule = schedule.in_zone(zone)
    shown_in = schedule.timezone or zone
    found: list[Occurrence] = []
    instant = schedule.next(after)
    while instant is not None and len(found) < n:
        local = instant.astimezone(zone_of(shown_in))
        found.append(Occurrence(instant, local, _note(schedule, local)))
        instant = schedule.next(instant)
    return found


def _note(schedule: Schedule, local: datetime) -> str:
    shown = local.replace(tzinfo=None)
    if isinstance(schedule, Cron) and not schedule.matches(shown):
        return say(_("The clock skips the scheduled time; runs right after the gap."))
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return ""
    if wall(zone_of(str(local.tzinfo)), local) != shown:
        return ""
    if local.fold:
        return say(_("The clock is put back and shows this time twice; this is the second."))
    return say(_("The clock is put back and shows this time twice; this is the first."))


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
    _minute, _hour, day, _month, weekday = schedule.text.split()
    both = day != "*" and weekday != "*"
    if words is None or (both and "*" in (day[0], weekday[0])):  # it says “or” where cron(8) means “and”
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
