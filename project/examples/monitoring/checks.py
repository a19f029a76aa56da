"""Owns how things are measured and judged. Keeps nothing: each check returns a `Reading`."""

import shutil
import time
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from django.db import connection
from django.utils import timezone

try:
    import psutil
except ImportError:  # an extra
    psutil = None

HTTP_TIMEOUT = 2.0  # seconds; who waits longer has gone elsewhere


@dataclass(frozen=True, slots=True)
class Reading:
    """What a check found. Without a value, and not `failed`, there was nothing to measure with."""

    check_name: str
    value: float | None
    unit: str
    detail: str = ""
    failed: bool = False
    taken_at: datetime = field(default_factory=timezone.now)


@dataclass(frozen=True, slots=True)
class Limit:
    """Two thresholds, so that a value that trembles around one of them does not raise alert after alert.

    A reading is bad from `alarm` on, and good from `calm` on; in between, an open alert stays open. With `alarm` below
    `calm`, low values are the bad ones. `patience` is how many bad readings in a row it takes.
    """

    alarm: float
    calm: float
    severity: str = "warning"
    patience: int = 1

    def is_bad(self, reading: Reading) -> bool:
        return reading.failed or self._is_beyond(reading.value, self.alarm, self.alarm > self.calm)

    def is_good(self, reading: Reading) -> bool:
        return not reading.failed and self._is_beyond(reading.value, self.calm, self.alarm < self.calm)

    @staticmethod
    def _is_beyond(value: float | None, threshold: float, upwards: bool) -> bool:
        return value is not None and (value >= threshold if upwards else value <= threshold)


LIMITS = {
    "database": Limit(alarm=500, calm=100, severity="critical", patience=2),
    "disk": Limit(alarm=5, calm=10),
    "memory": Limit(alarm=95, calm=85, patience=3),
    "http": Limit(alarm=1500, calm=500, severity="critical", patience=2),
}


def database() -> Reading:
    """Time one round trip. Raises OperationalError without a database: there would be no place to keep a reading."""
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return Reading("database", milliseconds_since(started), "ms", f"round trip to {connection.display_name}")


def disk(path: str | Path) -> Reading:
    """Measure how much of the disk that holds `path` is free."""
    usage = shutil.disk_usage(path)
    return Reading("disk", 100 * usage.free / usage.total, "% free", f"{usage.free / 2**30:.1f} GiB free")


def memory() -> Reading:
    """Measure how much memory is in use, if psutil is installed."""
    if psutil is None:
        return Reading("memory", None, "% used", "not measured: pip install psutil")
    used = psutil.virtual_memory()
    return Reading("memory", used.percent, "% used", f"{used.available / 2**30:.1f} GiB available")


def http(url: str, timeout: float = HTTP_TIMEOUT) -> Reading:
    """Fetch an address and time it; an error, a status from 400 on or silence for `timeout` seconds is a failure. Blocks."""
    if not url.startswith(("http://", "https://")):
        return Reading("http", None, "ms", f"{url!r} does not begin with http:// or https://"[:200], failed=True)
    started = time.perf_counter()
    try:
        with urlopen(url, timeout=timeout) as response:
            response.read()
            return Reading("http", milliseconds_since(started), "ms", f"status {response.status}")
    except HTTPError as error:
        with error:  # it is the response, too
            return Reading("http", milliseconds_since(started), "ms", f"status {error.code}", failed=True)
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        return Reading("http", None, "ms", str(cause or repr(error))[:200], failed=True)


def milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
