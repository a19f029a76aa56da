"""Own the execution of runs on a host: claim what the free slots can use, watch it, hand back what is not begun."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from background import registry
from background.conf import get_settings
from background.dialects import dialect
from background.engine.attachments import attach
from background.engine.base import AWAY, EngineService, HostView, first_line
from background.engine.lanes import Lanes
from background.engine.lookahead import Lookahead
from background.engine.recorder import Recorder
from background.execution import capture
from background.execution.executors import make_executors
from background.execution.runner import Execution
from background.queue.claim import claim_next, claims_of, held_rows, lengthen, next_due, promote_due
from background.queue.finish import finish_within, release
from background.queue.holding import Claim, Filter
from background.queue.limits import Depth
from background.queue.outcome import Outcome
from background.queue.plain import ready_rows
from background.queue.wakeup import listen

if TYPE_CHECKING:
    from background.engine.lookout import Facts
    from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.engine")

# The first pause after work; it grows while there is none.
FIRST_PAUSE = 0.01
# Then the host's look tells of what it does not hear of (seconds). Less than what makes a connection doubtful.
QUIET = 4.0
# Seconds after which a run that waits on this host for a slot is handed back.
LATE = 0.5
# What the database says that this host holds is compared with what it has in hand this often (seconds).
COMPARE = 30.0
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
        self._lanes = Lanes()
        self._pause = FIRST_PAUSE
        self._promote_at = 0.0
        self._unknown: set[str] = set()  # tasks that this host's code does not know
        self._in_doubt = False  # a claim is not answered, or a release
        self._compare_at = time.monotonic() + COMPARE
        self._looked_at = 0.0
        self._asked_at = 0.0
        self._latest = "thread"  # the executor for which the last claim was
        self.executors = make_executors(concurrency, async_concurrency, self._done)
        self.thread, self.loop, self.process = self.executors
        self._more = {one.name: True for one in self.executors}  # whether the last claim found as much as it asked for
        self._lookahead = {one.name: Lookahead() for one in self.executors}
        self.abandoned: list[Execution] = []

    @property
    def begun(self) -> int:
        """How many runs it has begun so far."""
        return self._begun

    def claim_no_more(self) -> None:
        """Finish what is begun, then have the host stop. Does not block."""
        self._max_runs = self._begun
        if self.stop is not None:
            self.stop.poke()

    def _executor(self, name: str) -> Any:
        return next(one for one in self.executors if one.name == name)

    def active(self) -> list[Execution]:
        """Return the executions that are claimed and not done."""
        return list(self._active)

    def in_use(self) -> dict[str, int]:
        return {one.name: min(one.capacity - one.free, one.capacity) for one in self.executors}

    def capacity(self) -> dict[str, int]:
        return {one.name: one.capacity for one in self.executors}

    def problems(self) -> list[str]:
        """Return what could not be ended in order, in sentences."""
        deaf = [execution for slot in getattr(self.thread, "deaf", ()) if (execution := slot.execution)]
        return [
            *(f"run {one.claim.id} of {one.claim.task} was abandoned and handed back" for one in self.abandoned),
            *(f"run {one.claim.id} of {one.claim.task} was ended, but its thread goes on" for one in deaf),
        ]

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
        self._hand_back_late()
        self._lengthen_lanes(stop)
        begun = self._fill(stop)
        if begun:
            self._pause = FIRST_PAUSE
            return 0 if any(self._more.values()) else self._pause
        if self._is_over():
            return 0
        self._pause = min(self._pause * 2, max(QUIET, get_settings().poll_interval))
        limits = [self._pause, self._promote_at - time.monotonic(), *([nearest] if nearest is not None else [])]
        return max(min(limits), 0.001)

    def _promote(self) -> None:
        """Make due runs ready: when the next one is due, and when the host's look tells of some."""
        now = time.monotonic()
        if now < self._promote_at:
            return
        moved = promote_due()
        due = None if moved else next_due()
        wait = 0.0 if moved else math.inf
        if due is not None:
            wait = max((due - dialect().now()).total_seconds(), 0.05)
        self._promote_at = now + wait

    def hear(self, facts: Facts) -> None:
        if facts.runs_soon:
            self._promote_at = 0
        polls = facts.ready is not None and time.monotonic() - self._asked_at >= get_settings().poll_interval - 0.1
        if facts.runs_soon or polls:
            self.wake()

    def _fill(self, stop: StopToken) -> int:
        # Also now and then: a commit may take effect after the host, connected anew, has asked for it.
        if self._in_doubt or time.monotonic() >= self._compare_at:
            self._hand_back_doubtful()
        rooms = {one.name: room for one in self.executors if (room := self._room(one)) > 0}
        if not rooms or stop.requested or not self.host.trusted:
            return 0
        self._in_doubt, self._asked_at = True, time.monotonic()
        rooms = dict(sorted(rooms.items(), key=lambda room: room[0] != self._latest))
        name, found, more = claim_next(self.host.holder, rooms, self.filter, self._depth)
        self._more.update(dict.fromkeys(rooms, more))
        self._more[name] = more and len({one.lane or one.id for one in found}) >= rooms[name]
        self._latest = name if found else self._latest  # else the next claim would expect what was not there
        claims = self._known(found)
        if stop.requested:
            release(claims)
            claims = []
        self._begin(self._executor(name), claims)
        self._in_doubt = False
        self._begun += len(claims)
        return len(claims)

    def _depth(self, name: str) -> Depth | None:
        return self._lookahead[name].depth if self._max_runs is None else None

    def _room(self, executor: Any) -> int:
        """Return how many runs to claim: for the free slots, and what can begin soon after."""
        if self._recorder().is_behind:
            return 0
        if self._max_runs is not None:
            return min(executor.free, self._max_runs - self._begun)
        ahead = self._lookahead[executor.name].runs
        room = executor.free + ahead
        # Not for every slot that gets free: a claim costs the same for one run as for many.
        return room if executor.free > 0 or room > ahead // 2 else 0

    def _hand_back_doubtful(self) -> None:
        """Hand back what a claim took whose answer was lost with the connection: nobody executes it."""
        # By token: a zombie of a run that was taken from this host is no reason to keep its next claim.
        known = {one.claim.key for one in self._active} | set(self._recorder().pending)
        held = claims_of(self.host.holder, held_rows(self.host.holder).values_list("id", flat=True))
        release([one for one in held if one.key not in known], "the answer to its claim was lost")
        self._in_doubt = False
        self._compare_at = time.monotonic() + COMPARE

    def _hand_back_late(self) -> None:
        """Hand back what waits for a slot for too long: the runs before it take longer than those of before."""
        now = time.monotonic()
        if now - self._looked_at < LATE / 2:
            return
        self._looked_at = now
        late = [one for one in self.active() if one.begun_at is None and now - one.claimed_at > LATE]
        waiting = [one for one in late if one.claim.lane is not None or self._executor(one.claim.executor).free < 0]
        if waiting:
            self._release(self._take_back(), "its slot is busy")

    def _take_back(self) -> list[Execution]:
        """Return what is not begun, taken out of the lanes and from the executors."""
        return self._lanes.take_waiting() + [one for executor in self.executors for one in executor.drain()]

    def _release(self, executions: list[Execution], reason: str) -> None:
        if not executions:
            return
        for one in executions:
            self._active.pop(one, None)
        # Nobody begins them any more: if this fails, they are handed back as what the host does not know of.
        doubt, self._in_doubt = self._in_doubt, True
        release([one.claim for one in executions], reason)
        self._in_doubt = doubt

    @property
    def filter(self) -> Filter:
        """Which runs it takes."""
        if not self._unknown:
            return self.host.filter
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

    def _begin(self, executor: Any, claims: list[Claim]) -> None:
        now = time.monotonic()
        for claimed in claims:
            # Not a child of the service's token: runs are told to stop with reasons and deadlines of their own.
            if not self._lanes.queued(execution := self._execution(claimed, now)):
                executor.submit(execution)

    def _execution(self, claimed: Claim, now: float) -> Execution:
        heard = capture.Capture(claimed.last_line)
        execution = Execution(claimed, capture=heard, attach=attach, commit=finish_within, claimed_at=now)
        self._active[execution] = None
        return execution

    def _lengthen_lanes(self, stop: StopToken) -> None:
        """Take more runs behind those of a lane that is half done: else its slot would wait for the database."""
        if stop.requested or not self.host.trusted or self._in_doubt or self._max_runs is not None:
            return
        for first in self._lanes.take_short():
            self._in_doubt = True
            depth = self._lookahead[first.claim.executor].depth(first.claim.task)
            more = lengthen(self.host.holder, first.claim, depth)
            for claimed in more:
                one = self._execution(claimed, first.claimed_at)
                if not self._lanes.queued(one):
                    self._executor(claimed.executor).submit(one)
            self._in_doubt = False
            self._begun += len(more)

    def _done(self, execution: Execution, outcome: Outcome) -> Execution | None:
        """Called in the thread that executed it; returns what follows it in its lane."""
        following, half_done = self._lanes.follow(execution)
        if execution not in self.abandoned:
            self._recorder().put(execution, outcome if following is None else replace(outcome, frees=False))
        self._active.pop(execution, None)
        executor = self._executor(execution.claim.executor)
        lookahead = self._lookahead[executor.name]
        lookahead.note(execution.claim.task, outcome.took or 0)
        if self.stop is not None and (half_done or self._wants_to_know(executor)):
            self.stop.poke()
        return following

    def _wants_to_know(self, executor: Any) -> bool:
        """Whether the end of a run lets the worker do something: not while nothing is ready, which it hears otherwise."""
        if self._drain or self._max_runs is not None or self.stop.requested:  # type: ignore[union-attr]
            return True
        return self._more[executor.name] and self._room(executor) > 0

    def _is_over(self) -> bool:
        """Tell the host to stop when all that was asked for is done."""
        if self._active or self._recorder().pending:
            return False
        if self._max_runs is not None and self._begun >= self._max_runs:
            self.host.request_stop(f"{self._begun} runs done", 0)
            return True
        if self._drain and not ready_rows(self.filter).exists():
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
        try:
            self._release(self._take_back(), "host stopping")
            if self._in_doubt:
                self._hand_back_doubtful()
        except AWAY as error:  # what is being executed is told to stop and waited for all the same
            logger.warning("what is not begun is left to be rescued, the database is away: %s", first_line(error))
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
                    for one in self.executors:
                        one.cut(execution)
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
