"""Own a clock that tests turn by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """An instant that moves only when told to; pass `clock()` as `now` to `drain` and `run_due`."""

    def __init__(self, now: datetime | None = None) -> None:
        """Begin at `now` (aware; default: the real time)."""
        if now is not None and now.tzinfo is None:
            raise ValueError("FakeClock takes a datetime with a time zone.")
        self.now = (now or datetime.now(UTC)).astimezone(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> datetime:
        """Move on by timedelta's keywords, such as minutes=5, and return the new time."""
        self.now += timedelta(**duration)
        return self.now

    def set(self, now: datetime) -> datetime:
        self.now = now.astimezone(UTC)
        return self.now
