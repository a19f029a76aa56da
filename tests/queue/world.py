"""Own the nouns of the model of the queue: rows as they are in the database, and what hosts have in hand and in mind."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

NAMES = "AB"
# Ticks of the database's clock that a host may be silent (HOST_TIMEOUT).
PATIENCE = 0

FINISHED = ("succeeded", "failed", "cancelled")
WAITING = ("scheduled", "ready", "blocked")

# Where a run may go from each state: equal to `transitions.NEXT`.
TABLE = {
    "scheduled": {"ready", "cancelled"},
    "ready": {"running", "blocked", "cancelled", "scheduled", "failed"},
    "blocked": {"ready", "running", "cancelled"},
    "running": {"succeeded", "failed", "cancelled", "ready", "scheduled"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
}


@dataclass(frozen=True)
class Guards:
    """What the statements look at again when they write; each can be left out."""

    claim_looks_at_the_status: bool = True
    claim_looks_at_its_host: bool = True
    claim_counts_under_a_lock: bool = True
    claim_without_answer_is_asked_for: bool = True
    asking_compares_tokens: bool = True
    finish_shows_the_token: bool = True
    atomic_success_shows_the_token: bool = True
    release_gives_the_attempt_back: bool = True
    release_that_failed_is_tried_again: bool = True
    retry_hears_a_cancel: bool = True
    rescue_shows_the_token: bool = True
    rescue_hears_a_late_cancel: bool = True
    only_the_silent_are_given_up: bool = True
    promotion_looks_at_the_time: bool = True
    a_freed_slot_is_passed_on: bool = True
    a_commit_is_seen_by_whoever_asks_next: bool = True


@dataclass(frozen=True)
class Bounds:
    """How large the world is, and how often what may go wrong in it."""

    runs: int = 1
    first: str = "ready"
    atomic: bool = False
    limit: int | None = None  # of the key that all runs share
    max_attempts: int = 2
    max_lost: int = 2
    lives: int = 1  # beyond the first: a host is started again, or starts afresh
    crashes: int = 0
    stops: int = 0
    cancels: int = 0
    answers: int = 0  # that are lost on their way
    timeouts: int = 0  # of functions that do not hear
    in_two_steps: bool = False  # read and write apart even where the write looks at all again
    guards: Guards = field(default_factory=Guards)


class Run(NamedTuple):
    """The row of a run; and behind it what only the explorer knows."""

    status: str
    holder: tuple[int, int] | None = None  # host and row of it
    attempt: int = 0
    lost: int = 0
    asked: bool = False  # to end, by a person
    due: bool = True
    lane: bool = False  # it shares its token, and so its slot, with the other run
    # Not in the database:
    failures: int = 0  # attempts that failed by themselves
    effects: int = 0
    wished: bool = False  # its cancel was accepted


class Row(NamedTuple):
    """The row of a host."""

    live: bool = True
    silent: int = 0


class Hand(NamedTuple):
    """A run in a host's hands."""

    r: int
    stage: str  # claimed, begun, affected, outcome (not written), deaf (given up), limbo (forgotten)
    row: int  # under which it was claimed
    attempt: int = 0
    fits: bool = True
    behind: bool = False  # the other run of its lane
    told: bool = False  # to stop, because the host was given up
    outcome: str = ""
    written: bool = False  # but the answer was lost


class Host(NamedTuple):
    """A process: its rows, which of them it believes to be its own, and what its threads keep in memory."""

    rows: tuple[Row, ...]
    id: int
    hands: tuple[Hand, ...] = ()
    up: bool = True
    stopping: bool = False
    doubt: bool = False  # worker: a claim was not answered
    counted: int | None = None  # worker: there is a slot for this run
    due: int | None = None  # worker: this run is due
    silent: tuple[int, int] | None = None  # rescuer: this row of this host is silent
    gone: tuple[int, bool, bool] | None = None  # rescuer: this run has lost its host; the token fits; asked to end
    # In the database: a claim of this run under this row that is not committed yet.
    flight: tuple[int, int] | None = None


class Left(NamedTuple):
    """What may still happen."""

    lives: int
    crashes: int
    stops: int
    cancels: int
    answers: int
    timeouts: int


class World(NamedTuple):
    runs: tuple[Run, ...]
    hosts: tuple[Host, ...]
    left: Left

    def with_run(self, r: int, **changes: Any) -> "World":
        return World(put(self.runs, r, self.runs[r]._replace(**changes)), self.hosts, self.left)

    def with_host(self, h: int, **changes: Any) -> "World":
        return World(self.runs, put(self.hosts, h, self.hosts[h]._replace(**changes)), self.left)

    def with_row(self, h: int, id: int, row: Row) -> "World":
        return self.with_host(h, rows=put(self.hosts[h].rows, id, row))

    def with_hand(self, h: int, i: int, **changes: Any) -> "World":
        return self.with_host(h, hands=put(self.hosts[h].hands, i, self.hosts[h].hands[i]._replace(**changes)))

    def with_more(self, h: int, *hands: Hand) -> "World":
        return self.with_host(h, hands=(*self.hosts[h].hands, *hands))

    def without_hand(self, h: int, i: int) -> "World":
        hands = self.hosts[h].hands
        return self.with_host(h, hands=(*hands[:i], *hands[i + 1 :]))

    def less(self, what: str) -> "World":
        return self._replace(left=self.left._replace(**{what: getattr(self.left, what) - 1}))

    @property
    def slots(self) -> int:
        """Slots of the key in use: running runs, or lanes of them."""
        running = [run for run in self.runs if run.status == "running"]
        lane = [run for run in running if run.lane]
        return len(running) - len(lane) + bool(lane)

    @property
    def is_over(self) -> bool:
        return all(run.status in FINISHED for run in self.runs)


def put(values: tuple, index: int, value: Any) -> tuple:
    return (*values[:index], value, *values[index + 1 :])


def settled(world: World, bounds: Bounds) -> World:
    """Forget what can have no consequences any more."""
    guards = bounds.guards
    for r, run in enumerate(world.runs):
        if run.status in FINISHED and run.attempt:
            effects = run.effects if bounds.atomic else 0
            world = world._replace(runs=put(world.runs, r, Run(run.status, effects=effects)))
    held = {run.holder for run in world.runs}
    for h, host in enumerate(world.hosts):
        if host.gone and not host.gone[1] and guards.rescue_shows_the_token:
            world = world.with_host(h, gone=None)
        if host.silent and not world.hosts[host.silent[0]].rows[host.silent[1]].live:
            world = world.with_host(h, silent=None)
        for id, row in enumerate(host.rows):
            if row.live and not host.up and (h, id) not in held and not host.flight:
                world = world.with_row(h, id, Row(live=False))
        for i, hand in enumerate(host.hands):
            if not hand.fits and (hand.attempt or hand.outcome) and guards.finish_shows_the_token:
                world = world.with_hand(h, i, attempt=0, outcome="")
    return world._replace(left=Left(0, 0, 0, 0, 0, 0)) if world.is_over else world
