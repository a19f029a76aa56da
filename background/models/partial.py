"""Own keys and indexes of some rows only: history that has no part in them stays out of them, where the database can."""

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
        return "background.models.partial.UniqueWhereGiven", args, {**kwargs, "given": self.given}

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


class IndexWhere(models.Index):
    """An index of the rows for which `where` holds, where the database can; else of all.

    Django's own `condition` means the same, but a site on MariaDB would be warned of each at every command.
    """

    def __init__(self, *, where: Q, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where = where

    def deconstruct(self) -> Any:
        _path, args, kwargs = super().deconstruct()
        return "background.models.partial.IndexWhere", args, {**kwargs, "where": self.where}

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        condition = self.where if schema_editor.connection.features.supports_partial_indexes else None
        index = models.Index(fields=self.fields, name=self.name, condition=condition)
        return index.create_sql(model, schema_editor, using, **kwargs)
