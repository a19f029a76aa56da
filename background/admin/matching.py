"""Own how a value is looked for in the arguments of runs: by its path, and never where a secret stands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.db.models import JSONField, Q, Value
from django.db.models.fields.json import KeyTransform, KeyTransformExact
from django.utils.translation import gettext as _

from background import registry
from background.admin.arguments import POSITIONAL, parameters
from background.admin.redact import is_secret
from background.admin.text import cut

DEEPEST = 8


def argument(path: str, value: str, tasks: Iterable[str] = ()) -> Q:
    """Return the condition that the argument at a path (region, address.city, or 0 for the first positional one) has a value.

    With `tasks` the name is also that of their positional argument. ValueError where the path may not be searched.
    """
    names = path.split(".")
    if not all(names) or len(names) > DEEPEST:
        raise ValueError(_("“%(path)s” is no path: write arg.region or arg.address.city.") % {"path": cut(path, 60)})
    if any(is_secret(name, _secrets()) for name in names):
        # Whoever may guess a secret as often as they like knows it in the end.
        raise ValueError(_("“%(path)s” is secret: it cannot be searched.") % {"path": cut(path, 60)})
    found = _at("args", [int(names[0]), *names[1:]], value) if names[0].isdecimal() else _at("kwargs", names, value)
    for task in tasks:
        if (place := _place(task, names[0])) is not None:
            found |= Q(task=task) & _at("args", [place, *names[1:]], value)
    # Of a task that no code declares nobody knows what is secret.
    return found & Q(task__in=sorted(registry.tasks()))


def _secrets() -> frozenset[str]:
    """Return the argument names that any code declares secret: a search is not about one task."""
    declared = [*registry.tasks().values(), *(one.task for one in registry.jobs().values())]
    return frozenset(name.lower() for one in declared for name in getattr(one, "secret", None) or ())


def _place(path: str, name: str) -> int | None:
    task = registry.tasks().get(path)
    names = [one.name for one in parameters(task) if one.kind in POSITIONAL] if task else []
    return names.index(name) if name in names else None


def _at(column: str, names: list[Any], value: str) -> Q:
    transform: Any = column
    for name in names:
        transform = KeyTransform(name if isinstance(name, str) and not name.isdecimal() else int(name), transform)
    return Q(*(Q(KeyTransformExact(transform, Value(one, JSONField()))) for one in _meanings(value)), _connector=Q.OR)


def _meanings(value: str) -> list[Any]:
    """Return what a person may mean: the text, and the number or truth that it spells."""
    try:
        spelt = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    if isinstance(spelt, bool) or (isinstance(spelt, (int, float)) and spelt == spelt and abs(spelt) < 2**53):
        return [value, spelt]
    return [value]
