"""Code that comes and goes."""

import pytest

from background.jobs import tasks as declarations
from background.jobs.tasks import BackgroundTask


@pytest.fixture
def code():
    """Return a function that declares a task for the time of one test."""
    before = list(declarations.DECLARED)
    known = dict(declarations.KNOWN)

    def declare(function, **policies):
        function.__qualname__ = function.__name__ = f"declared_{len(declarations.KNOWN)}"
        return BackgroundTask(
            func=function, **{"priority": 0, "backend": "default", "queue_name": "default", **policies}
        )

    yield declare
    declarations.DECLARED[:] = before
    declarations.KNOWN.clear()
    declarations.KNOWN.update(known)
