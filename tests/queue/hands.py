"""Own what a host does with the runs in its hands, in the model: engine/worker.py, execution/runner.py, engine/recorder.py."""

from collections.abc import Iterator
from typing import Any

from tests.queue.statements import Queue
from tests.queue.world import Bounds, Hand, World

WORDS = {"retry": "is to be tried again", "released": "is handed back"}

Steps = Iterator[tuple[str, World]]


class Hands:
    """From a claim to the end of its function and the word of it."""

    def __init__(self, bounds: Bounds, queue: Queue) -> None:
        self.bounds = bounds
        self.guards = bounds.guards
        self.queue = queue

    def steps(self, world: World, h: int, i: int, hand: Hand) -> Steps:
        host, r = world.hosts[h], hand.r
        if hand.stage == "outcome":
            yield from self._finish(world, h, i, hand)
        elif hand.stage == "deaf":
            yield from self._late(world, h, i, hand)
        elif hand.stage == "claimed":
            busy = hand.behind and any(
                not one.behind and one.stage in ("claimed", "begun", "affected") for one in host.hands
            )
            if not host.stopping and not busy:
                yield f"begins run {r + 1}", world.with_hand(h, i, stage="begun")
            if host.stopping or hand.told or hand.behind:
                yield self._ends(world, h, i, "does not begin", "released")
            if hand.behind and not self.guards.release_that_failed_is_tried_again and world.left.answers:
                what = f"cannot hand back run {r + 1}, the database is away"
                yield what, world.less("answers").with_hand(h, i, stage="limbo")
        elif hand.stage != "limbo":
            yield from self._function(world, h, i, hand)
        elif host.stopping:
            yield self._ends(world, h, i, "gives up", "released")

    def _ends(self, world: World, h: int, i: int, how: str, outcome: str) -> tuple[str, World]:
        run = world.hosts[h].hands[i].r + 1
        return f"{how} run {run}", world.with_hand(h, i, stage="outcome", outcome=outcome)

    def _function(self, world: World, h: int, i: int, hand: Hand) -> Steps:
        r, run, stopping = hand.r, world.runs[hand.r], world.hosts[h].stopping
        if self.bounds.atomic:
            yield from self._commit(world, h, i, hand)
        elif hand.stage == "begun":
            yield f"has an effect by run {r + 1}", world.with_run(r, effects=1).with_hand(h, i, stage="affected")
        else:
            yield self._ends(world, h, i, "returns from", "succeeded")
        failure = self._failure(hand)
        yield self._ends(world, h, i, "gets an error from", failure)
        if run.status == "running" and run.asked:
            yield self._ends(world, h, i, "hears of the cancel of", "cancelled")
        if stopping or hand.told:
            yield self._ends(world, h, i, "breaks off", "released")
        if stopping:
            after = self.queue.finish(world, r, hand._replace(outcome="released"))
            yield f"hands back run {r + 1}, which is deaf", after.with_hand(h, i, stage="deaf", fits=False)
        if world.left.timeouts:
            given_up = world.less("timeouts").with_hand(h, i, stage="outcome", outcome=failure)
            yield (
                f"gives up run {r + 1}, which is deaf to its timeout",
                given_up.with_more(h, hand._replace(stage="deaf")),
            )

    def _failure(self, hand: Hand) -> str:
        return "retry" if hand.attempt < self.bounds.max_attempts else "failed"

    def _commit(self, world: World, h: int, i: int, hand: Hand) -> Steps:
        """The effects of an atomic function and the word of its success are one transaction."""
        run = f"run {hand.r + 1}"
        if not self.queue.may_write(world.runs[hand.r], hand, self.guards.atomic_success_shows_the_token):
            yield self._ends(world, h, i, "rolls back", "released")
            return
        after = self.queue.succeed_with_effect(world, hand.r)
        yield f"commits {run} and its effect", after.without_hand(h, i)
        if world.left.answers:
            unsure: dict[str, Any] = {"stage": "outcome", "outcome": self._failure(hand), "written": True}
            what = f"commits {run} and its effect, the answer is lost"
            yield what, after.less("answers").with_hand(h, i, **unsure)

    def _late(self, world: World, h: int, i: int, hand: Hand) -> Steps:
        """A function that was given up goes on until its process ends."""
        r, after = hand.r, world.without_hand(h, i)
        if not self.bounds.atomic:
            yield f"has a late effect by run {r + 1}", after.with_run(r, effects=1)
        elif self.queue.may_write(world.runs[r], hand, self.guards.atomic_success_shows_the_token):
            for other, one in enumerate(after.hosts[h].hands):
                after = after.with_hand(h, other, written=one.written or one.r == r)
            yield f"commits run {r + 1} late", self.queue.succeed_with_effect(after, r)
        else:
            yield f"rolls back run {r + 1} late", after

    def _finish(self, world: World, h: int, i: int, hand: Hand) -> Steps:
        r = hand.r
        after, what = (
            self.queue.finish(world, r, hand),
            f"writes that run {r + 1} {WORDS.get(hand.outcome, hand.outcome)}",
        )
        if after is world:
            yield f"writes what became of run {r + 1} and is refused", world.without_hand(h, i)
            return
        yield what, after.without_hand(h, i)
        if world.left.answers:
            yield f"{what}, the answer is lost", after.less("answers").with_hand(h, i, written=True, fits=False)
