"""Own the sending end: an executor whose runs wait in Celery's broker until a process of Celery takes them over."""

from __future__ import annotations

import logging
import math
import time

from amqp.exceptions import AMQPError
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

from background.conf import get_part
from background.contrib.celery.conf import CelerySettings
from background.exceptions import RunCancelled
from background.execution.executors.inbox import Done
from background.execution.runner import Execution, failed
from background.queue.handover import held_still
from background.queue.outcome import Kind, Outcome
from background.timing import Backoff

logger = logging.getLogger("background.contrib.celery")

TASK = "background.execute"
# Between two looks for what was taken over; growing while nothing is (seconds).
LOOK, SELDOM = 0.02, 0.5
# A broken connection of the pool is made anew once; for a broker that is away nobody waits.
ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
BACKOFF = Backoff(initial=0.5, maximum=15)


class Broker:
    """Whether the broker is away, as the dispatchers of this process know it."""

    def __init__(self) -> None:
        self._troubles = 0
        self._again_at = 0.0

    @property
    def seconds(self) -> float:
        """How long nothing is to be sent."""
        return self._again_at - time.monotonic()

    def send(self, execution: Execution) -> bool:
        """Send a message about a run: its id and token, nothing of what it is about. Blocks; False if that cannot be."""
        if self.seconds > 0:
            return False
        claim, conf = execution.claim, get_part(CelerySettings)
        route = {"queue": conf.queue.replace("{queue}", claim.queue)} if conf.queue else {}
        words = str(claim.id), str(claim.token)
        try:
            import_string(conf.app).send_task(
                TASK, words, shadow=claim.task, ignore_result=True, retry=True, retry_policy=ONCE, **route
            )
        except (OperationalError, AMQPError) as error:  # not there, or refuses
            self._troubles += 1
            self._again_at = time.monotonic() + BACKOFF.delay(self._troubles)
            if self._troubles == 1:
                logger.warning("Celery's broker is away, runs wait for it in the queue: %s", error)
            return False
        if self._troubles:
            logger.info("Celery's broker is there again")
        self._troubles = 0
        return True


class CeleryDispatcher:
    """Sends runs to Celery, at most `capacity` ahead of what it takes, and lets go of each that one of its processes has taken.

    From then on that process holds the run, as a host of its own. All but `cancel` is called by the host's worker alone.
    """

    broker = Broker()

    def __init__(self, name: str, capacity: int, done: Done) -> None:
        self.name = name
        self.capacity = capacity
        self._done = done
        self._sent: dict[Execution, None] = {}
        self._look_at = self._pause = 0.0

    @property
    def free(self) -> int:
        """How many more may wait there; far below none while the broker is away."""
        return -self.capacity * 1000 if self.broker.seconds > 0 else self.capacity - len(self._sent)

    def submit(self, execution: Execution) -> None:
        """Send it, or hand it back. Blocks as long as the broker does."""
        self._sent[execution] = None
        execution.begun_at = time.monotonic()
        if self.broker.send(execution):
            self._look_at = self._pause = 0.0
        else:
            self._hand_back(execution, "Celery's broker is away")

    def enforce(self) -> float | None:
        """Let go of what was taken over, take back what waits for too long; returns the seconds until the next look. Blocks."""
        now = time.monotonic()
        if self._sent and now >= self._look_at:
            self._pause = LOOK if self._let_go() else min(max(self._pause * 2, LOOK), SELDOM)
            self._look_at = time.monotonic() + self._pause
            self._take_back(now - get_part(CelerySettings).patience)
        limits = [self._look_at - now] if self._sent else []
        limits += [left] if (left := self.broker.seconds) > 0 else []
        return max(min(limits), 0.001) if limits else None

    def _let_go(self) -> int:
        """Forget what this host does not hold any more; returns how many."""
        sent = list(self._sent)
        held = held_still([one.claim for one in sent])
        gone = [one for one in sent if one.claim.key not in held]
        for one in gone:
            one.stored = Outcome(one.claim, Kind.RELEASED, took=math.inf)  # nothing to write: others tell its end
            self._end(one, one.stored)
        return len(gone)

    def _take_back(self, before: float) -> None:
        late = [one for one in self._sent if (one.begun_at or 0) <= before]
        if late:
            logger.warning(
                "%d runs that nobody at Celery took are sent anew: do its workers serve their queue?", len(late)
            )
        for one in late:
            self._hand_back(one, "nobody at Celery took it")

    def _hand_back(self, execution: Execution, reason: str) -> None:
        self._end(execution, Outcome(execution.claim, Kind.RELEASED, reason=reason, took=math.inf))

    def _end(self, execution: Execution, outcome: Outcome) -> None:
        """Tell what became of it, once."""
        if self._sent.pop(execution, self) is not None:
            return  # another thread was faster
        if (following := self._done(execution, outcome)) is not None:  # it has to wait for this one's real end
            self._sent[following] = None
            self._hand_back(following, "its slot is in use")

    def cancel(self, execution: Execution) -> None:
        """End it if nobody has taken it yet; who has hears of it by himself. Does not block."""
        self._end(execution, failed(execution, None, RunCancelled()))

    def cut(self, execution: Execution) -> None:
        """Nothing: what is executed is not this host's any more."""

    def drain(self) -> list[Execution]:
        """Take back what was not taken over; its message will be refused. Blocks for a query."""
        if self._sent:
            self._let_go()
        taken, self._sent = list(self._sent), {}
        return taken

    def stack_of(self, execution: Execution) -> str:
        """Return nothing: it waits in a broker."""
        return ""

    def close(self) -> None:
        """Nothing to end."""
