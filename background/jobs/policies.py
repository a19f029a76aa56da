"""Own what a task or a job may ask for besides its function: which policies there are, and that their values fit."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import Any

from background.exceptions import LONGEST, InvalidArguments, InvalidPolicy
from background.timing import Backoff, Schedule, parse

Key = Callable[..., str] | str | None

EXECUTORS = ("thread", "loop", "process")
CHOICES: dict[str, tuple[Any, ...]] = {
    "executor": (None, "", *EXECUTORS),
    "overlap": ("skip", "queue", "allow", "replace"),
    "misfire": ("once", "skip", "all"),
    "on_lost": ("retry", "fail"),
    "on_duplicate": ("return", "replace"),
}
# Policies that live on the task itself; the others belong to the schedule of a job.
OF_TASK = (
    "max_attempts", "backoff", "retry_on", "discard_on", "timeout", "executor", "atomic", "unique", "on_duplicate", "debounce",
    "concurrency", "concurrency_key", "on_lost", "retain", "permission", "form", "secret",
)  # fmt: skip
OF_SCHEDULE = ("overlap", "misfire", "misfire_grace", "misfire_limit", "starts_at", "ends_at", "jitter")
MAX_ARGUMENTS = 64 * 1024
MAX_KEY = 255


def check_policies(owner: str, policies: Mapping[str, Any]) -> None:
    """Raise InvalidPolicy, naming the owner and the policy, if a value is not allowed."""
    for name, value in policies.items():
        if name in CHOICES and value not in CHOICES[name]:
            allowed = ", ".join(repr(one) for one in CHOICES[name] if one)
            raise InvalidPolicy(f"{owner}: {name}={value!r} is none of {allowed}.")
        if name in _RULES:
            fits, words = _RULES[name]
            if not (fits(value) or (value is None and name in _OPTIONAL)):
                raise InvalidPolicy(f"{owner}: {name}={value!r} must be {words}.")
        if name == "retain":
            retention_text(value, owner)
    starts_at, ends_at = policies.get("starts_at"), policies.get("ends_at")
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        raise InvalidPolicy(f"{owner}: ends_at={ends_at} is not after starts_at={starts_at}: it would never run.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_instant(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _are_exceptions(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, type) and issubclass(one, BaseException) for one in value)


def _is_key(value: Any) -> bool:
    return callable(value) or isinstance(value, str)


_OPTIONAL = {
    "concurrency",
    "timeout",
    "jitter",
    "starts_at",
    "ends_at",
    "backoff",
    "unique",
    "debounce",
    "concurrency_key",
    "permission",
}
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_attempts": (_is_count, "a whole number from 1"),
    "concurrency": (_is_count, "a whole number from 1"),
    "misfire_limit": (lambda value: _is_count(value) and value <= 1000, "a whole number from 1 to 1000"),
    "timeout": (lambda value: _is_seconds(value) and value >= 0.001, "a number of seconds"),
    "jitter": (_is_seconds, "a number of seconds"),
    "misfire_grace": (_is_seconds, "a number of seconds"),
    "starts_at": (_is_instant, "a datetime with a time zone"),
    "ends_at": (_is_instant, "a datetime with a time zone"),
    "backoff": (lambda value: isinstance(value, Backoff), "a background.Backoff"),
    "retry_on": (_are_exceptions, "a tuple of exception classes"),
    "discard_on": (_are_exceptions, "a tuple of exception classes"),
    "debounce": (lambda value: _is_seconds(value) and 0.001 <= value <= LONGEST, "a number of seconds from 0.001"),
    "unique": (_is_key, "a callable or a format string over the arguments"),
    "concurrency_key": (_is_key, "a callable or a format string over the arguments"),
    "atomic": (lambda value: isinstance(value, bool), "True or False"),
    "permission": (lambda value: isinstance(value, str), "the name of a permission"),
    "secret": (
        lambda value: isinstance(value, (tuple, list)) and all(isinstance(one, str) for one in value),
        "a list of names of arguments",
    ),
}


def check_key(owner: str, name: str, policy: Key, function: Callable[..., Any]) -> None:
    """Raise InvalidPolicy if a format string names what is no argument of the function."""
    if not isinstance(policy, str):
        return
    parameters = inspect.signature(function).parameters
    try:
        named = {re.split(r"[.\[]", field)[0] for _, field, _, _ in Formatter().parse(policy) if field is not None}
    except ValueError as error:
        raise InvalidPolicy(f"{owner}: {name}={policy!r} is no format string: {error}.") from error
    unknown = sorted(one for one in named if not one.isdigit() and one not in parameters)
    if unknown:
        raise InvalidPolicy(
            f"{owner}: {name}={policy!r} names no argument of {function.__name__}: {', '.join(unknown)}."
        )


def retention_text(value: Any, owner: str = "retain") -> str:
    """Return the stored form of a `retain` policy: days ("30") or runs ("100 runs")."""
    if value in (None, ""):
        return ""
    text = str(value).strip()
    number, _, unit = text.partition(" ")
    if not (number.isascii() and number.replace(".", "", 1).isdigit()) or unit not in (
        "",
        "days",
        "day",
        "runs",
        "run",
    ):
        raise InvalidPolicy(f"{owner}: retain={value!r} must be days (30) or a number of runs ('100 runs').")
    return f"{number} runs" if unit.startswith("run") else number


def as_schedule(schedule: Schedule | str | None, timezone: str | None) -> Schedule | None:
    """Return the schedule object for what a declaration gave; InvalidSchedule if no row can hold it."""
    if schedule is None or schedule == "":
        return None
    if isinstance(schedule, str):
        return parse(schedule, timezone or None)
    found = schedule.in_zone(timezone) if timezone else schedule
    parse(str(found), found.timezone)  # rows keep the text: what has none, as an interval below a second, is refused
    return found


def json_ready(value: Any, what: str) -> Any:
    """Return `value` as plain JSON data; InvalidArguments naming `what` if it is not JSON or too large."""
    if _is_plain(value):
        return value
    try:
        text = _STRICT.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"The arguments of {what} must be JSON: {error}.") from error
    if len(text) > MAX_ARGUMENTS:
        raise InvalidArguments(
            f"The arguments of {what} take {len(text):,} bytes as JSON; at most {MAX_ARGUMENTS:,} are kept. Pass an id instead."
        )
    if not is_storable(text):
        raise InvalidArguments(f"The arguments of {what} hold NUL or half characters, which databases do not store.")
    return json.loads(text)


def _is_plain(value: Any) -> bool:
    """Tell whether these are few short words and numbers, as most arguments are: JSON as they stand."""
    if type(value) is dict:
        return all(type(key) is str for key in value) and _is_plain([*value, *value.values()])
    if type(value) is not list or len(value) > 50:
        return False
    for one in value:
        if type(one) is int:
            if not -(2**53) <= one <= 2**53:
                return False
        elif type(one) is str:
            if len(one) > 1000 or not one.isascii() or "\x00" in one:
                return False
        elif one is not None and type(one) is not bool:
            return False
    return True


def is_storable(text: str) -> bool:
    """Tell whether JSON text (made with ASCII escapes) can be stored everywhere: no NUL, no half of a surrogate pair."""
    if re.search(r"(?<!\\)(?:\\\\)*\\u0000", text):  # the escape of NUL, not a backslash before "u0000"
        return False
    if "\\ud" not in text:
        return True
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """Return text with NUL and half characters shown as escapes: databases refuse them."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


