"""Own what MariaDB and MySQL do differently."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from django.db import OperationalError, connections

from background.dialects.base import Dialect
from background.dialects.columns import Columns

# Rows of one statement: packets have 16 MB at most by default, arguments 64 kB.
ROWS = 200


class MySQL(Dialect):
    # 1213: deadlock found; 1205: lock wait timeout; 1020: row changed since it was read (MariaDB's snapshot check)
    passing = ("deadlock found", "lock wait timeout", "record has changed since last read")
    clock = "SELECT UTC_TIMESTAMP(6)"

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        connection: Any = connections[self.alias]
        with connection.cursor() as cursor:
            name, value = ("max_statement_time", seconds)
            if not connection.mysql_is_mariadb:
                name, value = ("max_execution_time", int(seconds * 1000))
            cursor.execute(f"SET SESSION {name} = %s", [value])
            try:
                yield
            finally:
                cursor.execute(f"SET SESSION {name} = DEFAULT")

    def is_overtime(self, error: OperationalError) -> bool:
        return bool(error.args) and error.args[0] in (1969, 3024)

    def _insert(self, table: str, columns: Columns, tell: bool) -> None:
        # Drivers put many rows into one statement only where all values are parameters.
        marks, rows = f"({columns.marks()})", columns.rows()
        with connections[self.alias].cursor() as cursor:
            for first in range(0, len(rows), ROWS):
                some = rows[first : first + ROWS]
                values = ", ".join([marks] * len(some))
                cursor.execute(
                    f"INSERT INTO {table} ({columns.names}) VALUES {values}", [value for row in some for value in row]
                )

    def _update_each(
        self, model: Any, keys: Sequence[str], each: dict[str, Any], fixed: dict[str, Any], guard: dict[str, Any]
    ) -> int:
        rows = list(zip(*each.values(), strict=True))
        if len(rows) > ROWS:
            parts = [
                {name: values[at : at + ROWS] for name, values in each.items()} for at in range(0, len(rows), ROWS)
            ]
            return sum(self._update_each(model, keys, part, fixed, guard) for part in parts)
        first = f"SELECT {self._list(', ', '%s AS {}', each)}"
        more = f" UNION ALL SELECT {', '.join(['%s'] * len(each))}" * (len(rows) - 1)
        columns = [name for name in each if name not in keys]
        set_fixed, given = self._assigned(fixed, "r.")
        sets = [self._list(", ", "r.{0} = v.{0}", columns), set_fixed]
        same, fits = self._list(" AND ", "r.{0} = v.{0}", keys), self._list(" AND ", "r.{} = %s", guard)
        sql = (
            f"UPDATE ({first}{more}) AS v STRAIGHT_JOIN {self._quote(model._meta.db_table)} AS r "
            f"ON {same} SET {', '.join(filter(None, sets))}{' WHERE ' if fits else ''}{fits}"
        )
        with connections[self.alias].cursor() as cursor:
            cursor.execute(sql, [*chain.from_iterable(rows), *given, *guard.values()])
            return int(cursor.rowcount)  # Django has it count what fitted, not what was changed

    def warnings(self) -> list[str]:
        level = connections[self.alias].settings_dict.get("OPTIONS", {}).get("isolation_level", "read committed")
        if str(level).lower() == "read committed":  # Django's default
            return super().warnings()
        return [
            *super().warnings(),
            f'MariaDB and MySQL need OPTIONS["isolation_level"] = "read committed", not {level!r}: else claims deadlock.',
        ]
