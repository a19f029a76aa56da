"""Own the two ways to pull a source: a job with a report per run, and a service that ticks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from background.contrib.sync.fetching import SourceBusy
from background.contrib.sync.pulling import pull
from background.contrib.sync.source import Source
from background.contrib.sync.state import Report
from background.exceptions import InvalidPolicy, Snooze, StopRequested
from background.jobs.context import RunContext
from background.jobs.tasks import default_name, job
from background.scope import Scope
from background.services.periodic import PeriodicService
from background.stopping import StopToken
from background.timing import Schedule

S = TypeVar("S", bound=type[Source])

logger = logging.getLogger("background.contrib.sync")

# Seconds for which a run waits in its slot; then it comes back later.
LONGEST = 30.0


def sync(schedule: Schedule | str | None = None, **policies: Any) -> Callable[[S], S]:
    """Make a job of a `Source`: each run pulls it once and returns the report. For use as a decorator.

    The class keeps the task as `task`: `Stock.task.enqueue(full=True)` reads all anew. `policies` are those of `@job`; one run
    at a time is the default. Raises InvalidPolicy for atomic=True: pages are committed one by one.
    """
    if policies.get("atomic"):
        raise InvalidPolicy("A synchronisation commits page by page, so that it can go on: leave atomic out.")

    def declare(source: S) -> S:
        def body(context: RunContext, full: bool = False) -> dict[str, Any]:
            try:
                report = pull(
                    source(),
                    name,
                    context.stop,
                    full=str(context.run_id) if full else "",
                    tell=context.progress,
                    longest=LONGEST,
                )
            except SourceBusy as busy:
                raise Snooze(str(busy), after=busy.after) from busy
            context.logger.info("%s", summary(report))
            return report.as_dict()

        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(body, attribute, getattr(source, attribute))
        name = policies.get("name") or default_name(body)
        source.task = job(schedule, takes_context=True, **{"concurrency": 1, **policies})(body)  # type: ignore[attr-defined]
        return source

    return declare


def summary(report: Report) -> str:
    if report.not_modified:
        return "nothing has changed"
    return (
        f"{report.created} created, {report.updated} updated, {report.deleted} deleted, {report.unchanged} unchanged, "
        f"{report.rejected} rejected; {report.pages} pages, {report.requests} requests, {report.waited:.0f} s waited"
    )


class SyncService(PeriodicService):
    """Pulls its `source` at its start and on its `schedule`, on one host at a time; the report is logged."""

    source: ClassVar[type[Source]]
    singleton = True
    run_at_start = True

    def tick(self, scope: Scope) -> Any:
        stop = StopToken() if scope.stop is None else scope.stop
        try:
            report = pull(self.source(), self.get_name(), stop)
        except StopRequested:
            if not stop.requested:
                raise
            return  # the next one goes on
        logger.info("%s: %s", self.get_name(), summary(report))
        self.on_report(report)

    def on_report(self, report: Report) -> Any:
        """Called after each pass."""
