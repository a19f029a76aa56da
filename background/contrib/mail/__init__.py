"""The queued e-mail of a site: an app of its own, and the door to its backend."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "QueuedEmailBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from background.contrib.mail.backend import QueuedEmailBackend  # noqa: PLC0415 - its models load after the apps

    return QueuedEmailBackend
