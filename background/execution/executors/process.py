"""Own the processes in which plain functions are called: apart from the host, with memory of their own, killable."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE
from django.db import connections

from background.conf import get_settings
from background.exceptions import ProcessDied, RunCancelled
from background.execution.executors import wire
from background.execution.executors.inbox import Done, Inbox
from background.execution.executors.thread import PATIENCE, task_of
from background.execution.runner import Execution, failed, said
from background.queue.outcome import Outcome

logger = logging.getLogger("background.execution")

# Seconds after which a child without work ends: it may hold much memory.
IDLE = 300.0
# A child is looked after this often while it executes (seconds).
LOOK = 0.1
# What a child may take to set Django up, or to end when asked (seconds).
STARTUP, ENDING = 60.0, 2.0
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); import django; django.setup(); "
    "from background.engine.child import main; main(int(sys.argv[1]))"
)


class Child:
    """One child process, and the host's end of the pipe to it."""

    def __init__(self) -> None:
        if ENVIRONMENT_VARIABLE not in os.environ:
            raise ProcessDied(f'executor="process" needs {ENVIRONMENT_VARIABLE} to be set: the child reads it.')
        here, there = socket.socketpair()
        with there:
            command = [sys.executable, "-c", START, str(there.fileno()), json.dumps(sys.path)]
            self.process = subprocess.Popen(
                command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pipe = Connection(here.detach())
        self.runs = 0
        try:
            self._begin()
        except BaseException:
            self.kill()
            raise

    def _begin(self) -> None:
        names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
        try:
            wire.send(self.pipe, databases=names)
            if not self.pipe.poll(STARTUP):
                raise ProcessDied(f"A child process did not start within {STARTUP:g} s.")
            wire.receive(self.pipe)
        except (EOFError, OSError) as error:
            raise ProcessDied(f"A child process could not start ({self.ending()}); what it said is above.") from error

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def memory(self) -> float:
        """Return its resident memory in MB; 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000

    def is_spent(self) -> bool:
        """Whether it has done its share of runs or holds too much memory."""
        conf = get_settings()
        if conf.max_runs_per_child is not None and self.runs >= conf.max_runs_per_child:
            return True
        return conf.max_memory_per_child is not None and self.memory() > conf.max_memory_per_child

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()

    def end(self) -> None:
        """Let it end by itself; kill it if it does not. Blocks up to two seconds."""
        self.pipe.close()
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ending(self) -> str:
        """Say how it ended, in words. Blocks until it has, or kills it."""
        try:
            code = self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Slot:
    """One thread of the host that looks after one child, and what is executed there."""

    __slots__ = ("child", "cut", "execution", "sending")

    def __init__(self) -> None:
        self.child: Child | None = None
        self.execution: Execution | None = None
        self.cut = False  # kill it: the host cannot wait any longer
        self.sending = threading.Lock()


class ProcessExecutor:
    """A fixed number of child processes, started as they are needed, each fresh or used again."""

    name = "process"

    def __init__(self, capacity: int, done: Done) -> None:
        self.capacity = capacity
        self._inbox = Inbox(capacity, done)
        self._slots: list[Slot] = []
        self._threads: list[threading.Thread] = []

    @property
    def free(self) -> int:
        return self._inbox.free

    def submit(self, execution: Execution) -> None:
        """Have it executed by the next free child. Does not block."""
        self._inbox.put(execution, self._open_slots)

    def _open_slots(self, needed: int) -> None:
        if needed > len(self._slots):
            slot = Slot()
            name = f"background-child-{len(self._slots) + 1}"
            thread = threading.Thread(target=self._work, args=(slot,), name=name, daemon=True)
            self._slots.append(slot)
            self._threads.append(thread)
            thread.start()

    def _work(self, slot: Slot) -> None:
        try:
            self._inbox.serve(lambda execution: self._call(slot, execution), IDLE, lambda: self._let_go(slot))
        finally:
            self._let_go(slot)

    def _let_go(self, slot: Slot) -> None:
        child, slot.child = slot.child, None
        if child is not None:
            child.end()

    def _call(self, slot: Slot, execution: Execution) -> Outcome:
        """Have it executed by the slot's child and return what happened. Blocks meanwhile."""
        slot.execution = execution
        try:
            if slot.child is None or not slot.child.is_alive:
                slot.child = Child()
            return self._converse(slot, slot.child, execution)
        except (ProcessDied, OSError) as error:
            return failed(execution, task_of(execution), error)
        finally:
            with slot.sending:  # a word on its way to this one must not arrive at the next
                slot.execution, slot.cut = None, False
            if slot.child is not None and (not slot.child.is_alive or slot.child.is_spent()):
                self._let_go(slot)

    def _converse(self, slot: Slot, child: Child, execution: Execution) -> Outcome:
        child.runs += 1
        try:
            wire.send(child.pipe, claim=wire.claim_to(execution.claim))
            started = execution.begun_at = time.monotonic()
            forget = execution.stop.add_callback(lambda: self._tell(slot, child, execution))
            try:
                while True:
                    if child.pipe.poll(LOOK) or not child.is_alive:
                        message = wire.receive(child.pipe)
                        if "outcome" in message:
                            return self._outcome(execution, message)
                        self._hear(execution, message)
                    elif ended := self._limit(slot, child, execution, started):
                        return ended
            finally:
                forget()
        except (EOFError, OSError):
            how = child.ending()
            child.kill()
            raise ProcessDied(f"The process that executed this run ended in the midst of it ({how}).") from None

    def _tell(self, slot: Slot, child: Child, execution: Execution) -> None:
        """Pass a request to stop on: its reason through the pipe, and SIGTERM for whatever sleeps."""
        with slot.sending:
            if slot.execution is not execution or not child.is_alive:
                return
            try:
                wire.send(child.pipe, stop=execution.stop.reason, seconds=execution.stop.remaining())
                child.process.send_signal(signal.SIGTERM)
            except OSError as error:  # it is ending; whoever converses with it sees that
                logger.debug("a child process was not told to stop: %s", error)

    def _hear(self, execution: Execution, message: dict[str, Any]) -> None:
        progress = message["progress"]
        execution.stop.beat()
        execution.capture.hear(wire.lines_from(message["lines"]), tuple(progress) if progress else None)

    def _outcome(self, execution: Execution, message: dict[str, Any]) -> Outcome:
        told = wire.outcome_from(execution.claim, message["outcome"])
        begun = execution.begun_at or execution.claimed_at
        told = said(replace(told, waited=begun - execution.claimed_at, took=time.monotonic() - begun))
        if message["stored"]:
            execution.stored = told
        lines, progress = execution.capture.take()
        if lines or (progress and not told.progress):
            return replace(told, lines=(*lines, *told.lines), progress=told.progress or progress)
        return told

    def _limit(self, slot: Slot, child: Child, execution: Execution, started: float) -> Outcome | None:
        """Kill the child if the run is over its time, or deaf; returns what happened then."""
        now, timeout = time.monotonic(), execution.claim.timeout
        if timeout and now - started >= timeout:
            execution.stop.request("timeout")
        elif execution.reason in ("cancelled", "replaced", "host-lost"):
            execution.asked_at = execution.asked_at or now
            slot.cut = slot.cut or now - execution.asked_at >= PATIENCE
        if execution.reason != "timeout" and not slot.cut:
            return None
        child.kill()
        logger.warning("run %s of %s killed: %s", execution.claim.id, execution.claim.task, execution.reason)
        return failed(execution, task_of(execution), RunCancelled())

    def active(self) -> list[Execution]:
        """Return what is being executed at this moment."""
        return [execution for slot in self._slots if (execution := slot.execution)]

    def enforce(self) -> float | None:
        """Nothing to do: each child's thread looks after its limits."""
        return None

    def cancel(self, execution: Execution) -> None:
        """Nothing beyond the stop token, which tells the child."""

    def cut(self, execution: Execution) -> None:
        """Have the process killed that executes it: there is no time left. Does not block."""
        for slot in self._slots:
            if slot.execution is execution:
                slot.cut = True

    def drain(self) -> list[Execution]:
        """Take back what no child has begun."""
        return self._inbox.take_back()

    def stack_of(self, execution: Execution) -> str:
        """Return nothing: a process is killed, not looked into."""
        return ""

    def close(self) -> None:
        """Let the children end when they are free. Blocks up to a few seconds."""
        self._inbox.close(len(self._slots))
        for thread in self._threads:
            thread.join(ENDING + 1)
