"""Own the pause of queues."""

from __future__ import annotations

from typing import Any

from background.models import Queue, Run
from background.models.clock import DatabaseNow
from background.models.queue import EVERYTHING
from background.queue.wakeup import telling, wake_on_commit
from background.scope import database_alias


def pause_queue(name: str, user: Any = None, reason: str = "") -> Queue:
    """Let no run of this queue start until it is resumed; running ones go on. Blocks for two statements."""
    by = user.get_username() if user is not None else ""
    rows = Queue.objects.using(database_alias())
    rows.get_or_create(name=name)
    rows.filter(name=name).update(paused=True, paused_at=DatabaseNow(), paused_by=by, paused_reason=reason[:300])
    return rows.get(name=name)


def resume_queue(name: str) -> Queue:
    """Let the runs of this queue start again."""
    rows = Queue.objects.using(database_alias())
    rows.get_or_create(name=name)
    with telling():
        rows.filter(name=name).update(paused=False, paused_at=None, paused_by="", paused_reason="")
        wake_on_commit()
    return rows.get(name=name)


def pause_everything(user: Any = None, reason: str = "") -> None:
    """Let no run of any queue start until everything is resumed; running ones go on, schedules too. Blocks for two statements."""
    pause_queue(EVERYTHING, user, reason)


def resume_everything() -> None:
    """Let runs start again, but for those of queues that are paused by themselves."""
    resume_queue(EVERYTHING)


def queue_names() -> list[str]:
    """Return the queues that have a row or an open run, in order. Blocks for two queries."""
    alias = database_alias()
    named = set(Queue.objects.using(alias).named().values_list("name", flat=True))
    waiting = Run.objects.using(alias).open().order_by().values_list("queue", flat=True).distinct()
    return sorted(named | set(waiting))
