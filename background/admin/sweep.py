"""Own the run by which all runs that match a search are cancelled, run again or deleted: seen, counted, and cancellable."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.sites import all_sites
from django.http import HttpRequest

from background.admin.acting import act_on, outcome
from background.admin.paging import Walk
from background.admin.permissions import ARGUMENTS, BULK
from background.admin.search import Pair, ask, split
from background.admin.text import Shown
from background.dialects import dialect
from background.exceptions import NotAllowed, Overtaken
from background.jobs.tasks import BackgroundTask, backend_alias, own_queue
from background.models import Checkpoint, Run
from background.scope import database_alias

BATCH = 1000
NAME = "background.bulk"
QUEUE = own_queue("background")


def bulk(
    context: Any, verb: str, search: list[Any], newest: str, site: str, about: int | None = None
) -> dict[str, Any]:
    """Do what a person confirmed to all runs that match, newest first, a thousand in a transaction."""
    run = Run.objects.using(database_alias()).select_related("triggered_by").get(pk=context.run_id)
    user = run.triggered_by
    if verb not in BULK or user is None or not user.is_active or not user.has_perm(BULK[verb]):
        raise NotAllowed
    parts = split([(word, value) for word, value in search])
    sweep = _Sweep(run, verb, parts, _rows(site, user).filter(id__lte=uuid.UUID(newest)))
    while not sweep.is_over:
        if context.stop.requested:
            if context.stop.reason == "cancelled":
                sweep.end(context.logger)
            context.stop.raise_if_requested()
        sweep.step()
        context.progress(sweep.done + sweep.skipped.total(), about, sweep.words)
    sweep.end(context.logger)
    return {"done": sweep.done, "skipped": dict(+sweep.skipped)}


class _Sweep:
    """How far it is: kept in the database with each batch, so that a host that takes over does nothing twice."""

    def __init__(self, run: Run, verb: str, parts: list[list[Pair]], rows: Any) -> None:
        self.run, self.verb, self.parts, self.rows = run, verb, parts, rows
        self.name = f"bulk:{run.pk}"
        kept, _created = Checkpoint.objects.using(database_alias()).get_or_create(name=self.name, defaults={"data": {}})
        self._read(kept.data)

    def _read(self, data: dict[str, Any]) -> None:
        self.data = data
        self.done, self.skipped = data.get("done", 0), Counter(data.get("skipped", {}))
        self.part, self.before = data.get("part", 0), data.get("before")

    @property
    def is_over(self) -> bool:
        return self.part >= len(self.parts)

    @property
    def words(self) -> str:
        return f"done {self.done:,}, skipped {self.skipped.total():,}"

    def step(self) -> None:
        """Act on one batch. Blocks for a transaction."""
        result, data = dialect().in_transaction(self._step)
        result.tell()
        self._read(data)

    def _step(self) -> Any:
        user = self.run.triggered_by
        question = ask(self.parts[self.part], "all", arguments=user.has_perm(ARGUMENTS))  # type: ignore[union-attr]
        page = Walk(self.rows, question).older(uuid.UUID(self.before) if self.before else None, BATCH)
        kept = dialect().lock(Checkpoint.objects.using(database_alias()).filter(name=self.name), skip=False).first()
        if kept is None or kept.data != self.data:
            raise Overtaken
        result = act_on(self.verb, [one.pk for one in page.runs], user, self.run.reason, str(self.run.pk))
        skipped = self.skipped + result.skipped
        kept.data = {
            "done": self.done + len(result.done), "skipped": dict(skipped), "part": self.part + (page.older is None),
            "before": str(page.older) if page.older else None,
        }  # fmt: skip
        kept.save(using=database_alias())
        return result, kept.data

    def end(self, logger: logging.Logger) -> None:
        """Say in the run's log and in the History what was done, also where a person has cancelled the rest, and forget how far it is."""
        said = outcome(self.verb, self.done, self.skipped)
        logger.info("%s: %s", self.words, said)
        user: Any = self.run.triggered_by
        shown: Any = Shown(self.run)
        LogEntry.objects.log_actions(user.pk, [shown], CHANGE, said, single_object=True)
        Checkpoint.objects.using(database_alias()).filter(name=self.name).delete()


def _rows(site: str, user: Any) -> Any:
    """Return the runs that the person may see in that admin site: as a page of it would."""
    import_module(settings.ROOT_URLCONF)  # where sites of their own are filled
    room = next((one._registry[Run] for one in all_sites if one.name == site and Run in one._registry), None)
    if room is None:
        raise NotAllowed(f"There is no admin site {site!r} with runs in it here.")
    request = HttpRequest()
    request.user = user
    return room.get_queryset(request).light()  # type: ignore[attr-defined]


task = BackgroundTask(
    func=bulk, queue_name=QUEUE, priority=100, backend=backend_alias(), takes_context=True, job_name=NAME, max_attempts=3,
    discard_on=(NotAllowed, Overtaken),
)  # fmt: skip
