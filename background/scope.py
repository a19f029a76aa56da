"""Own one unit of work: its healthy database connections, fresh context variables, cleanups and middleware."""

from __future__ import annotations

import contextvars
import logging
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.cache import caches
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.utils.module_loading import import_string

from background.compat import task_backends
from background.conf import get_settings

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from background.stopping import StopToken

logger = logging.getLogger("background.scope")

# A connection that nobody used for so long is asked before use, and closed where CONN_MAX_AGE is 0.
IDLE_CHECK = 5.0
# Since the last look at a connection, seconds within which the next one would see nothing new: runs may follow that fast.
JUST = 0.001


class Unit(NamedTuple):
    """What a scope is opened for, as middleware sees it."""

    kind: str  # "run", "tick" or "scope"
    name: str  # the task's path or the service's name
    run_id: Any = None
    job_name: str = ""
    attempt: int = 0


Middleware = Callable[[Unit], AbstractContextManager[Any]]


class Scope:
    """One unit of work, as a `with` or an `async with` block.

    On entry and exit the connections of the working thread are looked after (see `refresh_connections`); in between,
    `MIDDLEWARE` is wrapped around the block and `add_cleanup` collects what must be called at its end, whatever happens.
    """

    __slots__ = ("_is_open", "_stack", "idle", "stop", "unit")

    def __init__(self, unit: Unit, stop: StopToken | None = None, idle: float = 0) -> None:
        self.unit = unit
        self.stop = stop
        self.idle = idle  # seconds for which the thread will not use its connections afterwards
        self._is_open = False
        self._stack: ExitStack | None = None  # made when there is something to put on it

    @property
    def name(self) -> str:
        return self.unit.name

    def add_cleanup(self, call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `call(*args, **kwargs)` at the end of the block, last added first."""
        if not self._is_open:
            raise RuntimeError("A scope takes cleanups only inside its with block.")
        self._stack = self._stack or ExitStack()
        self._stack.callback(call, *args, **kwargs)

    def __enter__(self) -> Scope:
        refresh_connections()
        self._open()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        try:
            return self._close(error)
        finally:
            refresh_connections(idle=self.idle)

    async def __aenter__(self) -> Scope:
        await arefresh_connections()
        self._open()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        try:
            return self._close(error)
        finally:
            await arefresh_connections(idle=self.idle)

    def _open(self) -> None:
        self._is_open = True
        if not (wanted := load_middleware()):
            return
        self._stack = ExitStack()
        try:
            for middleware in wanted:
                self._stack.enter_context(middleware(self.unit))
        except BaseException:
            self._close(sys.exc_info())
            raise

    def _close(self, error: tuple[Any, Any, Any]) -> bool | None:
        stack, self._stack, self._is_open = self._stack, None, False
        return stack.__exit__(*error) if stack is not None else None


@cache
def load_middleware() -> tuple[Middleware, ...]:
    """Return the callables that BACKGROUND["MIDDLEWARE"] names; ImportError where one is missing."""
    return tuple(import_string(path) for path in get_settings().middleware)


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "BACKGROUND":
        load_middleware.cache_clear()


def fresh_context() -> contextvars.Context:
    """Return a context without the caller's variables, in which caches and task backends are already there.

    Django keeps those per context: made anew for each unit, every run would open its own connection to the cache. They
    are this thread's own, because not every cache may be shared among threads.
    """
    context: contextvars.Context | None = getattr(_bases, "context", None)
    if context is None or _bases.settings != _settings_seen:
        context = contextvars.Context()
        context.run(_prime)
        _bases.context, _bases.settings = context, _settings_seen
    return context.copy()


_bases = threading.local()
_settings_seen = 0  # changes of CACHES and TASKS so far


def _prime() -> None:
    for handler in (caches, task_backends):
        for alias in handler:
            try:
                handler[alias]
            except Exception:  # whatever the site's own class raises: a broken one harms only those who use it
                logger.debug("%s is not usable", alias, exc_info=True)


@receiver(setting_changed)
def _forget_context(*, setting: str, **kwargs: Any) -> None:
    global _settings_seen
    if setting in ("CACHES", "TASKS"):
        _settings_seen += 1


_threads = threading.local()


@receiver(connection_created)
def _forget_opened(**kwargs: Any) -> None:
    _threads.opened = None


def opened_connections() -> list[BaseDatabaseWrapper]:
    """Return this thread's connections, asking Django only after one was opened: to ask for each run costs a tenth of it."""
    opened: list[BaseDatabaseWrapper] | None = getattr(_threads, "opened", None)
    if opened is None:
        opened = _threads.opened = list(connections.all(initialized_only=True))
    return opened


def refresh_connections(idle: float = 0) -> None:
    """Bring this thread's connections into order: roll back what was left open, close what is old, broken or unused.

    `idle` is for how many seconds the thread will not use them. Connections inside an atomic block are left alone: they
    belong to the caller (a test, a drain). May block for one round trip where a connection has to be asked.
    """
    for connection in opened_connections():
        if connection.in_atomic_block:
            continue
        if not connection.force_debug_cursor:  # else someone counts queries just now
            connection.queries_log.clear()
        now: float = time.monotonic()
        unused = now - getattr(connection, "_background_used_at", now - 2 * JUST)
        connection._background_used_at = now  # type: ignore[attr-defined]
        if connection.connection is None:
            continue
        try:
            _refresh(connection, now, unused, idle)
        except (Error, OSError) as error:
            drop(connection, error)


def _refresh(connection: BaseDatabaseWrapper, now: float, unused: float, idle: float) -> None:
    if connection.autocommit != connection.settings_dict["AUTOCOMMIT"]:
        connection.rollback()
        connection.close()
    elif is_obsolete(connection, now, unused + idle):
        connection.close()
    elif connection.errors_occurred or unused > IDLE_CHECK or (unused > JUST and hung_up(connection)):
        if not connection.is_usable():
            connection.close()
        else:
            connection.errors_occurred = False


def is_obsolete(connection: BaseDatabaseWrapper, now: float, unused: float) -> bool:
    """Tell whether CONN_MAX_AGE has passed; an age of 0 means "not while busy" here: a worker must not reconnect for each run."""
    if connection.settings_dict["CONN_MAX_AGE"] == 0:
        return unused > IDLE_CHECK and not is_in_memory(connection)
    return connection.close_at is not None and now >= connection.close_at


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    return bool(getattr(connection, "is_in_memory_db", lambda: False)())


def hung_up(connection: BaseDatabaseWrapper) -> bool:
    """Tell, without a round trip, whether the server may have closed the connection: something to read where nothing was asked."""
    raw = connection.connection
    if getattr(raw, "_sock", raw) is None:  # PyMySQL has closed it
        return True
    raw = getattr(raw, "_sock", raw)
    fileno = getattr(raw, "fileno", None)
    if fileno is None:
        return False
    try:
        with connection.wrap_database_errors:
            return bool(select.select([fileno()], [], [], 0)[0])
    except (OSError, ValueError, Error):
        return True


@contextmanager
def closing_on_error(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Close a connection that cannot even be looked after; the next use opens a new one."""
    try:
        yield
    except (Error, OSError) as error:
        drop(connection, error)


def drop(connection: BaseDatabaseWrapper, error: Exception) -> None:
    """Forget a connection with which nothing can be done any more, and say why."""
    logger.warning("database connection %s dropped: %s", connection.alias, error)
    with suppress(Error, OSError):
        connection.close()
    connection.connection = None


async def arefresh_connections(idle: float = 0) -> None:
    """Do the same for the thread in which this coroutine's ORM calls run, if it has one yet."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or context in SyncToAsync.context_to_thread_executor:
        await sync_to_async(refresh_connections)(idle=idle)


def close_connections() -> None:
    """Close this thread's connections, but not one inside an atomic block. For the end of a thread."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block and not is_in_memory(connection):
            with closing_on_error(connection):
                connection.close()


def database_alias() -> str:
    return get_settings().database or DEFAULT_DB_ALIAS
