"""Own the other side of the process executor: a process of its own, which executes one run after another."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from django.db import connections

from background.engine.attachments import attach
from background.execution import capture, telling
from background.execution.executors import wire
from background.execution.runner import Execution, run
from background.queue.finish import finish_within
from background.scope import close_connections
from background.stopping import Deadline

# What a run says is handed to the host this often (seconds).
MEANWHILE = 0.25
PR_SET_PDEATHSIG = 1


class Child:
    """One process that executes runs for its host, one at a time, until the pipe is closed."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._execution: Execution | None = None  # what the host talks of
        self._running: Execution | None = None  # what this process is executing, known to its main thread alone
        self._news = threading.Semaphore(0)
        self._busy = threading.Event()

    def work(self) -> None:
        """Execute what comes through the pipe. Blocks until it is closed."""
        signal.signal(signal.SIGTERM, lambda *_: self._terminated())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the host, which tells
        threading.Thread(target=self._listen, name="background-pipe", daemon=True).start()
        threading.Thread(target=self._report, name="background-report", daemon=True).start()
        self._send(ready=os.getpid())
        while True:
            self._news.acquire()
            execution = self._execution
            if execution is None:
                return close_connections()
            self._running = execution
            self._busy.set()
            outcome = run(execution)
            self._busy.clear()
            self._running = None
            with self._sending:  # what was reported meanwhile goes before it
                self._execution = None
            self._send(outcome=wire.outcome_to(outcome), stored=execution.stored is not None)

    def _listen(self) -> None:
        """Take messages; a host that is gone is the end of its child, whatever it is doing."""
        while True:
            try:
                message = wire.receive(self._pipe)
            except (EOFError, OSError):
                break
            if "claim" in message:
                claim = wire.claim_from(message["claim"])
                execution = Execution(
                    claim, capture=capture.Capture(claim.last_line), attach=attach, commit=finish_within
                )
                self._execution = execution
                self._news.release()
            else:
                self._asked(message["stop"], message["seconds"])
        if self._execution is not None:
            os._exit(1)
        self._news.release()

    def _asked(self, reason: str, seconds: float | None = None) -> None:
        if (execution := self._execution) is not None:
            execution.stop.request(reason, None if seconds is None else Deadline.after(seconds))

    def _terminated(self) -> None:
        """The host says why, through the pipe; without its word within a second the signal speaks for itself.

        It is meant for what is being executed now, and not for what is a second later.
        """
        if self._running is not None:
            threading.Timer(1, self._running.stop.request, ["terminated"]).start()

    def _report(self) -> None:
        """Hand over what the run says while it is being executed."""
        while True:
            self._busy.wait()
            time.sleep(MEANWHILE)
            with self._sending:
                if (execution := self._execution) is None:
                    continue
                lines, progress = execution.capture.take()
                if lines or progress or execution.stop.last_beat:
                    execution.stop.last_beat = None
                    self._put(lines=wire.lines_to(lines), progress=progress)

    def _send(self, **message: Any) -> None:
        with self._sending:
            self._put(**message)

    def _put(self, **message: Any) -> None:
        try:
            wire.send(self._pipe, **message)
        except OSError:  # the host is gone: nobody hears
            os._exit(1)


def die_with_parent() -> None:
    """Have the kernel end this process when its host dies, even in the midst of C code (Linux: prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(descriptor: int) -> None:
    """Work for the host at the other end of this socket; Django is set up. Blocks."""
    die_with_parent()
    pipe = Connection(descriptor)
    hello = wire.receive(pipe)
    for alias, name in hello["databases"].items():  # a host inside a test uses the test's database
        connections[alias].settings_dict["NAME"] = name
    capture.install()
    for tells in (logging.getLogger("background.execution"), telling.LOG):
        tells.setLevel(logging.CRITICAL)  # the host tells of failures
    Child(pipe).work()
