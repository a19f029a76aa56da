"""Own the writing of outcomes: whatever finished while the last write was in flight goes into the next one."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.db import DatabaseError

from background.engine.base import AWAY, EngineService, HostView
from background.execution.runner import Execution
from background.queue.cancel import cancel_requests
from background.queue.finish import announce, finish, write_progress
from background.queue.holding import Key
from background.queue.outcome import Kind, Outcome
from background.queue.wakeup import wake

if TYPE_CHECKING:
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

# Progress and log lines of running runs are written this often (seconds).
MEANWHILE = 1.0
BATCH = 1000
# Outcomes written together up to which each gets its own line in the log.
TALKATIVE = 5


class Recorder(EngineService):
    """Keeps outcomes until they are written: an outcome that is not written is a run that is not finished."""

    def __init__(
        self, host: HostView, active: Callable[[], list[Execution]], asked: Callable[[Execution, str], None]
    ) -> None:
        super().__init__(host)
        self._active = active
        self._asked = asked
        self._inbox: queue.SimpleQueue[tuple[Execution, Outcome] | None] = queue.SimpleQueue()
        self._kept: list[tuple[Execution, Outcome]] = []
        self._meanwhile_at = 0.0
        self.pending: dict[Key, None] = {}  # claims whose outcome is not written

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be written that no more should be begun: it would be executed again after a crash."""
        return len(self.pending) > 2 * BATCH

    def put(self, execution: Execution, outcome: Outcome) -> None:
        """Take an outcome to be written. Thread-safe, does not block."""
        self.pending[execution.claim.key] = None
        self._inbox.put((execution, outcome))

    def execute(self, stop: StopToken) -> None:
        stop.add_callback(lambda: self._inbox.put(None))
        super().execute(stop)

    def step(self, stop: StopToken) -> float:
        """Write what is there; wait a moment for the next."""
        if not self._kept:
            self._take(MEANWHILE / 4)
        if self._kept:
            self.write()
        if time.monotonic() - self._meanwhile_at >= MEANWHILE:
            self._meanwhile_at = time.monotonic()
            self.write_meanwhile()
        return 0

    def last_step(self, stop: StopToken) -> None:
        """Write the rest, while the deadline allows."""
        while True:
            self._take(0)
            if not self._kept:
                return
            try:
                self.write()
            except AWAY as error:
                left = stop.remaining()
                if left is not None and left <= 0:
                    logger.error(
                        "%d outcomes could not be written: %s; their runs will be rescued", len(self._kept), error
                    )
                    return
                time.sleep(min(0.2, left or 0.2))

    def _take(self, seconds: float) -> None:
        try:
            first = self._inbox.get(timeout=seconds) if seconds else self._inbox.get_nowait()
            while True:
                if first is not None:
                    self._kept.append(first)
                if len(self._kept) >= BATCH:
                    return
                first = self._inbox.get_nowait()
        except queue.Empty:
            return

    def write(self) -> None:
        """Write what is kept in one transaction; one by one if the database refuses the content of one."""
        stored = [outcome for execution, outcome in self._kept if execution.stored]
        outcomes = [outcome for execution, outcome in self._kept if not execution.stored]
        try:
            finish(outcomes)
        except AWAY:
            raise
        except (DatabaseError, ValueError) as error:
            logger.error(
                "a group of %d outcomes was refused by the database, written one by one: %s", len(outcomes), error
            )
            for outcome in outcomes:
                self._write_one(outcome)
        announce(stored)
        say([outcome for _, outcome in self._kept])
        for execution, _ in self._kept:
            self.pending.pop(execution.claim.key, None)
        left, written, self._kept = len(self.pending), len(self._kept), []
        if left <= 2 * BATCH < left + written:
            wake()  # the worker, which began nothing more

    def _write_one(self, outcome: Outcome) -> None:
        try:
            finish([outcome])
        except AWAY:
            raise
        except (DatabaseError, ValueError) as error:
            logger.error("the outcome of run %s cannot be stored: %s", outcome.claim.id, error)
            facts = {
                "attempt": outcome.claim.attempt,
                "at": outcome.claim.started_at.isoformat(),
                "started_at": outcome.claim.started_at.isoformat(),
                "host": outcome.claim.host_name,
                "type": f"{type(error).__module__}.{type(error).__qualname__}",
                "message": "The database refused what this run returned or said.",
                "traceback": "",
            }
            finish([Outcome(outcome.claim, Kind.FAILED, error=facts, fingerprint="refused")])

    def write_meanwhile(self) -> None:
        """Write what running runs say, and hear which of them are asked to end."""
        active = self._active()
        if not active:
            return
        for execution in active:
            lines, progress = execution.capture.take()
            if not lines and progress is None:
                continue
            try:
                write_progress(execution.claim, progress, lines)
            except AWAY:
                execution.capture.give_back(lines, progress)
                raise
        requests = cancel_requests(execution.claim.id for execution in active)
        for execution in active:
            if execution.claim.id in requests:
                self._asked(execution, requests[execution.claim.id])


def say(outcomes: list[Outcome]) -> None:
    """Log what was written: a line per run, or one for all when there are many."""
    if len(outcomes) > TALKATIVE:
        logger.info("%d runs finished", len(outcomes))
        return
    for outcome in outcomes:
        claim = outcome.claim
        if outcome.kind in (Kind.SUCCEEDED, Kind.CANCELLED, Kind.SNOOZED):  # failures are logged where they happen
            logger.info("%s %s (run %s)", claim.job_name or claim.task, outcome.kind.value, str(claim.id)[-8:])
