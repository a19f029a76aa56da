"""Own what a task or a job may ask for besides its function: which policies there are, and that their values fit."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from background.exceptions import InvalidArguments, InvalidPolicy
from background.timing import Backoff, Schedule, parse

Key = Callable[..., str] | str | None

EXECUTORS = ("thread", "loop", "process")
CHOICES: dict[str, tuple[Any, ...]] = {
    "executor": (None, "", *EXECUTORS),
    "overlap": ("skip", "queue", "allow", "replace"),
    "misfire": ("once", "skip", "all"),
    "on_lost": ("retry", "fail"),
}
# Policies that live on the task itself; the others belong to the schedule of a job.
OF_TASK = (
    "max_attempts", "backoff", "retry_on", "discard_on", "timeout", "executor", "atomic", "unique", "concurrency", "concurrency_key",
    "on_lost", "retain", "permission", "form", "secret",
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
        if name in ("max_attempts", "concurrency", "misfire_limit") and value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidPolicy(f"{owner}: {name}={value!r} must be a whole number from 1.")
        if name in ("timeout", "jitter", "misfire_grace") and value is not None:
            if (
                not isinstance(value, (int, float))
                or isinstance(value, bool)
                or value < (0 if name != "timeout" else 0.001)
            ):
                raise InvalidPolicy(f"{owner}: {name}={value!r} must be a number of seconds.")
        if name in ("starts_at", "ends_at") and value is not None:
            if not isinstance(value, datetime) or value.tzinfo is None:
                raise InvalidPolicy(f"{owner}: {name}={value!r} must be a datetime with a time zone.")
        if name == "backoff" and not isinstance(value, (Backoff, type(None))):
            raise InvalidPolicy(f"{owner}: backoff={value!r} must be a background.Backoff.")
        if (
            name in ("unique", "concurrency_key")
            and value is not None
            and not (callable(value) or isinstance(value, str))
        ):
            raise InvalidPolicy(f"{owner}: {name}={value!r} must be a callable or a format string over the arguments.")
        if name == "retain" and value is not None:
            retention_text(value, owner)


def retention_text(value: Any, owner: str = "retain") -> str:
    """Return the stored form of a `retain` policy: days ("30") or runs ("100 runs")."""
    if value in (None, ""):
        return ""
    text = str(value).strip()
    number, _, unit = text.partition(" ")
    if not number.replace(".", "", 1).isdigit() or unit not in ("", "days", "day", "runs", "run"):
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
    try:
        text = json.dumps(value, allow_nan=False, cls=_Strict)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"The arguments of {what} must be JSON: {error}.") from error
    if len(text) > MAX_ARGUMENTS:
        raise InvalidArguments(
            f"The arguments of {what} take {len(text):,} bytes as JSON; at most {MAX_ARGUMENTS:,} are kept. Pass an id instead."
        )
    if not is_storable(text):
        raise InvalidArguments(f"The arguments of {what} hold NUL or half characters, which databases do not store.")
    return json.loads(text)


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


def key_of(policy: Key, task: Any, args: Any, kwargs: Any) -> str:
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
    key = storable(f"{task.module_path}:{made}")
    return (
        key
        if len(key) <= MAX_KEY
        else f"{key[: MAX_KEY - 33]}:{hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}"
    )


def utc(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value else None
