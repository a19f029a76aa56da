"""Hosted background services and jobs for Django: the public names, each loaded when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:  # `as`: so that type checkers see what is exported
    from background.exceptions import (
        BackgroundError as BackgroundError,
        ChannelClosed as ChannelClosed,
        ChannelFull as ChannelFull,
        ChannelTimeout as ChannelTimeout,
        Discard as Discard,
        HostLost as HostLost,
        InvalidSchedule as InvalidSchedule,
        Retry as Retry,
        RunCancelled as RunCancelled,
        RunTimedOut as RunTimedOut,
        Snooze as Snooze,
        StopRequested as StopRequested,
    )
    from background.jobs.context import (
        RunContext as RunContext,
        about as about,
        current_run as current_run,
    )
    from background.jobs.tasks import (
        BackgroundTask as BackgroundTask,
        job as job,
        schedule as schedule,
    )
    from background.queue.enqueue import enqueue_many as enqueue_many
    from background.registry import register as register
    from background.scope import (
        Scope as Scope,
        Unit as Unit,
    )
    from background.services.base import BackgroundService as BackgroundService
    from background.services.channel import Channel as Channel
    from background.services.periodic import PeriodicService as PeriodicService
    from background.stopping import (
        Deadline as Deadline,
        StopToken as StopToken,
    )
    from background.timing import (
        Backoff as Backoff,
        at as at,
        cron as cron,
        every as every,
    )

_ROOMS = {
    "background.exceptions": (
        "BackgroundError ChannelClosed ChannelFull ChannelTimeout Discard HostLost InvalidSchedule Retry RunCancelled "
        "RunTimedOut Snooze StopRequested"
    ),
    "background.jobs.context": "RunContext about current_run",
    "background.jobs.tasks": "BackgroundTask job schedule",
    "background.queue.enqueue": "enqueue_many",
    "background.registry": "register",
    "background.scope": "Scope Unit",
    "background.services.base": "BackgroundService",
    "background.services.channel": "Channel",
    "background.services.periodic": "PeriodicService",
    "background.stopping": "Deadline StopToken",
    "background.timing": "Backoff at cron every",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name: an app's module may be imported before the models are ready, so nothing loads early."""
    if name not in _HOME:
        raise AttributeError(f"module 'background' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
