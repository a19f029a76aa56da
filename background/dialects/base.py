"""Own what is equal for all databases: the clock, locking rows, and the one place that retries passing errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import repeat
from typing import Any, TypeVar

from django.db import IntegrityError, InterfaceError, OperationalError, connections, models, transaction

from background.dialects.columns import CONSTANTS, Columns, driver_values
from background.dialects.compiled import Compiled
from background.exceptions import TookTooLong
from background.models.clock import DatabaseNow
from background.scope import closing_on_error

T = TypeVar("T")

# The channel on which databases that can do so tell that runs have become ready.
CHANNEL = "background"
logger = logging.getLogger("background.dialects")

# What an update writes into its text: not numbers, for a column of truth values takes none.
EMPTY = {value: CONSTANTS[value] for value in (None, "")}

# Attempts for a transaction that the database broke off in favour of another.
ATTEMPTS = 8


@cache
def _quoted(alias: str, name: str) -> str:
    return connections[alias].ops.quote_name(name)


@lru_cache(maxsize=256)
def _assignments(alias: str, marks: tuple[tuple[str, str], ...], prefix: str) -> str:
    return ", ".join([f"{prefix}{_quoted(alias, name)} = {mark}" for name, mark in marks])


class Ear:
    """A connection of its own through which one thread hears that runs may have become ready."""

    def __init__(self, alias: str) -> None:
        self.connection = connections.create_connection(alias)
        self.connection.ensure_connection()

    def wait(self, seconds: float, stop: int) -> bool:
        """Return whether there may be news; blocks for so long at most, or until `stop` (a file descriptor) can be read."""
        raise NotImplementedError

    def close(self) -> None:
        self.connection.close()


class Dialect:
    """What the queue needs of a database beyond the ORM."""

    # Whether `tell` does anything.
    tells_others = False
    # Words in the message of an error after which the same transaction may simply be tried again.
    passing: tuple[str, ...] = ()
    clock = "SELECT CURRENT_TIMESTAMP"

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def listen(self) -> Ear | None:
        """Return an ear for what `tell` says; None where the database has none: then hosts ask now and then. Blocks."""
        return None

    def tell(self) -> None:
        """Let the ears of all hosts hear, when the caller's transaction commits, that runs have become ready."""

    def now(self) -> datetime:
        """Return the time by the database's clock. Blocks for one query."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(self.clock)
            return self.read_clock(cursor.fetchone()[0])

    def stamp(self) -> Any:
        """Return what an update writes for the time by the database's clock. Does not ask for it, where that can be."""
        return DatabaseNow()

    def read_clock(self, value: Any) -> datetime:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)

    def lock(self, rows: models.QuerySet[Any], skip: bool = True) -> models.QuerySet[Any]:
        """Lock the rows for this transaction, passing over those that another has (where the database can)."""
        features = connections[self.alias].features
        if not features.has_select_for_update:
            return rows
        return rows.select_for_update(skip_locked=skip and features.has_select_for_update_skip_locked)

    def in_transaction(self, work: Callable[[], T]) -> T:
        """Return `work()` done in one transaction, tried again when the database broke it off (deadlock, lock, snapshot).

        Inside a caller's transaction it is a savepoint, and errors go up: only the whole transaction could be repeated.
        """

        def atomically() -> T:
            with transaction.atomic(using=self.alias):
                return work()

        return self.persistently(atomically)

    def persistently(self, work: Callable[[], T]) -> T:
        """Return `work()`, which leaves nothing behind if it fails, tried again when the database broke it off."""
        nested = connections[self.alias].in_atomic_block
        for pause in self.pauses():
            try:
                return work()
            except OperationalError as error:
                if nested or pause is None or not self.is_passing(error):
                    raise
                logger.debug("transaction broken off, tried again in %.3f s: %s", pause, error)
                time.sleep(pause)
        raise AssertionError("unreachable")

    def once(self, write: Callable[[], T], is_written: Callable[[], bool]) -> T | None:
        """Return `write()`, tried once more where the connection was lost; None if it took effect without an answer. Blocks.

        What it writes has ids made before, by which `is_written` asks. Inside a caller's transaction the error goes up.
        """
        connection = connections[self.alias]
        if connection.in_atomic_block or (connection.connection is not None and not connection.autocommit):
            return write()
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            logger.warning("written again unless it is there, the answer was lost: %s", error)
            with closing_on_error(connection):
                connection.close()
        try:
            return None if is_written() else write()
        except IntegrityError:  # it was still on its way
            if not is_written():
                raise
            return None

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Break off statements of the block that take longer, with TookTooLong; no limit where the database has none."""
        try:
            with self._limited(seconds):
                yield
        except OperationalError as error:
            if not self.is_overtime(error):
                raise
            raise TookTooLong from error

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        yield

    def is_overtime(self, error: OperationalError) -> bool:
        return False

    def renew_statistics(self, model: type[models.Model]) -> None:
        """Tell the planner what is in a table, where the database does not do so by itself. Blocks for some milliseconds."""

    def among(self, name: str, values: Iterable[Any]) -> models.Q:
        """Return the condition that a column has one of many values."""
        return models.Q(**{f"{name}__in": list(values)})

    def take(self, rows: Compiled, limit: int, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Lock up to so many rows of a query and update those that lead it and may be taken; returns all rows, each with whether it was.

        The query begins with id and position, is ordered by position, and ends with the database's clock and whether a row may
        be taken. Besides the `values` an update counts the `attempt` and notes the clock as `started_at`. Blocks for one
        statement, or for a look and a transaction of two where one cannot do all that.
        """
        # First without a lock: a look in vain must not keep others from writing.
        return self.in_transaction(lambda: self._take(rows, limit, values)) if rows.any() else []

    def _take(self, rows: Compiled, limit: int, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        features, found, lead = connections[self.alias].features, [], True
        skip = features.has_select_for_update_skip_locked
        lock = connections[self.alias].ops.for_update_sql(skip_locked=skip) if features.has_select_for_update else ""
        for row in rows.fetch(f" LIMIT {limit:d} {lock}"):
            lead = lead and bool(row[-1])
            found.append((*row, lead))
        if ids := [row[0] for row in found if row[-1]]:  # they are locked, or nobody else may write
            ready = self._readied(rows.model, {**values, "started_at": found[0][-3]})
            self._update(rows.model, ids, ready)
        return found

    def _update(self, model: Any, ids: list[Any], values: dict[str, Any]) -> None:
        sets, given = self._assigned(values)
        key = self._quote("id")
        sql = (
            f"UPDATE {self._quote(model._meta.db_table)} SET {sets}, attempt = attempt + 1 "
            f"WHERE {key} IN ({', '.join(['%s'] * len(ids))})"
        )
        with connections[self.alias].cursor() as cursor:
            cursor.execute(sql, [*given, *self._ready(model, "id", ids)])

    def insert_each(self, rows: Sequence[models.Model], tell: bool = False) -> None:
        """Insert new rows of one model, whose keys are made, and `tell` where that is asked for; sends no signals.

        Costs a fifth of `bulk_create`. Blocks for one statement where the database takes many rows by one.
        """
        if not rows:
            return
        columns = Columns(type(rows[0]), [row.__dict__ for row in rows], self.alias)
        self._insert(self._quote(rows[0]._meta.db_table), columns, tell)
        for row in rows:
            row._state.adding, row._state.db = False, self.alias

    def _insert(self, table: str, columns: Columns, tell: bool) -> None:
        with connections[self.alias].cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({columns.names}) VALUES ({columns.marks()})", columns.rows())

    def update_each(
        self,
        model: type[models.Model],
        keys: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        fixed: dict[str, Any],
        guard: dict[str, Any],
    ) -> int:
        """Update many rows, each (*keys, *columns) with values of its own, the `fixed` ones besides, where the guard fits.

        Returns how many rows fitted. Blocks for one statement, or one per row where the database has none for that.
        """
        if not rows:
            return 0
        values = dict(zip([*keys, *columns], zip(*rows, strict=True), strict=True))
        # What is empty in all rows stands in the statement: most results are.
        empty = [name for name in columns if not any(value is not None for value in values[name])]
        each = {name: self._column(model, name, some) for name, some in values.items() if name not in empty}
        fixed = self._readied(model, {**fixed, **dict.fromkeys(empty)})
        return self._update_each(model, keys, each, fixed, self._readied(model, guard))

    def _update_each(
        self, model: Any, keys: Sequence[str], each: dict[str, Any], fixed: dict[str, Any], guard: dict[str, Any]
    ) -> int:
        columns = [name for name in each if name not in keys]
        set_fixed, given = self._assigned(fixed)
        sets = ", ".join(filter(None, [self._list(", ", "{} = %s", columns), set_fixed]))
        where = self._list(" AND ", "{} = %s", [*keys, *guard])
        sql = f"UPDATE {self._quote(model._meta.db_table)} SET {sets} WHERE {where}"
        parts = [*(each[name] for name in columns), *map(repeat, given)]
        parts += [*(each[name] for name in keys), *map(repeat, guard.values())]
        with connections[self.alias].cursor() as cursor:
            cursor.executemany(sql, list(zip(*parts, strict=False)))
            return int(cursor.rowcount)

    def _column(self, model: type[models.Model], name: str, values: Sequence[Any]) -> Any:
        """Return the values of one column as the driver takes them."""
        return self._ready(model, name, values)

    def _quote(self, name: str) -> str:
        return _quoted(self.alias, name)

    def _list(self, glue: str, pattern: str, names: Iterable[str]) -> str:
        return glue.join(pattern.format(self._quote(name)) for name in names)

    def _ready(self, model: type[models.Model], name: str, values: Sequence[Any]) -> list[Any]:
        return driver_values(model._meta.get_field(name), values, connections[self.alias])

    def _readied(self, model: type[models.Model], facts: dict[str, Any]) -> dict[str, Any]:
        """Return facts of one row as the database's driver takes them."""
        return {name: self._ready(model, name, (value,))[0] for name, value in facts.items()}

    def _assigned(self, facts: dict[str, Any], prefix: str = "") -> tuple[str, list[Any]]:
        """Return what follows SET, and its parameters: what is empty stands in the text, as most of it is."""
        marks = tuple([(name, EMPTY[value] if value in EMPTY else "%s") for name, value in facts.items()])
        return _assignments(self.alias, marks, prefix), [value for value in facts.values() if value not in EMPTY]

    def pauses(self) -> Iterator[float | None]:
        for attempt in range(ATTEMPTS - 1):
            yield random.uniform(0.5, 1) * min(0.005 * 2**attempt, 0.5)
        yield None

    def is_passing(self, error: BaseException) -> bool:
        text = str(error).lower()
        return any(word in text for word in self.passing)

    def warnings(self) -> list[str]:
        """Return sentences about settings with which this database does not serve well. Does not query."""
        zone = connections[self.alias].settings_dict.get("TIME_ZONE")
        if zone in (None, "UTC") or connections[self.alias].features.supports_timezones:
            return []
        return [
            f'DATABASES[{self.alias!r}]["TIME_ZONE"] is {zone!r}: times are compared with the database\'s clock in UTC.'
        ]
