"""Own what is equal for all databases: the clock, locking rows, and the one place that retries passing errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import OperationalError, connections, models, transaction

T = TypeVar("T")
logger = logging.getLogger("background.dialects")

# Attempts for a transaction that the database broke off in favour of another.
ATTEMPTS = 8


class Dialect:
    """What the queue needs of a database beyond the ORM."""

    # Words in the message of an error after which the same transaction may simply be tried again.
    passing: tuple[str, ...] = ()
    clock = "SELECT CURRENT_TIMESTAMP"

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def now(self) -> datetime:
        """Return the time by the database's clock. Blocks for one query."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(self.clock)
            return self.read_clock(cursor.fetchone()[0])

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
        nested = connections[self.alias].in_atomic_block
        for pause in self.pauses():
            try:
                with transaction.atomic(using=self.alias):
                    return work()
            except OperationalError as error:
                if nested or pause is None or not self.is_passing(error):
                    raise
                logger.debug("transaction broken off, tried again in %.3f s: %s", pause, error)
                time.sleep(pause)
        raise AssertionError("unreachable")

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
