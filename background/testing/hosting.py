"""Own a real host in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.test import override_settings

from background.conf import raw_settings
from background.host import Host, Options
from background.scope import close_connections
from background.services.base import BackgroundService

T = TypeVar("T")

# Tests should not wait for what production may take its time for.
QUICK = {"HEARTBEAT_INTERVAL": 0.2, "POLL_INTERVAL": 0.1, "SHUTDOWN_TIMEOUT": 5, "STARTUP_TIMEOUT": 10}


class HostedInThread:
    """A host that runs in a thread; what a test may do with it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.exit_code: int | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="background-host", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.exit_code = self.host.run()
        except BaseException as error:  # noqa: BLE001 - the test gets it
            self.error = error
        finally:
            close_connections()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def service(self, name: str) -> Any:
        """Return the supervised service of this name; its `.service` is the instance."""
        return self.host.service(name)

    def wait_for(self, predicate: Callable[[], T], timeout: float = 10) -> T:
        """Return the first true value of `predicate()`; TimeoutError after `timeout` seconds, or the host's own error."""
        deadline = time.monotonic() + timeout
        while True:
            if value := predicate():
                return value
            if self.error is not None:
                raise self.error
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{predicate} did not become true within {timeout} s; last value {value!r}.")
            time.sleep(0.01)

    def wait_ready(self, timeout: float = 15) -> None:
        """Block until all services have started; raises what kept the host from it."""
        self.wait_for(lambda: self.host.ready or self.is_over, timeout)

    def stop(self, reason: str = "test over", timeout: float = 30) -> int | None:
        """Stop the host and return its exit code. Blocks."""
        self.host.request_stop(reason)
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"The host did not stop within {timeout} s.")
        if self.error is not None:
            raise self.error
        return self.exit_code


@contextmanager
def run_host(
    *services: type[BackgroundService], options: Options | None = None, **settings: Any
) -> Iterator[HostedInThread]:
    """Run a real host with these services, the scheduler and the worker in a thread; stop it at the end of the block.

    `settings` are entries of BACKGROUND. Needs a test with real transactions (`transaction=True`): the host has its own
    connections. Blocks at the start until the host is ready and at the end until it has stopped.
    """
    with override_settings(BACKGROUND={**raw_settings(), **QUICK, **settings}):
        hosted = HostedInThread(Host(services, options))
        try:
            hosted.wait_ready()
            yield hosted
        finally:
            hosted.stop()
