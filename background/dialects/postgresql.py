"""Own what PostgreSQL does differently."""

from typing import Any

from django.db import connections

from background.dialects.base import Dialect


class PostgreSQL(Dialect):
    passing = ("deadlock detected", "could not serialize")
    clock = "SELECT clock_timestamp()"

    def _update_each(
        self, model: Any, keys: Any, columns: Any, rows: Any, fixed: dict[str, Any], guard: dict[str, Any]
    ) -> None:
        connection, names = connections[self.alias], [*keys, *columns]
        arrays = ", ".join(f"%s::{model._meta.get_field(name).db_type(connection)}[]" for name in names)
        sets = [self._list(", ", "{0} = v.{0}", columns), self._list(", ", "{} = %s", fixed)]
        where = [self._list(" AND ", "r.{0} = v.{0}", keys), self._list(" AND ", "r.{} = %s", guard)]
        sql = (
            f"UPDATE {self._quote(model._meta.db_table)} AS r SET {', '.join(filter(None, sets))} "
            f"FROM unnest({arrays}) AS v({self._list(', ', '{}', names)}) WHERE {' AND '.join(filter(None, where))}"
        )
        with connection.cursor() as cursor:
            cursor.execute(sql, [*fixed.values(), *map(list, zip(*rows, strict=True)), *guard.values()])
