"""Own the service that follows log files: batches of entries and the place behind them commit together."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from django.db import models, transaction

from background.contrib.logs.files import Followed, Lines, Place, expand
from background.contrib.logs.parsers import Entry, json_line
from background.exceptions import StartFailed
from background.scope import Scope, database_alias
from background.services.base import BackgroundService
from background.stopping import StopToken

logger = logging.getLogger("background.contrib.logs")

# Patterns are looked at again this often, in steps (polls).
LOOK = 20


class Rejected(NamedTuple):
    """A line that is no entry, where it stands, and why."""

    path: str
    offset: int
    line: str
    error: str


class LogFollower(BackgroundService):
    """Follows files and hands what their lines say to `store(entries, scope)`, or to `model`, in batches.

    `paths` are files or patterns of glob; `parse` makes a dict of a line, or raises ValueError: then the line goes to
    `reject`. Entries and the place behind them are written in one transaction: over a SIGKILL no line is lost or stored
    twice, as far as `store` writes to the database that holds background's tables. Files may be renamed, compressed after
    that, truncated, or not there yet. A `singleton`: to follow the files of each machine, give the service a name of its own there.
    """

    singleton = True
    paths: ClassVar[Sequence[str]] = ()
    parse: Callable[[str], Entry] = staticmethod(json_line)
    model: ClassVar[type[models.Model] | None] = None
    batch_size: int = 5000
    poll_seconds: float = 0.5
    from_start: bool = True  # of files seen for the first time; False: only what comes from now on
    encoding: str = "utf-8"
    max_line: int = 1 << 20  # bytes; what is longer is cut there

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parse = cls.__dict__.get("parse")
        if inspect.isfunction(parse) and len(inspect.signature(parse).parameters) == 1:
            cls.parse = staticmethod(parse)  # a function of its own, such as COMBINED, and no method

    def store(self, entries: list[Entry], scope: Scope) -> None:
        """Write a batch; by default as rows of `model`, whose fields the entries name."""
        if self.model is None:
            raise NotImplementedError(f"{type(self).__name__} needs a model, or a store(self, entries, scope).")
        self.model._default_manager.bulk_create([self.model(**entry) for entry in entries], batch_size=1000)

    def reject(self, rejected: list[Rejected]) -> None:
        """Take lines that are no entries; by default the log tells the first of each batch, and how many they are."""
        first = rejected[0]
        logger.warning(
            "%s: %d lines could not be read; the first in %s at byte %d (%s): %.200s",
            self.get_name(), len(rejected), first.path, first.offset, first.error, first.line,
        )  # fmt: skip

    def on_start(self) -> None:
        if not self.paths:
            raise StartFailed(f"{self.get_name()} needs paths: the files that it follows.")
        self._followed: dict[str, Followed] = {}
        self._troubles: dict[str, str] = {}

    def on_stop(self) -> None:
        for one in getattr(self, "_followed", {}).values():
            one.close()

    def execute(self, stop: StopToken) -> None:
        """Read what is there, then look twice a second for more."""
        polls = 0
        while not stop.requested:
            if polls % LOOK == 0:
                self._find()
            polls += 1
            busy = [one for one in self._followed.values() if self._advance(one, stop)]
            stop.beat()
            if not busy:
                stop.wait(self.poll_seconds)

    def _find(self) -> None:
        """Take up files that are new under the patterns."""
        for path in expand(list(self.paths)):
            if path not in self._followed:
                self._followed[path] = Followed(path, self._stored(path), self.max_line, self.from_start)

    def _advance(self, followed: Followed, stop: StopToken) -> bool:
        """Read a portion of a file and commit it; whether there was any. A file that cannot be read is told of once."""
        try:
            found = followed.read()
        except OSError as error:
            if self._troubles.get(followed.path) != str(error):
                self._troubles[followed.path] = str(error)
                logger.error("%s cannot read %s: %s", self.get_name(), followed.path, error)
            followed.close()
            return False
        if self._troubles.pop(followed.path, None):
            logger.info("%s can read %s again", self.get_name(), followed.path)
        if found is None:
            return False
        try:
            self._commit(found)
        except BaseException:
            followed.close()
            followed.place = self._stored(found.path)  # it is read again
            raise
        return not stop.requested

    def _stored(self, path: str) -> Place | None:
        stored = self.checkpoint.get(path)
        return Place(**stored) if stored else None

    def _commit(self, found: Lines) -> None:
        """Write the entries, in batches, and the place behind them in the transaction of the last."""
        entries, rejected = self._entries(found)
        with self.scope() as scope, transaction.atomic(using=database_alias()):
            for start in range(0, len(entries), self.batch_size):
                self.store(entries[start : start + self.batch_size], scope)
            if rejected:
                self.reject(rejected)
            self.checkpoint.set(**{found.path: found.after.as_dict()})

    def _entries(self, found: Lines) -> tuple[list[Entry], list[Rejected]]:
        entries: list[Entry] = []
        rejected: list[Rejected] = []
        offset, parse, encoding = found.first, self.parse, self.encoding
        for raw in found.lines:
            text = raw.decode(encoding, "replace").rstrip("\r")
            if text:
                try:
                    entries.append(parse(text))
                except ValueError as error:
                    rejected.append(Rejected(found.path, offset, text, str(error)))
            offset += len(raw) + 1
        return entries, rejected
