"""Own the first look of a newcomer: under DEBUG, without any user, someone who may sign in."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import Error
from django.utils.crypto import get_random_string


def make_first_user() -> dict[str, Any] | None:
    """Create the superuser "admin" with a random password if DEBUG is on and there is no user; returns both, or None."""
    if not settings.DEBUG or not apps.is_installed("django.contrib.auth"):
        return None
    users = get_user_model()
    try:
        if users._default_manager.exists():
            return None
        password = get_random_string(16)
        users._default_manager.create_superuser(
            **{users.USERNAME_FIELD: "admin", "password": password, **_required(users)}
        )
    except (Error, TypeError):  # the database is away, or a user model with demands of its own
        return None
    return {"name": "admin", "password": password}


def _required(users: Any) -> dict[str, str]:
    return {name: "admin@example.com" if "email" in name else "admin" for name in users.REQUIRED_FIELDS}
