"""Owns how things are measured. Keeps nothing: each function returns what it found."""

import shutil
import time
from pathlib import Path
from urllib.request import urlopen

from django.db import connection

try:
    import psutil
except ImportError:  # an extra
    psutil = None


def database() -> float:
    """Return the milliseconds of one round trip. Raises OperationalError without a database."""
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return milliseconds_since(started)


def disk(path: str | Path) -> float:
    """Return how many per cent of the disk that holds `path` are free."""
    usage = shutil.disk_usage(path)
    return 100 * usage.free / usage.total


def memory() -> float | None:
    """Return how many per cent of the memory are in use; None where psutil is not installed."""
    return psutil.virtual_memory().percent if psutil else None


def page(url: str, timeout: float = 2) -> float | None:
    """Return the milliseconds that an address takes; None where it does not answer, or with an error. Blocks."""
    started = time.perf_counter()
    try:
        with urlopen(url, timeout=timeout) as response:
            response.read()
    except OSError:
        return None
    return milliseconds_since(started)


def milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
