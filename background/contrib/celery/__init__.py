"""Runs executed by Celery: an app of its own, and the door to its dispatcher."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "CeleryDispatcher":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from background.contrib.celery.dispatcher import CeleryDispatcher  # noqa: PLC0415 - models load after the apps

    return CeleryDispatcher
