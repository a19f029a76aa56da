"""Owns backups: database and uploaded files in a folder, trusted only after both were read back and compared."""

import hashlib
import json
import logging
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage, default_storage
from django.utils import timezone

from project.examples.cms import databases
from project.examples.cms.databases import BackupFailed
from project.examples.cms.models import Backup

logger = logging.getLogger(__name__)

Say = Callable[[int, int, str], object]

STEPS = 4
CHUNK = 1 << 20


def folder() -> Path:
    """Where backups are. Not below MEDIA_ROOT, which the web server may hand out."""
    return Path(settings.EXAMPLES_FOLDER) / "backups"


def make(keep: int, say: Say) -> dict[str, Any]:
    """Make a backup, verify it, keep the newest `keep`, and return the report. BackupFailed if it cannot be trusted. Blocks."""
    folder().mkdir(parents=True, exist_ok=True)
    folder().chmod(0o700)  # it holds what the database holds
    name = timezone.now().strftime("%Y-%m-%dT%H-%M-%S-%fZ")
    for left in folder().glob("*.part"):  # of a run that was killed
        shutil.rmtree(left)
    place = folder() / f"{name}.part"
    place.mkdir()

    kind = databases.kind()
    say(0, STEPS, "copying the database")
    counts = kind.write(place / kind.file_name)
    say(1, STEPS, "copying the uploaded files")
    sums, unreadable = pack(default_storage, place / "media.tar")
    manifest = {"made_at": name, "database": {"file": kind.file_name, "rows": counts}, "media": sums}
    (place / "manifest.json").write_text(json.dumps(manifest, indent=1))

    say(2, STEPS, "restoring the database")
    rows = databases.compare(counts, kind.restore(place / kind.file_name))
    say(3, STEPS, "reading the uploaded files again")
    check(place / "media.tar", sums)

    size = sum(file.stat().st_size for file in place.iterdir())
    place.rename(folder() / name)
    Backup.objects.create(name=name, database=kind.how, rows=rows, files=len(sums), size=size)
    say(STEPS, STEPS, "verified")
    return {
        "backup": name,
        "database": {"how": kind.how, "tables": len(counts), "rows": rows},
        "media": {"files": len(sums), "unreadable": unreadable},
        "bytes": size,
        "deleted": prune(keep),
    }


def pack(storage: Storage, path: Path) -> tuple[dict[str, str], list[str]]:
    """Put all files of a storage into a tar; return their checksums, and which could not be read: those are told of, once."""
    sums: dict[str, str] = {}
    unreadable = []
    with tarfile.open(path, "w") as archive:
        for name in walk(storage):
            # A copy first: a file may grow while it is read, and a tar says the length beforehand.
            with tempfile.SpooledTemporaryFile(CHUNK) as copy:
                try:
                    with storage.open(name) as source:
                        shutil.copyfileobj(source, copy, CHUNK)
                except OSError as error:
                    logger.warning("not in the backup: %s (%s)", name, error.strerror)
                    unreadable.append(name)
                    continue
                info = tarfile.TarInfo(name)
                info.size = copy.tell()
                copy.seek(0)
                sums[name] = checksum(copy)
                copy.seek(0)
                archive.addfile(info, copy)
    return sums, unreadable


def walk(storage: Storage, at: str = "") -> Iterator[str]:
    """Yield the names of all files in a storage."""
    try:
        folders, files = storage.listdir(at)
    except FileNotFoundError:  # nothing was uploaded yet
        return
    yield from (f"{at}{name}" for name in sorted(files))
    for name in sorted(folders):
        yield from walk(storage, f"{at}{name}/")


def checksum(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, sums: dict[str, str]) -> None:
    """Read each file in the tar; BackupFailed names those that are not what they were."""
    try:
        with tarfile.open(path) as archive:
            found = {member.name: checksum(archive.extractfile(member)) for member in archive}
    except (tarfile.TarError, OSError) as error:
        raise BackupFailed(f"{path.name} cannot be read: {error}") from error
    wrong = sorted(name for name in sums.keys() | found.keys() if sums.get(name) != found.get(name))
    if wrong:
        raise BackupFailed(
            f"{path.name} does not hold what was uploaded: {', '.join(wrong[:5])} ({len(wrong)} in all)."
        )


def prune(keep: int) -> list[str]:
    """Delete all backups but the newest `keep` (at least one), and return their names."""
    names = sorted(one.name for one in folder().iterdir() if one.is_dir() and one.suffix != ".part")
    old = names[: -max(keep, 1)]
    for name in old:
        shutil.rmtree(folder() / name)
    Backup.objects.filter(name__in=old).delete()
    return old
