"""Own the pytest fixtures `drain` and `background_host`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def drain(db: Any) -> Callable[..., Any]:
    """The function `background.testing.drain`, with the database allowed."""
    from background.testing import drain  # noqa: PLC0415 - Django is set up only now

    return drain


@pytest.fixture
def background_host(transactional_db: Any) -> Iterator[Callable[..., Any]]:
    """A function that starts a host like `run_host`; it is stopped at the end of the test."""
    from background.testing import run_host  # noqa: PLC0415 - Django is set up only now

    with ExitStack() as stack:
        yield lambda *services, **settings: stack.enter_context(run_host(*services, **settings))
