"""Own the worker processes under one parent: started, watched, replaced, stopped with it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from django.utils.autoreload import get_child_arguments

from background.conf import get_settings
from background.dialects import dialect
from background.engine.base import AWAY, EngineService
from background.host.guardian import Guardian
from background.host.shutdown import LEAST, RESERVE
from background.host.thread import apart
from background.models import Host as HostRow
from background.queue.rescue import forget_services, rescue
from background.scope import database_alias
from background.stopping import Deadline, StopToken
from background.timing import Backoff

logger = logging.getLogger("background.host")

LOOK = 0.2
HEALTHY = 60.0
# A database that is away is asked again this often for the runs of the dead (seconds).
PAUSE = 0.5
# What an orphan may take to hand its runs back, and when it ends come what may: within the promised two seconds.
ORPHANED, INSIST = 1.3, 1.5
# How a process ends that was told to stop: by itself, or by SIGTERM's default when it had not begun yet.
CLEAN = (0, -signal.SIGTERM)


class WorkerProcess:
    """One process that executes runs, as its parent sees it."""

    def __init__(self, parent: uuid.UUID, command: Sequence[str]) -> None:
        self.parent = parent  # the id that its row tells: the parent may have another by the time it dies
        self.started_at = time.monotonic()
        self.popen = subprocess.Popen(
            [*command, "--child-of", f"{os.getpid()}:{parent}"], stdin=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def pid(self) -> int:
        return self.popen.pid


class Place:
    """A place that one worker process after another takes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: WorkerProcess | None = None
        self.start_after = 0.0
        self.crashes = 0
        self.is_new = True  # no process of it has ended yet


