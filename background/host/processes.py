"""Own the worker processes under one parent: started, watched, restarted, stopped with it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from background.dialects import dialect
from background.engine.base import EngineService
from background.models import Host as HostRow
from background.queue.rescue import forget_services, rescue
from background.scope import database_alias
from background.stopping import StopToken
from background.timing import Backoff

logger = logging.getLogger("background.host")

LOOK = 0.2
HEALTHY = 60.0


class Child:
    """One worker process and its restarts."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.start_after = 0.0
        self.crashes = 0


class WorkerProcesses(EngineService):
    """Keeps N worker processes running; services, scheduler and web stay in the parent."""

    stops_late = False

    def __init__(self, host: Any, count: int, arguments: Sequence[str]) -> None:
        super().__init__(host)
        self.children = [Child(number + 1) for number in range(count)]
        self._arguments = list(arguments)
        self._backoff = Backoff(initial=0.5, maximum=30)

    def step(self, stop: StopToken) -> float:
        """Start what should run, take note of what has died."""
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._died(child)
            if child.process is None and time.monotonic() >= child.start_after and not stop.requested:
                self._spawn(child)
        return LOOK

    def _spawn(self, child: Child) -> None:
        command = [
            *command_line(),
            *self._arguments,
            "--name",
            f"{self.host.name}/{child.number}",
            "--child-of",
            f"{os.getpid()}:{self.host.id}",
        ]
        child.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        child.started_at = time.monotonic()
        logger.info("worker process %d started (pid %d)", child.number, child.process.pid)

    def _died(self, child: Child) -> None:
        assert child.process is not None
        code, pid = child.process.returncode, child.process.pid
        child.process = None
        child.crashes = 1 if time.monotonic() - child.started_at > HEALTHY else child.crashes + 1
        delay = self._backoff.delay(child.crashes)
        child.start_after = time.monotonic() + delay
        logger.error(
            "worker process %d (pid %d) died with exit code %s, starts again in %.1f s", child.number, pid, code, delay
        )
        self._give_up_host(pid)

    def _give_up_host(self, pid: int) -> None:
        """Release what a dead child held, at once: its parent knows better than any timeout."""
        alias = database_alias()
        for row in HostRow.objects.using(alias).live().filter(parent=self.host.id, pid=pid):
            HostRow.objects.using(alias).filter(id=row.id).update(
                state=HostRow.State.LOST, stopped_at=dialect().now(), stop_reason="process died"
            )
            forget_services(row, "process died")
        rescue()

    def last_step(self, stop: StopToken) -> None:
        """Stop the children and wait for them; what does not stop is killed."""
        alive = [child.process for child in self.children if child.process is not None and child.process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        for process in alive:
            left = stop.remaining()
            try:
                process.wait(None if left is None else max(left, 0.1))
            except subprocess.TimeoutExpired:
                logger.error("worker process %d does not stop and is killed", process.pid)
                process.kill()
                process.wait()
                self._give_up_host(process.pid)


def command_line() -> list[str]:
    """Return how this very command was called, up to its name."""
    name = sys.argv.index("runbackground") if "runbackground" in sys.argv else 1
    return [sys.executable, *sys.argv[: name + 1]]


def watch_parent(pid: int, stop: Callable[[str], Any]) -> None:
    """End this process soon after its parent has: ask it to stop, and insist. Does not block."""

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(LOOK)
        stop("parent died")
        time.sleep(1.5)
        os._exit(1)

    threading.Thread(target=watch, name="background-parent", daemon=True).start()
