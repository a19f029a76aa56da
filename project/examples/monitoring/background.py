"""Declares what runs in the background: two monitors, the dispatcher of their alerts, and jobs. Found by its name."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta
from importlib import import_module

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.mail import send_mail
from django.utils import timezone

import background
from background import every
from project.examples.monitoring import checks, records
from project.examples.monitoring.models import Alert, Measurement

logger = logging.getLogger(__name__)

# From the monitors to the dispatcher. Should mail be slow for long, the oldest news goes first; no monitor waits.
NEWS: background.Channel[Alert] = background.Channel(100, when_full="drop-oldest")


def report(readings: Iterable[checks.Reading]) -> None:
    """Keep the readings and pass on what they changed, once it is committed."""
    for alert in records.record(readings):
        NEWS.put(alert)


@background.register
class AlertDispatcher(background.BackgroundService):
    """Log each alert that is raised or cleared, and mail it to MONITORING_MAIL_TO.

    The channel lives in memory: news not yet mailed is lost with the process, the alert's row is not. Mail that must
    not be lost is a job's work, enqueued in the transaction that writes the row.
    """

    def execute(self, stop: background.StopToken) -> None:
        while True:
            alert = NEWS.get(stop=stop)  # raises StopRequested, which ends the service in good order
            with self.scope():
                self.dispatch(alert)

    def dispatch(self, alert: Alert) -> None:
        """Tell people of one alert. Blocks while the mail is handed over."""
        state = "raised" if alert.is_open else "cleared"
        logger.log(logging.WARNING if alert.is_open else logging.INFO, "alert %s: %s", state, alert)
        recipients = getattr(settings, "MONITORING_MAIL_TO", [])
        if recipients:
            body = f"{alert}\nRaised at {alert.raised_at:%Y-%m-%d %H:%M:%S %Z}."
            try:
                send_mail(f"Alert {state}: {alert.check_name}", body, None, recipients)
            except OSError as error:  # SMTPException is one too
                logger.warning("alert not mailed: %s", error)


@background.register
class SystemMonitor(background.PeriodicService):
    """Measure the database, the disk and the memory."""

    schedule = every(seconds=5)
    run_at_start = True
    singleton = True  # one in the whole installation, on whichever host
    watchdog = 30

    def tick(self, scope: background.Scope) -> None:
        report([checks.database(), checks.disk(settings.BASE_DIR), checks.memory()])


@background.register
class HttpMonitor(background.PeriodicService):
    """Fetch the address in MONITORING_URL and measure how long it takes."""

    schedule = every(seconds=10)
    run_at_start = True
    singleton = True
    watchdog = 60

    @property
    def url(self) -> str:
        return getattr(settings, "MONITORING_URL", "")

    def on_start(self) -> None:
        if not self.url:
            logger.info("no address to check: set MONITORING_URL")

    async def tick(self, scope: background.Scope) -> None:
        if self.url:
            reading = await asyncio.to_thread(checks.http, self.url)
            await sync_to_async(report)([reading])


@background.job(every(seconds=10), retain="100 runs")
def take_stock() -> dict[str, int]:
    """Count the measurements of the last hour and the open alerts."""
    measured = Measurement.objects.filter(taken_at__gte=timezone.now() - timedelta(hours=1)).count()
    alerts = Alert.objects.filter(cleared_at=None).count()
    logger.info("%d measurements in the last hour, %d open alerts", measured, alerts)
    return {"measurements": measured, "open_alerts": alerts}


@background.job("5 * * * *", takes_context=True, max_attempts=3)
def summarise_last_hour(context: background.RunContext, hours: int = 1) -> int:
    """Summarise the measurements of the last full hour.

    Doing it again changes nothing. After a day without a host, run it with hours=24 to fill the gap.
    """
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    written = sum(records.summarise(this_hour - timedelta(hours=back)) for back in context.track(range(hours, 0, -1)))
    logger.info("%d summaries written", written)
    return written


@background.job(every(hours=6))
def prune_measurements(days: int = 2) -> int:
    """Delete measurements that are older than two days; their summaries stay."""
    deleted, _ = Measurement.objects.filter(taken_at__lt=timezone.now() - timedelta(days=days)).delete()
    logger.info("%d measurements deleted", deleted)
    return deleted


@background.job("0 4 * * *")
def clear_expired_sessions() -> None:
    """Delete expired sessions, as Django's clearsessions command does."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    logger.info("expired sessions cleared")
