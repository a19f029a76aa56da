"""Own how the items of a page become rows: what is new or differs is written in bulk, the rest is only marked as seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import connections, models, router, transaction

from background.contrib.sync.source import Rejected
from background.jobs.policies import storable

if TYPE_CHECKING:
    from background.contrib.sync.source import Source

# Rows that one statement names.
CHUNK = 500
# What an item's own `row` may raise because the item is not as it should be.
UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ValidationError)


class Written(NamedTuple):
    """What a page came to; the names are those of the report."""

    created: int
    updated: int
    unchanged: int
    deleted: int


class Readied(NamedTuple):
    """The items of a page as far as they can be used."""

    rows: dict[Any, tuple[models.Model, list[models.Field[Any, Any]]]]  # by key
    gone: set[Any]
    rejected: list[Rejected]
    known: set[Any]  # keys of rejected items
    nameless: int


def ready(source: Source, items: Iterable[Any]) -> Readied:
    """Return the items as validated rows; of two with one key the last counts. Does not query."""
    found = Readied({}, set(), [], set(), 0)
    nameless = 0
    for item in items:
        key = None
        try:
            values = source.row(item)
            key = _key(source, values)
            if source.is_deleted(item):
                found.gone.add(key)
            else:
                found.rows[key] = _cleaned(source, values)
                found.gone.discard(key)
        except UNFIT as error:
            found.rejected.append(Rejected(item, _words(error)))
            nameless += key is None
            if key is not None:
                found.known.add(key)
    for key in found.gone:
        found.rows.pop(key, None)
    return found._replace(nameless=nameless)


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{name}: {' '.join(texts)}" for name, texts in getattr(error, "message_dict", {"": error.messages}).items()
        )
    return f"{type(error).__name__}: {error}"


def _key(source: Source, values: dict[str, Any]) -> Any:
    value = values[source.key]
    if value is None or value == "":
        raise ValueError(f"{source.key} is empty")
    return source.get_model()._meta.get_field(source.key).to_python(_storable(source.key, value))  # type: ignore[union-attr]


def _storable(name: str, value: Any) -> Any:
    if isinstance(value, str) and storable(value) != value:
        raise ValueError(f"{name} holds NUL or half characters, which databases do not store")
    return value


def _cleaned(source: Source, values: dict[str, Any]) -> tuple[models.Model, list[models.Field[Any, Any]]]:
    """Return the row that the values make, each as its field's own type, and the fields."""
    model = source.get_model()
    row = model(**{name: _storable(name, value) for name, value in values.items()})
    fields: list[Any] = [model._meta.get_field(name) for name in values]
    # Relations are left to the database: asking whether each exists would be a query per item.
    row.clean_fields(exclude={one.name for one in model._meta.fields if one not in fields or one.is_relation})
    for one in fields:
        if one.is_relation:
            setattr(row, one.attname, one.to_python(getattr(row, one.attname)))
    return row, fields


def write(source: Source, found: Readied, stamp: datetime) -> Written:
    """Bring the rows of a page into the database. Blocks for a few statements per five hundred; joins the transaction."""
    alias = router.db_for_write(source.get_model())
    with transaction.atomic(using=alias):
        # In their order, so that two that write the same rows wait for each other instead of a deadlock.
        keys = sorted(found.rows, key=str)
        counts = [_write(source, [(key, *found.rows[key]) for key in chunk], stamp, alias) for chunk in chunks(keys)]
        if source.seen and found.known:
            for chunk in chunks(found.known):
                rows_of(source, chunk, alias).update(**{source.seen: stamp})
        deleted = sum(_remove(source, rows_of(source, chunk, alias)) for chunk in chunks(found.gone))
    created, updated, unchanged = (sum(one) for one in zip(*counts, strict=True)) if counts else (0, 0, 0)
    return Written(created, updated, unchanged, deleted)


def _write(source: Source, chunk: list[Any], stamp: datetime, alias: str) -> tuple[int, int, int]:
    names = sorted({one.attname for _, _, fields in chunk for one in fields})
    stored = {}
    for values in rows_of(source, [key for key, *_ in chunk], alias).values("pk", source.key, *names):
        stored[values[source.key]] = values
    created, changed, same = [], [], []
    for key, row, fields in chunk:
        before = stored.get(key)
        if before is None:
            created.append((row, fields))
        elif any(before[one.attname] != getattr(row, one.attname) for one in fields):
            changed.append((row, fields))
        else:
            same.append(before["pk"])
    _upsert(source, [*created, *changed], stamp, alias)
    if source.seen and same:
        source.get_model()._default_manager.using(alias).filter(pk__in=same).update(**{source.seen: stamp})
    return len(created), len(changed), len(same)


def _upsert(source: Source, rows: list[tuple[models.Model, list[Any]]], stamp: datetime, alias: str) -> None:
    """Write rows in one statement for each set of fields that they have: what an item does not say is left as it is."""
    model, connection = source.get_model(), connections[alias]
    unique = list(source.unique or (source.key,))
    groups: dict[tuple[str, ...], list[models.Model]] = {}
    for row, fields in rows:
        if source.seen:
            setattr(row, source.seen, stamp)
        groups.setdefault(tuple(sorted(one.name for one in fields)), []).append(row)
    automatic = [one.name for one in model._meta.concrete_fields if getattr(one, "auto_now", False)]
    for names, group in groups.items():
        update = {*names, *automatic, *filter(None, [source.seen])} - {*unique, source.key}
        update -= {model._meta.pk.name} if model._meta.pk else set()
        if not update:
            model._default_manager.using(alias).bulk_create(group, ignore_conflicts=True)
            continue
        model._default_manager.using(alias).bulk_create(
            group,
            update_conflicts=True,
            update_fields=sorted(update),
            # MariaDB and MySQL go by any unique key, and take none by name.
            unique_fields=unique if connection.features.supports_update_conflicts_with_target else None,
        )


def remove_unseen(source: Source, stamp: datetime, after: Any) -> tuple[int, Any]:
    """Hand a batch of the rows that an earlier pass has seen, and this one not, to `remove`; 0 when there are no more.

    Returns their number and the last one's key, to go on behind it. What `remove` leaves is not handed over again.
    """
    alias = router.db_for_write(source.get_model())
    with transaction.atomic(using=alias):
        rows = unseen(source, stamp, alias).order_by("pk")
        if after is not None:
            rows = rows.filter(pk__gt=after)
        pks = list(rows.values_list("pk", flat=True)[: 2 * CHUNK])
        return _remove(source, rows.model._default_manager.using(alias).filter(pk__in=pks)), pks[-1] if pks else None


def unseen(source: Source, stamp: datetime, alias: str) -> models.QuerySet[Any]:
    return source.rows().using(alias).filter(**{f"{source.seen}__lt": stamp})


def _remove(source: Source, rows: models.QuerySet[Any]) -> int:
    count = rows.count()
    if count:
        source.remove(rows.all())
        if source.seen:
            rows.all().update(**{source.seen: None})
    return count


def rows_of(source: Source, keys: Iterable[Any], alias: str) -> models.QuerySet[Any]:
    return source.rows().using(alias).filter(**{f"{source.key}__in": list(keys)})


def chunks(keys: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(keys)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
