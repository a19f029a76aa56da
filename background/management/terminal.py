"""Own the look of the terminal: one line per event, tables for people, colours where they are welcome."""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.translation import gettext as _

from background.execution.telling import is_told_once

try:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    RICH = True
except ImportError:  # an extra: plain columns do without
    RICH = False


COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31", "DEBUG": "2"}
INDENT = " " * 11
# Django's own lines about runs.
TWICE = ("django.tasks", "django_tasks")
MARKS = {"DEBUG": "·", "INFO": "●", "WARNING": "▲", "ERROR": "✖", "CRITICAL": "✖"}


def wants_colour(stream: Any, asked: bool | None = None) -> bool:
    """Tell whether to write colours to this stream: as a flag asked, else by NO_COLOR and FORCE_COLOR, else if a terminal."""
    if asked is not None:
        return asked
    if os.environ.get("NO_COLOR"):  # no-color.org
        return False
    if os.environ.get("FORCE_COLOR"):  # force-color.org
        return True
    return hasattr(stream, "isatty") and stream.isatty() and os.environ.get("TERM") != "dumb"


def plain(text: Any) -> str:
    """Return text in which control and direction characters are shown as escapes: output never steers the terminal."""
    return "".join(
        one
        if one == "\n" or unicodedata.category(one) not in ("Cc", "Cf", "Cs")
        else one.encode("unicode_escape").decode()
        for one in str(text)
    )


class PlainCommand(BaseCommand):
    """A command that says in one sentence what is wrong, also with its arguments, and asks no database before it runs."""

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        """Leave the databases alone: some checks of Django 6.1 ask them, and one that is away is told of in our words."""
        return {"databases": []}

    def check_words(self, argv: list[str]) -> None:
        """Raise CommandError for what argparse would not tell in one sentence."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Tell one sentence about a wrong argument, and end with exit code 1."""
        try:
            self.check_words(argv)
            super().run_from_argv(argv)
        except CommandError as error:  # what parsing refused: BaseCommand tells only what handle() raises
            self.stderr.write(f"CommandError: {plain(error).removeprefix('Error: ')}")
            sys.exit(error.returncode)


class LineFormatter(logging.Formatter):
    """`HH:MM:SS ● room  message`, with a traceback indented below."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone(timezone.get_default_timezone())
        room = "" if record.name.startswith("background.") else f"{record.name}: "
        message = room + plain(record.getMessage()).replace("\n", "\n" + INDENT)
        below = [self.formatException(record.exc_info)] if record.exc_info else []
        below += [record.stack_info] if record.stack_info else []
        message += "".join(f"\n{INDENT}{line}" for text in below for line in plain(text).splitlines())
        mark = MARKS.get(record.levelname, "●")
        if not self._colour:
            return f"{at:%H:%M:%S} {mark} {message}"
        colour = COLOURS.get(record.levelname, "32")
        body = message if record.levelno == logging.INFO else f"\x1b[{colour}m{message}\x1b[0m"
        return f"\x1b[2m{at:%H:%M:%S}\x1b[0m \x1b[{colour}m{mark}\x1b[0m {body}"


def configure_logging(stream: TextIO | None = None, verbosity: int = 1, colour: bool | None = None) -> None:
    """Write the log to the terminal, unless the site's LOGGING has a handler for it; `colour` is what a flag asked."""
    stream = stream or sys.stderr
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    root, ours = logging.getLogger(), logging.getLogger("background")
    if not any(isinstance(one, logging.StreamHandler) for one in root.handlers):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(LineFormatter(wants_colour(stream, colour)))
        handler.addFilter(lambda record: not is_written_below_root(record))
        root.addHandler(handler)
        root.setLevel(min(root.level or logging.WARNING, logging.WARNING if verbosity == 0 else logging.INFO))
    for twice in map(logging.getLogger, TWICE):
        # At the logger, and not by its level: Django sets its loggers up anew when an application is loaded for --serve.
        if verbosity < 2 and not twice.handlers and is_told_once not in twice.filters:
            twice.addFilter(is_told_once)
    if not ours.handlers or verbosity != 1:  # else the site has said what it wants to read of us
        ours.setLevel(level)


def is_written_below_root(record: logging.LogRecord) -> bool:
    """Tell whether a handler of the record's own loggers writes it to a stream, as that of "django" does under DEBUG."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None:
        for one in logger.handlers:
            to_stream = isinstance(one, logging.StreamHandler) and not isinstance(one, logging.FileHandler)
            if to_stream and record.levelno >= one.level and one.filter(record):
                return True
        logger = logger.parent
    return False


def banner(lines: Iterable[tuple[str, str]], stream: TextIO | None = None) -> None:
    """Write labelled lines in two columns."""
    stream = stream or sys.stderr
    lines = list(lines)
    width = max(len(label) for label, _value in lines)
    for label, value in lines:
        stream.write(f"  {label:<{width}}  {plain(value)}\n")
    stream.write("\n")
    stream.flush()


def table(
    out: Any,
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[Any]],
    empty: str,
    colour: bool | None = None,
) -> None:
    """Write a table: by rich on a terminal where it is installed, else in plain columns; `colour` is what a flag asked."""
    heads = [str(head) for head in heads]
    cells = [[plain(cell).partition("\n")[0] for cell in row] for row in rows]
    if not cells:
        out.write(f"{empty}\n")
        return
    if RICH and wants_colour(getattr(out, "_out", out), colour):
        made = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
        for head in heads:
            made.add_column(head, overflow="fold")
        for row in cells:
            made.add_row(*(Text(cell) for cell in row))
        Console(file=cast(TextIO, getattr(out, "_out", out)), force_terminal=True).print(made)
        return
    widths = [max(len(row[place]) for row in [list(heads), *cells]) for place in range(len(heads))]
    for row in [list(heads), *cells]:
        out.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def as_json(out: Any, value: Any) -> None:
    """Write JSON for programs: codes, instants in UTC, and nothing but ASCII, which no terminal obeys or refuses."""
    out.write(json.dumps(value, indent=2, cls=DjangoJSONEncoder) + "\n")


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
