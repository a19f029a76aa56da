"""Own how tests execute runs: in their own thread and on their own connection, through the same runner."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextvars import Context
from datetime import datetime

from asgiref.sync import async_to_sync
from django.db import transaction

from background import catalog
from background.conf import build_version
from background.dialects import dialect
from background.engine.attachments import attach
from background.engine.scheduler import schedule_due
from background.execution import capture
from background.execution.runner import Execution, arun, run
from background.models import Run
from background.queue.claim import claim, promote_due
from background.queue.finish import announce, finish, finish_within
from background.queue.holding import Claim, Filter, Holder
from background.queue.outcome import Outcome
from background.scope import database_alias

HOLDER = Holder(uuid.UUID(int=0), "drain", build_version())


def drain(queues: Iterable[str] | None = None, max_runs: int | None = None, now: datetime | None = None) -> list[Run]:
    """Execute what is ready until nothing is, and return the runs in the order in which they were executed.

    Each run is executed in this thread, on this connection, inside a savepoint if a transaction is open, so that one
    that fails leaves the test's transaction usable. Runs that are scheduled for later are left alone unless `now`
    says that their time has come. Blocks until all is done.
    """
    capture.install()
    which = Filter(queues=tuple(queues) if queues is not None else None)
    done: list[uuid.UUID] = []
    while max_runs is None or len(done) < max_runs:
        promote_due(now)
        claims = claim(HOLDER, 1, which, now)
        if not claims:
            break
        _execute(claims[0], now)
        done.append(claims[0].id)
    rows = Run.objects.using(database_alias()).in_bulk(done)
    return [rows[id] for id in dict.fromkeys(done)]


def _execute(claimed: Claim, now: datetime | None) -> None:
    execution = Execution(claimed, capture=capture.Capture(claimed.last_line), attach=attach, commit=finish_within)
    if claimed.executor == "loop":
        # As in a host, in variables of its own: what it changes there, a language say, does not reach the test.
        outcome = Context().run(async_to_sync(arun), execution)
    else:
        outcome = _in_savepoint(execution)
    if execution.stored is None:
        finish([outcome], now)
    else:
        announce([outcome])


def _in_savepoint(execution: Execution) -> Outcome:
    alias = database_alias()
    if not transaction.get_connection(alias).in_atomic_block:
        return run(execution)
    with transaction.atomic(using=alias):  # undoes what the run has broken, and nothing else, as on a host
        return run(execution)


def run_due(now: datetime | None = None) -> list[Run]:
    """Make the occurrences that are due at `now` (default: the database's clock) and return their runs, not yet executed.

    The first call for a job only notes its schedule: nothing is due before. Blocks.
    """
    catalog.sync()
    return schedule_due(now or dialect().now())
