"""Own a host inside another server's process: in a thread of its own, one in each process or one on the machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from background import registry
from background.conf import get_settings
from background.engine import leases
from background.engine.base import AWAY, EngineService
from background.exceptions import StartFailed
from background.host import Host, Options
from background.host.asking import unapplied
from background.scope import close_connections, database_alias, refresh_connections
from background.stopping import StopToken

logger = logging.getLogger("background.web")

OnePer = Literal["process", "machine"]

# Seconds between two looks of a process that stands by.
LOOK = 1.0
# Seconds that the thread may need beyond the host's own limit.
MORE = 5.0


class HostInside:
    """Runs a host while the server that starts it lives; where the host ends by an error of its own, so does the server.

    With `one_per="machine"` the processes of one machine agree by a lease on the one that hosts; the others stand by.
    `services` are names (default: all that are registered); `options` are fields of `background.host.Options`.
    Raises ValueError on another `one_per`, and ServiceNotFound on a name that no app registers.
    """

    def __init__(self, one_per: OnePer = "process", services: Sequence[str] | None = None, **options: Any) -> None:
        if one_per not in ("process", "machine"):
            raise ValueError(f'one_per is "process" or "machine", not {one_per!r}.')
        self.host: Host | None = None  # while this process has one
        self.exit_code: int | None = None  # once it is over
        self._alone = one_per == "process"
        self._names = services
        self._options = Options(**options)
        self._token = StopToken()
        self._stands_by = False
        self._thread = threading.Thread(target=self._run, name="background-host", daemon=True)

    def start(self) -> None:
        """Start hosting; StartFailed where that cannot be. Blocks until the services have started or this process stands by."""
        with suppress(*AWAY):  # then the host waits for it
            if missing := unapplied(database_alias()):
                raise StartFailed(f"{len(missing)} migrations are not applied: run `python manage.py migrate` first.")
        close_connections()
        self._thread.start()
        while self._thread.is_alive() and not (self._stands_by or (self.host is not None and self.host.ready)):
            self._thread.join(0.02)
        if not self._thread.is_alive() and not self._token.requested:
            reason = self.host.stop_token.reason if self.host is not None else None
            raise StartFailed(f"The host inside this server did not start: {reason or 'its log says why'}")

    def request_stop(self, reason: str) -> None:
        """Ask the host to stop. Does not block; safe in signal handlers."""
        self._token.request(reason)
        if self.host is not None:
            self.host.request_stop(reason)

    def stop(self, reason: str = "the server stops") -> int | None:
        """Stop hosting; returns the host's exit code. Blocks, for little more than SHUTDOWN_TIMEOUT at most."""
        self.request_stop(reason)
        self._thread.join(get_settings().shutdown_timeout + MORE)
        return self.exit_code

    # In the thread

    def _run(self) -> None:
        code = 1  # unless nothing is raised
        try:
            code = self._host(self._options) if self._alone else self._host_in_turn()
        finally:
            self.exit_code = code
            close_connections()
            started = self._stands_by or (self.host is not None and self.host.was_started)
            if code and started and not self._token.requested:
                logger.critical("the host ended with exit code %d: the server around it ends as well", code)
                os.kill(os.getpid(), signal.SIGTERM)

    def _host(self, options: Options) -> int:
        names = self._names
        services = registry.services() if names is None else [registry.service(name) for name in names]
        self.host = Host(services, options)
        if self._token.requested:
            self.host.request_stop(self._token.reason or "")
        return self.host.run()

    def _host_in_turn(self) -> int:
        """Host whenever this process has the machine's lease, until asked to stop or the host fails."""
        name, holder = f"machine:{socket.gethostname()}"[:200], uuid.uuid4()
        options = replace(self._options, extra=(*self._options.extra, lambda host: Turn(host, name, holder)))
        code = 0
        while not self._token.requested and not code:
            refresh_connections()
            if leases.acquire(name, holder) is not None:
                code = self._host(options)
                leases.release(name, holder)
            else:
                self._stands_by = True
                self._token.wait(LOOK)
        return code


class Turn(EngineService):
    """Renews the machine's lease; without it the host stops, and its process stands by."""

    def __init__(self, host: Any, name: str, holder: uuid.UUID) -> None:
        super().__init__(host)
        self._name, self._holder = name, holder

    def step(self, stop: StopToken) -> float:
        _until, held = leases.renew([self._name], self._holder)
        if self._name not in held:
            self.host.request_stop("another process of this machine hosts")
        return get_settings().heartbeat_interval
