"""Own the built-in checks: each returns a few words when all is well, and raises when it is not."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from django.conf import settings
from django.core import mail as django_mail
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connections
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background.attention import Glance, attention
from background.contrib.health.declaring import Unhealthy
from background.host.asking import unapplied

# What is read of an answer (bytes).
MOST = 1 << 20
# The rest of an address may be a secret: the token of a monitor, a password.
_ADDRESS = re.compile(r"(\w+://)(?:[^\s/@]*@)?([^\s/?#\"']+)[^\s\"']*")


def without_secrets(text: str) -> str:
    """Return the text with no more of each address than its host."""
    return _ADDRESS.sub(r"\1\2/…", text)


def database(alias: str = "") -> str:
    """Ask a database, by default each of them, for an answer."""
    names = [alias] if alias else list(connections)
    for name in names:
        with connections[name].cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    return ", ".join(connections[name].display_name for name in names)


def cache(alias: str = "default") -> None:
    """Keep something in a cache, get it back, and delete it."""
    key = f"background-health-{uuid.uuid4().hex}"
    caches[alias].set(key, key, 60)
    kept = caches[alias].get(key)
    caches[alias].delete(key)
    if kept != key:
        raise Unhealthy(_("The cache does not return what was put into it."))


def storage(alias: str = "default") -> None:
    """Write a small file to a storage, read it, and delete it."""
    content = uuid.uuid4().hex.encode()
    name = storages[alias].save("background-health.txt", ContentFile(content))
    try:
        with storages[alias].open(name) as file:
            kept = file.read()
    finally:
        storages[alias].delete(name)
    if kept != content:
        raise Unhealthy(_("The storage does not return what was put into it."))


def migrations(alias: str = "default") -> None:
    """Look for migrations that the code has and the database has not."""
    if missing := unapplied(alias):
        text = ngettext(
            "%(count)d migration is not applied: %(names)s",
            "%(count)d migrations are not applied: %(names)s",
            len(missing),
        )
        raise Unhealthy(text % {"count": len(missing), "names": ", ".join(missing[:5])})


def disk(path: str = "", percent: float = 5, gigabytes: float = 0) -> str:
    """Look whether so much of the disk that holds `path` (by default the site) is free, on the host that checks."""
    usage = shutil.disk_usage(path or getattr(settings, "BASE_DIR", "."))
    free = usage.free / 2**30
    share = 100 * usage.free / usage.total
    said = _("%(percent).1f %% free, %(free).1f GiB") % {"percent": share, "free": free}
    if share < percent or free < gigabytes:
        raise Unhealthy(said)
    return said


def mail(alias: str = "") -> str:
    """Connect to the mail server, and log in; nothing is sent. With queued mail, that of the backend that delivers."""
    backend: Any = django_mail.mailers[alias or "default"] if hasattr(django_mail, "mailers") else None
    backend = backend or django_mail.get_connection()
    if hasattr(backend, "delivering"):
        backend = backend.delivering()
    backend.fail_silently = False
    backend.open()
    backend.close()
    return type(backend).__module__


def url(url: str, text: str = "", status: int = 0, timeout: float = 10, headers: dict[str, str] | None = None) -> str:
    """Fetch an address: the status must be below 400, or `status`, and the answer contain `text`."""
    code, body = fetch(Request(url, headers=headers or {}), timeout, status)
    if text and text not in body.decode("utf-8", "replace"):
        raise Unhealthy(_("The answer does not contain the text that is expected."))
    return _("status %(code)d") % {"code": code}


def fetch(request: Request, timeout: float, status: int = 0) -> tuple[int, bytes]:
    """Return status and body of an answer; Unhealthy, without a word of the address, where it is not as expected. Blocks."""
    try:
        with urlopen(request, timeout=timeout) as response:
            code, body = response.status, response.read(MOST)
    except HTTPError as error:
        with error:  # it is the response, too
            code, body = error.code, error.read(MOST)
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        said = str(cause) if isinstance(cause, (OSError, str)) else type(cause).__name__
        raise Unhealthy(_("no answer: %(error)s") % {"error": said}) from None
    if code != status and (status or code >= 400):
        raise Unhealthy(_("status %(code)d") % {"code": code})
    return code, body


def queues(seconds: float = 600) -> str:
    """Look whether a run waits for longer than this in a queue that is not paused, or in one that no host serves."""
    look = Glance()
    longest = 0.0
    for name, line in sorted(look.lines.items()):
        waits = (look.now - line.oldest).total_seconds() if line.oldest and not look.is_paused(name) else 0
        longest = max(longest, waits)
        if waits > seconds:
            text = _("Queue %(name)s: the oldest run waits for %(seconds)d s.")
            raise Unhealthy(text % {"name": name, "seconds": waits})
    _nothing_of(["queue_unserved"], look)
    return _("longest wait %(seconds).1f s") % {"seconds": longest}


def jobs(also: tuple[str, ...] | list[str] = ()) -> None:
    """Look for jobs that are late, have missed a time, fail again and again, or cannot be scheduled.

    `also` are further codes of `background health`, such as "host_silent" and "service_failing".
    """
    _nothing_of("job_late job_missed job_fails job_unschedulable".split() + list(also))


def _nothing_of(codes: list[str], look: Glance | None = None) -> None:
    found = [one.message for one in attention(glance=look) if one.code in codes]
    if found:
        raise Unhealthy("\n".join(found[:10]))


KINDS: dict[str, Callable[..., Any]] = {
    "database": database, "cache": cache, "storage": storage, "migrations": migrations, "disk": disk, "mail": mail, "url": url,
    "queues": queues, "jobs": jobs,
}  # fmt: skip
