"""Own how a worker in this process hears at once of new runs; other processes poll."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from background.scope import database_alias

_listeners: set[Callable[[], None]] = set()


def listen(call: Callable[[], None]) -> Callable[[], None]:
    """Have `call` called, in any thread, when runs may have become ready; returns a function that ends that."""
    _listeners.add(call)
    return lambda: _listeners.discard(call)


def wake() -> None:
    """Tell the listeners of this process. Does not block."""
    for call in tuple(_listeners):
        call()


def wake_on_commit(ready: bool = True) -> None:
    """Tell them once the caller's transaction has committed."""
    if ready and _listeners:
        transaction.on_commit(wake, using=database_alias())
