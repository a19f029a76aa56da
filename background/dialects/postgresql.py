"""Own what PostgreSQL does differently."""

from background.dialects.base import Dialect


class PostgreSQL(Dialect):
    passing = ("deadlock detected", "could not serialize")
    clock = "SELECT clock_timestamp()"
