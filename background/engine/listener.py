"""Own what wakes this host's worker when another process has enqueued: NOTIFY, or a look at the file of SQLite."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from background.dialects import Ear, dialect
from background.engine.base import EngineService, HostView
from background.queue.wakeup import wake

if TYPE_CHECKING:
    from background.stopping import StopToken

# Seconds for which it listens at a time.
TURN = 5.0


class Listener(EngineService):
    """Listens on a connection of its own; where the database tells nothing, the worker asks now and then."""

    def __init__(self, host: HostView) -> None:
        super().__init__(host)
        self._ear: Ear | None = None

    def execute(self, stop: StopToken) -> None:
        self._stopped, tell = socket.socketpair()

        def end() -> None:
            with suppress(OSError):  # closed: it has ended already, by another way of hearing of the stop
                tell.send(b"!")

        forget = stop.add_callback(end)
        try:
            super().execute(stop)
        finally:
            forget()
            self._hang_up()
            self._stopped.close()
            tell.close()

    def step(self, stop: StopToken) -> float:
        try:
            if self._ear is None:
                if (ear := dialect().listen()) is None:
                    return TURN
                self._ear = ear
                wake()  # what was told meanwhile was not heard
            if self._ear.wait(TURN, self._stopped.fileno()):
                wake()
            return 0
        except Exception:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()
