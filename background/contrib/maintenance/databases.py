"""Own what keeps a database quick: statistics of its tables, and room that deleted rows have left."""

from __future__ import annotations

import time
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from background.contrib.maintenance.adopting import Adoptable
from background.exceptions import Discard
from background.jobs.context import RunContext

# Pages of SQLite's file given back by one statement; it locks the file meanwhile.
PAGES = 2000


@Adoptable
def optimize_database(context: RunContext, using: str = DEFAULT_DB_ALIAS, full: bool = False) -> dict[str, Any]:
    """Renew the statistics of all tables of the site, and free what deleted rows have left.

    PostgreSQL: VACUUM (ANALYZE), table by table; those that somebody else has locked are left out. SQLite: ANALYZE and, where
    auto_vacuum is INCREMENTAL, incremental_vacuum; with `full` a VACUUM, during which nobody can write. MariaDB and MySQL:
    ANALYZE TABLE.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        raise Discard("A database is not vacuumed within a transaction: do not set atomic for this job.")
    started = time.monotonic()
    found = WAYS.get(connection.vendor, unknown)(context, connection, full)
    context.logger.info("%s in %.1f s: %s", using, time.monotonic() - started, found)
    return found


def tables_of(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the site's own tables that are there: others may belong to others."""
    return sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))


def vacuum(context: RunContext, connection: BaseDatabaseWrapper, full: bool) -> dict[str, Any]:
    tables = tables_of(connection)
    with connection.cursor() as cursor:
        for table in context.track(tables):
            cursor.execute(f"VACUUM (ANALYZE, SKIP_LOCKED) {connection.ops.quote_name(table)}")
    return {"tables": len(tables)}


def optimize(context: RunContext, connection: BaseDatabaseWrapper, full: bool) -> dict[str, Any]:
    def ask(pragma: str) -> Any:
        cursor.execute(f"PRAGMA {pragma}")
        row = cursor.fetchone()
        return row[0] if row else None

    with connection.cursor() as cursor:
        size, before = ask("page_size"), ask("freelist_count")
        ask(
            "analysis_limit=1000"
        )  # rows of an index that are looked at: else it would take as long as the file is large
        cursor.execute("ANALYZE")  # PRAGMA optimize leaves out, up to SQLite 3.45, what this connection has not asked
        if full:
            cursor.execute("VACUUM")
        elif ask("auto_vacuum") == 2:
            while (left := ask("freelist_count")) > 0:
                context.stop.raise_if_requested()
                cursor.executescript(
                    f"PRAGMA incremental_vacuum({PAGES})"
                )  # execute() would take its first step only: a page
                if ask("freelist_count") >= left:  # others fill what is freed
                    break
        return {"tables": len(tables_of(connection)), "bytes_freed": max(before - ask("freelist_count"), 0) * size}


def analyze(context: RunContext, connection: BaseDatabaseWrapper, full: bool) -> dict[str, Any]:
    problems: list[str] = []
    tables = tables_of(connection)
    with connection.cursor() as cursor:
        for table in context.track(tables):
            cursor.execute(f"ANALYZE TABLE {connection.ops.quote_name(table)}")
            problems += [
                f"{row[0]}: {row[3]}" for row in cursor.fetchall() if str(row[2]).lower() in ("error", "warning")
            ]
    for problem in problems:
        context.logger.warning("%s", problem)
    return {"tables": len(tables), "problems": len(problems)}


def unknown(context: RunContext, connection: BaseDatabaseWrapper, full: bool) -> dict[str, Any]:
    raise Discard(f"How to keep {connection.vendor} in order is not known here.")


WAYS = {"postgresql": vacuum, "sqlite": optimize, "mysql": analyze}
