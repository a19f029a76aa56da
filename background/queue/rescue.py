"""Own what happens to the runs of hosts that are gone: tried again elsewhere, counted apart from attempts."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q

from background import registry
from background.conf import get_settings
from background.dialects import dialect
from background.models import Host, Lease, Run, Service, ServiceStart
from background.queue.finish import append_letters, send_finished
from background.queue.limits import blocked_keys, unblock
from background.queue.transitions import move
from background.scope import database_alias

logger = logging.getLogger("background.queue")
Status = Run.Status


def declare_lost(now: datetime | None = None) -> list[Host]:
    """Mark the hosts as lost that were silent for HOST_TIMEOUT by the database's clock, and return them. Blocks."""
    now = now or dialect().now()
    timeout = timedelta(seconds=get_settings().host_timeout)
    # Or from a time that is still to come: the clock was set back, and who lives has spoken since.
    silence = Q(heartbeat_at__lt=now - timeout) | Q(heartbeat_at__gt=now + timeout)
    silent = Host.objects.using(database_alias()).live().filter(silence)
    lost = []
    for host in silent:
        # Guarded: it may have spoken since, and another host may be faster.
        rows = Host.objects.using(database_alias()).live().filter(id=host.id, heartbeat_at=host.heartbeat_at)
        if rows.update(state=Host.State.LOST, stopped_at=now, stop_reason="silent"):
            logger.warning(
                "host %s is lost: no heartbeat for %.0f s", host.name, (now - host.heartbeat_at).total_seconds()
            )
            open_starts = ServiceStart.objects.using(database_alias()).filter(host=host, ended_at=None)
            open_starts.update(ended_at=host.heartbeat_at, reason=ServiceStart.Reason.LOST)
            # Its leases run out by themselves: it may have taken one just now, and believe in it.
            _say_stopped(host, "host lost")
            lost.append(host)
    return lost


def forget_services(host: Host, reason: str) -> None:
    """Let the rows of a host that has ended say so, and free its leases: nothing of it goes on."""
    _say_stopped(host, reason)
    Lease.objects.using(database_alias()).filter(holder=host.id).update(holder=None, expires_at=None)


def _say_stopped(host: Host, reason: str) -> None:
    rows = Service.objects.using(database_alias()).filter(host=host)
    gone = rows.exclude(state__in=[Service.State.STOPPED, Service.State.FAILED])
    gone.update(state=Service.State.STOPPED, healthy=False, error=reason)


def rescue(now: datetime | None = None) -> int:
    """Take the runs of hosts that are gone and make them ready again, or fail them; returns how many. Blocks."""
    alias = database_alias()
    live = Host.objects.using(alias).live().filter(id=OuterRef("host_id"))
    rows = Run.objects.using(alias).running().filter(~Exists(live)).select_related("job")[:500]
    rescued = 0
    for run in rows:
        if moved_to := dialect().in_transaction(lambda run=run: _rescue(run, now)):  # type: ignore[misc]
            rescued += 1
            if moved_to in Run.FINISHED:
                send_finished(run, moved_to)
    return rescued


def _rescue(run: Run, now: datetime | None) -> Run.Status | None:
    now = now or dialect().now()
    if (asked := _asked_to_end(run)) is None:
        return None
    times = run.lost + 1
    poison = times >= get_settings().max_lost
    fail = poison or _on_lost(run) == "fail"
    error = _error(run, now, times)
    if asked:
        to = Status.CANCELLED
        moved = move([run.id], Status.CANCELLED, of=[Status.RUNNING], held_by=run.token, finished_at=now, lost=times)
    elif fail:
        to = Status.FAILED
        moved = move(
            [run.id], Status.FAILED, of=[Status.RUNNING], held_by=run.token, finished_at=now, lost=times, errors=[*run.errors, error],
            error_type=error["type"], error_summary=error["message"][:500], fingerprint="HostLost",
            end_reason=f"its host was lost {times} times" if poison else "its host was lost",
        )  # fmt: skip
    else:
        to = Status.READY
        moved = move(
            [run.id], Status.READY, of=[Status.RUNNING], held_by=run.token, lost=times, attempt=F("attempt") - 1,
        )  # fmt: skip
    if moved:
        logger.warning("run %s of %s rescued from host %s (lost %d times)", run.id, run.task, run.host_name, times)
        if to in Run.FINISHED and run.job_id:
            append_letters(run.job_id, "f" if to == Status.FAILED else "c")
        if run.concurrency_key:
            unblock([run.concurrency_key])
    return to if moved else None


def _asked_to_end(run: Run) -> bool | None:
    """Lock the run and tell whether a person has asked for its end, also since it was read; None if another has it by now."""
    rows = Run.objects.using(database_alias()).running().filter(id=run.id, token=run.token)
    found = list(dialect().lock(rows, skip=False).values_list("cancel_requested_at", flat=True))
    return found[0] is not None if found else None


def _on_lost(run: Run) -> str:
    """What the job's row says, else the task, if this host's code knows it."""
    return getattr(run.job or registry.tasks().get(run.task), "on_lost", "retry")


def _error(run: Run, now: datetime, times: int) -> dict[str, Any]:
    message = f"Host {run.host_name} disappeared while it was executing this run (loss {times})."
    return {
        "attempt": run.attempt,
        "at": now.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "host": run.host_name,
        "type": "background.exceptions.HostLost",
        "message": message,
        "traceback": "",
    }


def sweep_blocked() -> int:
    """Make blocked runs ready whose key has free slots: for the case that a limit was raised. Blocks."""
    keys = blocked_keys()
    return dialect().in_transaction(lambda: unblock(keys)) if keys else 0


def fail_unknown(now: datetime | None = None) -> int:
    """Fail ready runs whose task no live host's code knows; returns how many. Blocks.

    Not one that was enqueued within HOST_TIMEOUT: in a deploy the code that enqueues may be new some seconds before the hosts are.
    """
    alias = database_alias()
    known: set[str] = set()
    for tasks in Host.objects.using(alias).live().filter(works=True).values_list("tasks", flat=True):
        known.update(tasks)
    if not known:
        return 0
    now = now or dialect().now()
    failed = 0
    since = now - timedelta(seconds=get_settings().host_timeout)
    ready = Run.objects.using(alias).ready().filter(position__isnull=False, enqueued_at__lte=since)
    for run in ready.exclude(task__in=known)[:500]:
        message = (
            f"No live host's code declares the task {run.task!r}; was it renamed or removed while this run was waiting?"
        )
        error = {
            "attempt": run.attempt,
            "at": now.isoformat(),
            "started_at": None,
            "host": "",
            "traceback": "",
            "message": message,
        }
        error["type"] = "background.exceptions.TaskNotFound"
        if dialect().in_transaction(lambda run=run, error=error: _fail_unknown(run, error, now)):  # type: ignore[misc]
            failed += 1
            logger.error("run %s failed: %s", run.id, message)
            send_finished(run, Status.FAILED)
    return failed


def _fail_unknown(run: Run, error: dict[str, Any], now: datetime) -> int:
    moved = move(
        [run.id], Status.FAILED, of=[Status.READY], finished_at=now, errors=[*run.errors, error], error_type=error["type"],
        error_summary=error["message"][:500], fingerprint="TaskNotFound", end_reason="task not found",
    )  # fmt: skip
    if moved and run.job_id:
        append_letters(run.job_id, "f")
    return moved
