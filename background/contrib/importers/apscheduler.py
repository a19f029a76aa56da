"""Own the reading of django-apscheduler's table: names and next times only, for the rest is pickled and stays unread."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from django.utils.translation import gettext as _

from background.contrib.importers.carrying import Facts, Found, Unfit
from background.contrib.importers.tables import instant, rows, written


def read(alias: str) -> Iterator[Found]:
    """Yield the jobs of that database, each to come once, at its next time. Blocks."""
    for row in rows(alias, "django_apscheduler_djangojob", "next_run_time"):
        yield Found(row["id"], row["id"], partial(_facts, instant(alias, row["next_run_time"])))


def _facts(next_run: datetime | None) -> Facts:
    if next_run is None:
        raise Unfit(_("It is paused, and all but its name is pickled."))
    lost = (_("its trigger and arguments, which are pickled: it comes once, then give it a schedule"),)
    return Facts(schedule=f"at {written(next_run)}", lost=lost)
