"""Declares what runs in the background: files and web orders on their way into facts, checks of both, a report. Found by its name."""

import logging
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

import background
from background import every
from background.contrib.logs import LogFollower, json_line
from background.contrib.reports import report
from background.contrib.sync import Source, sync
from background.models import Checkpoint, Run
from project.examples.enterprise import audit, etl, reconciling, samples
from project.examples.enterprise.models import Load, Sale
from project.examples.enterprise.reconciling import NotReconciled, differences

logger = logging.getLogger(__name__)


# -------------------------------------------------------------------------------------------------------------- files


@background.register
class DropFolder(background.PeriodicService):
    """Watch the inbox, and have each file loaded that has not changed since the last look: it may still be written."""

    schedule = every(seconds=2)
    run_at_start = True
    singleton = True

    def on_start(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._sent: dict[str, tuple[int, int]] = {}

    def tick(self, scope: background.Scope) -> None:
        seen = {}
        for path in sorted(etl.folder("inbox").iterdir()):
            name = path.name
            if name.startswith(".") or name.endswith(".part") or not name.isprintable() or not path.is_file():
                continue
            found = path.stat()
            stamp = seen[name] = (found.st_size, found.st_mtime_ns)
            # A file whose run failed stays where it is, and is told of once.
            if self._seen.get(name) == stamp != self._sent.get(name):
                load_file.enqueue(name)
                self._sent[name] = stamp
        self._seen = seen


@background.job(
    takes_context=True, unique="{name}", max_attempts=3, discard_on=(PermissionError, etl.LoadTakenOver), retain=90
)
def load_file(context: background.RunContext, name: str) -> dict[str, Any]:
    """Load one file of the inbox. Whoever was killed is followed by a run that goes on behind the last line committed."""
    path = etl.folder("inbox") / Path(name).name
    if not path.is_file():
        return {"file": name, "state": "gone"}

    def tell(position: int) -> None:
        context.progress(position, message=f"line {position}")
        context.stop.raise_if_requested()

    load = etl.load(path, tell)
    level = logging.WARNING if load.reason or load.rejected else logging.INFO
    logger.log(level, "%s %s: %d lines, %d rejected. %s", name, load.state, load.lines, load.rejected, load.reason)
    said = {"lines": load.lines, "rejected": load.rejected, "amount": str(load.amount), "reason": load.reason}
    return {"file": name, "state": load.state, **said}


# ---------------------------------------------------------------------------------------------------------------- web


def source_url() -> str:
    """Return the address of the web shop: ENTERPRISE_SOURCE, else that of the example's own."""
    own = Checkpoint.objects.filter(name="enterprise.WebShop").first()
    return settings.ENTERPRISE_SOURCE or (own.data.get("address", "") if own else "")


@sync("50 0 * * *", enabled=bool(settings.ENTERPRISE_SOURCE or settings.EXAMPLES_SEED), retain=90)
class WebSales(Source):
    """Pull the orders of the web shop; what it corrects is corrected here, too."""

    model = Sale
    key = "reference"
    cursor_param = "after"

    @property
    def url(self) -> str:  # type: ignore[override]
        return f"{source_url()}orders"

    def rows(self) -> models.QuerySet[Sale]:
        return Sale.objects.filter(load=None)

    @cached_property
    def dimensions(self) -> etl.Dimensions:
        return etl.Dimensions()

    def row(self, item: Any) -> dict[str, Any]:
        values = [str(item[name]) for name in etl.COLUMNS]
        fact = self.dimensions.fact(etl.WEB + values[0].upper(), *values[1:])
        return {
            name: getattr(fact, name) for name in ("reference", "day", "store_id", "product_id", "quantity", "amount")
        }


@background.register
class WebShop(background.BackgroundService):
    """Be the web shop whose orders are pulled, as long as the site shows samples."""

    singleton = True

    def execute(self, stop: background.StopToken) -> None:
        if settings.EXAMPLES_SEED and not settings.ENTERPRISE_SOURCE:
            # Its orders stay the same over restarts, as facts do.
            last = date.fromisoformat(self.checkpoint.get("last", timezone.localdate().isoformat()))
            _, *orders = samples.lines("WEB", 90, last)
            with samples.web_shop(orders) as address:
                self.checkpoint.set(address=address, last=last.isoformat())
                stop.wait()


# -------------------------------------------------------------------------------------------------------------- audit


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
    """Read the whole audit log; fails naming each entry that was altered. Its end is compared with the last good run's."""
    runs = Run.objects.succeeded().filter(job__name="enterprise.verify_audit").order_by("-id")
    last = runs.values_list("result", flat=True).first()
    found = audit.verify(audit.Verified(**last) if last else None)
    logger.info("%d entries are as they were written", found.entries)
    return found._asdict()


# ------------------------------------------------------------------------------------------------------------ nightly


@background.job("15 1 * * *", takes_context=True, retain=400)
def reconcile(context: background.RunContext, days: int = 31) -> dict[str, Any]:
    """Compare the sums of the sources with those of the facts; a difference fails the run, and is kept with it."""
    found = []
    since = timezone.now() - timedelta(days=days)
    loads = Load.objects.filter(state=Load.State.LOADED, loaded_at__gte=since)
    for load in context.track(list(loads)):
        facts = reconciling.of_facts(load=load)
        found += differences(load.name, reconciling.of_file(load) or reconciling.noted(load, facts), facts)
    web = source_url()
    if web:
        found += differences("web shop", reconciling.of_web(f"{web}totals"), reconciling.of_facts(load=None))
    if found:
        text = "\n".join(map(str, found))
        context.attach("differences.txt", text)
        raise NotReconciled(f"{len(found)} differences: {'; '.join(map(str, found[:20]))}.")
    return {"files": len(loads), "web": bool(web), "differences": 0}


@report("30 1 * * *", file_name="sales-%Y-%m-%d.csv", retain=90)
def sales(days: int = 31) -> Any:
    """Sales of the last days by day, store and category."""
    since = timezone.localdate() - timedelta(days=days)
    groups = Sale.objects.filter(day__gte=since).values("day", "store__name", "product__category")
    sums = groups.annotate(pieces=models.Sum("quantity"), revenue=models.Sum("amount")).order_by("day", "store__name")
    return sums.values_list("day", "store__name", "product__category", "pieces", "revenue")


@background.register
class Branches(background.BackgroundService):
    """Drop the sample files on a fresh site, have them checked and reported, and end."""

    singleton = True
    pace = 2.0  # seconds between two files
    patience = 60  # looks, a pace apart, for the loads to be done

    def execute(self, stop: background.StopToken) -> None:
        if not settings.EXAMPLES_SEED or self.checkpoint.get("done"):
            return
        with self.scope():
            samples.dimensions()
        samples.drop(etl.folder("audit"), "cash-desks.log", samples.audit_lines())
        for name, content in samples.files():
            samples.drop(etl.folder("inbox"), name, content)
            if stop.wait(self.pace):
                return
        for _ in range(self.patience):
            with self.scope():
                loaded = Load.objects.exclude(state=Load.State.LOADING).count()
                if loaded >= len(samples.files()) and source_url():
                    break
            if stop.wait(self.pace):
                return
        with self.scope(), transaction.atomic():
            WebSales.task.enqueue()
            sales.enqueue()
            verify_audit.enqueue()
            reconcile.using(run_after=timezone.now() + timedelta(seconds=5)).enqueue()
            self.checkpoint.set(done=True)
