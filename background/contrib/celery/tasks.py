"""Own the one task that Celery knows: execute the run of which a message tells."""

import threading
import uuid
from typing import Any

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown

from background.contrib.celery.dispatcher import TASK
from background.contrib.celery.hosting import Inside

_lock = threading.Lock()
# The host of this process: made for its first run, after the pool has forked, and anew where a person has stopped it.
_inside: list[Inside] = []


# Acknowledged early: once taken over, a run is in the database's care, and a second delivery would be refused.
@shared_task(name=TASK, ignore_result=True, acks_late=False, max_retries=0)
def execute(run_id: str, token: str) -> None:
    """Execute a run of background."""
    with _lock:
        if not _inside or _inside[0].exit_code is not None:
            (host := Inside()).start()
            _inside[:] = [host]
    _inside[0].execute(uuid.UUID(run_id), uuid.UUID(token))


@worker_process_shutdown.connect
@worker_shutdown.connect
def leave(**kwargs: Any) -> None:
    """End the host of this process, if it has one."""
    while _inside:
        _inside.pop().stop("Celery ends this process")
