"""Own what PostgreSQL does differently."""

import select
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connections, models, transaction
from django.db.models.expressions import RawSQL

from background.dialects.base import CHANNEL, Dialect, Ear
from background.dialects.columns import Columns
from background.dialects.compiled import Compiled

# Seconds for which a plan serves again where the connection prepares statements (OPTIONS["prepare_threshold"]).
PLAN_AGE = 10


class PostgreSQLEar(Ear):
    """LISTEN. Behind a pooler that lends connections by the transaction nothing is heard, and hosts ask now and then."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        with self.connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")

    def wait(self, seconds: float, stop: int) -> bool:
        raw: Any = self.connection.connection
        with self.connection.wrap_database_errors:
            if raw.fileno() not in select.select([raw.fileno(), stop], [], [], seconds)[0]:
                return False
            if hasattr(raw, "poll"):  # psycopg2
                raw.poll()
                raw.notifies.clear()
            else:
                raw.pgconn.consume_input()
                while raw.pgconn.notifies():
                    pass
        return True


def array(values: Sequence[Any]) -> str:
    """Return values as the text of a PostgreSQL array."""
    texts = list(map(str, values))
    text = '","'.join(texts)
    if (
        None not in values and "\\" not in text and text.count('"') == 2 * len(texts) - 2
    ):  # none holds what must be escaped
        return f'{{"{text}"}}' if texts else "{}"
    return f"{{{','.join(map(_element, values, texts))}}}"


def _element(value: Any, text: str) -> str:
    if value is None:
        return "NULL"
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


class PostgreSQL(Dialect):
    tells_others = True
    passing = ("deadlock detected", "could not serialize")
    clock = "SELECT clock_timestamp()"

    def listen(self) -> Ear:
        return PostgreSQLEar(self.alias)

    def tell(self) -> None:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        # LOCAL to a transaction: behind a pooler the session is another's too. A longer one around ends the limit itself.
        with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(int(seconds * 1000))])
            yield
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")

    def is_overtime(self, error: OperationalError) -> bool:
        return getattr(error.__cause__, "sqlstate", None) == "57014" or "statement timeout" in str(error)

    def among(self, name: str, values: Iterable[Any]) -> models.Q:
        # One parameter and not one for each: a statement with hundreds takes longer to read than to execute.
        some = list(values)
        return models.Q(**{f"{name}__in": RawSQL("SELECT unnest(%s)", [some])}) if some else super().among(name, some)

    def take(self, rows: Compiled, limit: int, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        if not rows.sql:
            return []
        sets, given = self._assigned(self._readied(rows.model, values))
        # Materialized: else it may be asked anew for each row that the update looks at. An array: a join may read all rows.
        sql = self._planned_anew(
            f"WITH found AS MATERIALIZED ({rows.sql} LIMIT {limit:d} FOR UPDATE SKIP LOCKED), "
            "led AS (SELECT *, bool_and(may) OVER (ORDER BY position) FROM found), "
            f"taken AS (UPDATE {self._quote(rows.model._meta.db_table)} SET {sets}, "
            "attempt = attempt + 1, started_at = STATEMENT_TIMESTAMP() "
            "WHERE id = ANY(ARRAY(SELECT id FROM led WHERE bool_and))) SELECT * FROM led"
        )

        def work() -> list[tuple[Any, ...]]:
            with connections[self.alias].cursor() as cursor:
                cursor.execute(sql, (*rows.params, *given))
                return rows.read(cursor.fetchall())

        return self.persistently(work)

    def _planned_anew(self, sql: str) -> str:
        """Return the statement, under another text every few seconds where the connection prepares statements.

        A prepared statement keeps its plan until the table is analysed: one made while the queue was empty would read all of a full one.
        """
        if connections[self.alias].settings_dict["OPTIONS"].get("prepare_threshold") is None:
            return sql
        return f"{sql} /* {time.monotonic() // PLAN_AGE:.0f} */"

    def _insert(self, table: str, columns: Columns, tell: bool) -> None:
        if columns.each:  # one parameter for each column, as text: psycopg would walk through a list
            arrays = ", ".join([f"%s::{column.kind}[]" for column in columns.each])
            these = ", ".join([column.name for column in columns.each])
            source = f"SELECT {columns.marks('v.{}')} FROM unnest({arrays}) AS v({these})"
        else:
            source = f"VALUES ({columns.marks()})"
        sql = f"INSERT INTO {table} ({columns.names}) {source}"
        if tell:  # within the statement: another would cost a round trip, and alone a transaction
            sql = f"WITH inserted AS ({sql}) SELECT pg_notify('{CHANNEL}', '')"
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                sql, [*(one.value for one in columns.alike), *(array(one.each or ()) for one in columns.each)]
            )

    def _column(self, model: type[models.Model], name: str, values: Sequence[Any]) -> str:
        # As text, the array with its type: psycopg would walk through a list, and Django look at each time.
        field = model._meta.get_field(name)
        return array(values if isinstance(field, models.DateTimeField) else super()._column(model, name, values))

    def _update_each(
        self, model: Any, keys: Sequence[str], each: dict[str, Any], fixed: dict[str, Any], guard: dict[str, Any]
    ) -> int:
        connection, columns = connections[self.alias], [name for name in each if name not in keys]
        arrays = ", ".join([f"%s::{model._meta.get_field(name).db_type(connection)}[]" for name in each])
        set_fixed, given = self._assigned(fixed)
        sets = [self._list(", ", "{0} = v.{0}", columns), set_fixed]
        # The guard is not said of the table itself: an index of what is guarded would be read from end to end.
        where = [self._list(" AND ", "r.{0} = v.{0}", [*keys, *guard])]
        guards = "".join(
            [f", %s::{model._meta.get_field(name).db_type(connection)} AS {self._quote(name)}" for name in guard]
        )
        sql = self._planned_anew(
            f"UPDATE {self._quote(model._meta.db_table)} AS r SET {', '.join(filter(None, sets))} "
            f"FROM (SELECT *{guards} FROM unnest({arrays}) AS u({self._list(', ', '{}', each)}) OFFSET 0) AS v "
            f"WHERE {' AND '.join(filter(None, where))}"
        )
        with connection.cursor() as cursor:
            cursor.execute(sql, [*given, *guard.values(), *each.values()])
            return int(cursor.rowcount)
