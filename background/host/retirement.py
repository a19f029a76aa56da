"""Own the end of a worker process that has done its share: it begins nothing more, finishes what it has, and is replaced."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.engine.base import EngineService

if TYPE_CHECKING:
    from background.engine.worker import Worker
    from background.stopping import StopToken

try:
    import psutil
except ImportError:
    psutil = None  # type: ignore[assignment]

logger = logging.getLogger("background.host")

# Runs are counted, and memory is measured, this often (seconds).
LOOK = 0.2
MEASURE = 1.0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker process does before another takes its place; None: without limit."""

    runs: int | None = None
    megabytes: int | None = None

    def __bool__(self) -> bool:
        return self.runs is not None or self.megabytes is not None

    def first(self, number: int, of: int) -> Share:
        """Return the share of the first process in a place: less from place to place, so that they do not end together."""
        return replace(self, runs=self.runs - self.runs * (number - 1) // (2 * of)) if self.runs else self

    def flags(self) -> list[str]:
        """Return it as arguments of the command."""
        runs = ["--max-runs-per-process", str(self.runs)] if self.runs else []
        return [*runs, *(["--max-memory-per-process", str(self.megabytes)] if self.megabytes else [])]


class Retirement(EngineService):
    """Watches the share of its process; says so to the parent, by one line through a pipe, when it is done."""

    stops_late = False

    def __init__(self, host: Any, share: Share, report_to: int) -> None:
        super().__init__(host)
        self._worker: Callable[[], Worker] = lambda: host.worker  # which is made after this service
        self._share = share
        self._report_to = report_to
        self._reported = False
        self._measure_at = 0.0

    def on_start(self) -> None:
        limit = self._share.megabytes
        if limit and (used := memory()) > limit:
            words = "a worker process takes %.0f MB before its first run: more than the %d MB that it may take"
            logger.warning(words, used, limit)

    def step(self, stop: StopToken) -> float:
        if not self._reported and (why := self._why()):
            self._retire(why)
        return LOOK

    def last_step(self, stop: StopToken) -> None:
        """Report what came between two looks: the worker ends the host when its runs are done."""
        if not self._reported and (why := self._too_many()):
            self._report(why)

    def _why(self) -> str:
        return self._too_many() or self._too_much()

    def _too_many(self) -> str:
        begun, limit = self._worker().begun, self._share.runs
        return f"{begun} runs" if limit and begun >= limit else ""

    def _too_much(self) -> str:
        """Only after a first run: else a limit below what the site needs would replace processes that do nothing."""
        now, limit = time.monotonic(), self._share.megabytes
        if not limit or now < self._measure_at or not self._worker().begun:
            return ""
        self._measure_at = now + MEASURE
        used = memory()
        return f"{used:.0f} MB of memory, more than {limit}" if used > limit else ""

    def _retire(self, why: str) -> None:
        self._report(why)
        self._worker().claim_no_more()

    def _report(self, why: str) -> None:
        self._reported = True
        with suppress(OSError):  # the parent is gone: who watches it ends this process
            os.write(self._report_to, f"{why}\n".encode())


def memory() -> float:
    """Return the resident memory of this process in MB; 0 where nobody can tell. Does not block."""
    if psutil is not None:
        return float(psutil.Process().memory_info().rss) / MEGABYTE
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
