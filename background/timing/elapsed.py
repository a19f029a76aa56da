"""Own the clock by which a host measures how long something is ago: it also runs while the machine sleeps."""

import time

_BOOT = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere a sleeping machine's host learns by its next heartbeat


def elapsed() -> float:
    """Return seconds since some instant in the past; never set, never going back. Does not block."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
