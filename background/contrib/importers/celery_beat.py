"""Own the reading of django-celery-beat's tables (2.x): periodic tasks with their crontabs, intervals and clocked times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from background.contrib.importers.carrying import Facts, Found, Unfit
from background.contrib.importers.tables import instant, rows, written

_COLUMNS = (
    "name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "headers", "priority", "expires", "expire_seconds",
    "one_off", "start_time", "enabled", "crontab_id", "interval_id", "solar_id", "clocked_id",
)  # fmt: skip
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_SCHEDULES = {"crontab": (*_FIELDS, "timezone"), "interval": ("every", "period"), "clocked": ("clocked_time",)}
_UNITS = {"days": "d", "hours": "h", "minutes": "m", "seconds": "s"}


def read(alias: str) -> Iterator[Found]:
    """Yield the periodic tasks of that database. Blocks."""
    there = {
        kind: {one["id"]: one for one in rows(alias, f"django_celery_beat_{kind}schedule", *columns)}
        for kind, columns in _SCHEDULES.items()
    }
    for row in rows(alias, "django_celery_beat_periodictask", *_COLUMNS):
        row |= {kind: found.get(row[f"{kind}_id"]) for kind, found in there.items()}
        yield Found(row["name"], row["task"], partial(_facts, alias, row))


def _facts(alias: str, row: dict[str, Any]) -> Facts:
    starts_at = instant(alias, row["start_time"])
    return Facts(
        schedule=_schedule(alias, row, f" from {written(starts_at)}" if starts_at else ""),
        timezone=str(row["crontab"]["timezone"] or "UTC") if row["crontab"] else "",
        args=_json(row["args"], list),
        kwargs=_json(row["kwargs"], dict),
        enabled=bool(row["enabled"]),
        starts_at=starts_at,
        ends_at=instant(alias, row["expires"]),
        queue=row["queue"] or "",
        lost=tuple(_lost(row)),
    )


def _schedule(alias: str, row: dict[str, Any], start: str) -> str:
    if row["solar_id"]:
        raise Unfit(_("Solar schedules (sunrise and its like) are not known here."))
    if row["clocked"] and (moment := instant(alias, row["clocked"]["clocked_time"])):
        return f"at {written(moment)}"
    if row["one_off"]:
        raise Unfit(_("It runs only once (one-off), and its schedule would come again and again."))
    if row["crontab"]:
        fields = [str(row["crontab"][name] or "*").replace(" ", "") for name in _FIELDS]
        if fields[2][0] != "*" and fields[4][0] != "*":
            raise Unfit(_("Celery wants both day fields to fit, cron(8) one of them: “%s”.") % " ".join(fields))
        return " ".join(fields)
    if row["interval"] and row["interval"]["period"] in _UNITS:
        return f"every {row['interval']['every']}{_UNITS[row['interval']['period']]}{start}"
    raise Unfit(_("It has no schedule of at least a second."))


def _json(text: str | None, kind: type) -> Any:
    try:
        found = json.loads(text or "null") or kind()
    except (ValueError, RecursionError) as error:
        raise Unfit(_("Its arguments are no JSON: %s.") % error) from error
    if not isinstance(found, kind):
        raise Unfit(_("Its arguments are no JSON list and object."))
    return found


def _lost(row: dict[str, Any]) -> Iterator[str]:
    for name in ("exchange", "routing_key", "priority", "expire_seconds"):
        if row[name] not in (None, ""):
            yield f"{name}={row[name]}"
    if (row["headers"] or "{}").strip() != "{}":
        yield "headers"
