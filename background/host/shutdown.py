"""Own the order in which a host stops: requests end first, then all are told at once, and each ends in its turn."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from background.conf import get_settings
from background.host.supervised import CANCEL_GRACE, Supervised
from background.stopping import Deadline

logger = logging.getLogger("background.host")

# Of SHUTDOWN_TIMEOUT, kept for on_stop of services, and then for the engine to write the end down (seconds, or a fifth).
RESERVE = 2.0
# What a hook gets even if the time is used up by others (seconds).
LEAST = 0.25
# Of SHUTDOWN_TIMEOUT, what requests may take before anything else is told to stop.
REQUESTS = 0.5
# Leases are looked at this often while waiting (seconds).
LOOK = 0.25


class Shutdown:
    """One stop of a host, within SHUTDOWN_TIMEOUT or the seconds given; `problems` says what went wrong."""

    def __init__(self, services: Iterable[Supervised], look: Callable[[], None], seconds: float | None = None) -> None:
        opened = [one for one in services if one.thread.is_alive]
        self._users = [one for one in reversed(opened) if not one.engine]
        self._early = [one for one in reversed(opened) if one.engine and not one.stops_late]
        self._late = [one for one in reversed(opened) if one.engine and one.stops_late]
        self._look = look
        total = get_settings().shutdown_timeout if seconds is None else seconds
        reserve = min(RESERVE, total / 5)
        self.deadline = Deadline.after(total)
        self._requests_by = Deadline.after(total * REQUESTS)
        self._hooks_by = Deadline.after(total - reserve)
        self._execute_by = Deadline.after(total - 2 * reserve)
        self._abandoned: list[Supervised] = []
        self.problems: list[str] = []

    def run(self) -> None:
        """Finish requests, stop the user's services and those of the engine that begin work, then the rest. Blocks."""
        self._finish_requests()
        for one in self._users:
            one.request_stop("shutdown", self._execute_by)
        for one in self._early:
            one.request_stop("shutdown", self._hooks_by)
        self._hooks("on_stopping", self._execute_by)
        for one in (*self._users, *self._early):
            self._end(one, self._hooks_by)
        self._hooks("on_stopped", self._hooks_by)
        self._close([*self._users, *self._early])
        for one in self._late:
            deadline = Deadline.after(max((self.deadline.remaining() or 0) / 2, LEAST))  # some for the next
            one.request_stop("shutdown", deadline)
            self._end(one, deadline)
        self._close(self._late)

    def _finish_requests(self) -> None:
        """Let the web server end while all else goes on: a request may wait for a run, or feed a service of this process."""
        for one in self._users:
            if one.stops_first and one.begun:
                one.request_stop("shutdown", self._requests_by)
                self._wait(one.executed, (self._requests_by.remaining() or 0) + CANCEL_GRACE)

    def _hooks(self, hook: str, deadline: Deadline) -> None:
        """Call a hook of all who started, each within half of what time is left: one that hangs leaves some to the next."""
        for one in self._users:
            if one.was_started and one not in self._abandoned:
                future = one.hook(hook)
                if not self._wait_for(future, max((deadline.remaining() or 0) / 2, LEAST)):
                    logger.error("%s of %s does not end; it stands at:\n%s", hook, one.name, one.thread.stack())
                    self.problems.append(f"{hook} of {one.name} did not end in time")
                    one.thread.cancel_hooks()
                elif error := future.exception():
                    one.standing.note_failure(error, f"{hook} of %s failed: %r")
                    self.problems.append(f"{hook} of {one.name}: {error!r}")

    def _wait_for(self, future: Future[None], seconds: float) -> bool:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        return self._wait(done, seconds)

    def _end(self, one: Supervised, deadline: Deadline) -> None:
        """Wait for the end of its execute, then for its on_stop."""
        one.let_dispose()
        if not one.begun:
            return
        left = (one.token.deadline or deadline).remaining() or 0
        if not self._wait(one.executed, max(left + (CANCEL_GRACE if one.service.is_async else 0), LEAST)):
            one.abandon()
            self._abandoned.append(one)
            self.problems.append(f"service {one.name} did not stop in time and was abandoned")
        elif not self._wait(one.ended, max(deadline.remaining() or 0, LEAST)):
            one.thread.cancel_hooks()
            if not self._wait(one.ended, LEAST):
                one.abandon()
                self._abandoned.append(one)
            self.problems.append(f"on_stop of {one.name} did not end in time")
        self.problems += one.hook_errors

    def _wait(self, event: threading.Event, seconds: float) -> bool:
        deadline = Deadline.after(seconds)
        while not event.wait(min(LOOK, deadline.remaining() or 0)):
            self._look()
            if deadline.expired:
                return event.is_set()
        return True

    def _close(self, services: list[Supervised]) -> None:
        """Let the threads end, and wait for those that will: they close their loops and connections."""
        for one in services:
            one.thread.cancel_hooks()  # of a start that was broken off
            one.thread.close()
        for one in services:
            if one not in self._abandoned:
                left = (one.token.deadline or self.deadline).remaining()
                one.thread.join(max(left or 0, LEAST))
                if one.thread.is_alive:  # such as one that a coroutine started by asyncio.to_thread
                    one.abandon()
                    self.problems.append(f"a thread of {one.name} did not end and was abandoned")
