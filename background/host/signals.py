"""Own what the outside tells a host and hears of it: signals and systemd's notifications."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("background.host")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handling(
    stop: Callable[[str], object], supervised: bool = False, last: Callable[[], object] | None = None
) -> Iterator[None]:
    """Have SIGTERM and SIGINT call `stop` once; the second one calls `last` and ends the process at once (128 + signal).

    A process that is `supervised` may get SIGTERM twice for one wish, from its parent and from systemd, which tells the
    whole group: there it never counts as the second. Only in the main thread; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received and not (supervised and number == signal.SIGTERM):
            os.write(2, b"second signal: exit at once\n")
            if last is not None:
                last()
            os._exit(128 + number)
        received.append(number)
        stop(f"received {signal.Signals(number).name}")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def notify(*lines: str) -> bool:
    """Tell systemd, if it listens (sd_notify(3)); False if it does not. Does not block."""
    address = os.environ.get("NOTIFY_SOCKET", "")  # systemd's own channel, not a setting
    if not address:
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
    except OSError as error:
        logger.debug("systemd could not be told: %s", error)
        return False
    return True


def watchdog_interval() -> float | None:
    """Return the seconds within which systemd wants a sign of life (half of WatchdogSec), or None."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or pid != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000 / 2
