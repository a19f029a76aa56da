"""Own the executing end: a process of Celery is a host that claims nothing, and takes over the runs of which messages tell."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
import uuid
from contextlib import suppress

from background import registry
from background.conf import get_part, get_settings
from background.contrib.celery.conf import CelerySettings
from background.dialects import dialect
from background.engine.base import EngineService
from background.engine.statistics import Statistics
from background.engine.worker import Worker
from background.execution.executors import local_executors
from background.execution.runner import Execution
from background.host import Host, Options
from background.queue.finish import finish
from background.queue.handover import take_over
from background.queue.holding import Claim, Key, key_of
from background.queue.outcome import Kind, Outcome
from background.stopping import StopToken
from background.web.inside import HostInside

logger = logging.getLogger("background.contrib.celery")

# How many runs at once is Celery's affair.
MANY = 10_000
# Between two looks whether an outcome is written, and whether the host lives (seconds).
SOON, LOOK = 0.005, 1.0


class Message:
    """What a message tells, and when all is done about it."""

    def __init__(self, run_id: uuid.UUID, token: uuid.UUID) -> None:
        self.run_id = run_id
        self.tokens = token, uuid.uuid4()  # under which the run is held, and will be
        self.over = threading.Event()


class Taker(Worker):
    """The worker of such a host: it begins what messages tell of, instead of what it finds in the queue."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, lambda: host.recorder, MANY, MANY)
        self.executors = self.thread, self.loop, self.process = local_executors(MANY, MANY, MANY, self._done)
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._message: Message | None = None  # the one that is being taken care of
        self._begun_of: dict[Key, Message] = {}

    def bring(self, message: Message) -> None:
        """Begin its run, if that is still to be had. Does not block."""
        self._messages.put(message)
        self.wake()

    def capacity(self) -> dict[str, int]:
        return {}

    in_use = capacity

    def _promote(self) -> None:
        """Nothing: the other hosts do."""

    def _fill(self, stop: StopToken) -> int:
        if not self.host.trusted or stop.requested:
            return 0
        with suppress(queue.Empty):
            self._message = self._message or self._messages.get_nowait()
        if (message := self._message) is None:
            return 0
        claim = self._judge(take_over(message.run_id, message.tokens, self.host.holder))  # once more, if it fails
        self._message = None
        if claim is None:
            message.over.set()
        else:
            self._begun_of[claim.key] = message
            self._begin(self._executor(claim.executor), [claim])
        return 1

    def _judge(self, claim: Claim | None) -> Claim | None:
        """Hand back a young run whose task this code does not know: a deploy may be under way. What is older fails."""
        if claim is None:
            logger.info("a run is in other hands by now, or has ended: there is nothing to do")
        if claim is None or claim.task in registry.tasks():
            return claim
        if (dialect().now() - claim.enqueued_at).total_seconds() >= get_part(CelerySettings).patience:
            return claim
        logger.error("run %s is handed back: this worker's code knows no task %s; restart it", claim.id, claim.task)
        finish([Outcome(claim, Kind.SNOOZED, delay=get_settings().host_timeout)])
        return None

    def _done(self, execution: Execution, outcome: Outcome) -> Execution | None:
        following = super()._done(execution, outcome)
        self._begun_of.pop(execution.claim.key).over.set()
        return following


class CeleryHost(Host):
    """A host of sign of life, statistics, recorder and worker. Other hosts look after schedules, and after this one."""

    def _make_engine(self) -> list[EngineService]:
        self.worker = self.taker = Taker(self)
        return [self.heartbeat, Statistics(self), self.recorder, self.worker]

    def _write_down(self) -> None:
        self._write_row(self.id)
        self._written = True

    def _takes(self) -> None:
        return None


class Inside(HostInside):
    """Runs such a host in a thread, until Celery ends the process; fails it, the process ends."""

    def __init__(self) -> None:
        name = f"celery:{socket.gethostname().partition('.')[0]}:{os.getpid()}"
        super().__init__(name=name, queues=(), works=False, schedules=False)

    def _host(self, options: Options) -> int:
        self.host = CeleryHost((), options)
        return self.host.run()

    def execute(self, run_id: uuid.UUID, token: uuid.UUID) -> None:
        """Execute the run that is held under this token, and return when its outcome is written. Blocks."""
        assert isinstance(self.host, CeleryHost)
        message = Message(run_id, token)
        self.host.taker.bring(message)
        while not message.over.wait(LOOK):
            if self.exit_code is not None:
                return
        while key_of(run_id, message.tokens[1]) in self.host.recorder.pending:
            time.sleep(SOON)
