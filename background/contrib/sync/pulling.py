"""Own a pass: page after page, each committed with the place behind it, then the deletions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import router

from background.contrib.sync.fetching import Answer, Fetcher, Refused, SyncFailed, shown
from background.contrib.sync.source import Page, Source
from background.contrib.sync.state import Place, Report, State
from background.contrib.sync.writing import ready, remove_unseen, unseen, write
from background.dialects import dialect
from background.scope import refresh_connections
from background.stopping import StopToken

logger = logging.getLogger("background.contrib.sync")

Tell = Callable[[int, int | None, str], None]
# With these a source says that it does not know a place (any more).
FORGOTTEN = (400, 404, 410, 422)


def pull(
    source: Source,
    name: str,
    stop: StopToken,
    *,
    full: str = "",
    tell: Tell = lambda done, total, message: None,
    longest: float | None = None,
) -> Report:
    """Do one pass, or what is left of the last one, and return its report. Blocks.

    `name` is that of the checkpoint; `full`, the name of a wish, leaves aside what it knows, once. Raises SyncFailed,
    SourceBusy (where the source wants a wait above `longest` seconds), StopRequested, and what the database says. Each time it
    can go on from there.
    """
    source.check()
    return Pass(source, Place(name), stop, tell, longest).go(full)


class Pass:
    """One call of `pull`."""

    def __init__(self, source: Source, place: Place, stop: StopToken, tell: Tell, longest: float | None) -> None:
        self._source, self._place, self._stop, self._tell = source, place, stop, tell
        self._fetcher = Fetcher(source, stop, longest)
        self._noted = (0, 0.0)  # requests, and seconds waited, that the report has already
        self._seen: set[str] = set()  # places of this pass

    def go(self, full: str) -> Report:
        try:
            state = self._begin(full)
            if not state.read and not self._read(state):
                return self._counted(state.report, not_modified=True)
            return self._finish()
        finally:
            self._fetcher.close()

    def _begin(self, full: str) -> State:
        stored, now = self._place.stored, dialect().now()
        if last := stored.begun or stored.last:  # whatever the clock does, a pass is later than the one before
            now = max(now, datetime.fromisoformat(last) + timedelta(microseconds=1))
        fresh = State(etag=stored.etag, later=stored.later, begun=now.isoformat())
        if full and full != stored.wish:
            return State(begun=now.isoformat(), wish=full)
        if not stored.begun or stored.stamp < now - timedelta(seconds=self._source.resume_seconds):
            return replace(fresh, feed=True, cursor=stored.later) if stored.later else fresh
        logger.info("%s goes on behind page %d", type(self._source).__name__, stored.report.pages)
        return replace(stored, report=stored.report.plus(resumed=1))

    def _read(self, state: State) -> bool:
        """Read the pages that are left; whether there was anything new."""
        first = True
        while not state.read:
            fresh = not state.report.pages and not state.feed
            try:
                answer = self._ask(state, state.etag if fresh else "")
            except Refused as error:
                if not (first and state.cursor and error.status in FORGOTTEN):
                    raise
                logger.warning("%s is not known any more (%s); all is read anew", "the place", error)
                state = self._begin(state.begun)
                continue
            finally:
                first = False
            if answer.not_modified:
                return False
            state = self._take(state, answer)
        return True

    def _ask(self, state: State, etag: str) -> Answer:
        if state.report.pages >= self._source.max_pages:
            raise self._failed(f"There are more than max_pages={self._source.max_pages:,} pages.", state)
        url = self._fetcher.address(state.cursor)
        if str(url) in self._seen:
            raise self._failed(
                f"{shown(url)} names a page as the next one that was read before: it would never end.", state
            )
        self._seen.add(str(url))
        return self._fetcher.get(url, etag)

    def _failed(self, message: str, state: State) -> SyncFailed:
        """Forget the pass, which could not come to its end from here either; return the error."""
        self._place.commit(lambda: State(etag=state.etag, later=state.later, last=state.begun))
        return SyncFailed(message)

    def _take(self, state: State, answer: Answer) -> State:
        """Commit a page with the place behind it."""
        page = self._source.read(answer.body, answer.links)
        self._fetcher.address(page.next)  # a place that cannot be gone to must not be noted
        found = ready(self._source, page.items)
        counted = self._counted(state.report)

        def work() -> State:
            written = write(self._source, found, state.stamp)
            if found.rejected:
                self._source.reject(found.rejected)
            more = {"pages": 1, "rejected": len(found.rejected), "nameless": found.nameless}
            return self._after(state, page, answer, counted.plus(**written._asdict(), **more))

        refresh_connections()
        after = self._place.commit(work)
        self._noted = (self._fetcher.requests, self._fetcher.waited)
        self._tell(after.report.items, page.total, f"page {after.report.pages}")
        return after

    def _after(self, state: State, page: Page, answer: Answer, report: Report) -> State:
        """Return the state behind a page."""
        first_etag = state.first_etag if state.report.pages else answer.etag
        if page.next:
            return replace(state, cursor=page.next, first_etag=first_etag, report=report)
        if report.pages > 1 and not self._source.whole_etag:
            first_etag = ""  # it speaks of the first page alone
        return replace(state, cursor=None, read=True, first_etag=first_etag, later=page.later, report=report)

    def _counted(self, report: Report, **more: Any) -> Report:
        requests, waited = self._noted
        counted = report.plus(requests=self._fetcher.requests - requests)
        return replace(counted, waited=round(report.waited + self._fetcher.waited - waited, 3), **more)

    def _finish(self) -> Report:
        """Let go of what the source has no more, and note the end of the pass."""
        withheld = self._why_not()
        if not withheld and self._source.seen and not self._place.stored.feed:
            self._remove()
        state = self._place.stored
        report = replace(state.report, withheld=withheld)
        etag = "" if withheld else state.first_etag
        self._place.commit(lambda: State(etag, state.later, last=state.begun, wish=state.wish, report=report))
        if withheld and not report.items:
            raise SyncFailed(f"{type(self._source).__name__}: nothing was deleted: {withheld}.")
        if report.rejected and report.rejected == report.items:
            raise SyncFailed(
                f"{type(self._source).__name__}: none of {report.items} items can be used; the log tells why."
            )
        if withheld:
            logger.warning("%s: nothing was deleted: %s", type(self._source).__name__, withheld)
        return report

    def _why_not(self) -> str:
        """Return why rows that were not seen must stay; "" where they may go."""
        state = self._place.stored
        if not self._source.seen or state.feed:
            return ""
        if state.report.nameless:
            return f"{state.report.nameless} items had no {self._source.key}"
        if not state.report.items and not self._source.may_be_empty:
            alias = router.db_for_write(self._source.get_model())
            if unseen(self._source, state.stamp, alias).exists():
                return "the source answered without a single item; if that may be, set may_be_empty"
        return ""

    def _remove(self) -> None:
        state, last, removed = self._place.stored, None, 1

        def work() -> State:
            nonlocal last, removed
            removed, last = remove_unseen(self._source, state.stamp, last)
            return replace(state, report=state.report.plus(deleted=removed))

        while removed:
            self._stop.raise_if_requested()
            state = self._place.commit(work)
