"""Tasks made for one test: known to the registry until its end."""

import pytest

import background
from background.jobs.tasks import DECLARED, KNOWN
from background.testing import draining


@pytest.fixture
def declare():
    """`background.job`, undone at the end of the test."""
    known, declared = dict(KNOWN), list(DECLARED)
    yield background.job
    KNOWN.clear()
    KNOWN.update(known)
    DECLARED[:] = declared


@pytest.fixture
def task(declare):
    """Make a task of a function of the test, with these policies."""
    return lambda function, **policies: known(declare, function, **policies)


@pytest.fixture
def execute(declare, db):
    """Drain one run of a function, declared with the given policies; returns the run's row."""

    def run(function, *args, _now=None, **policies):
        task = known(declare, function, **policies)
        task.enqueue(*args)
        return draining.drain(now=_now)[-1]

    return run


def known(declare, function, **policies):
    """Declare a function of a test, as if it stood in a module: Django takes no others."""
    function.__qualname__ = function.__name__
    function.__module__ = __name__
    return declare(name=f"test.{function.__name__}", **policies)(function)
