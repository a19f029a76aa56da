"""Own how the checkpoints of services are kept."""

from __future__ import annotations

from typing import Any

from background.dialects import dialect
from background.models import Checkpoint
from background.scope import database_alias


class DatabaseMemory:
    """Checkpoints in the database, in the caller's transaction."""

    def get(self, name: str) -> dict[str, Any]:
        row = Checkpoint.objects.using(database_alias()).filter(name=name).first()
        return row.data if row else {}

    def set(self, name: str, values: dict[str, Any]) -> None:
        def write() -> None:
            rows = Checkpoint.objects.using(database_alias())
            rows.bulk_create([Checkpoint(name=name)], ignore_conflicts=True)
            row = dialect().lock(rows.filter(name=name), skip=False).get()
            row.data = {**row.data, **values}
            row.save(using=database_alias())

        dialect().in_transaction(write)
