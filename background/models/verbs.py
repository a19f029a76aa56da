"""Own the door through which a record calls a verb of a lower room: models import nothing from below."""

from collections.abc import Callable
from typing import Any

VERBS: dict[str, Callable[..., Any]] = {}


def verb(name: str) -> Callable[..., Any]:
    """Return what `background.apps` handed up under this name when the app got ready."""
    return VERBS[name]
