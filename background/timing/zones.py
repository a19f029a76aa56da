"""Own the wall clocks: which zone names count, and where a zone's offset from UTC changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from os.path import commonprefix
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from background.exceptions import InvalidSchedule
from background.timing.wording import _, say, shorten

SECOND = timedelta(seconds=1)
LONGEST_NAME = 64  # twice the longest there is
SCAN = timedelta(hours=12)  # no zone has changed its offset and back within this time


@cache
def zone_names() -> frozenset[str]:
    """Return the names that every installation of the tz database knows."""
    # `localtime` and `Factory` are files of some systems, not places.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def check_zone(name: object) -> None:
    """Raise InvalidSchedule if `name` is no time zone.

    ZoneInfo(name) alone accepts `posixrules` and `right/...`, and fails with four kinds of exceptions.
    """
    if isinstance(name, str) and name in zone_names():
        return
    typed = name[:LONGEST_NAME] if isinstance(name, str) else ""
    meant = next((known for known in sorted(zone_names()) if known.casefold() == typed.casefold()), None)
    if meant:
        problem = say(_("“%(name)s” is written “%(meant)s”."), name=shorten(name), meant=meant)
    elif zone_names():
        problem = say(
            _("“%(name)s” is no time zone; expected a name such as “Europe/Paris” or “UTC”."), name=shorten(name)
        )
    else:
        problem = say(_("no zone is known on this machine; “pip install tzdata” brings them."))
    position = 1 + max((len(commonprefix([typed, known])) for known in zone_names()), default=0)
    raise InvalidSchedule(say(_("timezone, character %(position)d: %(problem)s"), position=position, problem=problem))


def default_zone() -> str:
    """Return the name of the project's TIME_ZONE; `UTC` without settings."""
    try:
        return timezone.get_default_timezone_name()
    except ImproperlyConfigured:
        return "UTC"


def zone_of(name: str | None) -> ZoneInfo:
    """Return the zone of that name, or the project's for None."""
    return ZoneInfo(name or default_zone())


def as_utc(instant: datetime) -> datetime:
    """Return an aware datetime in UTC; ValueError for a naive one."""
    if instant.utcoffset() is None:
        raise ValueError(say(_("%(instant)s has no time zone; pass an aware datetime."), instant=instant))
    return instant.astimezone(UTC)


def wall(zone: ZoneInfo, instant: datetime) -> datetime:
    """Return what a clock on the wall shows at `instant`, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None)


def offset_change(zone: ZoneInfo, start: datetime, stop: datetime) -> datetime | None:
    """Return the first instant in (start, stop] whose offset differs from the one at `start`, to the second."""
    offset = start.astimezone(zone).utcoffset()
    while start < stop:
        step = min(start + SCAN, stop)
        if step.astimezone(zone).utcoffset() != offset:
            return _first_with_other_offset(zone, offset, start, step)
        start = step
    return None


def _first_with_other_offset(zone: ZoneInfo, offset: timedelta | None, low: datetime, high: datetime) -> datetime:
    while high - low > SECOND:
        middle = (low + (high - low) // 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def jump(zone: ZoneInfo, instant: datetime) -> timedelta:
    """Return how far the clock is put forward (or back, negative) at `instant`; zero at nearly all."""
    return wall(zone, instant) - wall(zone, instant - SECOND) - SECOND


def first_instant(zone: ZoneInfo, local: datetime) -> datetime:
    """Return the first instant at which the wall clock shows `local` or later.

    That is the first pass where the clock is put back over `local`, and the moment after the gap where `local` is skipped.
    """
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall(zone, instant) == local:
        return instant
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC) - SECOND  # in a gap, fold=1 counts from its end
    return offset_change(zone, before.replace(microsecond=0), instant) or instant
