"""Own how secrets stay out of pages: values are masked by the name they stand under, at every depth, and put back after editing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from background.admin.permissions import declarations
from background.conf import get_settings

MASK = "[hidden]"
# Deeper than this nothing is shown: a page must not fail on what a run was given.
DEEPEST = 50


def secrets_of(task: str, job_name: str = "") -> frozenset[str]:
    """Return the argument names that the code declares secret, in lower case."""
    return frozenset(
        name.lower() for one in declarations(task, job_name) for name in getattr(one, "secret", None) or ()
    )


def is_secret(name: Any, secrets: Collection[str] = ()) -> bool:
    """Tell whether a value of this name is never shown: by the task's `secret`, or by a word of REDACT in any case."""
    lower = str(name).lower()
    return lower in secrets or any(word.lower() in lower for word in get_settings().redact)


def redact(value: Any, secrets: Collection[str] = (), depth: int = 0) -> Any:
    """Return JSON data with the value under each secret name replaced by the mask."""
    if depth > DEEPEST:
        return MASK
    if isinstance(value, dict):
        return {k: MASK if is_secret(k, secrets) else redact(v, secrets, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [redact(one, secrets, depth + 1) for one in value]
    return value


def unmask(value: Any, stored: Any) -> Any:
    """Return edited data with each mask replaced by what is stored at its place; ValueError where nothing is."""
    if value == MASK:
        if stored is None:
            raise ValueError(MASK)
        return stored
    if isinstance(value, dict):
        return {k: unmask(v, stored.get(k) if isinstance(stored, dict) else None) for k, v in value.items()}
    if isinstance(value, list):
        old = stored if isinstance(stored, list) else []
        return [unmask(v, old[i] if i < len(old) else None) for i, v in enumerate(value)]
    return value
