"""Own the live screen of `background watch`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from background.management.terminal import RICH, wants_colour

if RICH:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text


def repeat(
    out: Any,
    show: Callable[[], str],
    interval: float,
    colour: bool | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show a text again and again until Ctrl-C: on a screen of its own by rich, else one below the other. Blocks."""
    stream = getattr(out, "_out", out)
    try:
        if RICH and stream.isatty() and wants_colour(stream, colour):
            _live(stream, show, interval, wait)
        while True:
            stream.write(f"\x1b[2J\x1b[H{show()}\n" if stream.isatty() else f"{show()}\n")
            stream.flush()
            wait(interval)
    except KeyboardInterrupt:
        stream.write("\n")


def _live(stream: Any, show: Callable[[], str], interval: float, wait: Callable[[float], None]) -> None:
    with Live(console=Console(file=stream, force_terminal=True), screen=True, auto_refresh=False) as live:
        while True:
            text = Text(show(), no_wrap=True, overflow="ellipsis")
            text.highlight_regex(r"(?m)^▲.*$", "yellow")
            text.highlight_regex(r"(?m)^✔.*$", "green")
            live.update(text, refresh=True)
            wait(interval)
