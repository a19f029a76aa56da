"""Own what is known of a service on this host: its state, its health, its last error; the heartbeat writes it to its row."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from background.jobs.policies import storable
from background.models import Service
from background.services.base import BackgroundService, Tick
from background.signals import service_failed

logger = logging.getLogger("background.host")

State = Service.State


class Standing:
    """The facts of one service's row; `changed` is called, from whatever thread, when there is something to write."""

    def __init__(self, service: BackgroundService, engine: bool, changed: Callable[[], None]) -> None:
        self.service = service
        self.name = service.get_name()
        self.engine = engine
        self._changed = changed
        self.dirty = True
        self.state: str = State.STARTING
        self.healthy = True
        self.error = ""
        self.error_at: datetime | None = None
        self.restarts = 0
        self.failures = 0
        self.iterations = 0
        self.since = datetime.now(UTC)
        self.next_start_at: datetime | None = None
        self.next_tick_at: datetime | None = None
        self.last_beat_at: datetime | None = None
        self.last_duration: float | None = None

    def enter(self, state: str) -> None:
        """Be in a state from now on."""
        self.state, self.since = state, datetime.now(UTC)
        if state == State.RUNNING:
            self.healthy = True
        word = {
            State.RUNNING: "started",
            State.STOPPED: "stopped",
            State.STANDBY: "stands by: another host has the lease",
        }.get(state)  # type: ignore[call-overload]
        if word:
            logger.log(logging.DEBUG if self.engine else logging.INFO, "%s %s", self.name, word)
        self.touch()

    def touch(self) -> None:
        self.dirty = True
        self._changed()

    def note_failure(self, error: BaseException) -> None:
        """Take note of an exception of execute, or of a start hook."""
        logger.error("%s failed: %r", self.name, error, exc_info=error)
        self._note_error(error)
        self.failures += 1

    def note_tick(self, tick: Tick) -> None:
        """Take note of a tick; a failing one is logged by the service itself."""
        self.last_beat_at = datetime.now(UTC)
        self.last_duration, self.next_tick_at = tick.duration, tick.next_at
        self.iterations += 1
        self.failures = self.failures + 1 if tick.error else 0
        if tick.error:
            self._note_error(tick.error)
        self.dirty = True  # written within a second: no need to hurry

    def note_beat(self) -> None:
        """Take note of a sign of life; written within a second."""
        self.last_beat_at = datetime.now(UTC)
        self.dirty = True

    def _note_error(self, error: BaseException) -> None:
        self.error = storable("".join(traceback.format_exception(error)))[-20_000:]
        self.error_at = datetime.now(UTC)
        service_failed.send_robust(sender=type(self.service), name=self.name, error=error)

    def judge(self, healthy: bool) -> None:
        """Count the service as healthy or not."""
        if healthy != self.healthy:
            self.healthy = healthy
            logger.warning("%s %s", self.name, "is healthy again" if healthy else "misses its watchdog")
            self.touch()

    def row(self) -> dict[str, Any]:
        """Return the columns of its row."""
        schedule = getattr(self.service, "schedule", None)
        return {
            "state": self.state,
            "healthy": self.healthy,
            "engine": self.engine,
            "singleton": self.service.singleton,
            "schedule": str(schedule)[:255] if schedule else "",
            "error": self.error,
            "error_at": self.error_at,
            "restarts": self.restarts,
            "failures": self.failures,
            "iterations": self.iterations,
            "since": self.since,
            "next_start_at": self.next_start_at,
            "next_tick_at": self.next_tick_at,
            "last_beat_at": self.last_beat_at,
            "last_duration": self.last_duration,
        }
