"""Own how runs are walked through: by their ids, a page at a time, never further than the database can go at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, Count, Max, Min
from django.db.models.functions import Cast
from django.utils.functional import cached_property

from background.admin import lists
from background.admin.search import Question, with_texts
from background.models import Run

PAGE = 100


@dataclass(frozen=True)
class Page:
    """Some runs, newest first, and where those beside them begin."""

    runs: list[Run]
    newer: uuid.UUID | None = None  # newer ones are those after this id
    older: uuid.UUID | None = None  # older ones are those before this id
    edge: uuid.UUID | None = None  # only down (or up) to here was looked


class Walk:
    """The runs that a question means, among those that a person may see."""

    def __init__(self, rows: Any, question: Question) -> None:
        self.question = question
        # The order is that of ids: they grow with time, and the primary key is their index.
        self.base = rows.order_by().filter(question.base, question.bounds)

    @property
    def is_looking(self) -> bool:
        """Whether a part of the question has no index, so that it is asked of so many rows at once only."""
        return self.question.rest is not None and not self.question.one

    def older(self, before: uuid.UUID | None = None, size: int = PAGE) -> Page:
        """Return the newest runs, or those before an id. Blocks for one query, or two."""
        rows = self.base if before is None else self.base.filter(id__lt=before)
        edge = self._edge(rows, down=True) if before else self.first_edge
        found = list(self._matching(rows if edge is None else rows.filter(id__gte=edge)).order_by("-id")[: size + 1])
        newer = None if before is None else found[0].pk if found else before
        if len(found) > size:
            return Page(found[:size], newer, found[size - 1].pk, None)
        return Page(found, newer, edge, edge)

    def newer(self, after: uuid.UUID, size: int = PAGE) -> Page:
        """Return the runs right after an id; the newest ones where fewer than a page are left. Blocks for one to four queries."""
        rows = self.base.filter(id__gt=after)
        edge = self._edge(rows, down=False)
        found = list(self._matching(rows if edge is None else rows.filter(id__lte=edge)).order_by("id")[: size + 1])
        if len(found) <= size and edge is None:
            return self.older(size=size)
        more = len(found) > size
        found = found[:size][::-1]
        return Page(found, found[0].pk if more else edge, found[-1].pk if found else after, None if more else edge)

    def count(self) -> tuple[int, bool]:
        """Return how many runs there are, counted up to the cap, and whether there may be more. Blocks for one query, or two."""
        edge = self.first_edge
        rows = self.base if edge is None else self.base.filter(id__gte=edge)
        count = self._matching(rows)[: lists.CAP + 1].count()
        return min(count, lists.CAP), count > lists.CAP or edge is not None

    def sample(self) -> tuple[list[uuid.UUID], bool]:
        """Return the ids of the newest runs up to the cap, and whether there may be more. Blocks for one query, or two."""
        edge = self.first_edge
        rows = self.base if edge is None else self.base.filter(id__gte=edge)
        ids = list(self._matching(rows).order_by("-id").values_list("id", flat=True)[: lists.CAP + 1])
        return ids[: lists.CAP], len(ids) > lists.CAP or edge is not None

    def count_newer(self, after: uuid.UUID, most: int) -> int:
        """Return how many runs there are after an id, up to `most`. Blocks for one query."""
        newest = self.base.filter(id__gt=after).order_by("id").values("id")[: lists.CAP]
        if not self.is_looking:
            return newest[:most].count()
        rows = self.base.filter(id__gt=after)
        edge = self._edge(rows, down=False)
        return self._matching(rows if edge is None else rows.filter(id__lte=edge))[:most].count()

    @cached_property
    def first_edge(self) -> uuid.UUID | None:
        return self._edge(self.base, down=True)

    def _matching(self, rows: Any) -> Any:
        return rows if self.question.rest is None else with_texts(rows).filter(self.question.rest)

    def _edge(self, rows: Any, down: bool) -> uuid.UUID | None:
        """Return the last id of the rows that are looked through, None where all of them are."""
        if not self.is_looking:
            return None
        look = rows.order_by("-id" if down else "id").values("id")[: lists.CAP]
        # As text, because not every PostgreSQL has the smallest of ids; the subquery is the first entries of an index.
        text = look.annotate(text=Cast("id", CharField(max_length=36)))
        found = text.aggregate(last=Min("text") if down else Max("text"), many=Count("text"))
        return uuid.UUID(found["last"]) if found["many"] == lists.CAP else None
