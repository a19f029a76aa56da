"""Own the base class of services: its hooks, its `execute`, and what the host lends to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asgiref.sync import sync_to_async

from background.exceptions import ServiceNotHosted
from background.scope import Scope, Unit
from background.timing import Backoff

if TYPE_CHECKING:
    from background.stopping import StopToken

RESTARTS = ("always", "on-failure", "never", "stop-host")


class Memory(Protocol):
    """Where a checkpoint is kept; the host brings one that uses the database."""

    def get(self, name: str) -> dict[str, Any]: ...
    def set(self, name: str, values: dict[str, Any]) -> None: ...


class Checkpoint:
    """Durable JSON of one service; writes join the caller's transaction."""

    def __init__(self, name: str, memory: Memory) -> None:
        self._name = name
        self._memory = memory

    def get(self, key: str, default: Any = None) -> Any:
        """Return the stored value of `key`. Blocks for one query."""
        return self._memory.get(self._name).get(key, default)

    def set(self, **values: Any) -> None:
        """Store these values beside the others; TypeError if one is not JSON. Blocks for a transaction."""
        self._memory.set(self._name, values)

    async def aget(self, key: str, default: Any = None) -> Any:
        return await sync_to_async(self.get)(key, default)

    async def aset(self, **values: Any) -> None:
        await sync_to_async(self.set)(**values)


class BackgroundService:
    """A long-running part of the site: subclass it, write `execute`, and decorate the class with `@background.register`.

    `execute` and every hook may be `def` or `async def`. A service has one thread of its own, in which `on_starting`,
    `on_start`, `execute`, `on_stop` and `on_stopped` are called; coroutines run on that thread's own event loop.
    """

    name: str | None = None
    singleton: bool = False
    depends_on: tuple[str, ...] = ()
    restart: str = "on-failure"
    max_restarts: int | None = None
    restart_window: float = 300
    backoff = Backoff(initial=1, maximum=60)
    start_timeout: float | None = None
    stop_timeout: float | None = None
    watchdog: float | None = None

    # Lent by the host: the stop token in force, durable memory, and the host's ear for ticks.
    stop: StopToken | None = None
    memory: Memory | None = None
    on_tick: Callable[[Tick], None] | None = None

    @classmethod
    def get_name(cls) -> str:
        """Return the declared name, or "<app_label>.<ClassName>"."""
        return cls.__dict__.get("name") or f"{app_label_of(cls.__module__)}.{cls.__name__}"

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.execute)

    @property
    def checkpoint(self) -> Checkpoint:
        """Durable JSON of this service."""
        if self.memory is None:
            raise ServiceNotHosted(f"{self.get_name()} has a checkpoint only while a host runs it.")
        return Checkpoint(self.get_name(), self.memory)

    def scope(self) -> Scope:
        """Return one unit of work, for `with` or `async with`."""
        return Scope(Unit("scope", self.get_name()), self.stop)

    def on_starting(self) -> Any:
        """Called for all services before any `on_start`."""

    def on_start(self) -> Any:
        """Called in order, before `execute`; the host waits for it. Called again before each restart."""

    def on_started(self) -> Any:
        """Called for all services once all have started."""

    def execute(self, stop: StopToken) -> Any:
        """Do the service's work until `stop` is requested."""
        raise NotImplementedError(f"{type(self).__name__} needs an execute(self, stop).")

    def on_stopping(self) -> Any:
        """Called for all services, in reverse order, when the host begins to stop."""

    def on_stop(self) -> Any:
        """Called after `execute` has ended, also when it failed: dispose here."""

    def on_stopped(self) -> Any:
        """Called for all services, in reverse order, when all have stopped."""


class Tick(NamedTuple):
    """What one tick came to, as told to the host; with no duration, only when the first tick is due."""

    duration: float | None  # seconds
    error: BaseException | None
    next_at: datetime | None


def app_label_of(module: str) -> str:
    """Return the label of the installed app that holds this module; else its top package."""
    from django.apps import apps  # noqa: PLC0415 - services are declared while apps are being loaded

    found = apps.get_containing_app_config(module) if apps.apps_ready else None
    return found.label if found else module.partition(".")[0]
