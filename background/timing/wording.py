"""Own the words of this room: each is translated when it is needed, also before Django's translations are up.

Schedules are made while modules are imported, some before settings or apps are ready. A wrong one must then be reported as
such, in English, and not as “apps aren't loaded yet”.
"""

from __future__ import annotations

from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured
from django.utils import translation

NOT_READY = (AppRegistryNotReady, ImproperlyConfigured)


def _(message: str) -> str:
    """Return `message`; the name tells makemessages to collect it. Django's gettext_noop needs settings."""
    return message


def say(message: str, **values: object) -> str:
    """Return the translation of `message` with its `%(name)s` filled in."""
    try:
        message = translation.gettext(message)
    except NOT_READY:
        pass
    return message % values if values else message


def ngettext(one: str, many: str, count: float) -> str:
    """Return `one` or `many` as the language in use wants it, with `%(count)s` filled in; the name is for makemessages."""
    whole = int(count) if count == int(count) else 2  # 1.5 seconds are many
    try:
        message = translation.ngettext(one, many, whole)
    except NOT_READY:
        message = one if whole == 1 else many
    return message % {"count": f"{count:.10g}"}


def language() -> str:
    """Return the code of the language in use, such as `de` or `pt-br`; `en` where there is none."""
    try:
        return translation.get_language() or "en"
    except NOT_READY:
        return "en"


def shorten(text: object, limit: int = 40) -> str:
    """Return `text` as it may stand in a message: printable, at most `limit` characters."""
    shown = str(text)[: limit + 1]
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
