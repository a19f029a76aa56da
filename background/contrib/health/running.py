"""Own the asking: each check in a thread of its own that nobody has to wait for, whatever becomes of it."""

from __future__ import annotations

import inspect
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _

from background.contrib.health.builtin import without_secrets
from background.contrib.health.declaring import Check, Unhealthy
from background.jobs.policies import storable
from background.scope import Scope, close_connections
from background.stopping import StopToken

# A stop is noticed so soon (seconds).
LOOK = 0.2
# What is kept of a check's words (characters).
WORDS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check came to."""

    ok: bool
    detail: str = ""
    seconds: float = 0.0


class Runner:
    """Asks checks at the same time, each for no longer than its timeout.

    A thread cannot be ended: one that is deaf goes on, and its check is not asked anew before it has returned.
    """

    def __init__(self, scope: Callable[[], Scope]) -> None:
        self._scope = scope
        self._busy: dict[str, float] = {}  # since when, by the monotonic clock

    def run(self, checks: Iterable[Check], stop: StopToken | None = None) -> dict[str, Outcome]:
        """Return the outcomes by name; without those that a stop leaves unfinished. Blocks for the longest timeout at most."""
        answers: SimpleQueue[tuple[str, Outcome]] = SimpleQueue()
        outcomes: dict[str, Outcome] = {}
        until: dict[str, float] = {}
        for check in checks:
            if (since := self._busy.get(check.name)) is not None:
                waited = time.monotonic() - since
                outcomes[check.name] = Outcome(False, _("no answer for %(seconds).1f s") % {"seconds": waited}, waited)
                continue
            self._busy[check.name] = time.monotonic()
            until[check.name] = time.monotonic() + check.timeout
            threading.Thread(
                target=self._ask, args=[check, answers], name=f"health check {check.name}", daemon=True
            ).start()
        while until and not (stop and stop.requested):
            left = min(until.values()) - time.monotonic()
            try:
                name, outcome = answers.get(timeout=max(min(left, LOOK), 0))
            except Empty:
                outcomes |= self._given_up(until)
            else:
                if until.pop(name, None) is not None:
                    outcomes[name] = outcome
        return outcomes

    def _given_up(self, until: dict[str, float]) -> dict[str, Outcome]:
        late = [name for name, at in until.items() if at <= time.monotonic()]
        for name in late:
            del until[name]
        now = time.monotonic()
        took = {name: now - self._busy.get(name, now) for name in late}
        return {
            name: Outcome(False, _("no answer for %(seconds).1f s") % {"seconds": s}, s) for name, s in took.items()
        }

    def _ask(self, check: Check, answers: SimpleQueue[tuple[str, Outcome]]) -> None:
        started = time.monotonic()
        try:
            with self._scope():
                said = async_to_sync(check.call)() if inspect.iscoroutinefunction(check.call) else check.call()
            ok, detail = said is not False, "" if said is None or isinstance(said, bool) else str(said)
        except Exception as error:  # noqa: BLE001 - around a check, as around a run's function
            ok, detail = False, words_of(error)
        finally:
            close_connections()
            self._busy.pop(check.name, None)
        answers.put((check.name, Outcome(ok, storable(without_secrets(detail))[:WORDS], time.monotonic() - started)))


def words_of(error: Exception) -> str:
    """Return what people should read: what a check says itself, else the error and the line where it was raised."""
    if isinstance(error, Unhealthy):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
