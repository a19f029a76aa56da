"""Own the settings of the part: `BACKGROUND["HEALTH"]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from background.conf import get_part, part

ALWAYS = ("database", "cache", "migrations", "disk", "queues", "jobs")


class InvalidHealthSetting(ValueError):
    """An entry of BACKGROUND["HEALTH"] cannot be read; the message says which, and what is expected."""


@part("HEALTH")
@dataclass(frozen=True, slots=True)
class HealthSettings:
    checks: Mapping[str, Any] = field(default_factory=lambda: {name: {} for name in ALWAYS})
    interval: float = 60.0  # seconds between two looks
    timeout: float = 10.0  # seconds that a check may take
    failures: int = 2  # in a row, before an alarm
    mail_to: tuple[str, ...] = ()
    webhook: str = ""  # address that changes are posted to, as JSON
    ping: str = ""  # address of an outside monitor, fetched while all is well
    quiet_hours: str = ""  # "22:00-07:00": what changes then is told afterwards
    timezone: str = ""  # of the quiet hours; TIME_ZONE
    keep: float = 30.0  # days of history


def quiet_hours() -> tuple[time, time] | None:
    """Return the first and the last moment of the quiet hours; InvalidHealthSetting where they are none."""
    conf = get_part(HealthSettings)
    try:
        _zone(conf)
        first, _, last = conf.quiet_hours.partition("-")
        return (time.fromisoformat(first.strip()), time.fromisoformat(last.strip())) if conf.quiet_hours else None
    except (ValueError, KeyError, OSError) as error:  # the latter two from zoneinfo
        raise InvalidHealthSetting(
            f"BACKGROUND['HEALTH'] has QUIET_HOURS {conf.quiet_hours!r} and TIMEZONE {conf.timezone!r}; expected are hours such as "
            f"'22:00-07:00' and the name of a zone: {error}."
        ) from error


def require_http(address: str) -> None:
    """Refuse addresses that are none of the web's, without repeating them; raises ValueError."""
    if not str(address).startswith(("http://", "https://")):
        raise ValueError("an address begins with http:// or https://")


def addresses() -> None:
    """InvalidHealthSetting where PING or WEBHOOK is no address."""
    conf = get_part(HealthSettings)
    for name, address in (("PING", conf.ping), ("WEBHOOK", conf.webhook)):
        try:
            require_http(address or "https://")
        except ValueError as error:
            raise InvalidHealthSetting(f"BACKGROUND['HEALTH'][{name!r}] cannot be used: {error}.") from error


def is_quiet(now: datetime) -> bool:
    """Whether people are not to be told of anything but what is urgent."""
    hours = quiet_hours()
    if hours is None:
        return False
    first, last = hours
    at = now.astimezone(_zone(get_part(HealthSettings))).time()
    return first <= at < last if first <= last else at >= first or at < last


def _zone(conf: HealthSettings) -> Any:
    return ZoneInfo(conf.timezone) if conf.timezone else timezone.get_default_timezone()
