"""Own the execution of runs on a host: claim what the free slots can use, watch it, hand back what is not begun."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from background import registry
from background.conf import get_settings
from background.dialects import dialect
from background.engine.attachments import attach
from background.engine.base import EngineService, HostView
from background.engine.recorder import Recorder
from background.execution import capture
from background.execution.executors import LoopExecutor, ThreadExecutor
from background.execution.runner import Execution
from background.queue.claim import Claim, Filter, claim, claimed_under, next_due, promote_due, ready_rows
from background.queue.finish import finish_within, release
from background.queue.outcome import Outcome
from background.queue.wakeup import listen

if TYPE_CHECKING:
    from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.engine")

# The first pause after work; it grows to POLL_INTERVAL while there is none.
FIRST_PAUSE = 0.02
# Before the deadline of the host's stop, time to hand runs back.
RESERVE = 1.0


class Worker(EngineService):
    """Keeps the executors busy."""

    stops_late = False

    def __init__(
        self,
        host: HostView,
        recorder: Callable[[], Recorder],
        concurrency: int,
        async_concurrency: int,
        drain: bool = False,
        max_runs: int | None = None,
    ) -> None:
        super().__init__(host)
        self._recorder = recorder
        self._drain = drain
        self._max_runs = max_runs
        self._begun = 0
        self._active: dict[Execution, None] = {}
        self._lock = threading.Lock()
        self._pause = FIRST_PAUSE
        self._promote_at = 0.0
        self._unknown: set[str] = set()  # tasks that this host's code does not know
        self._token: uuid.UUID | None = None  # of a claim that is not answered, or not begun
        self.thread = ThreadExecutor(concurrency, self._done)
        self.loop = LoopExecutor(async_concurrency, self._done)
        self.executors: tuple[Any, ...] = (self.thread, self.loop)
        self.abandoned: list[Execution] = []

    def active(self) -> list[Execution]:
        """Return the executions that are claimed and not done."""
        return list(self._active)

    def in_use(self) -> dict[str, int]:
        return {one.name: one.capacity - one.free for one in self.executors}

    def capacity(self) -> dict[str, int]:
        return {one.name: one.capacity for one in self.executors}

    def on_start(self) -> None:
        capture.install()

    def execute(self, stop: StopToken) -> None:
        forget = listen(stop.poke)
        try:
            super().execute(stop)
        finally:
            forget()
            for one in self.executors:
                one.close()

    def step(self, stop: StopToken) -> float:
        """Claim and begin what fits; watch the limits of what is being executed."""
        nearest = min((left for one in self.executors if (left := one.enforce()) is not None), default=None)
        self._promote()
        begun = self._fill(stop)
        if begun:
            self._pause = FIRST_PAUSE
            return 0
        if self._is_over():
            return 0
        self._pause = min(self._pause * 1.5, get_settings().poll_interval)
        limits = [self._pause, self._promote_at - time.monotonic(), *([nearest] if nearest is not None else [])]
        return max(min(limits), 0.001)

    def _promote(self) -> None:
        """Make due runs ready: when the next one is due, and once per POLL_INTERVAL."""
        now = time.monotonic()
        if now < self._promote_at:
            return
        moved = promote_due()
        due = None if moved else next_due()
        wait = get_settings().poll_interval
        if due is not None:
            wait = min(wait, max((due - dialect().now()).total_seconds(), 0.01))
        self._promote_at = now + (0 if moved else wait)

    def _fill(self, stop: StopToken) -> int:
        begun = 0
        for executor in self.executors:
            room = executor.free
            if self._max_runs is not None:
                room = min(room, self._max_runs - self._begun)
            if room <= 0 or stop.requested:
                continue
            self._hand_back_doubtful()
            self._token = token = uuid.uuid4()
            which = replace(self._filter(), executors=(executor.name,))
            claims = self._known(claim(self.host.holder, room, which, token=token))
            if stop.requested:
                release(claims)
                return begun
            for one in claims:
                self._begin(executor, one, stop)
            self._token = None
            begun += len(claims)
            self._begun += len(claims)
        return begun

    def _hand_back_doubtful(self) -> None:
        """Hand back what a claim took whose answer was lost with the connection: nobody executes it."""
        if self._token is not None:
            release(claimed_under(self._token, self.host.holder), "the answer to its claim was lost")
            self._token = None

    def _filter(self) -> Filter:
        return replace(self.host.filter, not_tasks=tuple(sorted(self._unknown)))

    def _known(self, claims: list[Claim]) -> list[Claim]:
        """Hand back, unburnt, the runs that only another host's code knows, and claim none of their tasks again."""
        known = registry.tasks()
        foreign = [one for one in claims if one.task not in known]
        if foreign:
            tasks = {one.task for one in foreign}
            logger.warning("left to hosts that know them: runs of %s", ", ".join(sorted(tasks)))
            self._unknown |= tasks
            release(foreign, "task unknown to this host")
        return [one for one in claims if one.task in known]

    def _begin(self, executor: Any, claimed: Any, stop: StopToken) -> None:
        # Not a child of the service's token: runs are told to stop with reasons and deadlines of their own.
        execution = Execution(claimed, attach=attach, commit=finish_within)
        execution.capture = capture.Capture(claimed.last_line)
        self._active[execution] = None
        executor.submit(execution)

    def _done(self, execution: Execution, outcome: Outcome) -> None:
        """Called in the thread that executed it."""
        self._active.pop(execution, None)
        if execution not in self.abandoned:
            self._recorder().put(execution, outcome)
        if self.stop is not None:
            self.stop.poke()

    def _is_over(self) -> bool:
        """Tell the host to stop when all that was asked for is done."""
        if self._active or self._recorder().unwritten:
            return False
        if self._max_runs is not None and self._begun >= self._max_runs:
            self.host.request_stop(f"{self._begun} runs done", 0)
            return True
        if self._drain and not ready_rows(self._filter()).exists():
            self.host.request_stop("nothing left to run", 0)
            return True
        return False

    def asked(self, execution: Execution, reason: str) -> None:
        """A person or code wants this run to end."""
        if execution.stop.request("replaced" if reason == "replaced" else "cancelled"):
            logger.info("run %s of %s is asked to end: %s", execution.claim.id, execution.claim.task, reason)
            for one in self.executors:
                one.cancel(execution)

    def host_lost(self) -> None:
        """Other hosts take these runs over: stop what is being executed here."""
        for execution in self.active():
            execution.stop.request("host-lost")
            for one in self.executors:
                one.cancel(execution)

    def last_step(self, stop: StopToken) -> None:
        """Hand back what is not begun, tell the rest to stop, wait for it, hand back what is deaf."""
        self._hand_back_doubtful()
        untouched = [execution for one in self.executors for execution in one.drain()]
        for execution in untouched:
            self._active.pop(execution, None)
        release([execution.claim for execution in untouched], "host stopping")
        deadline = stop.deadline
        for execution in self.active():
            execution.stop.request("shutdown", deadline)
        if self._active:
            logger.info("waiting for %d runs to end", len(self._active))
        self._wait(stop, deadline)
        self._abandon()

    def _wait(self, stop: StopToken, deadline: Deadline | None) -> None:
        cancelled = False
        while self._active:
            left = deadline.remaining() if deadline else None
            if left is not None and left <= RESERVE and not cancelled:
                cancelled = True
                for execution in self.active():
                    self.loop.cancel(execution)
            if left is not None and left <= RESERVE / 2:
                return
            for one in self.executors:
                one.enforce()
            time.sleep(0.02)  # the token is requested already: nothing to wait on

    def _abandon(self) -> None:
        """Hand back, unburnt, the runs whose function does not hear; their threads cannot be killed."""
        deaf = self.active()
        if not deaf:
            return
        self.abandoned.extend(deaf)
        for execution in deaf:
            stack = "".join(one.stack_of(execution) for one in self.executors)
            logger.error(
                "run %s of %s does not stop and is handed back; it stands at:\n%s",
                execution.claim.id,
                execution.claim.task,
                stack,
            )
        release([execution.claim for execution in deaf], "host stopping, the run did not hear")
