"""Own the unique key that speaks only of rows that have one: history without it stays out of its index."""

from typing import Any

from django.db import models
from django.db.models import Q


class UniqueWhereGiven(models.UniqueConstraint):
    """Unique among the rows in which `given` is not NULL.

    A partial index where the database has them, else (MariaDB, MySQL) a plain one, which means the same, for NULLs are not
    equal, but has an entry for each of them. Django's own conditional constraint would be left out there.
    """

    def __init__(self, *, fields: Any, given: str, name: str) -> None:
        super().__init__(fields=fields, name=name)
        self.given = given

    def deconstruct(self) -> Any:
        _path, args, kwargs = super().deconstruct()
        return "background.models.unique.UniqueWhereGiven", args, {**kwargs, "given": self.given}

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.given == getattr(other, "given", None)

    __hash__ = models.UniqueConstraint.__hash__

    def _fit(self, schema_editor: Any) -> models.UniqueConstraint:
        """Return the constraint that this database has for it."""
        if not schema_editor.connection.features.supports_partial_indexes:
            return models.UniqueConstraint(fields=self.fields, name=self.name)
        condition = Q(**{f"{self.given}__isnull": False})
        return models.UniqueConstraint(fields=self.fields, name=self.name, condition=condition)

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._fit(schema_editor).constraint_sql(model, schema_editor)

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._fit(schema_editor).create_sql(model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._fit(schema_editor).remove_sql(model, schema_editor)
