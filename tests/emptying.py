"""Own how a test that commits leaves the database: as it was made, and in a hundredth of the time that Django's flush takes.

Flush truncates all tables and has the permissions of every app written anew. Most tests fill a few tables, and change no permission.
"""

from __future__ import annotations

from functools import cache

from django.core.management import call_command
from django.db import connections, transaction

from background import catalog
from background.scope import database_alias

# What migrate writes and tests leave alone.
MADE_BY_MIGRATE = ("auth_permission", "django_content_type")


@cache
def made(alias: str) -> dict[str, int]:
    """The rows that migrate has written, as the first test finds them."""
    return {table: rows(alias, table) for table in MADE_BY_MIGRATE}


def rows(alias: str, table: str) -> int:
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")
        return cursor.fetchone()[0]


@cache
def tables(alias: str) -> list[str]:
    names = connections[alias].introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(names) - set(MADE_BY_MIGRATE))


def empty(alias: str) -> None:
    """Delete the rows of all tables but those of `migrate`, and write the jobs that the code declares. Blocks."""
    before = made(alias)
    if any(rows(alias, table) != count for table, count in before.items()):
        call_command("flush", verbosity=0, interactive=False, database=alias)
        return
    connection = connections[alias]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(f"SELECT '{one}' WHERE EXISTS (SELECT 1 FROM {quote(one)})" for one in tables(alias))
        )
        filled = [name for (name,) in cursor.fetchall()]
    with transaction.atomic(using=alias), connection.constraint_checks_disabled(), connection.cursor() as cursor:
        for table in filled:
            cursor.execute(f"DELETE FROM {quote(table)}")
    if alias == database_alias():
        catalog.sync()


def empty_all(case: object) -> None:
    """Stands in for TransactionTestCase._fixture_teardown."""
    for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        empty(alias)
