"""Own how the checkpoints of services are kept."""

from __future__ import annotations

import json
from typing import Any

from background.dialects import dialect
from background.jobs.policies import is_storable
from background.models import Checkpoint
from background.scope import database_alias


class DatabaseMemory:
    """Checkpoints in the database, in the caller's transaction."""

    def get(self, name: str) -> dict[str, Any]:
        row = Checkpoint.objects.using(database_alias()).filter(name=name).first()
        return row.data if row else {}

    def set(self, name: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            check(name, key, value)

        def write() -> None:
            rows = Checkpoint.objects.using(database_alias())
            rows.bulk_create([Checkpoint(name=name)], ignore_conflicts=True)
            row = dialect().lock(rows.filter(name=name), skip=False).get()
            row.data = {**row.data, **values}
            row.save(using=database_alias())

        dialect().in_transaction(write)


def check(name: str, key: str, value: Any) -> None:
    """Raise TypeError for a value that no database keeps as JSON."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"The checkpoint {key!r} of {name} is not JSON: {error}.") from error
    if not is_storable(text):
        raise TypeError(f"The checkpoint {key!r} of {name} holds NUL or half characters, which databases do not store.")
