"""Declarations that are forgotten at the end of a test."""

import pytest

from background.jobs.tasks import DECLARED, KNOWN


@pytest.fixture(autouse=True)
def _forget():
    known, declared = dict(KNOWN), list(DECLARED)
    yield
    KNOWN.clear()
    KNOWN.update(known)
    DECLARED[:] = declared
