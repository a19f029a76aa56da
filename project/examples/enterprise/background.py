"""Declares what runs in the background: files and web orders on their way into facts, checks of both, a report. Found by its name."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

import background
from background import every
from background.contrib.logs import LogFollower, json_line
from background.contrib.reports import report
from background.contrib.sync import Source, sync
from background.models import Run
from project.examples.enterprise import audit, etl, reconciling, samples
from project.examples.enterprise.models import Load, Sale
from project.examples.seeding import Seed

logger = logging.getLogger(__name__)


@background.register
class DropFolder(background.PeriodicService):
    """Watch the inbox, and have each file loaded that has come to rest: a younger one may still be written."""

    schedule = every(seconds=2)
    singleton = True

    def on_start(self) -> None:
        self._sent: dict[str, float] = {}

    def tick(self, scope: background.Scope) -> None:
        for path in sorted(etl.folder("inbox").glob("[!.]*")):
            changed = path.stat().st_mtime
            is_whole = (
                path.is_file() and path.suffix != ".part" and path.name.isprintable() and time.time() - changed > 2
            )
            if is_whole and self._sent.get(path.name) != changed:  # a file whose run failed is told of once
                load_file.enqueue(path.name)
                self._sent[path.name] = changed


@background.job(takes_context=True, unique="{name}", max_attempts=3, discard_on=(PermissionError,), retain=90)
def load_file(context: background.RunContext, name: str) -> dict[str, Any]:
    """Load one file of the inbox."""
    path = etl.folder("inbox") / Path(name).name
    if not path.is_file():
        return {"file": name, "state": "gone"}
    try:
        load = etl.load(path, context.track)
    except PermissionError:
        path.rename(etl.folder("rejected") / path.name)
        raise
    level = logging.WARNING if load.reason or load.rejected else logging.INFO
    logger.log(level, "%s: %d sales, %d lines rejected. %s", name, load.lines, load.rejected, load.reason or "Done.")
    return {"file": name, "lines": load.lines, "rejected": load.rejected, "reason": load.reason}


def web_shop() -> str:
    """Return the address of the web shop: ENTERPRISE_SOURCE, else that of the example's own."""
    return settings.ENTERPRISE_SOURCE or samples.WebShop.address()


@sync("50 0 * * *", enabled=bool(settings.ENTERPRISE_SOURCE or settings.EXAMPLES_SEED), retain=90)
class WebSales(Source):
    """Pull the orders of the web shop; what it corrects is corrected here, too."""

    model = Sale
    key = "reference"
    cursor_param = "after"

    @property
    def url(self) -> str:  # type: ignore[override]
        return f"{web_shop()}/orders"

    def rows(self) -> models.QuerySet[Sale]:
        return Sale.objects.filter(load=None)

    @cached_property
    def facts(self) -> etl.Facts:
        return etl.Facts()

    def row(self, item: Any) -> dict[str, Any]:
        fact = self.facts.sale({**item, "reference": f"{etl.WEB}{item['reference']}"})
        return {
            name: getattr(fact, name) for name in ("reference", "day", "store_id", "product_id", "quantity", "amount")
        }


@background.register
class AuditTrail(LogFollower):
    """Follow the applications' logs of who did what, and chain their lines to the audit log."""

    @property
    def paths(self) -> list[str]:  # type: ignore[override]
        return [str(etl.folder("audit") / "*.log")]

    @staticmethod
    def parse(line: str) -> dict[str, Any]:
        entry = json_line(line)
        if not (isinstance(entry.get("actor"), str) and isinstance(entry.get("action"), str)):
            raise ValueError("actor and action are missing")
        return entry

    def store(self, entries: list[dict[str, Any]], scope: background.Scope) -> None:
        audit.append((entry.pop("actor"), entry.pop("action"), entry) for entry in entries)


@background.job("45 1 * * *", retain="400 runs")
def verify_audit() -> dict[str, Any]:
    """Read the whole audit log; fails naming the first entry that was altered. Its end is compared with the last good run's."""
    runs = Run.objects.succeeded().filter(job__name="enterprise.verify_audit").order_by("-id")
    last = runs.values_list("result", flat=True).first()
    found = audit.verify(audit.Verified(**last) if last else None)
    logger.info("%d entries are as they were written", found.number)
    return found._asdict()


@background.job("15 1 * * *", takes_context=True, retain=400)
def reconcile(context: background.RunContext, days: int = 31) -> dict[str, int]:
    """Compare the sums of the sources with those of the facts; a difference fails the run, and is kept with it."""
    loads = list(Load.objects.filter(reason="", loaded_at__gte=timezone.now() - timedelta(days=days)))
    expected, facts = reconciling.of_web(web_shop()), reconciling.of_facts(Sale.objects.filter(load=None))
    found, gone = reconciling.differences("web shop", expected, facts), 0
    for load in context.track(loads):
        if sums := reconciling.of_file(load):
            found += reconciling.differences(load.name, sums, reconciling.of_facts(load.sale_set.all()))
        else:
            gone += 1
    if found:
        context.attach("differences.txt", "\n".join(found))
        raise reconciling.NotReconciled(f"{len(found)} differences: {'; '.join(found[:20])}.")
    return {"files": len(loads) - gone, "gone": gone, "differences": 0}


@report("30 1 * * *", file_name="sales-%Y-%m-%d.csv", retain=90)
def sales(days: int = 31) -> Any:
    """Sales of the last days by day, store and category."""
    since = timezone.localdate() - timedelta(days=days)
    groups = Sale.objects.filter(day__gte=since).values("day", "store__name", "product__category")
    sums = groups.annotate(pieces=models.Sum("quantity"), revenue=models.Sum("amount")).order_by("day", "store__name")
    return sums.values_list("day", "store__name", "product__category", "pieces", "revenue")


@background.register
class Branches(Seed):
    """Drop the sample files on a fresh site, have them checked and reported, and end."""

    depends_on = ("enterprise.WebShop",)
    patience = 15  # seconds that the files have until they are checked

    def steps(self) -> list[Callable[[], object]]:
        files: dict[str, str | bytes] = {
            "north.csv": samples.csv_of(samples.sales("N1", 300)),
            "south.csv": samples.csv_of(samples.sales("S1", 120)) + samples.BROKEN,
            "minutes.csv": "Minutes of the meeting\n\nNobody came.\n",
            "west.xlsx": samples.workbook(samples.sales("W1", 80)),
        }
        log = partial(samples.drop, etl.folder("audit"), "cash-desks.log", samples.AUDIT)
        inbox = [partial(samples.drop, etl.folder("inbox"), name, content) for name, content in files.items()]
        return [samples.dimensions, log, *inbox, self.check]

    def check(self) -> None:
        WebSales.task.enqueue()
        for task in (sales, verify_audit, reconcile):
            task.using(run_after=timezone.now() + timedelta(seconds=self.patience)).enqueue()
