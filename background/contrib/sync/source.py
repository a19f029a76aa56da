"""Own what an app subclasses: where its data comes from, and which rows it becomes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from background.contrib.sync.fetching import SyncFailed

logger = logging.getLogger("background.contrib.sync")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the source: its items, and where to go on."""

    items: list[Any]
    next: str | None = None  # the address or cursor of the next page; None: this was the last
    later: str = ""  # with the last page: where the next run goes on, with what has changed by then
    total: int | None = None  # items in all, for the progress


class Rejected(NamedTuple):
    """An item that cannot become a row, and why."""

    item: Any
    error: str


class Source:
    """An HTTP API whose items become rows of a model, a page and a transaction at a time.

    Say at least `url`, `model`, `key` and `row(item)`. Names of parts of an answer (`items`, `next`, `later`, `total`) are
    its keys, with dots between levels. An answer that is a list by itself has its next page in the header `Link`.
    """

    url: str = ""
    model: ClassVar[type[models.Model] | str] = ""  # or "app_label.Model"
    key: str = ""  # the field by which the source's items and the rows know each other
    unique: Sequence[str] = ()  # the fields of the unique constraint, where they are more than the key
    seen: str = ""  # a nullable DateTimeField: the last full pass that met the row; without it nothing is deleted

    items: str = "results"
    next: str = "next"
    later: str = ""
    total: str = "count"
    cursor_param: str = ""  # the parameter that takes `next` and `later`; without it they are addresses

    whole_etag: bool = False  # the first page's ETag changes with any item, not only with those on that page
    may_be_empty: bool = False  # an answer without items means that all are gone
    timeout: float = 20  # seconds without a byte
    max_bytes: int = 10 * 2**20  # of one page
    max_pages: int = 10_000  # of one pass
    per_minute: float | None = None  # requests at most; None: as quick as the source allows
    resume_seconds: float = 3600  # an older pass is begun anew, not resumed

    def headers(self) -> Mapping[str, str]:
        """Return headers for each request, such as Authorization; they are never logged."""
        return {}

    def client_options(self) -> dict[str, Any]:
        """Return further arguments of httpx.Client: a certificate, a proxy, a transport."""
        return {}

    def row(self, item: Any) -> dict[str, Any]:
        """Return the fields of the row that an item becomes, the key among them; an item that raises is rejected."""
        raise NotImplementedError(f"{type(self).__name__} needs a row(self, item).")

    def is_deleted(self, item: Any) -> bool:
        """Whether an item says that it is gone; its `row` needs the key alone."""
        return False

    def rows(self) -> models.QuerySet[Any]:
        """Return the rows that belong to this source; by default all of the model."""
        return self.get_model()._default_manager.all()

    def remove(self, rows: models.QuerySet[Any]) -> Any:
        """Let go of rows that the source has no more, up to a thousand at a time. Joins the caller's transaction."""
        rows.delete()

    def reject(self, rejected: list[Rejected]) -> None:
        """Take the items of a page that cannot become rows; by default the log tells the first and the number."""
        logger.warning(
            "%s: %d items could not be used; the first: %.300s", type(self).__name__, len(rejected), rejected[0].error
        )

    def read(self, body: Any, links: Mapping[str, Any]) -> Page:
        """Return the page that an answer is. `links` are those of the header `Link`. Raises SyncFailed."""
        if isinstance(body, list):
            return Page(body, links.get("next", {}).get("url"))
        items = _at(body, self.items)
        if not isinstance(items, list):
            raise SyncFailed(f"The answer has no list {self.items!r} but {type(items).__name__}.")
        next_, later, total = (_at(body, path) for path in (self.next, self.later, self.total))
        return Page(
            items,
            str(next_) if next_ else None,
            str(later) if later else "",
            total if isinstance(total, int) else None,
        )

    def get_model(self) -> type[models.Model]:
        """Return the model; LookupError where no app has it."""
        return apps.get_model(self.model) if isinstance(self.model, str) else self.model

    def check(self) -> None:
        """Raise SyncFailed, with the remedy, where the declaration cannot work."""
        name = type(self).__name__
        if not (self.url and self.model and self.key):
            raise SyncFailed(f"{name} needs url, model and key.")
        for field in filter(None, (self.key, self.seen, *self.unique)):
            try:
                found = self.get_model()._meta.get_field(field)
            except FieldDoesNotExist as error:
                raise SyncFailed(f"{name}: {error}.") from error
            if field == self.seen and not (isinstance(found, models.DateTimeField) and found.null):
                raise SyncFailed(f"{name}: seen={field!r} must be a DateTimeField(null=True).")


def _at(body: Any, path: str) -> Any:
    """Return what stands at a path of keys; None where there is nothing."""
    for name in path.split(".") if path else ():
        body = body.get(name) if isinstance(body, dict) else None
    return body if path else None
