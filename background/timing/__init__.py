"""Pure arithmetic of time: schedules, what of them is due, and growing delays. No models, no I/O, nothing blocks."""

from background.timing.backoff import Backoff
from background.timing.cron import Cron
from background.timing.preview import Occurrence, describe, remark, upcoming
from background.timing.schedules import At, Every, Schedule, at, cron, every, parse
from background.timing.zones import check_zone

__all__ = [
    "At",
    "Backoff",
    "Cron",
    "Every",
    "Occurrence",
    "Schedule",
    "at",
    "check_zone",
    "cron",
    "describe",
    "every",
    "parse",
    "remark",
    "upcoming",
]
