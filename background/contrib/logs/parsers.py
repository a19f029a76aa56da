"""Own how a line becomes an entry: a dict, or a ValueError that says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

Entry = dict[str, Any]
Parser = Callable[[str], Entry]


_decode = json.JSONDecoder().decode  # `json.loads` looks at its many arguments first


def json_line(line: str) -> Entry:
    """Parse a line that is a JSON object; ValueError if it is none."""
    found = _decode(line)
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object is expected, not {type(found).__name__}")
    return found


def pattern(text: str, **convert: Callable[[str], Any]) -> Parser:
    """Return a parser for lines that match a regular expression with named groups; `convert` makes values of texts.

    Raises ValueError (re.error) where it is no expression, or has no named groups. Groups that took no part are None.
    """
    compiled = re.compile(text)
    if not compiled.groupindex:
        raise ValueError(f"The expression needs named groups, such as (?P<level>\\w+): {text!r}.")
    match = compiled.fullmatch

    def parse(line: str) -> Entry:
        found = match(line)
        if found is None:
            raise ValueError("it does not match the expression")
        entry: Entry = found.groupdict()
        for name, call in convert.items():
            if entry[name] is not None:
                entry[name] = call(entry[name])
        return entry

    return parse


@lru_cache(maxsize=1024)  # lines of one second have one time
def clf_time(text: str) -> datetime:
    """Parse the time of the common log format: 10/Oct/2027:13:55:36 +0200."""
    return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z")


def clf_size(text: str) -> int:
    return 0 if text == "-" else int(text)


# What stands in quotes, with what is escaped. Not `(?:[^"\\]|\\.)*`, which takes one character after the other: twice the time.
_TEXT = r'[^"\\]*(?:\\.[^"\\]*)*'
_COMMON = (
    rf'(?P<host>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>{_TEXT})" '
    r"(?P<status>\d{3}) (?P<size>\d+|-)"
)
_QUOTED = rf'"(?P<referrer>{_TEXT})" "(?P<agent>{_TEXT})"'

# The access logs of nginx and Apache.
COMMON = pattern(_COMMON, time=clf_time, status=int, size=clf_size)
COMBINED = pattern(f"{_COMMON} {_QUOTED}", time=clf_time, status=int, size=clf_size)
