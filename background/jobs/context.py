"""Own what a run's function may see and say of its own run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from background.compat import TaskContext

if TYPE_CHECKING:
    from background.stopping import StopToken

T = TypeVar("T")


class Reports(Protocol):
    """Where a run's words go; the runner brings one."""

    def progress(self, done: float, total: float | None, message: str) -> None: ...
    def attach(self, name: str, content: Any, content_type: str | None) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class RunContext(TaskContext):
    """The first argument of a task made with takes_context=True, and what `current_run()` returns."""

    run_id: Any
    number: int
    stop: StopToken
    logger: logging.Logger
    reports: Reports

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self.number

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the run is; shown within about a second. Does not block. A sign of life for `stop`'s watchers."""
        self.reports.progress(done, total, message)

    def track(self, iterable: Iterable[T], total: float | None = None) -> Iterator[T]:
        """Yield from `iterable`, counting; ends with StopRequested when the run is asked to stop."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        done = -1
        for done, item in enumerate(iterable):
            self.stop.raise_if_requested()
            self.progress(done, total)
            yield item
        self.progress(done + 1, total)

    def attach(self, name: str, content: Any, content_type: str | None = None) -> Any:
        """Keep a file with the run (bytes, text or a file object) in the default storage; returns the Artifact. Blocks."""
        return self.reports.attach(name, content, content_type)


# Makes the context when somebody asks for it: most functions do not.
CURRENT: ContextVar[Callable[[], RunContext] | None] = ContextVar("background_current_run", default=None)


def current_run() -> RunContext | None:
    """Return the context of the run that is being executed here, or None."""
    made = CURRENT.get()
    return made() if made is not None else None


# What the runs that are enqueued here are about.
ABOUT: ContextVar[str] = ContextVar("background_about", default="")


def subject_of(record: Any) -> str:
    """Return the name under which runs keep a record of the site: app_label.model:pk."""
    return f"{record._meta.label_lower}:{record.pk}"


@contextmanager
def about(record: Any) -> Iterator[None]:
    """Link the runs that are enqueued in this block to a record of the site, for the admin; its key must be known by then."""
    if record.pk is None:
        raise ValueError(f"{record!r} is not saved yet: a run cannot be linked to it.")
    before = ABOUT.set(subject_of(record)[:300])
    try:
        yield
    finally:
        ABOUT.reset(before)
