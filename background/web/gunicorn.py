"""Own the host in the life of gunicorn's workers: hooks for its configuration file.

    # gunicorn.conf.py
    from background.web.gunicorn import post_worker_init, worker_exit
    graceful_timeout = 40  # more than SHUTDOWN_TIMEOUT

One worker of the machine hosts, and another takes over when it is gone. Worker classes sync and gthread.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


def post_worker_init(worker: Any) -> None:
    """Start the host when the worker has loaded the site; it hears of SIGTERM at once, while requests are finished."""
    from background.web.inside import HostInside  # noqa: PLC0415 - gunicorn reads its configuration before the apps are loaded

    worker.background = inside = HostInside("machine")
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        inside.request_stop("gunicorn stops this worker")
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, handle)
    inside.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Wait for the host's end before the worker's own. Blocks, for little more than SHUTDOWN_TIMEOUT at most."""
    inside = getattr(worker, "background", None)
    if inside is not None:
        inside.stop()
