"""Own the settings of the app: the dict `BACKGROUND` becomes one frozen `Settings`, read lazily."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.dispatch import receiver

RETENTION = {"succeeded": 7, "failed": 30, "cancelled": 7}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of `BACKGROUND`, in lower case; durations are seconds."""

    database: str = "default"
    concurrency: int = 8
    async_concurrency: int = 100
    processes: int = 1
    process_concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_runs_per_child: int | None = None
    max_memory_per_child: float | None = None
    shutdown_timeout: float = 25
    startup_timeout: float = 60
    drain_delay: float = 0
    heartbeat_interval: float = 2
    host_timeout: float = 15
    poll_interval: float = 1.0
    max_lost: int = 3
    retention: Mapping[str, float | None] = field(default_factory=lambda: dict(RETENTION))
    capture_logs: str | None = "INFO"
    max_log_lines: int = 1000
    redact: tuple[str, ...] = ("password", "token", "secret", "key", "authorization")
    middleware: tuple[str, ...] = ()
    discover: tuple[str, ...] = ("background", "tasks")
    version: str | None = None
    admin_base: str | None = None
    metrics_token: str = ""
    executor: str = "local"


# Settings of the ready-made parts in contrib: `BACKGROUND["MAIL"]` and its like are dicts of their own, named by the parts in use.
PARTS: dict[str, type] = {}
P = TypeVar("P")


def part(name: str) -> Callable[[type[P]], type[P]]:
    """Make a frozen dataclass the settings of a part, under `BACKGROUND[name]`; for use as a decorator."""

    def enter(cls: type[P]) -> type[P]:
        PARTS[name] = cls
        return cls

    return enter


def get_part(cls: type[P]) -> P:
    """Return the settings of a part that are in force; a wrong entry (a check error) counts as not given. Does not block."""
    name = next(key for key, known in PARTS.items() if known is cls)
    raw = raw_settings()
    given = raw.get(name, {}) if isinstance(raw, Mapping) else {}
    wrong = {key for key, _ in _part_problems(name, given)}
    values = {} if name in wrong else {k.lower(): v for k, v in given.items() if k not in wrong}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _part_problems(name: str, given: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(given, Mapping):
        yield name, f"BACKGROUND[{name!r}] must be a dict, not {type(given).__name__}."
        return
    defaults = PARTS[name]()
    known = {one.name.upper() for one in fields(defaults)}
    for key, value in given.items():
        if key not in known:
            yield str(key), f"BACKGROUND[{name!r}] has no setting {key!r}; known are {', '.join(sorted(known))}."
        elif not _fits(value, getattr(defaults, key.lower())):
            wanted = type(getattr(defaults, key.lower())).__name__
            yield key, f"BACKGROUND[{name!r}][{key!r}] must be of type {wanted}, not {value!r}."


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of the kind of its default; what may be None may be anything."""
    if default is None or isinstance(value, type(default)):
        return True
    if isinstance(default, tuple):
        return isinstance(value, list)
    return isinstance(default, float) and _is_number(value)


# Limits of the child processes that execute runs with executor="process": runs, and megabytes.
CHILD_LIMITS = {"max_runs_per_child", "max_memory_per_child"}
POSITIVE = {"concurrency", "async_concurrency", "processes", "heartbeat_interval", "host_timeout", "poll_interval"}
POSITIVE |= {"shutdown_timeout", "startup_timeout", "max_lost", *CHILD_LIMITS, "process_concurrency"}
NOT_NEGATIVE = {"drain_delay", "max_log_lines"}


def raw_settings() -> Any:
    return getattr(django_settings, "BACKGROUND", {})


@cache
def get_settings() -> Settings:
    """Return the settings in force; a wrong entry (a check error) counts as not given. Does not block."""
    raw = raw_settings()
    wrong = {key for key, _ in problems(raw)}
    names = {one.name for one in fields(Settings)}
    if not isinstance(raw, Mapping):
        return Settings()
    values: dict[str, Any] = {k.lower(): v for k, v in raw.items() if k not in wrong and k.lower() in names}
    if "retention" in values:
        values["retention"] = RETENTION | values["retention"]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Settings(**values)


def problems(raw: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) for each entry of `BACKGROUND` that is not what the settings table says."""
    if not isinstance(raw, Mapping):
        yield "BACKGROUND", f"BACKGROUND must be a dict, not {type(raw).__name__}."
        return
    defaults = Settings()
    known = {one.name.upper() for one in fields(Settings)}
    for key, value in raw.items():
        if key in PARTS:
            yield from _part_problems(key, value)
        elif key not in known:
            yield str(key), f"BACKGROUND has no setting {key!r}; known are {', '.join(sorted(known | PARTS.keys()))}."
        elif sentence := _complaint(key.lower(), value, getattr(defaults, key.lower())):
            yield key, f"BACKGROUND[{key!r}] {sentence}, not {value!r}."


def _complaint(name: str, value: Any, default: Any) -> str | None:
    if name == "retention":
        fits = isinstance(value, Mapping) and all(
            k in RETENTION and (v is None or (_is_number(v) and v >= 0)) for k, v in value.items()
        )
        return None if fits else "must map succeeded, failed and cancelled to days or None"
    if name == "capture_logs":
        return None if value is None or value in LEVELS else f"must be one of {', '.join(LEVELS)} or None"
    if isinstance(default, tuple):
        fits = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        return None if fits else "must be a list of strings"
    if name in CHILD_LIMITS and value is None:
        return None
    if name not in CHILD_LIMITS and (isinstance(default, str) or default is None):
        return None if isinstance(value, str) or (default is None and value is None) else "must be a string"
    if not _is_number(value) or (name in WHOLE and not isinstance(value, int)):
        unit = "megabytes" if name == "max_memory_per_child" else "seconds"
        return "must be a whole number" if name in WHOLE else f"must be a number of {unit}"
    if name in POSITIVE and value <= 0:
        return "must be more than 0"
    return "must not be negative" if name in NOT_NEGATIVE and value < 0 else None


WHOLE = {"concurrency", "async_concurrency", "processes", "max_lost", "max_log_lines"}
WHOLE |= {"process_concurrency", "max_runs_per_child"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@cache
def build_version() -> str:
    """Return BACKGROUND["VERSION"], or the short commit of the site's checkout, or "". Runs git once."""
    configured = get_settings().version
    if configured is not None:
        return configured
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=getattr(django_settings, "BASE_DIR", None),
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "BACKGROUND":
        get_settings.cache_clear()
        build_version.cache_clear()