class WorkerProcesses(EngineService):
    """Keeps N worker processes running; services, scheduler and web stay in the parent.

    A process that has done its share (`--max-runs-per-process`, `--max-memory-per-process`) finishes what it has begun, however
    long that takes, and ends with exit code 0; then the next one takes its place.
    """

    stops_late = False

    def __init__(self, host: Any, count: int, arguments: Sequence[str], max_runs: int | None = None) -> None:
        super().__init__(host)
        self.places = [Place(number + 1) for number in range(count)]
        self._problems: list[str] = host.problems
        self._arguments = list(arguments)
        self._max_runs = max_runs
        self._backoff = Backoff(initial=0.5, maximum=30)
        self._guardian = Guardian()
        self._dead: list[WorkerProcess] = []  # what they held is still to be released
        self._releasing: tuple[Future[None], list[WorkerProcess]] | None = None
        self._release_at = 0.0

    @property
    def processes(self) -> list[WorkerProcess]:
        return [place.process for place in self.places if place.process is not None]

    def step(self, stop: StopToken) -> float:
        """Start what should run, take note of what has died."""
        before = self.processes
        for place in self.places:
            if place.process is not None and place.process.popen.poll() is not None:
                self._over(place, place.process)
            if place.process is None and time.monotonic() >= place.start_after and not stop.requested:
                self._start(place)
        if self.processes != before:
            self._guardian.watch(process.pid for process in self.processes)
        self._release()
        return LOOK

    def _start(self, place: Place) -> None:
        command = [*command_line(), *self._arguments, "--name", f"{self.host.name}/{place.number}"]
        if most := self._max_runs:
            # The first ones less from place to place, so that they do not end together.
            less = most * (place.number - 1) // (2 * len(self.places)) if place.is_new else 0
            command += ["--max-runs", str(most - less)]
        place.process = WorkerProcess(self.host.id, command)
        logger.info("worker process %d started (pid %d)", place.number, place.process.pid)

    def _over(self, place: Place, process: WorkerProcess) -> None:
        code = process.popen.returncode
        self._forget(place, process)
        if not code:
            place.start_after, place.crashes = 0.0, 0
            logger.info("worker process %d (pid %d) has done its share and is replaced", place.number, process.pid)
            return
        place.crashes = 1 if time.monotonic() - process.started_at > HEALTHY else place.crashes + 1
        delay = self._backoff.delay(place.crashes)
        place.start_after = time.monotonic() + delay
        words = "worker process %d (pid %d) died with exit code %s, starts again in %.1f s"
        logger.error(words, place.number, process.pid, code, delay)

    def _forget(self, place: Place, process: WorkerProcess) -> None:
        place.process, place.is_new = None, False
        self._dead.append(process)

    def _release(self) -> None:
        """Have released what the dead held: in a thread of its own, because nothing here may wait for the database."""
        if self._releasing is not None:
            future, meant = self._releasing
            if not future.done():
                return
            self._releasing, self._release_at = None, time.monotonic() + PAUSE
            error = future.exception()
            if error is None:
                self._dead = [one for one in self._dead if one not in meant]
                self._release_at = 0.0
            elif not isinstance(error, AWAY):
                raise error
        if self._dead and time.monotonic() >= self._release_at:
            meant = list(self._dead)
            self._releasing = apart(lambda: release_runs_of(meant), "background-database"), meant

    def last_step(self, stop: StopToken) -> None:
        """Stop the children and wait for them; what does not stop is killed."""
        for process in self.processes:
            process.popen.send_signal(signal.SIGTERM)
        for place in self.places:
            if place.process is not None:
                self._end(place.number, place.process, stop)
                self._forget(place, place.process)
        self._guardian.close()
        self._release_in_time(stop.deadline or Deadline())

    def _end(self, number: int, process: WorkerProcess, stop: StopToken) -> None:
        left = stop.remaining()
        try:
            code = process.popen.wait(None if left is None else max(left - spare(), 0))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(LEAST)
            self._problems.append(f"worker process {number} (pid {process.pid}) did not stop and was killed")
            return
        if code not in CLEAN:
            self._problems.append(f"worker process {number} (pid {process.pid}) ended with exit code {code}")

    def _release_in_time(self, deadline: Deadline) -> None:
        """Release what is still to be, as far as there is time for it."""
        while self._dead and not deadline.expired:
            self._release()
            if self._releasing is None:
                time.sleep(LOOK)  # the token is requested already: nothing to wait on
            else:
                wait([self._releasing[0]], deadline.remaining())

    def kill(self) -> None:
        """End all children at once, without a word; for signal handlers. Does not block."""
        for process in self.processes:
            process.popen.kill()
        self._guardian.dismiss()


def release_runs_of(dead: Sequence[WorkerProcess]) -> None:
    """Release what dead processes held, at once: their parent knows better than any timeout. Blocks."""
    alias = database_alias()
    for process in dead:
        for row in HostRow.objects.using(alias).live().filter(parent=process.parent, pid=process.pid):
            HostRow.objects.using(alias).filter(id=row.id).update(
                state=HostRow.State.LOST, stopped_at=dialect().now(), stop_reason="process died"
            )
            forget_services(row, "process died")
    rescue()


def time_of_child() -> float:
    """Return the seconds in which a worker process has to stop, so that its parent has no reason to kill it."""
    total = get_settings().shutdown_timeout
    return total - min(RESERVE, total / 5) - 2 * spare()


def spare() -> float:
    """Return the seconds that a parent needs for the last of its children."""
    return min(0.5, get_settings().shutdown_timeout / 20)


def command_line() -> list[str]:
    """Return how this very command was called, up to its name."""
    if "runbackground" not in sys.argv:  # called by other code: its own arguments are none of ours
        return [sys.executable, "-m", "django", "runbackground"]
    called = get_child_arguments()  # knows of `python -m`, -W and -X
    return called[: len(called) - len(sys.argv) + sys.argv.index("runbackground") + 1]


def watch_parent(pid: int, stop: Callable[[str], Any]) -> None:
    """End this process soon after its parent has: ask it to stop, and insist. Does not block."""

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(LOOK)
        stop("parent died")
        time.sleep(INSIST)
        os._exit(1)

    threading.Thread(target=watch, name="background-parent", daemon=True).start()
