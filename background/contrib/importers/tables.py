"""Own the reading of other apps' tables: their packages need not be installed, and what is not asked for is not read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import connections
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _


def rows(alias: str, table: str, *columns: str) -> list[dict[str, Any]]:
    """Return `id` and these columns of all rows, in order; None for columns that an older version has not. Blocks."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            raise CommandError(_("Database %(alias)r has no table %(table)s.") % {"alias": alias, "table": table})
        there = {one.name for one in connection.introspection.get_table_description(cursor, table)}
        read = ["id", *(name for name in columns if name in there)]
        quote = connection.ops.quote_name
        cursor.execute(f"SELECT {', '.join(map(quote, read))} FROM {quote(table)} ORDER BY {quote('id')}")
        return [dict.fromkeys(columns) | dict(zip(read, row, strict=True)) for row in cursor.fetchall()]


def instant(alias: str, value: Any) -> datetime | None:
    """Return a stored datetime as Django would: without an offset it is in the zone of the connection."""
    found = parse_datetime(value) if isinstance(value, str) else value
    if found is None or timezone.is_aware(found):
        return found
    return found.replace(tzinfo=connections[alias].timezone or timezone.get_default_timezone())


def written(moment: datetime) -> str:
    """Return an instant as schedules have it in their texts."""
    return moment.isoformat(timespec="seconds")
