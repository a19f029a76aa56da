"""Own how the host itself asks the database, which may be away: at its start and at its end."""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import wait

import django
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from background.conf import get_settings
from background.engine.base import AWAY, first_line
from background.exceptions import StartFailed
from background.host.thread import apart
from background.scope import database_alias
from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.host")

# A database that has not answered for so long is said to be away (seconds).
SILENCE = 2.0
# Between two attempts (seconds).
PAUSE = 0.5


def ask_patiently(call: Callable[[], object], stop: StopToken) -> None:
    """Call something until the database is there or `stop` is requested, saying so once. Blocks.

    Raises StartFailed after STARTUP_TIMEOUT, and what else the call raises.
    """
    patience = get_settings().startup_timeout
    deadline, began, said = Deadline.after(patience), time.monotonic(), False
    while not stop.requested:
        attempt = apart(call, "background-database")
        attempt.add_done_callback(lambda _: stop.poke())
        while not attempt.done() and not stop.requested and not deadline.expired:
            stop.wait(min(PAUSE, deadline.remaining() or 0))
            if not said and time.monotonic() - began > SILENCE and not attempt.done():
                said = say_away(deadline, "no answer")
        if stop.requested:
            wait([attempt], PAUSE)  # so that what it writes is there, for the end to be written
            return
        error = attempt.exception() if attempt.done() else None
        if attempt.done() and not isinstance(error, AWAY):
            if error is not None:
                raise error
            return
        why = first_line(error) if error is not None else "no answer"
        if deadline.expired:
            raise StartFailed(
                f"The database {database_alias()!r} did not answer within {patience:g} s (STARTUP_TIMEOUT): {why}."
            )
        said = said or say_away(deadline, why)
        stop.wait(min(PAUSE, deadline.remaining() or 0))


def say_away(deadline: Deadline, why: str) -> bool:
    logger.warning("waiting up to %.0f s for the database: %s", deadline.remaining(), why)
    return True


def software() -> dict[str, str]:
    """Return the versions that a person wants to know when something is odd."""
    connection = connections[database_alias()]
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "database": f"{connection.vendor} {'.'.join(str(part) for part in connection.get_database_version())}",
        "platform": sys.platform,
    }


def unapplied(alias: str) -> list[str]:
    """Return the migrations that the code has and the database has not, as "app.name". Blocks for a query."""
    executor = MigrationExecutor(connections[alias])
    return [str(migration) for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
