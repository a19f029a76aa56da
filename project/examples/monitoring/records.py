"""Owns how readings become rows: measurements, alerts raised and cleared, summaries."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Avg, Count, Max, Min, Q

from project.examples.monitoring.checks import LIMITS, Limit, Reading
from project.examples.monitoring.models import Alert, HourSummary, Measurement


@transaction.atomic
def record(readings: Iterable[Reading]) -> list[Alert]:
    """Keep the readings, all or none, and return the alerts that they raised or cleared. Blocks."""
    return [alert for reading in readings if (alert := _record(reading, LIMITS[reading.check_name]))]


def _record(reading: Reading, limit: Limit) -> Alert | None:
    is_bad = limit.is_bad(reading)
    Measurement.objects.create(
        check_name=reading.check_name,
        value=reading.value,
        unit=reading.unit,
        taken_at=reading.taken_at,
        ok=not is_bad if reading.failed or reading.value is not None else None,
        detail=reading.detail,
    )
    if is_bad and _lasts(reading.check_name, limit.patience):
        return _raise(reading, limit)
    if limit.is_good(reading):
        return _clear(reading)
    return None


def _lasts(check_name: str, patience: int) -> bool:
    """Tell whether the last `patience` measurements were all bad: asked of the rows, so that a restart forgets nothing."""
    newest = Measurement.objects.filter(check_name=check_name).order_by("-taken_at", "-id")
    return list(newest.values_list("ok", flat=True)[:patience]) == [False] * patience


def _raise(reading: Reading, limit: Limit) -> Alert | None:
    said = reading.detail if reading.failed else f"{reading.value:.1f} {reading.unit}, limit {limit.alarm:g}"
    alert, is_new = Alert.objects.get_or_create(
        open_check=reading.check_name,
        defaults={
            "check_name": reading.check_name,
            "severity": limit.severity,
            "message": said,
            "raised_at": reading.taken_at,
        },
    )
    return alert if is_new else None


def _clear(reading: Reading) -> Alert | None:
    alert = Alert.objects.select_for_update().filter(open_check=reading.check_name).first()
    if alert is not None:
        alert.open_check, alert.cleared_at = None, reading.taken_at
        alert.save(update_fields=["open_check", "cleared_at"])
    return alert


def summarise(hour: datetime) -> int:
    """Write one row for each check measured in the hour that begins at `hour`; return how many. Idempotent. Blocks."""
    measured = Measurement.objects.filter(taken_at__gte=hour, taken_at__lt=hour + timedelta(hours=1))
    rows = measured.values("check_name").annotate(
        count=Count("id"),
        minimum=Min("value"),
        maximum=Max("value"),
        average=Avg("value"),
        failures=Count("id", filter=Q(ok=False)),
    )
    for row in rows:
        HourSummary.objects.update_or_create(check_name=row.pop("check_name"), hour=hour, defaults=row)
    return len(rows)
