"""Own queries that are compiled once: for a short one Django needs longer than the database."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models


class Compiled:
    """A query with its parameters, to be asked again and again from any thread."""

    def __init__(self, rows: models.QuerySet[Any, Any]) -> None:
        self.alias, self.model = rows.db, rows.model
        self._rows = rows
        self._compiler = rows.query.get_compiler(rows.db)
        self.params: tuple[Any, ...] = ()
        try:
            self.sql, self.params = self._compiler.as_sql()
        except EmptyResultSet:  # its conditions exclude each other
            self.sql = ""

    def any(self) -> bool:
        """Return whether there is a row. Blocks."""
        return bool(self._one.fetch())

    @cached_property
    def _one(self) -> Compiled:
        return Compiled(self._rows.values_list("pk")[:1])

    def fetch(self, lock: str = "") -> list[tuple[Any, ...]]:
        """Ask, and return the rows; `lock` is what the database wants at the end to lock them. Blocks."""
        if not self.sql:
            return []
        with connections[self.alias].cursor() as cursor:
            cursor.execute(self.sql + lock, self.params)
            return self.read(cursor.fetchall())

    def read(self, rows: Iterable[Any]) -> list[tuple[Any, ...]]:
        """Return rows as Django does: with the values that fields make of the driver's."""
        return list(self._compiler.results_iter(results=[list(rows)], tuple_expected=True))
