"""Own the whole list of checks: built-in ones and others named in BACKGROUND["HEALTH"], and those that the code declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.utils.module_loading import import_string

from background.conf import get_part
from background.contrib.health import builtin
from background.contrib.health.conf import HealthSettings, InvalidHealthSetting, require_http
from background.contrib.health.declaring import DECLARED, Check

# The shortest interval and timeout (seconds).
LEAST = 0.01
POLICIES = ("interval", "timeout", "failures", "urgent")


def checks() -> dict[str, Check]:
    """Return all checks by name, complete; InvalidHealthSetting where the settings name what does not exist."""
    conf = get_part(HealthSettings)
    configured = {name: _configured(name, options, conf) for name, options in conf.checks.items()}
    return {name: _complete(one, conf) for name, one in {**configured, **DECLARED}.items()}


def _complete(one: Check, conf: HealthSettings) -> Check:
    whole = replace(
        one, **{name: getattr(one, name) or getattr(conf, name) for name in ("interval", "timeout", "failures")}
    )
    numbers = (whole.interval, whole.timeout, whole.failures)
    fits = all(isinstance(number, (int, float)) and number >= LEAST for number in numbers)
    if not fits or not isinstance(whole.failures, int):
        raise InvalidHealthSetting(
            f"The health check {one.name!r} needs interval and timeout of {LEAST} s or more, and failures that are a whole number "
            f"of 1 or more."
        )
    return whole


def _configured(name: str, options: Any, conf: HealthSettings) -> Check:
    """Make a check of an entry: its kind (by default its name), policies, and what the kind itself takes."""
    if not isinstance(options, Mapping):
        raise InvalidHealthSetting(f"BACKGROUND['HEALTH']['CHECKS'][{name!r}] must be a dict of options.")
    policies = {key: options[key] for key in POLICIES if key in options}
    rest = {key: value for key, value in options.items() if key not in (*POLICIES, "check")}
    kind = options.get("check", name)
    try:
        return Check(name, _callable(kind, rest, options.get("timeout") or conf.timeout), **policies)
    except (TypeError, ValueError, ImportError, AttributeError) as error:
        raise InvalidHealthSetting(f"BACKGROUND['HEALTH']['CHECKS'][{name!r}] cannot be made: {error}.") from error


def _callable(kind: str, options: dict[str, Any], timeout: float) -> Callable[[], Any]:
    """Return what is called: a built-in check, or, by its dotted path, a function or a check of django-health-check."""
    if kind not in builtin.KINDS and "." not in kind:
        raise ValueError(f"there is no check {kind!r}; known are {', '.join(builtin.KINDS)}, and dotted paths")
    found = builtin.KINDS.get(kind) or import_string(kind)
    if isinstance(found, type):
        return found(**options).run
    signature = inspect.signature(found)
    if "timeout" in signature.parameters:
        options["timeout"] = timeout
    signature.bind(**options)
    if "url" in options:
        require_http(options["url"])
    return partial(found, **options)
