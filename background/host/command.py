"""Own how the command that started a host is told: without what is secret in it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from background.conf import get_settings

MASK = "[hidden]"
LONGEST = 500
# A password in an address: scheme://user:password@host
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


def command_line(argv: Sequence[str] | None = None) -> str:
    """Return the command line; the values of options whose name holds a word of REDACT are masked."""
    first, *rest = list(sys.argv if argv is None else argv) or [""]
    words, hide = [Path(first).name], False
    for word in rest:
        name, given, _value = word.partition("=")
        if hide and not word.startswith("-"):
            words.append(MASK)
        elif given and _is_secret(name):
            words.append(f"{name}={MASK}")
        else:
            words.append(shlex.quote(_CREDENTIALS.sub(f"{MASK}@", word)))
        hide = not given and word.startswith("-") and _is_secret(name)
    return " ".join(words)[:LONGEST]


def _is_secret(name: str) -> bool:
    plain = name.lower().replace("-", "_")
    return any(word.lower() in plain for word in get_settings().redact)
