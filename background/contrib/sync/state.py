"""Own what a pass remembers between its pages, and that it commits with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from background.contrib.sync.fetching import SyncFailed
from background.dialects import dialect
from background.engine.memory import check
from background.models import Checkpoint
from background.scope import database_alias

KEY = "sync"


@dataclass(frozen=True, slots=True)
class Report:
    """What one pass came to, over all runs that worked on it."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    nameless: int = 0  # of the rejected: those without a key, which may be any row
    pages: int = 0
    requests: int = 0
    waited: float = 0.0  # seconds
    resumed: int = 0  # times
    not_modified: bool = False
    withheld: str = ""  # why nothing was deleted

    @property
    def items(self) -> int:
        return self.created + self.updated + self.unchanged + self.rejected

    def plus(self, **more: float) -> Report:
        return replace(self, **{name: getattr(self, name) + value for name, value in more.items()})

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "waited": round(self.waited, 1)}


@dataclass(frozen=True, slots=True)
class State:
    """Where the synchronisation stands; with `begun`, in the midst of a pass."""

    etag: str = ""  # of the last finished pass
    later: str = ""  # where the source goes on with what has changed
    begun: str = ""
    last: str = ""  # when the pass before was begun
    wish: str = ""  # whose wish the full pass was
    feed: bool = False  # the pass tells what has changed, not all there is
    cursor: str | None = None
    read: bool = False  # all pages are
    first_etag: str = ""
    report: Report = field(default_factory=Report)

    @property
    def stamp(self) -> datetime:
        return datetime.fromisoformat(self.begun)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> State:
        """Return what was stored; a fresh state where another version wrote it."""
        try:
            known = {one.name: data[one.name] for one in fields(cls)}
            return cls(**{**known, "report": Report(**known["report"])})
        except (TypeError, KeyError):
            return cls()


class Place:
    """The checkpoint of one source. Pages are committed through it, so that data and place cannot differ."""

    def __init__(self, name: str) -> None:
        self._name = name
        row = self._rows().first()
        self.stored = State.from_dict(row.data.get(KEY) if row else None)

    def _rows(self) -> QuerySet[Checkpoint]:
        return Checkpoint.objects.using(database_alias()).filter(name=self._name)

    def commit(self, work: Callable[[], State]) -> State:
        """Do `work` and note the state that it returns, in one transaction; `work` may be called again. Blocks.

        Raises SyncFailed where somebody else has gone on meanwhile: a host that was frozen must not go back.
        """

        def together() -> State:
            Checkpoint.objects.using(database_alias()).bulk_create([Checkpoint(name=self._name)], ignore_conflicts=True)
            row = dialect().lock(self._rows(), skip=False).get()
            if State.from_dict(row.data.get(KEY)) != self.stored:
                raise SyncFailed(f"{self._name}: another host has gone on with this synchronisation.")
            state = work()
            check(self._name, KEY, state.as_dict())
            row.data = {**row.data, KEY: state.as_dict()}
            row.save(using=database_alias())
            return state

        self.stored = dialect().in_transaction(together)
        return self.stored
