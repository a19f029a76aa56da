"""Own the transactions of the queue in the model: what each changes in the rows, if its guard lets it."""

from typing import Any

from tests.queue.world import FINISHED, Bounds, Hand, Run, World


class Queue:
    """The rows, as `background/queue` changes them."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.guards = bounds.guards

    def move(self, world: World, r: int, to: str, **changes: Any) -> World:
        """Write a run's state and another token, or none; pass on the slot that this may free."""
        before = world.runs[r].status
        world = world.with_run(r, status=to, **{"holder": None, "lane": False, **changes})
        for h, host in enumerate(world.hosts):
            for i, hand in enumerate(host.hands):
                if hand.r == r and hand.fits:
                    world = world.with_hand(h, i, fits=False)
            if host.gone and host.gone[0] == r:
                world = world.with_host(h, gone=(r, False, host.gone[2]))
        frees = before in ("ready", "running") and to not in ("running", "blocked")
        return self._unblock(world) if frees and self.bounds.limit and self.guards.a_freed_slot_is_passed_on else world

    def _unblock(self, world: World) -> World:
        free = (self.bounds.limit or 0) - world.slots
        for r, run in enumerate(world.runs):
            if run.status == "blocked" and free > 0:
                free -= 1
                world = world.with_run(r, status="ready")
        return world

    def claim(self, world: World, r: int, h: int, id: int, lane: bool = False) -> World:
        """Take a run for a row of a host; a wish that it may end belongs to the attempt before."""
        attempt = world.runs[r].attempt + 1
        return self.move(world, r, "running", holder=(h, id), attempt=attempt, asked=False, lane=lane)

    def may_write(self, run: Run, hand: Hand, shows_the_token: bool) -> bool:
        return run.status == "running" and (hand.fits or not shows_the_token)

    def finish(self, world: World, r: int, hand: Hand) -> World:
        """Write an outcome; the same world if it is refused."""
        run = world.runs[r]
        if not self.may_write(run, hand, self.guards.finish_shows_the_token):
            return world
        if hand.outcome in FINISHED:
            return self.move(world, r, hand.outcome, failures=run.failures + (hand.outcome == "failed"))
        if run.asked and self.guards.retry_hears_a_cancel:
            return self.move(world, r, "cancelled")
        if hand.outcome == "retry":
            return self.move(world, r, "scheduled", failures=run.failures + 1, due=False)
        return self.move(world, r, "ready", attempt=run.attempt - self.guards.release_gives_the_attempt_back)

    def succeed_with_effect(self, world: World, r: int) -> World:
        """Commit the effects of an atomic function and the word of its success: one transaction."""
        return self.move(world.with_run(r, effects=world.runs[r].effects + 1), r, "succeeded")

    def rescue(self, world: World, r: int, asked: bool) -> World:
        """Take a run from a host that is gone; `asked` is what was read of the wish that it may end."""
        run = world.runs[r]
        lost = run.lost + 1
        if asked or (run.asked and self.guards.rescue_hears_a_late_cancel):
            return self.move(world, r, "cancelled", lost=lost)
        if lost >= self.bounds.max_lost:
            return self.move(world, r, "failed", lost=lost)
        return self.move(world, r, "ready", lost=lost, attempt=run.attempt - 1)
