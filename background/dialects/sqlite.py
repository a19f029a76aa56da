"""Own what SQLite does differently: one writer at a time, and times as text."""

from datetime import UTC, datetime
from typing import Any

from django.db import connections

from background.dialects.base import Dialect


class SQLite(Dialect):
    passing = ("locked", "busy")
    clock = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def read_clock(self, value: Any) -> datetime:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)

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
