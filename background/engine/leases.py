"""Own who may do what only one host may do: leases by the database's clock, believed by the monotonic one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.db.models import Q

from background.conf import get_settings
from background.dialects import dialect
from background.models import Lease
from background.scope import database_alias


def acquire(name: str, holder: uuid.UUID) -> float | None:
    """Take the lease if it is free or over; returns until when it may be believed (time.monotonic()), else None. Blocks."""
    # Taken before the question is sent: this host stops believing before the database does.
    until = time.monotonic() + get_settings().host_timeout
    now = dialect().now()
    rows = Lease.objects.using(database_alias())
    rows.bulk_create([Lease(name=name)], ignore_conflicts=True)
    free = Q(holder=None) | Q(holder=holder) | Q(expires_at__lt=now) | Q(expires_at=None)
    return until if rows.filter(free, name=name).update(holder=holder, expires_at=_end(now)) else None


def renew(names: Iterable[str], holder: uuid.UUID) -> tuple[float, set[str]]:
    """Renew leases that are held; returns until when to believe and the names that are still held. Blocks for two queries."""
    until = time.monotonic() + get_settings().host_timeout
    names = list(names)
    if not names:
        return until, set()
    now = dialect().now()
    rows = Lease.objects.using(database_alias()).filter(name__in=names, holder=holder, expires_at__gte=now)
    rows.update(expires_at=_end(now))
    return until, set(rows.values_list("name", flat=True))


def release(name: str, holder: uuid.UUID) -> None:
    """Give a lease back, so that another host may take it at once."""
    Lease.objects.using(database_alias()).filter(name=name, holder=holder).update(holder=None, expires_at=None)


def _end(now):  # type: ignore[no-untyped-def]
    return now + timedelta(seconds=get_settings().host_timeout)
