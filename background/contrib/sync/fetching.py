"""Own the way to the source: one request at a time, bounded in time and size, patient where the source asks for it."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from background.exceptions import BackgroundError
from background.stopping import StopToken
from background.timing import Backoff

try:
    import httpx
except ImportError:  # an extra
    httpx = None  # type: ignore[assignment, unused-ignore]

if TYPE_CHECKING:
    from background.contrib.sync.source import Source

logger = logging.getLogger("background.contrib.sync")
logging.getLogger("httpx").setLevel(
    logging.WARNING
)  # at INFO it tells whole addresses, and what stands in them may be secret

# Requests that may fail one after another before the run does; "too busy" may be said more often.
TRIES = 4
BUSY = 20
RETRY = Backoff(initial=1, maximum=60)
LEAST = 0.1
# Nobody is believed who says that he is busy for longer.
DAY = 86400.0
# Seconds that one answer may take in all, in multiples of the timeout between two bytes.
WHOLE = 10
# Between two signs of life of a long wait.
SLICE = 10.0


class SyncFailed(BackgroundError):
    """The source did not answer as it should."""


class Refused(SyncFailed):
    """The source refused a request."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class SourceBusy(BackgroundError):
    """The source asks to come back later than a run should wait."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request; without a body where nothing had changed."""

    body: Any = None
    etag: str = ""
    links: Mapping[str, Any] = field(default_factory=dict)
    not_modified: bool = False


class Fetcher:
    """A connection to one source. Waits on `stop`; raises SourceBusy instead where the wait would be above `longest`."""

    def __init__(self, source: Source, stop: StopToken, longest: float | None = None) -> None:
        if httpx is None:
            raise SyncFailed("Synchronisation needs httpx: pip install httpx, or the extra `sync` of this package.")
        self.requests, self.waited = 0, 0.0
        self._source, self._stop, self._longest = source, stop, longest
        self._last = -DAY
        agreed = {"Accept": "application/json", "User-Agent": "django-hosted-background"}
        options: dict[str, Any] = {"timeout": source.timeout, "headers": {**agreed, **source.headers()}}
        self._client = httpx.Client(**{**options, **source.client_options()})

    def close(self) -> None:
        self._client.close()

    def address(self, cursor: str | None) -> Any:
        """Return the address of a page; SyncFailed where the source names one at another site, which would get our headers."""
        try:
            base = httpx.URL(self._source.url)
            if cursor is None:
                return base
            if self._source.cursor_param:
                return base.copy_merge_params({self._source.cursor_param: cursor})
            url = base.join(cursor)
        except httpx.InvalidURL as error:
            raise SyncFailed(f"{type(self._source).__name__}: a page has no proper address: {error}.") from error
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise SyncFailed(f"{shown(base)} names a next page at another site: {shown(url)}. It is not followed.")
        return url

    def get(self, url: Any, etag: str = "") -> Answer:
        """Return the answer, after as many tries as it takes. Blocks; raises SyncFailed, SourceBusy and StopRequested."""
        tries = busy = 0
        while True:
            self._keep_pace()
            self._stop.raise_if_requested()
            self._stop.beat()
            try:
                status, headers, content = self._send(url, etag)
            except httpx.RequestError as error:
                trouble, told = f"{type(error).__name__}: {error}", None
            except httpx.InvalidURL as error:
                raise SyncFailed(f"{shown(url)}: {error}") from error
            else:
                if status == 200:
                    return self._parse(url, headers, content)
                if status == 304 and etag:
                    return Answer(etag=etag, not_modified=True)
                if status not in (429, *range(500, 600)):
                    raise Refused(refusal(url, status, headers), status)
                trouble, told = f"status {status}", retry_after(headers)
            if trouble in ("status 429", "status 503"):
                busy += 1
            else:
                tries += 1
            if tries >= TRIES or busy >= BUSY:
                raise SyncFailed(f"{shown(url)} failed {tries + busy} times in a row, the last time with {trouble}.")
            seconds = told if told is not None else RETRY.delay(tries + busy)
            logger.info("%s: %s; again in %.1f s", shown(url), trouble, seconds)
            self._wait(max(seconds, LEAST), trouble)

    def _send(self, url: Any, etag: str) -> tuple[int, Any, bytes]:
        self._last = time.monotonic()
        self.requests += 1
        until = self._last + self._source.timeout * WHOLE
        with self._client.stream("GET", url, headers={"If-None-Match": etag} if etag else {}) as response:
            parts, size = [], 0
            for part in response.iter_bytes() if response.status_code == 200 else ():
                parts.append(part)
                size += len(part)
                if size > self._source.max_bytes:
                    raise SyncFailed(f"{shown(url)} sends more than max_bytes={self._source.max_bytes:,}.")
                if time.monotonic() > until:
                    raise httpx.ReadTimeout(f"the answer took more than {self._source.timeout * WHOLE:.0f} s")
            return response.status_code, response.headers, b"".join(parts)

    def _parse(self, url: Any, headers: Any, content: bytes) -> Answer:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            kind = headers.get("content-type", "something").partition(";")[0]
            raise SyncFailed(f"{shown(url)} answered with {kind}, not with JSON: {content[:60]!r}…") from error
        links = {str(name): link for name, link in httpx.Response(200, headers=headers).links.items()}
        return Answer(body, headers.get("etag", "")[:500], links)

    def _keep_pace(self) -> None:
        if self._source.per_minute:
            due = self._last + 60 / self._source.per_minute
            if (left := due - time.monotonic()) > 0:
                self._wait(left, "per_minute")

    def _wait(self, seconds: float, why: str) -> None:
        if self._longest is not None and seconds > self._longest:
            raise SourceBusy(f"{shown(self._source.url)} asks to come back in {seconds:.0f} s ({why}).", seconds)
        started = time.monotonic()
        while (left := started + seconds - time.monotonic()) > 0:
            if self._stop.wait(min(left, SLICE)):
                break
            self._stop.beat()
        self.waited += time.monotonic() - started
        self._stop.raise_if_requested()


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Return the seconds that `Retry-After` asks for, as a number or a date, up to a day; None where it says nothing."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), DAY)
    until, here = _date(text), _date(headers.get("date", ""))  # by the source's own clock, if it tells
    return None if until is None else min(max((until - (here or now())).total_seconds(), 0.0), DAY)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def refusal(url: Any, status: int, headers: Any) -> str:
    if status in (401, 403):
        return f"{shown(url)} refused with status {status}: are the headers() with the credentials right?"
    if 300 <= status < 400:
        return (
            f"{shown(url)} has moved to {shown(headers.get('location', 'nowhere'))} (status {status}): set url to that."
        )
    return f"{shown(url)} answered with status {status}."


def shown(url: Any) -> str:
    """Return an address as it may be logged: without what stands before the host or behind the path."""
    return re.sub(r"//[^/@]*@", "//", re.sub(r"[?#].*", "", str(url), flags=re.DOTALL))[:300]
