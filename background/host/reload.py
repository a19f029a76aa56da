"""Own the restart on code changes: a parent that starts the host again, a service that notices."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from django.utils.autoreload import StatReloader

from background.engine.base import EngineService
from background.host.processes import command_line
from background.stopping import StopToken

logger = logging.getLogger("background.host")

# The exit code by which a host asks for its restart, as Django's runserver does.
CHANGED = 3


class Reloader(EngineService):
    """Looks at the files of the loaded modules; stops the host, cleanly, when one changed."""

    stops_late = False

    def __init__(self, host: Any) -> None:
        super().__init__(host)
        self._stats = StatReloader()
        self._seen: dict[Any, float] = {}

    def on_start(self) -> None:
        self._seen = dict(self._stats.snapshot_files())

    def step(self, stop: StopToken) -> float:
        now = dict(self._stats.snapshot_files())
        changed = [path for path, changed_at in now.items() if self._seen.get(path, changed_at) != changed_at]
        self._seen = now
        if changed:
            logger.info("%s changed: restart", changed[0])
            self.host.request_stop(f"{changed[0]} changed", CHANGED)
        return 1.0


def supervise(arguments: Sequence[str]) -> int:
    """Run the host in a child process, again and again while it ends because of changed code; returns its exit code. Blocks."""
    while True:
        code = run_child([*command_line(), *arguments, "--reloaded"])
        if code == CHANGED:
            continue
        if code == 1 and wait_for_change():
            continue
        return code if code >= 0 else 128 - code


def run_child(command: Sequence[str]) -> int:
    """Run a process to its end and return its exit code; SIGTERM is passed on to it. Blocks."""
    process = subprocess.Popen(command)
    terminate = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    # Ctrl-C goes to the whole group of the terminal: the child hears it by itself.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, interrupt)


def wait_for_change() -> bool:
    """Block until a file changes after a start that failed; False on Ctrl-C."""
    if not sys.stderr.isatty():
        return False
    sys.stderr.write("The host could not start; waiting for a change of the code (Ctrl-C ends).\n")
    stats = StatReloader()
    seen = dict(stats.snapshot_files())
    stop = StopToken()
    try:
        while not stop.wait(1.0):
            if dict(stats.snapshot_files()) != seen:
                return True
    except KeyboardInterrupt:
        pass
    return False
