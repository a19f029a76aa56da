"""Own what SQLite does differently: one writer at a time, and times as text."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db import OperationalError, connections, models

from background.dialects.base import Dialect, Ear
from background.scope import is_in_memory

# Seconds between two looks at whether the file was changed; a look takes some microseconds.
LOOK = 0.008
# Steps of SQLite's machine between two looks at the clock; a million steps take some milliseconds.
STEPS = 100_000
# Rows of each index that are looked at for the planner's statistics.
SAMPLE = 400


class SQLiteEar(Ear):
    """Sees that any other connection has changed the file."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._cursor = self.connection.connection.cursor()
        self._version = self._ask()

    def wait(self, seconds: float, stop: int) -> bool:
        end = time.monotonic() + seconds
        with self.connection.wrap_database_errors:
            while self._ask() == self._version:
                left = end - time.monotonic()
                if left <= 0 or select.select([stop], [], [], min(LOOK, left))[0]:
                    return False
            self._version = self._ask()
        return True

    def _ask(self) -> Any:
        return self._cursor.execute("PRAGMA data_version").fetchone()


class SQLite(Dialect):
    passing = ("locked", "busy")
    clock = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def listen(self) -> Ear | None:
        return None if is_in_memory(connections[self.alias]) else SQLiteEar(self.alias)

    def stamp(self) -> datetime:
        # Its own text for a time is shorter than Django's: equal instants would not be equal.
        return self.now()

    def read_clock(self, value: Any) -> datetime:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        # It has no limit for a statement, but asks now and then whether to go on: the block as a whole is limited.
        connections[self.alias].ensure_connection()
        raw: Any = connections[self.alias].connection
        end = time.monotonic() + seconds
        raw.set_progress_handler(lambda: time.monotonic() > end, STEPS)
        try:
            yield
        finally:
            raw.set_progress_handler(None, STEPS)

    def renew_statistics(self, model: type[models.Model]) -> None:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"PRAGMA analysis_limit = {SAMPLE}")
            cursor.execute(f"ANALYZE {self._quote(model._meta.db_table)}")
            cursor.execute("PRAGMA analysis_limit = 0")

    def is_overtime(self, error: OperationalError) -> bool:
        return "interrupted" in str(error)

    def warnings(self) -> list[str]:
        options = connections[self.alias].settings_dict.get("OPTIONS", {})
        found = super().warnings()
        if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
            found.append(
                'SQLite needs OPTIONS["transaction_mode"] = "IMMEDIATE": else two processes that read and then write '
                'fail with "database is locked".'
            )
        if "journal_mode=wal" not in str(options.get("init_command", "")).lower().replace(" ", ""):
            found.append(
                'SQLite needs OPTIONS["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;": '
                "else readers and the writer shut each other out."
            )
        return found
