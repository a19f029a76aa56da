"""Own which services people have paused: on every host, until they are resumed."""

from __future__ import annotations

from typing import Any

from background.dialects import dialect
from background.models import ServicePause
from background.scope import database_alias


def paused_services() -> set[str]:
    """Return the names of the services that no host is to run. Blocks for one query."""
    return set(ServicePause.objects.using(database_alias()).values_list("name", flat=True))


def pause_service(name: str, user: Any = None, reason: str = "") -> None:
    """Let the service rest on every host, also on those that start later; they obey within two seconds. Blocks."""
    by = user.get_username() if user is not None else ""
    facts = {"paused_at": dialect().now(), "paused_by": by, "paused_reason": reason[:300]}
    ServicePause.objects.using(database_alias()).get_or_create(name=name, defaults=facts)


def resume_service(name: str) -> None:
    """Let the hosts run the service again. Blocks for one statement."""
    ServicePause.objects.using(database_alias()).filter(name=name).delete()