class _Strict(json.JSONEncoder):
    """JSON and nothing else, but lazy translations and the like say which type was met."""

    def default(self, o: Any) -> Any:
        raise TypeError(f"Unsupported type: {o!r} is a {type(o).__name__}; pass a string or a number instead")


_STRICT = _Strict(allow_nan=False)


def bind(
    function: Callable[..., Any], takes_context: bool, args: Any, kwargs: Any, what: str
) -> inspect.BoundArguments:
    """Return the arguments bound to the function's parameters; InvalidArguments if they do not fit."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*([None] if takes_context else []), *args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"The arguments do not fit {what}{signature}: {error}.") from error
    bound.apply_defaults()
    return bound


def key_of(policy: Key, task: Any, args: Any, kwargs: Any, prefix: str = "") -> str:
    """Return the key that a callable or a format string makes of the arguments, under the task's own name."""
    if callable(policy):
        try:
            made = str(policy(*args, **kwargs))
        except Exception as error:  # the site's own code; whoever enqueues hears of it
            raise InvalidPolicy(
                f"{task.module_path}: the key could not be made: {type(error).__name__}: {error}."
            ) from error
    else:
        bound = bind(task.func, task.takes_context, args, kwargs, task.module_path)
        try:
            made = str(policy).format(*args, **bound.arguments)
        except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
            raise InvalidPolicy(
                f"{task.module_path}: the key {policy!r} does not fit the arguments: {error}."
            ) from error
    key = storable(f"{prefix}{task.module_path}:{made}")
    return (
        key
        if len(key) <= MAX_KEY
        else f"{key[: MAX_KEY - 33]}:{hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}"
    )


def utc(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value else None
