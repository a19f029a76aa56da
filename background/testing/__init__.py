"""Own what a site's tests use: runs drained in the test's thread, due schedules, a real host, a clock to turn."""

from background.testing.clock import FakeClock
from background.testing.draining import drain, run_due
from background.testing.hosting import run_host

__all__ = ["FakeClock", "drain", "run_due", "run_host"]
