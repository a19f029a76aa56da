"""Own the promise that worker processes end when their parent was killed, whatever they are doing."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress

logger = logging.getLogger("background.host")

# A worker process notices by itself and hands its runs back (`watch_parent`): but not while C code keeps the interpreter, nor
# when it was stopped by SIGSTOP. prctl(PR_SET_PDEATHSIG) would kill it before it could hand anything back. So a small shell
# waits at a pipe that only the parent holds open, gives them the time, then kills those it was told last.
SCRIPT = """
pids=
while read -r line; do pids=$line; done
[ -n "$pids" ] || exit 0
sleep 1.8 || sleep 1
kill -9 $pids
"""


class Guardian:
    """A small process that outlives this one just long enough to kill what it leaves behind."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []

    def watch(self, pids: Iterable[int]) -> None:
        """Name the processes that are to be killed when this process is gone. Does not block."""
        self._pids = list(pids)
        if self._shell is None or self._shell.poll() is not None:
            self._start()
        self._tell(self._pids)

    def _start(self) -> None:
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            logger.warning("no guardian for the worker processes: %s", error)

    def _tell(self, pids: list[int]) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with suppress(OSError):  # it was killed itself: the next call starts another
                os.write(self._shell.stdin.fileno(), f"{' '.join(map(str, pids))}\n".encode())

    def dismiss(self) -> None:
        """There is nothing left to watch; for use in signal handlers, too. Does not block."""
        self._tell([])

    def close(self) -> None:
        """Let it end. Blocks for a moment."""
        self.dismiss()
        if self._shell is not None:
            self._shell.communicate()
            self._shell = None
