"""Own the value that says what happened to a claimed run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from background.queue.holding import Claim


class Kind(StrEnum):
    # Its function returned.
    SUCCEEDED = "succeeded"
    # It raised, and no attempt is left (or none would help).
    FAILED = "failed"
    # It raised and is tried again after `delay`.
    RETRY = "retry"
    # It asked to come back after `delay`; burns no attempt.
    SNOOZED = "snoozed"
    # It was asked to end, and ended.
    CANCELLED = "cancelled"
    # It was not started or was interrupted by the host's stop; burns no attempt.
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Line:
    """One captured log line."""

    sequence: int
    created_at: datetime
    level: str
    message: str


@dataclass(slots=True)  # not frozen, as Claim
class Outcome:
    """What happened to a claimed run in this attempt."""

    claim: Claim
    kind: Kind
    result: Any = None
    error: dict[str, Any] | None = None
    fingerprint: str = ""
    delay: float = 0
    reason: str = ""
    lines: tuple[Line, ...] = ()
    lines_dropped: int = 0
    progress: tuple[float, float | None, str] | None = None
    frees: bool = True  # its slot is free; False where the next run of its lane goes on in it
    waited: float = 0  # seconds from the claim to the start of the function
    took: float | None = None  # seconds from there to its end; None: not measured, it ends now
