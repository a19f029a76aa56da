"""Own what is known of a service on this host: its state, its health, its last error; the heartbeat writes it to its row."""

from __future__ import annotations

import logging
import threading
import traceback
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from background.execution.capture import Tail
from background.jobs.policies import storable
from background.models import Service, ServiceStart
from background.models.ids import uuid7
from background.services.base import BackgroundService, Tick
from background.services.periodic import TooManyFailures
from background.signals import service_failed

logger = logging.getLogger("background.host")

State = Service.State
Reason = ServiceStart.Reason
WORDS: dict[str, str] = {
    State.RUNNING: "started",
    State.STOPPED: "stopped",
    State.STANDBY: "stands by: another host has the lease",
    State.PAUSED: "is paused: it rests until a person resumes it",
}
# Lives that are kept until they are written: a service that crashes in a circle must not keep the heartbeat busy.
UNWRITTEN = 10
# Columns of a service's row that are kept here under the same name.
FACTS = (
    "state", "healthy", "engine", "error", "error_at", "restarts", "failures", "iterations", "since", "next_start_at", "next_tick_at",
    "last_beat_at", "last_duration",
)  # fmt: skip
# States that a service can enter only in good health.
RESTED = (State.RUNNING, State.STOPPED, State.PAUSED)


@dataclass
class Life:
    """One start of a service, and how it ended."""

    restart: int
    id: uuid.UUID = field(default_factory=uuid7)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime | None = None
    reason: str = ""
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Return the columns of its row."""
        return {name: value for name, value in vars(self).items() if name != "id"}


class Standing:
    """The facts of one service's row; `changed` is called, from whatever thread, when there is something to write."""

    def __init__(self, service: BackgroundService, engine: bool, changed: Callable[[], None]) -> None:
        self.service = service
        self.name = service.get_name()
        self.engine = engine
        self._changed = changed
        self.dirty = True
        self.tail = Tail(self._note_line)
        self._lock = threading.Lock()
        self._final = False
        self._life: Life | None = None
        self._lives: dict[uuid.UUID, Life] = {}  # those that are not written
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

    def enter(self, state: str, of: Collection[str] = (), for_ever: bool = False) -> None:
        """Be in a state from now on; only if the present one is among `of`, where that is given."""
        with self._lock:
            if self._final or (of and self.state not in of):
                return
            self.state, self.since, self._final = state, datetime.now(UTC), for_ever
            self.healthy = state != State.FAILED and (self.healthy or state in RESTED)
        word = WORDS.get(state)
        if word:
            logger.log(logging.DEBUG if self.engine else logging.INFO, "%s %s", self.name, word)
        self.touch()

    def begin_life(self) -> None:
        """Take note of a start; those of the engine are not told: they are the host's."""
        if not self.engine:
            with self._lock:
                self._life = Life(self.restarts)
                self._keep(self._life)

    def end_life(self, reason: str, error: BaseException | None = None) -> None:
        """Take note of how the life that began last has ended."""
        with self._lock:
            if (life := self._life) is None:
                return
            self._life = None
            life.ended_at, life.reason = datetime.now(UTC), reason
            life.error = storable(f"{type(error).__name__}: {error}")[:300] if error is not None else ""
            self._keep(life)
        self.touch()

    def _keep(self, life: Life) -> None:
        """Keep a life until it is written; of those that end faster than that only the last."""
        self._lives[life.id] = life
        while len(self._lives) > UNWRITTEN:
            del self._lives[next(iter(self._lives))]

    def take_lives(self) -> list[Life]:
        """Return what is to be written of the lives, once, the oldest first."""
        with self._lock:
            taken = [replace(life) for life in self._lives.values()]
            self._lives.clear()
        return taken

    def give_back(self, lives: list[Life]) -> None:
        """Keep what could not be written, unless there is something newer."""
        with self._lock:
            self._lives = {**{life.id: life for life in lives}, **self._lives}

    def touch(self) -> None:
        self.dirty = True
        self._changed()

    def note_failure(self, error: BaseException, words: str = "%s failed: %r") -> None:
        """Take note of an exception of execute or of a hook."""
        logger.error(words, self.name, error, exc_info=error)
        self._note_error(error)
        if not isinstance(error, TooManyFailures):  # its ticks are counted already
            self.failures += 1
        self.touch()

    def note_health(self) -> None:
        """Take note that it has worked for long: what failed before is past."""
        if self.failures:
            self.failures = 0
            self.touch()

    def note_deaf(self, stack: str) -> None:
        """Take note that it was told to stop and does not."""
        self.healthy = False
        self.error, self.error_at = storable(f"It does not stop; it stands at:\n{stack}")[-20_000:], datetime.now(UTC)
        self.touch()

    def note_tick(self, tick: Tick) -> None:
        """Take note of a tick, or of when the first will be; a failing one is logged by the service itself."""
        if tick.duration is None:
            self.next_tick_at, self.dirty = tick.next_at, True
            return
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

    def _note_line(self) -> None:
        self.dirty = True  # written within a second

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
            **{name: getattr(self, name) for name in FACTS},
            "singleton": self.service.singleton,
            "schedule": str(schedule)[:255] if schedule else "",
            "log": self.tail.lines(),
        }
