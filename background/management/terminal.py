"""Own the look of the terminal: one line per event, tables for people, colours where they are welcome."""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO, cast

from django.utils import timezone
from django.utils.translation import gettext as _

try:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    RICH = True
except ImportError:  # an extra: plain columns do without
    RICH = False


class Writer(Protocol):
    def write(self, msg: str = ..., /) -> Any: ...


COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31", "DEBUG": "2"}
INDENT = " " * 11
MARKS = {"DEBUG": "·", "INFO": "●", "WARNING": "▲", "ERROR": "✖", "CRITICAL": "✖"}


def wants_colour(stream: Any) -> bool:
    """Tell whether to write colours to this stream: to a terminal, unless NO_COLOR is set (no-color.org)."""
    return hasattr(stream, "isatty") and stream.isatty() and not os.environ.get("NO_COLOR")


def plain(text: Any) -> str:
    """Return text in which control and direction characters are shown as escapes: output never steers the terminal."""
    return "".join(
        one
        if one == "\n" or unicodedata.category(one) not in ("Cc", "Cf", "Cs")
        else one.encode("unicode_escape").decode()
        for one in str(text)
    )


class LineFormatter(logging.Formatter):
    """`HH:MM:SS ● room  message`, with a traceback indented below."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone(timezone.get_default_timezone())
        room = "" if record.name.startswith("background.") else f"{record.name}: "
        message = room + plain(record.getMessage()).replace("\n", "\n" + INDENT)
        if record.exc_info:
            message += "".join(f"\n{INDENT}{one}" for one in plain(self.formatException(record.exc_info)).splitlines())
        mark = MARKS.get(record.levelname, "●")
        if not self._colour:
            return f"{at:%H:%M:%S} {mark} {message}"
        colour = COLOURS.get(record.levelname, "32")
        body = message if record.levelno == logging.INFO else f"\x1b[{colour}m{message}\x1b[0m"
        return f"\x1b[2m{at:%H:%M:%S}\x1b[0m \x1b[{colour}m{mark}\x1b[0m {body}"


def configure_logging(stream: TextIO | None = None, verbosity: int = 1) -> None:
    """Write the log to the terminal, unless the site's LOGGING already has a handler for it."""
    stream = stream or sys.stderr
    root = logging.getLogger()
    if not any(isinstance(one, logging.StreamHandler) for one in root.handlers):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(LineFormatter(wants_colour(stream)))
        root.addHandler(handler)
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    root.setLevel(min(root.level or logging.WARNING, logging.WARNING if verbosity == 0 else logging.INFO))
    logging.getLogger("background").setLevel(level)


def banner(lines: Iterable[tuple[str, str]], stream: TextIO | None = None) -> None:
    """Write labelled lines in two columns."""
    stream = stream or sys.stderr
    lines = list(lines)
    width = max(len(label) for label, _value in lines)
    for label, value in lines:
        stream.write(f"  {label:<{width}}  {plain(value)}\n")
    stream.write("\n")
    stream.flush()


def table(out: Writer, title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Write a table: by rich on a terminal where it is installed, else in plain columns."""
    heads = [str(head) for head in heads]
    cells = [[plain(cell).partition("\n")[0] for cell in row] for row in rows]
    if not cells:
        out.write(f"{empty}\n")
        return
    if RICH and wants_colour(getattr(out, "_out", out)):
        made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
        for head in heads:
            made.add_column(head, overflow="fold")
        for row in cells:
            made.add_row(*(Text(cell) for cell in row))
        Console(file=cast(TextIO, getattr(out, "_out", out))).print(made)
        return
    widths = [max(len(row[place]) for row in [list(heads), *cells]) for place in range(len(heads))]
    for row in [list(heads), *cells]:
        out.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def as_json(out: Writer, value: Any) -> None:
    """Write JSON for programs: codes, and instants in UTC."""
    out.write(json.dumps(value, indent=2, default=_jsonable, ensure_ascii=False) + "\n")


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def ago(instant: datetime | None, now: datetime | None = None) -> str:
    """Return how far away an instant is, in words for people."""
    if instant is None:
        return "–"
    seconds = ((now or timezone.now()) - instant).total_seconds()
    text = duration(abs(seconds))
    return (_("%(time)s ago") if seconds >= 0 else _("in %(time)s")) % {"time": text}


def duration(seconds: float | None) -> str:
    """Return a length of time in one or two units."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit, small, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = int(seconds % size // small)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{seconds:.0f} s"
