"""Own what the code declares by `@check`. Loads no models: a site's module may be imported early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.dispatch import Signal

from background.exceptions import DuplicateName
from background.services.base import app_label_of

# A check has raised an alarm, or has recovered; it waits for no quiet hours. Arguments: check, state ("failing" or "recovered"),
# detail, since (when it began to fail), at. Receivers must be quick.
health_changed = Signal()
# What the decorator has declared, by name.
DECLARED: dict[str, Check] = {}


class Unhealthy(Exception):
    """What is checked is not well; the message is told to people as it stands."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question that is asked again and again; where it says nothing, the settings do."""

    name: str
    call: Callable[[], Any]
    interval: float = 0  # seconds
    timeout: float = 0  # seconds
    failures: int = 0
    urgent: bool = False  # told in quiet hours, too


def check(
    function: Any = None,
    *,
    name: str | None = None,
    interval: float = 0,
    timeout: float = 0,
    failures: int = 0,
    urgent: bool = False,
) -> Any:
    """Declare a health check: a function, `def` or `async def`, that raises, or returns False, where something is wrong.

    What else it returns is kept as its words. `name` is by default "<app_label>.<function>". `interval` and `timeout` are
    seconds; `failures` is how many in a row it takes until people are told, and `urgent` ones are told in quiet hours,
    too. By default all of these are as in BACKGROUND["HEALTH"]. Raises DuplicateName.
    """

    def declare(target: Any) -> Any:
        known_as = name or f"{app_label_of(target.__module__)}.{target.__name__}"
        other = DECLARED.get(known_as)
        if other is not None and _place(other.call) != _place(target):
            raise DuplicateName(f"Two health checks are named {known_as!r}: {other.call!r} and {target!r}.")
        DECLARED[known_as] = Check(known_as, target, interval, timeout, failures, urgent)
        return target

    return declare if function is None else declare(function)


def _place(target: Any) -> tuple[str, str]:
    return target.__module__, target.__qualname__
