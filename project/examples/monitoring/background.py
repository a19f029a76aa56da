"""Declares what runs in the background: what measures, what writes it down, what reads the log, checks, jobs. Found by its name."""

import logging
import shutil
import time
from datetime import timedelta

import httpx
import psutil
from django.conf import settings
from django.db import connection
from django.db.models import Avg, Count, Max, Min, Q
from django.utils import timezone

import background
from background import every
from background.contrib import maintenance
from background.contrib.commands import management_command_job
from background.contrib.consumer import ConsumerService
from background.contrib.health import Unhealthy, check
from background.contrib.health.models import Period
from background.contrib.logs import COMBINED, LogFollower
from project.examples.monitoring.models import HourSummary, Measurement, Request

logger = logging.getLogger(__name__)


@background.register
class Measurements(ConsumerService):
    """Write down what the monitors have measured, in batches; should the database be slow, no monitor waits for it."""

    batch_seconds = 2
    when_full = "drop-oldest"

    def consume(self, items: list[Measurement], scope: background.Scope) -> None:
        Measurement.objects.bulk_create(items)


@background.register
class SystemMonitor(background.PeriodicService):
    """Measure the database, the disk and the memory."""

    schedule = every(seconds=5)
    run_at_start = True
    singleton = True  # one in the whole installation, on whichever host
    watchdog = 30

    def tick(self, scope: background.Scope) -> None:
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        Measurements.put(Measurement(name="database (ms)", value=(time.perf_counter() - started) * 1000))
        disk = shutil.disk_usage(settings.BASE_DIR)
        Measurements.put(Measurement(name="disk (% free)", value=100 * disk.free / disk.total))
        Measurements.put(Measurement(name="memory (% used)", value=psutil.virtual_memory().percent))


@background.register
class PageMonitor(background.PeriodicService):
    """Measure how long the address in MONITORING_URL takes; whether it answers is a health check's question."""

    schedule = every(seconds=10)
    run_at_start = True
    singleton = True
    watchdog = 60

    async def tick(self, scope: background.Scope) -> None:
        if settings.MONITORING_URL:
            async with httpx.AsyncClient(timeout=5) as client:
                try:
                    answer = await client.get(settings.MONITORING_URL)
                except httpx.TransportError:
                    return
            await Measurements.aput(Measurement(name="page (ms)", value=answer.elapsed.total_seconds() * 1000))


@background.register
class AccessLog(LogFollower):
    """Keep what the web server writes into the file that MONITORING_LOG names."""

    paths = [settings.MONITORING_LOG]
    parse = COMBINED

    def store(self, entries: list[dict], scope: background.Scope) -> None:
        Request.objects.bulk_create(
            Request(at=one["time"], line=one["request"], status=one["status"], size=one["size"]) for one in entries
        )


@check(interval=15)
def memory() -> str:
    """Fail where nearly all of the memory is in use."""
    used = psutil.virtual_memory().percent
    if used > 95:
        raise Unhealthy(f"{used} % in use")
    return f"{used} % in use"


@check(interval=15, failures=1)
def answers() -> str:
    """Fail where more than one answer in twenty of the last five minutes was a server's error."""
    recent = Request.objects.filter(at__gte=timezone.now() - timedelta(minutes=5))
    count = recent.aggregate(all=Count("id"), errors=Count("id", filter=Q(status__gte=500)))
    said = f"{count['errors']} errors in {count['all']} answers"
    if count["errors"] * 20 > count["all"]:
        raise Unhealthy(said)
    return said


@background.job(every(seconds=10), retain="100 runs")
def take_stock() -> dict[str, int]:
    """Count the measurements and requests of the last hour, and the alarms."""
    hour_ago = timezone.now() - timedelta(hours=1)
    found = {
        "measurements": Measurement.objects.filter(taken_at__gte=hour_ago).count(),
        "requests": Request.objects.filter(at__gte=hour_ago).count(),
        "alarms": Period.objects.filter(current_name__isnull=False, alarmed_at__isnull=False).count(),
    }
    logger.info("%(measurements)d measurements and %(requests)d requests in the last hour, %(alarms)d alarms", found)
    return found


@background.job("5 * * * *", takes_context=True, max_attempts=3)
def summarise_last_hour(context: background.RunContext, hours: int = 1) -> int:
    """Summarise the measurements of the last full hour. After a day without a host, run it with hours=24 to fill the gap."""
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    written = 0
    for back in context.track(range(hours, 0, -1)):
        first = this_hour - timedelta(hours=back)
        rows = Measurement.objects.filter(taken_at__gte=first, taken_at__lt=first + timedelta(hours=1)).values("name")
        figures = {"count": Count("id"), "minimum": Min("value"), "average": Avg("value"), "maximum": Max("value")}
        for row in rows.annotate(**figures).order_by("name"):
            HourSummary.objects.update_or_create(name=row.pop("name"), hour=first, defaults=row)  # again: no change
            written += 1
    logger.info("%d summaries written", written)
    return written


@background.job(every(hours=6))
def prune_measurements(days: int = 2) -> int:
    """Delete measurements and requests that are older than two days; summaries stay."""
    before = timezone.now() - timedelta(days=days)
    measurements, _ = Measurement.objects.filter(taken_at__lt=before).delete()
    requests, _ = Request.objects.filter(at__lt=before).delete()
    logger.info("%d measurements and %d requests deleted", measurements, requests)
    return measurements + requests


management_command_job("clearsessions", "0 4 * * *", name="monitoring.clear_expired_sessions")
maintenance.optimize_database("0 5 * * sun")
maintenance.orphaned_uploads("30 3 * * sun")  # looks, and deletes nothing
