"""Owns backups: a ZIP file with all rows and uploads, trusted only after an empty database was filled from it, and is the same."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

logger = logging.getLogger(__name__)

ROWS = "rows.jsonl"
STEPS = 4
# Django writes a time by the millisecond, and none where there are no microseconds: what is restored has none any more.
NO_MILLISECONDS = re.compile(r"(?<=:\d\d)\.000(?=[Z+-])")
# How a connection reads what stood there at one moment, whoever writes meanwhile and without holding anybody up.
ONE_MOMENT: dict[str, dict[str, Any]] = {
    "sqlite": {"transaction_mode": "DEFERRED"},
    "postgresql": {"isolation_level": 3},  # psycopg's number of REPEATABLE READ
    "mysql": {"isolation_level": "repeatable read"},
}


class BackupFailed(Exception):
    """The restored database is not the one that was copied."""


def folder() -> Path:
    """Where backups are. Not below MEDIA_ROOT, which the web server may hand out."""
    return Path(settings.EXAMPLES_FOLDER) / "backups"


def make(keep: int, say: Callable[[int, int, str], object]) -> dict[str, Any]:
    """Make a backup, verify it, keep the newest `keep`, and return the report. BackupFailed if it cannot be trusted. Blocks.

    No two at once, and in a process of its own: it opens databases under names that other threads should not see.
    """
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds what the database holds
    part = folder() / "unfinished"
    with TemporaryDirectory() as scratch, ZipFile(part, "w", ZIP_DEFLATED, strict_timestamps=False) as archive:
        say(0, STEPS, "copying the database")
        options = {**connection.settings_dict["OPTIONS"], **ONE_MOMENT[connection.vendor]}
        with database("cms-copied", OPTIONS=options) as alias, transaction.atomic(using=alias):
            dump(alias, Path(scratch, ROWS))
        archive.write(Path(scratch, ROWS), ROWS)
        say(1, STEPS, "copying the uploaded files")
        unreadable = pack(archive)
        files = len(archive.namelist()) - 1
    say(2, STEPS, "restoring")
    rows = verify(part)
    say(3, STEPS, "deleting older ones")
    path = part.rename(folder() / timezone.now().strftime("%Y-%m-%dT%H-%M-%S-%fZ.zip"))
    old = sorted(folder().glob("*.zip"))[: -max(keep, 1)]
    for one in old:
        one.unlink()
    say(STEPS, STEPS, "verified")
    report = {"backup": path.name, "rows": rows, "files": files, "unreadable": unreadable}
    return {**report, "bytes": path.stat().st_size, "deleted": [one.name for one in old]}


def pack(archive: ZipFile) -> list[str]:
    """Put the uploaded files into an archive; return which could not be read: those are told of, and the rest goes on."""
    errors: list[OSError] = []
    for place, _, names in os.walk(settings.MEDIA_ROOT, onerror=errors.append):
        for path in sorted(Path(place, name) for name in names):
            try:
                archive.write(path, Path("media", path.relative_to(settings.MEDIA_ROOT)))
            except OSError as error:
                errors.append(error)
    for error in errors:
        logger.warning("not in the backup: %s (%s)", error.filename, error.strerror)
    return [str(error.filename) for error in errors]


def verify(path: Path) -> int:
    """Fill an empty database from a backup, compare the two row by row, and return how many rows they have. Blocks."""
    with TemporaryDirectory() as scratch:
        copied, restored = Path(scratch, ROWS), Path(scratch, f"restored-{ROWS}")
        with ZipFile(path) as archive:
            if damaged := archive.testzip():  # reads all files, and compares their checksums
                raise BackupFailed(f"{damaged} is damaged.")
            archive.extract(ROWS, scratch)
        engine = "django.db.backends.sqlite3"
        with database("cms-restored", ENGINE=engine, NAME=f"{scratch}/restored.sqlite3", OPTIONS={}) as alias:
            with connections[alias].schema_editor() as editor:
                for model in models():
                    editor.create_model(model)
            call_command("loaddata", copied, database=alias, verbosity=0)
            dump(alias, restored)
        with copied.open() as before, restored.open() as after:
            rows, again = ({NO_MILLISECONDS.sub("", line) for line in lines} for lines in (before, after))
    if wrong := sorted(rows ^ again):
        raise BackupFailed(f"The restored database differs by {len(wrong)} rows; the first: {wrong[0]:.200}")
    return len(rows)


def dump(alias: str, path: Path) -> None:
    """Write all rows to a file, one to a line, as `loaddata` reads them."""
    labels = [model._meta.label for model in models()]
    call_command("dumpdata", *labels, database=alias, format="jsonl", output=path, use_base_manager=True, verbosity=0)


def models() -> list[Any]:
    return [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]


@contextmanager
def database(alias: str, **conf: Any) -> Iterator[str]:
    """Another connection than the site's, for as long as the block lasts."""
    connections.databases[alias] = {**connection.settings_dict, **conf}
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias], connections.databases[alias]
