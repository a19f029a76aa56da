"""Own the system checks: what can be seen to be wrong before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections
from django.utils.module_loading import import_string

from background import registry
from background.compat import task_backends
from background.conf import get_settings, problems, raw_settings
from background.dialects import dialect
from background.execution.executors import INTERFACE
from background.jobs.tasks import BACKEND
from background.timing import remark


@register()
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """BACKGROUND has known keys and values that fit, and the site keeps time in UTC."""
    found: list[CheckMessage] = [Error(text, id="background.E001") for _, text in problems(raw_settings())]
    if not settings.USE_TZ:
        found.append(
            Error(
                "background needs USE_TZ = True: schedules and leases are instants, not wall clocks.",
                id="background.E002",
            )
        )
    if not found:
        found += [Error(text, id="background.E003") for text in _places(get_settings())]
    return found


def _places(conf: Any) -> Iterator[str]:
    if conf.database not in connections.databases:
        yield f"BACKGROUND['DATABASE'] is {conf.database!r}, but DATABASES has only {', '.join(connections.databases)}."
    for path in conf.middleware:
        try:
            import_string(path)
        except ImportError as error:
            yield f"BACKGROUND['MIDDLEWARE'] names {path!r}, which cannot be imported: {error}."
    if conf.executor != "local":
        yield from _dispatcher(conf.executor)
    if conf.host_timeout < 3 * conf.heartbeat_interval:
        yield (
            f"BACKGROUND['HOST_TIMEOUT'] ({conf.host_timeout} s) must be at least three times HEARTBEAT_INTERVAL "
            f"({conf.heartbeat_interval} s): else a busy host is taken for a dead one."
        )


def _dispatcher(path: str) -> Iterator[str]:
    try:
        missing = [name for name in INTERFACE if not hasattr(import_string(path), name)]
        why = f"which is no dispatcher: it has no {', '.join(missing)}" if missing else ""
    except ImportError as error:
        why = f"which cannot be imported: {error}"
    if why:
        remedy = '"local", or a dispatcher such as "background.contrib.celery.CeleryDispatcher"'
        yield f"BACKGROUND['EXECUTOR'] is {path!r}, {why}. Set {remedy}."


@register()
def check_declarations(**kwargs: Any) -> list[CheckMessage]:
    """Names are unique, dependencies exist and form no circle."""
    return [Error(text, id="background.E010") for text in registry.problems()]


@register()
def check_schedules(**kwargs: Any) -> list[CheckMessage]:
    """No declared interval of whole days has a time zone: it would be meant as a time of day."""
    jobs = [one for one in registry.jobs().values() if one.schedule is not None]
    said = {one.name: remark(one.schedule, one.timezone) for one in jobs}  # type: ignore[arg-type]
    return [Warning(f"Job {name!r}: {text}", id="background.W003") for name, text in said.items() if text]


@register()
def check_tasks(**kwargs: Any) -> list[CheckMessage]:
    """Some alias in TASKS keeps its runs in the database."""
    if any(params.get("BACKEND") == BACKEND for params in task_backends.settings.values()):
        return []
    hint = f'Set TASKS = {{"default": {{"BACKEND": "{BACKEND}"}}}}.'
    return [
        Warning(
            "No backend in TASKS is background's: .enqueue() will not make runs that a host executes.",
            hint=hint,
            id="background.W001",
        )
    ]


@register("database")
def check_database(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The database is set up so that several processes can work on it."""
    conf = get_settings()
    if not databases or conf.database not in databases:
        return []
    return [Warning(text, id="background.W002") for text in dialect().warnings()]
