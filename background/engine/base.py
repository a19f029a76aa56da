"""Own what the engine's services share: one step after another, patient while the database is away."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Protocol

from django.db import InterfaceError, OperationalError

from background.queue.holding import Filter, Holder
from background.scope import close_connections, refresh_connections
from background.services.base import BackgroundService
from background.timing import Backoff

if TYPE_CHECKING:
    from background.engine.lookout import Facts
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

AWAY = (OperationalError, InterfaceError)


class HostView(Protocol):
    """What the engine may ask of the host that runs it."""

    id: uuid.UUID
    name: str
    filter: Filter
    stop_token: StopToken
    database_away: bool

    @property
    def trusted(self) -> bool: ...

    @property
    def holder(self) -> Holder: ...

    def request_stop(self, reason: str, code: int | None = None) -> None: ...


class EngineService(BackgroundService):
    """A part of the host: its `step` does one piece of work and says when it wants to go on."""

    max_restarts = 5
    restart_window = 120
    backoff = Backoff(initial=0.5, maximum=5)
    stops_late = True  # told to stop only when the user's services have stopped

    def __init__(self, host: HostView) -> None:
        self.host = host
        self.step_began: float | None = None  # time.monotonic() of the step that is being done

    @classmethod
    def get_name(cls) -> str:
        return f"background.{cls.__name__.lower()}"

    def step(self, stop: StopToken) -> float:
        """Do one piece of work and return the seconds until the next."""
        raise NotImplementedError

    def hear(self, facts: Facts) -> None:
        """Take note of what the host's look has found: called each second, in the thread of the heartbeat. Does not block."""

    def wake(self) -> None:
        """Have the next step begin now."""
        if self.stop is not None:
            self.stop.poke()

    def last_step(self, stop: StopToken) -> None:
        """Do what is left to do when stopping."""

    def execute(self, stop: StopToken) -> None:
        """Step until asked to stop; while the database is away, wait for it and say so once."""
        troubles = 0
        patience = Backoff(initial=0.2, maximum=2)
        while not stop.requested:
            try:
                self.step_began = time.monotonic()
                refresh_connections()
                pause = self.step(stop)
                troubles = self._recovered(troubles)
            except AWAY as error:
                troubles += 1
                self._trouble(troubles, error)
                pause = patience.delay(troubles)
            self.step_began = None
            stop.beat()
            if pause > 0:
                stop.wait(pause)
        try:
            self.last_step(stop)
        except AWAY as error:
            logger.warning("%s could not finish without the database: %s", self.get_name(), first_line(error))

    def _trouble(self, times: int, error: Exception) -> None:
        """The first part of the host that misses the database says so for all."""
        close_connections()
        if not self.host.database_away:
            self.host.database_away = True
            level = logging.WARNING if times == 1 else logging.DEBUG
            logger.log(level, "the host waits for the database: %s", first_line(error))

    def _recovered(self, times: int) -> int:
        if times and self.host.database_away:
            self.host.database_away = False
            logger.info("the host has the database again")
        return 0


def first_line(error: Any) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
