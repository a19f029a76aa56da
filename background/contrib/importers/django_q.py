"""Own the reading of django-q2's table of schedules (1.x)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from background.contrib.importers.carrying import Facts, Found, Unfit
from background.contrib.importers.tables import instant, rows, written

_COLUMNS = (
    "name", "func", "hook", "args", "kwargs", "schedule_type", "minutes", "repeats", "next_run", "cron", "cluster",
    "intended_date_kwarg",
)  # fmt: skip
# By the clock on the wall of the site, as django-q keeps it; the others are elapsed time.
_DAYS = {"D": "* * *", "W": "* * {weekday}", "Y": "{day} {month} *"}
_MONTHS = {"M": 1, "BM": 2, "Q": 3}
_ELAPSED = {"I": "{minutes}m", "H": "1h", "BW": "14d"}
_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def read(alias: str) -> Iterator[Found]:
    """Yield the schedules of that database. Blocks."""
    for row in rows(alias, "django_q_schedule", *_COLUMNS):
        yield Found(row["name"] or f"{row['func']} ({row['id']})", row["func"], partial(_facts, alias, row))


def _facts(alias: str, row: dict[str, Any]) -> Facts:
    schedule = _schedule(row, instant(alias, row["next_run"]))
    args, kwargs = _arguments(row["args"] or "", (row["kwargs"] or "").strip())
    lost = [one for one in ("hook", "cluster", "intended_date_kwarg") if row[one]]
    lost += ["q_options"] if kwargs.pop("q_options", None) else []
    return Facts(schedule=schedule, args=args, kwargs=kwargs, lost=tuple(lost))


def _schedule(row: dict[str, Any], next_run: datetime | None) -> str:
    kind, repeats = row["schedule_type"], row["repeats"]
    if repeats == 0 or (repeats > 0 and kind != "O"):
        raise Unfit(_("It ends after %d more runs; a job has no such limit.") % repeats)
    if kind == "C":
        return str(row["cron"])
    if next_run is None:
        raise Unfit(_("It has no next run to count from."))
    if kind == "O":
        return f"at {written(next_run)}"
    if kind in _ELAPSED:
        return f"every {_ELAPSED[kind].format(minutes=row['minutes'] or 1)} from {written(next_run)}"
    return _on_the_wall(kind, timezone.localtime(next_run, timezone.get_default_timezone()))


def _on_the_wall(kind: str, local: datetime) -> str:
    if kind in _MONTHS:
        if local.day > 28:
            raise Unfit(_("It comes on day %d, which not every month has; “L” is the last.") % local.day)
        months = sorted((local.month - 1 + more) % 12 + 1 for more in range(0, 12, _MONTHS[kind]))
        days = f"{local.day} {','.join(map(str, months))} *"
    elif kind in _DAYS:
        days = _DAYS[kind].format(weekday=local.isoweekday() % 7, day=local.day, month=local.month)
    else:
        raise Unfit(_("The kind %r of schedule is not known.") % kind)
    return f"{local.minute} {local.hour} {days}"


def _arguments(args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
    """Return what these literals say: Python, as `1, "two"` and `{"x": 1}` or `x=1`; nothing is evaluated but values."""
    try:
        found = ast.literal_eval(args.strip()) if args else ()
        positional = list(found) if isinstance(found, tuple) else [found]
        if kwargs.startswith("{"):
            return positional, dict(ast.literal_eval(kwargs))
        call = ast.parse(f"f({kwargs})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError(kwargs)
        return positional, {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except _NO_LITERAL as error:
        raise Unfit(_("Its arguments are no plain values.")) from error
