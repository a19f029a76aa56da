"""Own the few things that databases do differently; `dialect()` is the one for the database that holds the tables."""

from __future__ import annotations

from django.db import connections

from background.dialects.base import Dialect, Ear
from background.dialects.mysql import MySQL
from background.dialects.postgresql import PostgreSQL
from background.dialects.sqlite import SQLite
from background.scope import database_alias

_BY_VENDOR = {"postgresql": PostgreSQL, "sqlite": SQLite, "mysql": MySQL}


def dialect(alias: str | None = None) -> Dialect:
    """Return the dialect of the database `alias` (default: the one that holds the tables)."""
    alias = alias or database_alias()
    return _BY_VENDOR.get(connections[alias].vendor, Dialect)(alias)


__all__ = ["Dialect", "Ear", "MySQL", "PostgreSQL", "SQLite", "dialect"]
