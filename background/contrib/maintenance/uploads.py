"""Own the search for uploaded files that no row names: first looked at, then, if asked for, deleted."""

from __future__ import annotations

import os
import posixpath
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import IO, Any

from django.apps import apps
from django.core.exceptions import SuspiciousOperation
from django.core.files.storage import Storage, storages
from django.db import models, router
from django.utils import timezone

from background.contrib.maintenance.adopting import Adoptable
from background.exceptions import Discard
from background.jobs.context import RunContext
from background.jobs.policies import storable

CHUNK = 500
# What a storage may raise about one file.
UNREADABLE = (OSError, SuspiciousOperation)


@dataclass
class Found:
    """What the search came to."""

    files: int = 0
    orphans: int = 0
    bytes: int = 0
    young: int = 0
    unreadable: int = 0
    deleted: int = 0

    def as_dict(self, **more: Any) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | more


@Adoptable
def orphaned_uploads(
    context: RunContext,
    delete: bool = False,
    days: float = 7,
    folders: Sequence[str] = (),
    storage: str = "default",
    most: float = 0.5,
) -> dict[str, Any]:
    """Find uploaded files that no row names and that are older than `days`; delete them only if `delete` says so.

    Looks into the folders that the models' file fields upload to, or into `folders`. The list is kept with the run as
    orphans.txt. Where more than the share `most` of the files would go, none does: the database is hardly theirs.
    """
    place = storages[storage]
    where = outermost(folder.strip("/") for folder in folders) or folders_of(place)
    if not where:
        raise Discard("No file field uploads to a folder that is known; say folders=[…], as names in the storage.")
    names, found = named(context), Found()
    before = timezone.now() - timedelta(days=days)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as listed:
        for name in walk(context, place, where, found):
            found.files += 1
            if plain(name) not in names:
                judge(context, place, name, before, found, listed)
            if found.files % CHUNK == 0:
                context.stop.raise_if_requested()
                context.progress(found.files, message=f"{found.orphans} orphans")
        if found.orphans:
            listed.seek(0)
            context.attach("orphans.txt", listed.buffer, "text/plain; charset=utf-8")
        if delete:
            if found.orphans > most * found.files:
                raise Discard(
                    f"{found.orphans} of {found.files} files are named by no row: is this their database? Nothing was deleted; "
                    f"if it is right, give a larger share than most={most}."
                )
            listed.seek(0)
            remove(context, place, listed, found)
    context.logger.info(
        "%d of %d files in %s are named by no row: %d bytes; %d deleted",
        found.orphans, found.files, ", ".join(where), found.bytes, found.deleted,
    )  # fmt: skip
    return found.as_dict(folders=where, dry_run=not delete)


def file_fields() -> Iterator[tuple[type[models.Model], models.FileField]]:
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy:
            for field in model._meta.local_fields:
                if isinstance(field, models.FileField):
                    yield model, field


def folders_of(place: Storage) -> list[str]:
    """Return the folders that the fields with this storage upload to, as far as they begin with a name and not with a date."""
    folders = set()
    for _model, field in file_fields():
        if field.storage == place and isinstance(field.upload_to, (str, os.PathLike)):
            parts = str(field.upload_to).split("/")
            known = [part for part in parts[: next((n for n, part in enumerate(parts) if "%" in part), None)] if part]
            if known:
                folders.add("/".join(known))
    return outermost(folders)


def outermost(folders: Iterable[str]) -> list[str]:
    """Return the folders without those that lie in another one."""
    all_ = set(folders)
    return sorted(one for one in all_ if not any(one != other and below(other, one) for other in all_))


def below(folder: str, name: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def plain(name: str) -> str:
    """Return a name as it is compared: another system may have written its letters in another composition."""
    return unicodedata.normalize("NFC", posixpath.normpath(name))


def named(context: RunContext) -> set[str]:
    """Return every name that a file field holds, whatever its storage. Blocks for a query per field, past default managers."""
    names: set[str] = set()
    for model, field in file_fields():
        rows = model._base_manager.using(router.db_for_read(model)).order_by()
        for name in rows.values_list(field.attname, flat=True).iterator(chunk_size=2000):
            if name:
                names.add(plain(str(name)))
        context.stop.raise_if_requested()
    return names


def walk(context: RunContext, place: Storage, folders: Iterable[str], found: Found) -> Iterator[str]:
    """Yield the names of the files in these folders; links are not followed, and not told as files either."""
    waiting = list(folders)
    while waiting:
        folder = waiting.pop()
        try:
            if is_link(place, folder):
                continue
            inner, files = place.listdir(folder)
        except FileNotFoundError:
            continue
        except UNREADABLE as error:
            found.unreadable += 1
            context.logger.warning("%s cannot be looked into: %s", folder, error)
            continue
        waiting += [posixpath.join(folder, name) for name in inner]
        yield from (name for name in (posixpath.join(folder, one) for one in files) if not is_link(place, name))


def is_link(place: Storage, name: str) -> bool:
    """Whether a name is a symbolic link, or goes through one, in a storage that has paths."""
    try:
        path, root = place.path(name), place.path("")
    except NotImplementedError:
        return False
    return os.path.realpath(path) != os.path.normpath(os.path.join(os.path.realpath(root), os.path.relpath(path, root)))


def judge(context: RunContext, place: Storage, name: str, before: datetime, found: Found, listed: IO[str]) -> None:
    """Count a file that no row names, and list it if it is old enough."""
    if storable(name) != name or "\n" in name:
        found.unreadable += 1
        context.logger.warning("%r is no name that is understood", name)
        return
    try:
        if place.get_modified_time(name) > before:
            found.young += 1
            return
        found.bytes += place.size(name)
    except UNREADABLE as error:
        found.unreadable += 1
        context.logger.warning("%s cannot be judged: %s", name, error)
        return
    found.orphans += 1
    listed.write(f"{name}\n")


def remove(context: RunContext, place: Storage, listed: Iterable[str], found: Found) -> None:
    """Delete the listed files, after asking the rows once more: one of them may have been named meanwhile."""
    rest = (line.rstrip("\n") for line in listed)
    while names := list(islice(rest, CHUNK)):
        context.stop.raise_if_requested()
        again: set[str] = set()
        for model, field in file_fields():
            rows = model._base_manager.using(router.db_for_write(model)).filter(**{f"{field.name}__in": names})
            again.update(plain(str(name)) for name in rows.values_list(field.attname, flat=True))
        for name in names:
            if plain(name) in again or is_link(place, name):
                continue
            try:
                place.delete(name)
                found.deleted += 1
            except UNREADABLE as error:
                found.unreadable += 1
                context.logger.warning("%s cannot be deleted: %s", name, error)
        context.progress(found.deleted, found.orphans, "deleting")
