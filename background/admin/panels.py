"""Own what each panel of the dashboard tells: a few bounded queries each, as the person's permissions allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import formats, timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin import story, usage
from background.admin.permissions import OUTPUT, may
from background.admin.text import cut, duration, relative, rough, state, visible, when
from background.attention import COUNTED, ERROR, Finding, Glance, attention, in_zone_of
from background.models import Host, Job, Run, Service
from background.scope import database_alias

# Rows of a panel at most, and how many of the latest failures are looked at.
ROWS, LATEST = 10, 1000
DAY = timedelta(hours=24)
# A run that takes so many times the 95th percentile of its job is marked.
LONGER = 2


@dataclass(frozen=True)
class Panel:
    """A part of the dashboard with a fragment of its own; `needs` is the permission besides that for the dashboard."""

    name: str
    title: Any
    read: Callable[
        [Any, Any, Glance], dict[str, Any]
    ]  # (room, request, the page's one look) -> context of its template
    needs: str = ""
    every: int = 5


def count(number: int) -> str:
    return f"{formats.number_format(COUNTED)}+" if number > COUNTED else formats.number_format(number)


def runs_address(room: Any, **words: str) -> str:
    return f"{room.url('changelist', model='run')}?{urlencode(words)}"


# What needs attention


def read_attention(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    found = attention(glance=look)
    shown = [one for one in found if one.may_be_seen_by(request.user)]
    never = not look.hosts and not Host.objects.using(database_alias()).exists()
    return {
        "findings": [
            (one.severity, cut(one.message, 300), since(look, one), address_of(room, request, one))
            for one in shown
            if not never
        ],
        "hidden": len(found) - len(shown),
        "worst": "failed" if any(one.severity == ERROR for one in shown) else "orphaned",
        "codes": " ".join(sorted({f"{one.code}:{one.pk}" for one in shown})) or "well",
        "checked": f"{timezone.localtime():%H:%M}",
        "no_host_ever": never,
    }


def since(look: Glance, finding: Finding) -> str:
    """Return how long ago it began, by whole minutes: the answer is the same from look to look."""
    if finding.at is None or (look.now - finding.at).total_seconds() < 60:
        return ""
    return relative(finding.at, look.now)


def address_of(room: Any, request: Any, finding: Finding) -> str:
    """Return the page of what a finding is about; the list where it has none of its own."""
    if not finding.model or not request.user.has_perm(f"background.view_{finding.model}"):
        return ""
    if finding.pk:
        return room.url("change", finding.pk, model=finding.model)
    if finding.model == "queue" and finding.name != "*" and request.user.has_perm("background.view_run"):
        return runs_address(room, queue=finding.name, state="waiting")
    return room.url("changelist", model=finding.model)


# The figures


def read_tiles(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    user, figures = request.user, figures_of(request.user, look)
    runs = user.has_perm("background.view_run")
    found = []
    if runs:
        oldest = rough(figures["waiting_longest"]) if figures["waiting_longest"] is not None else "–"
        found = [
            (_("Running"), count(figures["running"]), runs_address(room, state="running")),
            (_("Queued"), count(figures["queued"]), runs_address(room, state="waiting")),
            (_("Waiting longest"), oldest, runs_address(room, state="ready")),
            (
                _("Failed, 24 h"),
                formats.number_format(figures["failed_24h"]),
                runs_address(room, state="failed", window="24h"),
            ),
        ]
    if user.has_perm("background.view_host"):
        hosts = _("%(live)d of %(all)d") % {"live": figures["hosts_live"], "all": figures["hosts"]}
        found.append((_("Hosts"), hosts, room.url("changelist", model="host")))
    return {"tiles": found}


def figures_of(user: Any, look: Glance) -> dict[str, Any]:
    """Return the figures of the tiles that the person may see: counts up to one above ten thousand. Blocks for five queries."""
    found = {}
    if user.has_perm("background.view_run"):
        blocked = (
            Run.objects.using(database_alias()).filter(status=Run.Status.BLOCKED).order_by()[: COUNTED + 1].count()
        )
        found = {
            "running": len(look.running),
            "queued": look.waiting + blocked,
            "waiting_longest": max((look.now - look.oldest).total_seconds(), 0) if look.oldest else None,
            "failed_24h": usage.failed_since(look.now - DAY),
        }
    if user.has_perm("background.view_host"):
        found |= {"hosts": len(look.hosts), "hosts_live": len(look.live)}
    return found


# Charts


def read_charts(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    window = usage.window_of(request.GET.get("window", ""))

    def address(start: datetime, stop: datetime) -> str:
        if not request.user.has_perm("background.view_run"):
            return ""
        return runs_address(room, since=start.isoformat(timespec="minutes"), until=stop.isoformat(timespec="minutes"))

    windows = [(one.label, f"?window={one.name}", one is window) for one in usage.WINDOWS.values()]
    return {"charts": usage.charts(window, timezone.now(), address), "windows": windows, "window": window.name}


# Runs


def read_running(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    rows = room.rows(request, Run).filter(status=Run.Status.RUNNING).light().select_related("job")
    found = list(rows.order_by("started_at")[: ROWS + 1])
    shown = [running_row(room, request, run) for run in found[:ROWS]]
    never = not found and not Run.objects.using(database_alias()).exists()
    return {
        "rows": shown,
        "more": runs_address(room, state="running") if len(found) > ROWS else "",
        "no_run_ever": never,
    }


def running_row(room: Any, request: Any, run: Run) -> dict[str, Any]:
    job, elapsed = run.job, story.took(run)
    usual, longest = "–", job.duration_p95 if job else None
    if job and job.duration_p10 is not None and job.duration_p90 is not None:
        low, high = rough(job.duration_p10), rough(job.duration_p90)
        usual = low if low == high else f"{low} – {high}"
    cancellable = may(request.user, "run.cancel", run) and not run.cancel_requested_at
    return {
        "run": room.link("run", "change", run.pk, f"#{run.short_id}"),
        "job": room.link("job", "change", run.job_id, cut(run.job_name or run.task, 80), request.user),
        "queue": cut(run.queue, 40),
        "host": room.link("host", "change", run.host_id, cut(run.host_name, 60), request.user),
        "since": duration(elapsed),
        "usual": usual,
        "longer": bool(longest and elapsed and elapsed > LONGER * longest),
        "progress": story.progress(run),
        "asked": bool(run.cancel_requested_at),
        "cancel": room.url("cancel", run.pk, model="run") if cancellable else "",
    }


def read_failures(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    """Put the failures of a day together by fingerprint, the newest first; of the latest thousand at most."""
    rows = room.rows(request, Run).filter(status=Run.Status.FAILED).order_by("-id")
    names = ("fingerprint", "error_type", "error_summary", "job_id", "job_name", "task", "finished_at")
    latest = list(rows.values(*names)[:LATEST])
    since = timezone.now() - DAY
    groups: dict[str, dict[str, Any]] = {}
    for one in latest:
        if one["finished_at"] and one["finished_at"] >= since:
            group = groups.setdefault(one["fingerprint"] or one["error_type"], {**one, "count": 0})
            group["count"] += 1
            group["finished_at"] = max(group["finished_at"], one["finished_at"])
    ranked = sorted(groups.values(), key=lambda one: (-one["count"], -one["finished_at"].timestamp()))
    return {"rows": [failure_row(room, request, one) for one in ranked[:ROWS]], "capped": len(latest) == LATEST}


def failure_row(room: Any, request: Any, group: dict[str, Any]) -> dict[str, Any]:
    what = group["error_type"].rpartition(".")[2] or _("unknown")
    fault = f'error:"{group["fingerprint"]}"' if group["fingerprint"] else ""
    words = {"state": "failed", "window": "24h", **({"q": fault} if fault else {"job": group["job_name"]})}
    return {
        "count": formats.number_format(group["count"]),
        "what": cut(what, 60),
        "about": cut(group["error_summary"], 90) if request.user.has_perm(OUTPUT) else "",
        "url": runs_address(room, **words),
        "job": room.link("job", "change", group["job_id"], cut(group["job_name"] or group["task"], 60), request.user),
        "last": when(group["finished_at"]),
    }


# What comes next


def read_next(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    rows = room.rows(request, Job).active().filter(next_run_at__isnull=False).order_by("next_run_at", "name")
    found = list(rows.only("name", "next_run_at", "timezone")[:ROWS])
    return {"rows": [next_row(room, request, job) for job in found]}


def next_row(room: Any, request: Any, job: Job) -> dict[str, Any]:
    at = job.next_run_at
    assert at is not None  # it was asked for
    local, now = in_zone_of(job, at), timezone.now()
    day = "" if local.date() == now.astimezone(local.tzinfo).date() else f"{formats.date_format(local, 'D j M')} "
    return {
        "when": _soon(at, now),
        "at": at.isoformat(),
        "local": f"{day}{local:%H:%M} {local.tzname()}",
        "zone": str(local.tzinfo),
        "job": room.link("job", "change", job.pk, cut(job.name, 80), request.user),
    }


def _soon(at: datetime, now: datetime) -> str:
    if at <= now:
        return _("due")
    return relative(at, now) if at - now >= timedelta(minutes=1) else _("within a minute")


# Services and queues


def read_parts(room: Any, request: Any, look: Glance) -> dict[str, Any]:
    user = request.user
    services: list[Any] = []
    queues: list[Any] = []
    if user.has_perm("background.view_service"):
        services = [service_row(room, request, one) for one in look.services if not one.engine or is_ill(one)]
    if user.has_perm("background.view_queue"):
        most = max((line.count for line in look.lines.values()), default=0)
        names = {name for name in look.queues if name != "*"} | set(look.lines)
        queues = [queue_row(room, request, look, name, most) for name in sorted(names)[: 3 * ROWS]]
    return {"services": services[: 3 * ROWS], "queues": queues}


def is_ill(service: Service) -> bool:
    return service.state in (Service.State.FAILED, Service.State.BACKOFF) or not service.healthy


def service_row(room: Any, request: Any, service: Service) -> tuple[Any, Any]:
    ill = is_ill(service) and service.state == Service.State.RUNNING
    word = "unhealthy" if ill else service.state
    label = _("unhealthy") if ill else service.get_state_display()
    return room.link("service", "change", service.pk, cut(service.name, 60), request.user), state(word, label)


def queue_row(room: Any, request: Any, look: Glance, name: str, most: int) -> dict[str, Any]:
    line, place = look.lines.get(name), look.queues.get(name)
    waiting = line.count if line else 0
    if look.is_paused(name):
        shown = state("paused", _("paused"))
    elif waiting and not look.served(name):
        shown = state("orphaned", _("nobody serves it"))
    else:
        shown = state("active", _("active"))
    link = room.link("queue", "change", place.pk, cut(name, 60), request.user) if place else visible(name)
    return {"name": link, "state": shown, "waiting": count(waiting), "value": str(waiting), "max": str(most or 1)}


PANELS = {
    one.name: one
    for one in (
        Panel("attention", gettext_lazy("Attention"), read_attention),
        Panel("tiles", gettext_lazy("Now"), read_tiles),
        Panel("charts", gettext_lazy("Over time"), read_charts, "background.view_run", every=10),
        Panel("running", gettext_lazy("Running now"), read_running, "background.view_run"),
        Panel("failures", gettext_lazy("Failures, 24 h, same error together"), read_failures, "background.view_run"),
        Panel("next", gettext_lazy("Next, in each schedule's zone"), read_next, "background.view_job"),
        Panel("parts", gettext_lazy("Services and queues"), read_parts),
    )
}
