"""Own the clock by which hosts agree: the database's."""

from typing import Any

from django.db.models.functions import Now


class DatabaseNow(Now):
    """The database's clock in UTC, within a statement."""

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # CURRENT_TIMESTAMP speaks the session's zone, and Django stores UTC.
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)
