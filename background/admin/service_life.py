"""Own what a service's page tells of its life: its last starts, a day as a strip, the end of its log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background import registry
from background.admin.logs import mark
from background.admin.text import cut, duration, moment, state, visible
from background.models import Service, ServiceStart
from background.scope import database_alias
from background.templatetags.background_charts import Cell, Strip

Reason = ServiceStart.Reason
SHOWN = 20
DAY, PART = timedelta(days=1), timedelta(minutes=30)
BAD = (Reason.FAILED, Reason.LOST)


def starts_of(service: Service) -> list[ServiceStart]:
    """Return the starts that are kept of a service's name, on all hosts, newest first. Blocks for one query."""
    rows = ServiceStart.objects.using(database_alias()).filter(name=service.name)
    return list(rows.order_by("-started_at")[: ServiceStart.KEPT])


def last_starts(room: Any, user: Any, starts: list[ServiceStart], output: bool) -> list[dict[str, Any]]:
    """Return the last starts as the page shows them; errors only to who may see output."""
    return [
        {
            "at": moment(one.started_at),
            "host": room.link("host", "change", one.host_id, cut(one.host_name, 60), user),
            "lasted": duration(((one.ended_at or timezone.now()) - one.started_at).total_seconds()),
            "end": _end(one),
            "error": cut(one.error if output else one.error.partition(":")[0], 200),
        }
        for one in starts[:SHOWN]
    ]


def _end(one: ServiceStart) -> Any:
    if not one.reason:
        return state("running", _("goes on"))
    look = {Reason.FAILED: "failed", Reason.LOST: "lost", Reason.PAUSED: "paused"}.get(Reason(one.reason), "stopped")
    return state(look, one.get_reason_display())


def day(service: Service, starts: list[ServiceStart]) -> Strip:
    """Return the last 24 hours on this host, half an hour in a cell."""
    now = timezone.now()
    begin = (now - DAY).replace(minute=now.minute // 30 * 30, second=0, microsecond=0) + PART
    mine = [
        (one.started_at, one.ended_at or now, one.reason in BAD) for one in starts if one.host_id == service.host_id
    ]
    if service.engine and service.since and service.state == Service.State.RUNNING:
        mine = [(service.since, now, False)]
    known = min((one.started_at for one in starts), default=begin) if len(starts) == ServiceStart.KEPT else begin
    cells, place = [], begin
    while place < now:
        cells.append(_cell(place, min(place + PART, now), mine, known))
        place += PART
    ups = sum(cell.look == "succeeded" for cell in cells)
    bads = sum(cell.look == "failed" for cell in cells)
    sentence = _("Of the last %(all)d half hours it ran in %(ups)d without a failure, and failed in %(bads)d.")
    facts = {"all": len(cells), "ups": ups, "bads": bads}
    return Strip("bg-day", _("Last 24 hours on this host"), sentence % facts, cells)


def _cell(start: datetime, stop: datetime, lives: list[tuple[datetime, datetime, bool]], known: datetime) -> Cell:
    zone = timezone.get_current_timezone()
    time = f"{formats.date_format(start.astimezone(zone), 'H:i')}–{formats.date_format(stop.astimezone(zone), 'H:i')}"
    failures = sum(bad and start <= ended < stop for _began, ended, bad in lives)
    up = any(began < stop and ended > start for began, ended, _bad in lives)
    if failures:
        said = ngettext("failed %(count)d time", "failed %(count)d times", failures) % {"count": failures}
        return Cell("failed", f"{time}: {said}")
    if up:
        return Cell("succeeded", _("%(time)s: running") % {"time": time})
    if stop < known:
        return Cell("none", _("%(time)s: not known any more") % {"time": time})
    return Cell("none", _("%(time)s: not running") % {"time": time})


def log_of(service: Service) -> list[dict[str, str]]:
    """Return the last lines of its log, the oldest first."""
    return [
        {
            "at": formats.date_format(timezone.localtime(datetime.fromisoformat(at)), "j M H:i:s"),
            "level": visible(level),
            "mark": mark(level),
            "text": visible(message, lines=True),
        }
        for at, level, message in service.log
    ]


def settings_of(service: Service) -> list[tuple[Any, str]]:
    """Return what the code declares of the service, if this process knows it."""
    kind = next((one for one in registry.services() if one.get_name() == service.name), None)
    if kind is None:
        return []
    seconds = _("%(seconds)g s")
    found: list[tuple[Any, Any]] = [
        (_("Class"), f"{kind.__module__}.{kind.__qualname__}"),
        (_("Schedule"), getattr(kind, "schedule", None)),
        (_("Singleton"), _("yes") if kind.singleton else _("no")),
        (_("Restart"), kind.restart),
        (_("Restarts at most"), kind.max_restarts),
        (_("Starts after"), ", ".join(kind.depends_on)),
        (_("Watchdog"), seconds % {"seconds": kind.watchdog} if kind.watchdog else None),
        (_("Time to stop"), seconds % {"seconds": kind.stop_timeout} if kind.stop_timeout else None),
    ]
    return [(label, visible(value)) for label, value in found if value not in (None, "")]
