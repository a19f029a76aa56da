"""Own what is deleted by its own date: sessions, entries of the database cache, the history of runs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.db import connections, router
from django.utils import timezone

from background.contrib.maintenance.adopting import Adoptable
from background.exceptions import Discard
from background.jobs.context import RunContext
from background.queue.prune import prune

# Rows deleted by one statement: no lock lasts, and a stop is never far away.
BATCH = 1000


def batch_by_batch(context: RunContext, delete: Callable[[], int]) -> int:
    """Call `delete` until it deletes nothing more; return how many it has deleted in all."""
    deleted = 0
    while count := delete():
        deleted += count
        context.progress(deleted)
        context.stop.raise_if_requested()
    return deleted


@Adoptable
def clear_sessions(context: RunContext) -> int:
    """Delete expired sessions, a thousand at a time; return how many. Other engines than the database's: by their own way."""
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    if not hasattr(engine, "get_model_class"):
        engine.clear_expired()
        return 0  # they do not tell
    model = engine.get_model_class()
    rows = model._default_manager.using(router.db_for_write(model)).filter(expire_date__lt=timezone.now())

    def delete() -> int:
        keys = list(rows.order_by().values_list("pk", flat=True)[:BATCH])
        return int(rows.filter(pk__in=keys).delete()[0])

    deleted = batch_by_batch(context, delete)
    context.logger.info("%d expired sessions deleted", deleted)
    return deleted


@Adoptable
def cull_cache(context: RunContext, alias: str = "default") -> int:
    """Delete expired entries of a database cache, which Django leaves until it is full; return how many."""
    cache = caches[alias]
    if not isinstance(cache, DatabaseCache):
        raise Discard(f"The cache {alias!r} is a {type(cache).__name__}: only DatabaseCache keeps what has expired.")
    connection = connections[router.db_for_write(cache.cache_model_class)]
    table, key, expires = (
        connection.ops.quote_name(name) for name in (cache.cache_model_class._meta.db_table, "cache_key", "expires")
    )
    now = connection.ops.adapt_datetimefield_value(timezone.now().replace(microsecond=0))

    def delete() -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {key} FROM {table} WHERE {expires} < %s LIMIT {BATCH}", [now])
            if not (keys := [row[0] for row in cursor.fetchall()]):
                return 0
            marks = ", ".join(["%s"] * len(keys))  # once more by date: one of them may have been written anew
            cursor.execute(f"DELETE FROM {table} WHERE {key} IN ({marks}) AND {expires} < %s", [*keys, now])
            return int(cursor.rowcount)

    deleted = batch_by_batch(context, delete)
    context.logger.info("%d expired entries of the cache %s deleted", deleted, alias)
    return deleted


@Adoptable
def prune_history(context: RunContext) -> int:
    """Delete finished runs whose time is over by RETENTION and `retain`, all at once and at a time of your choice.

    Hosts do the same by themselves, a portion every ten minutes.
    """
    deleted = batch_by_batch(context, lambda: prune(most=BATCH))
    context.logger.info("%d old runs deleted", deleted)
    return deleted
