"""Own how workers hear at once of new runs: in this process by a call, in others by what the database can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction

from background.dialects import dialect
from background.scope import database_alias

# After it was told to others, they look for so long by themselves, and need not be told again (seconds).
AWAKE = 0.005

_listeners: set[Callable[[], None]] = set()
_told_at = 0.0


def listen(call: Callable[[], None]) -> Callable[[], None]:
    """Have `call` called, in any thread, when runs may have become ready; returns a function that ends that."""
    _listeners.add(call)
    return lambda: _listeners.discard(call)


def wake() -> None:
    """Tell the listeners of this process. Does not block."""
    for call in tuple(_listeners):
        call()


@contextmanager
def telling() -> Iterator[None]:
    """Hold the transaction in which something is written and told of; none is opened where nobody needs to be told."""
    if connections[database_alias()].in_atomic_block or not others_wait():
        yield
        return
    with transaction.atomic(using=database_alias()):
        yield
    _have_told()


def others_wait() -> bool:
    """Tell whether what becomes ready now is news to other processes: once in a transaction, else once in a while."""
    if not dialect().tells_others:
        return False
    connection = connections[database_alias()]
    return not _is_told(connection) if connection.in_atomic_block else time.monotonic() - _told_at >= AWAKE


def wake_on_commit(ready: bool = True, told: bool = False) -> None:
    """Tell hosts once the caller's transaction has committed; others were perhaps `told` by what was written.

    Blocks for a statement where they were not, and the database tells others.
    """
    connection = connections[database_alias()]
    if not ready or _is_told(connection):
        return  # one word for each transaction
    tells = dialect().tells_others
    if tells and connection.in_atomic_block and not told:
        dialect().tell()
    elif told and not connection.in_atomic_block:
        _have_told()
    if tells or _listeners:
        transaction.on_commit(wake, using=database_alias())


def _is_told(connection: Any) -> bool:
    return any(entry[1] is wake for entry in reversed(connection.run_on_commit))


def _have_told() -> None:
    global _told_at
    _told_at = time.monotonic()
