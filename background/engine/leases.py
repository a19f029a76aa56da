"""Own who may do what only one host may do: leases by the database's clock, believed by the monotonic one."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError
from django.db.models import Q

from background.conf import get_settings
from background.dialects import dialect
from background.models import Lease
from background.scope import database_alias
from background.timing.elapsed import elapsed

logger = logging.getLogger("background.engine")

AWAY = (OperationalError, InterfaceError)

# The part of HOST_TIMEOUT for which a lease is believed; the rest is for what it allows to come to its end.
BELIEVED = 0.8


def acquire(name: str, holder: uuid.UUID) -> float | None:
    """Take the lease if it is free or over; returns until when it may be believed (`timing.elapsed`), else None. Blocks.

    None also while the database is away: who cannot ask does not hold it.
    """
    until = _believed()
    try:
        now = dialect().now()
        rows = Lease.objects.using(database_alias())
        rows.bulk_create([Lease(name=name)], ignore_conflicts=True)
        free = Q(holder=None) | Q(holder=holder) | Q(expires_at__lt=now) | Q(expires_at=None)
        return until if rows.filter(free, name=name).update(holder=holder, expires_at=_end(now)) else None
    except AWAY as error:
        logger.debug("the lease %s could not be asked for: %s", name, error)
        return None


def renew(names: Iterable[str], holder: uuid.UUID) -> tuple[float, set[str]]:
    """Renew leases that are held; returns until when to believe and the names that are still held. Blocks for two queries."""
    until = _believed()
    names = list(names)
    if not names:
        return until, set()
    now = dialect().now()
    rows = Lease.objects.using(database_alias()).filter(name__in=names, holder=holder, expires_at__gte=now)
    rows.update(expires_at=_end(now))
    return until, set(rows.values_list("name", flat=True))


def release(name: str, holder: uuid.UUID) -> None:
    """Give a lease back, so that another host may take it at once; with the database away it ends by itself. Blocks."""
    try:
        Lease.objects.using(database_alias()).filter(name=name, holder=holder).update(holder=None, expires_at=None)
    except AWAY as error:
        logger.debug("the lease %s could not be given back: %s", name, error)


def _believed() -> float:
    """Call it before the question is sent: so this host stops believing before the database does."""
    return elapsed() + get_settings().host_timeout * BELIEVED


def _end(now: datetime) -> datetime:
    return now + timedelta(seconds=get_settings().host_timeout)
