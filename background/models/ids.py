"""Own how ids are made: by the sender and growing with time (RFC 9562, version 7)."""

import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """Return an id that sorts after every earlier one of this process. Does not block."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 bits of a fraction, as in method 3 of RFC 9562, section 6.2
        now = time.time_ns() * 4096 // 1_000_000
        _last = now = max(now, _last + 1)
    high = (now >> 12) << 16 | 0x7000 | (now & 0xFFF)
    low = int.from_bytes(os.urandom(8)) & (1 << 62) - 1 | 1 << 63
    return uuid.UUID(int=high << 64 | low)


def first_id(instant: datetime) -> uuid.UUID:
    """Return the smallest id that can be made from this instant on: a window of time as a bound on ids."""
    # In integers: a float of seconds is too coarse for the fraction of a millisecond.
    ticks = (instant - EPOCH) // timedelta(microseconds=1) * 4096 // 1000
    return uuid.UUID(int=((ticks >> 12) << 16 | 0x7000 | (ticks & 0xFFF)) << 64 | 1 << 63)


def made_at(id: uuid.UUID) -> datetime:
    """Return the instant at which an id was made, to the millisecond."""
    return EPOCH + timedelta(milliseconds=id.int >> 80)
