"""Own the end of a worker process that takes too much memory: it begins nothing more, finishes what it has, and is replaced."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
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

# Memory is measured this often (seconds).
MEASURE = 1.0
MEGABYTE = 1_000_000


class Retirement(EngineService):
    """Watches the memory of its process; where it is too much, the worker ends the host as soon as its runs are done."""

    stops_late = False

    def __init__(self, host: Any, megabytes: int) -> None:
        super().__init__(host)
        self._worker: Callable[[], Worker] = lambda: host.worker  # which is made after this service
        self._limit = megabytes
        self._retired = False

    def on_start(self) -> None:
        if (used := memory()) > self._limit:
            words = "a worker process takes %.0f MB before its first run: more than the %d MB that it may take"
            logger.warning(words, used, self._limit)

    def step(self, stop: StopToken) -> float:
        """Only after a first run: else a limit below what the site needs would replace processes that do nothing."""
        if not self._retired and self._worker().begun and (used := memory()) > self._limit:
            logger.info("%.0f MB of memory, more than %d: this process begins no further run", used, self._limit)
            self._retired = True
            self._worker().claim_no_more()
        return MEASURE


def memory() -> float:
    """Return the resident memory of this process in MB; 0 where nobody can tell. Does not block."""
    if psutil is not None:
        return float(psutil.Process().memory_info().rss) / MEGABYTE
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
