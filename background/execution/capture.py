"""Own what is said while code is executed, until it is written: log lines and progress of a run, the last lines of a service."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime

from background.conf import get_settings
from background.jobs.policies import storable
from background.queue.outcome import Line

Progress = tuple[float, float | None, str]

MAX_LINE = 10_000
# Of a service: lines, and characters of each; they are written with its row, every second if it is talkative.
TAIL, SHORT = 50, 300
# Loggers that speak about runs, not for them: ours, and that of Django's signals.
MACHINERY = ("background.", "django.tasks", "django_tasks")
# The ready-made parts are what runs, not what runs them; so is what acts on all runs that match.
PARTS = ("background.contrib.", "background.admin.sweep")


class Capture:
    """The words of one run in this attempt; filled by its thread, emptied by the recorder.

    `sequence` is the number of the last line that earlier attempts left.
    """

    __slots__ = ("dropped", "lines", "progress", "sequence")

    _lock = threading.Lock()  # one for all: held for a moment only

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self.lines: list[Line] = []
        self.dropped = 0
        self.progress: Progress | None = None

    def add(self, record: logging.LogRecord) -> None:
        with self._lock:
            if self.sequence >= get_settings().max_log_lines:
                self.dropped += 1
                return
            self.sequence += 1
            at = datetime.fromtimestamp(record.created, UTC)
            self.lines.append(Line(self.sequence, at, record.levelname, message_of(record)))

    @property
    def is_heard(self) -> bool:
        """Whether there is something to take: asked without the lock, for most runs say nothing."""
        return bool(self.lines) or self.progress is not None

    def take(self) -> tuple[list[Line], Progress | None]:
        """Return what was said since the last time."""
        with self._lock:
            lines, self.lines = self.lines, []
            progress, self.progress = self.progress, None
        return lines, progress

    def hear(self, lines: Sequence[Line], progress: Progress | None) -> None:
        """Take over what was said in another process."""
        with self._lock:
            self.lines.extend(lines)
            self.progress = progress or self.progress

    def give_back(self, lines: Sequence[Line], progress: Progress | None) -> None:
        """Undo `take`: it could not be written."""
        with self._lock:
            self.lines[:0] = lines
            self.progress = self.progress or progress


class Tail:
    """The last log lines of a service on this host; `said` is called with each."""

    def __init__(self, said: Callable[[], None]) -> None:
        self._said = said
        self._lock = threading.Lock()
        self._lines: deque[tuple[str, str, str]] = deque(maxlen=TAIL)

    def add(self, record: logging.LogRecord) -> None:
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        text = storable(record.getMessage())[:SHORT]  # no traceback: the last one has a column of its own
        with self._lock:
            self._lines.append((at, record.levelname[:10], text))
        self._said()

    def lines(self) -> list[list[str]]:
        """Return (when, level, message) of each, the oldest first."""
        with self._lock:
            return [list(line) for line in self._lines]


def message_of(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return storable(text)[:MAX_LINE]


CAPTURE: ContextVar[Capture | None] = ContextVar("background_capture", default=None)
# `tail` of the thread of a service: its ticks have fresh contexts, but no other thread.
HERE = threading.local()


class CaptureHandler(logging.Handler):
    """Hands the log records of a run's context to its capture, of a service's thread to its tail; installed once on the root logger."""

    def emit(self, record: logging.LogRecord) -> None:
        capture = CAPTURE.get()
        heard: Capture | Tail | None = capture or getattr(HERE, "tail", None)
        is_own = not record.name.startswith(MACHINERY) or record.name.startswith(PARTS)
        if heard is not None and (is_own or capture is None):  # what becomes of a service is told by the machinery
            try:
                heard.add(record)
            except Exception:  # noqa: BLE001 - as in logging's own handlers: a bad record harms no run
                self.handleError(record)


_handler = CaptureHandler()


def install() -> None:
    """Begin to capture, at the level of CAPTURE_LOGS. Idempotent."""
    level = get_settings().capture_logs
    root = logging.getLogger()
    if level is None:
        root.removeHandler(_handler)
        return
    _handler.setLevel(level)
    if _handler not in root.handlers:
        if not root.handlers and logging.lastResort is not None:  # else nobody would print warnings any more
            root.addHandler(logging.lastResort)
        root.addHandler(_handler)
    if root.level > _handler.level:
        root.setLevel(_handler.level)
