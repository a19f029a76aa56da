"""Own a host's belief that it may run a singleton."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

from background.engine import leases
from background.timing.elapsed import elapsed


class Lease:
    """The right to run one singleton here, believed until a time of the monotonic clock. Thread-safe.

    `lost` is called when it is over although nobody gave it back.
    """

    def __init__(self, service: str, holder: Callable[[], uuid.UUID]) -> None:
        self.name = f"service:{service}"
        self.lost: Callable[[], object] = lambda: None
        self._holder = holder
        self._until = 0.0
        self._lock = threading.Lock()

    @property
    def is_held(self) -> bool:
        return self._until > 0

    def take(self) -> bool:
        """Tell whether it is held now. Blocks for a few queries."""
        until = leases.acquire(self.name, self._holder())
        with self._lock:
            self._until = until or 0.0
        return until is not None

    def give_back(self) -> None:
        """Let another host have it at once. Blocks for a query."""
        if self._end():
            leases.release(self.name, self._holder())

    def believe(self, until: float) -> None:
        """It was renewed; it may be believed until then."""
        with self._lock:
            if self._until:
                self._until = max(self._until, until)

    def lease_lost(self) -> None:
        """Another host may have it."""
        if self._end():
            self.lost()

    def check(self) -> None:
        """Lose it if its time is over."""
        if self._until and elapsed() >= self._until:
            self.lease_lost()

    def _end(self) -> bool:
        with self._lock:
            held, self._until = self._until, 0.0
        return held > 0
