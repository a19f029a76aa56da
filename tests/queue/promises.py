"""Own what must hold in the model of the queue, whatever happens in whatever order."""

from collections.abc import Iterator

from tests.queue.explorer import Broken, Map, Step, explore
from tests.queue.model import Runs
from tests.queue.world import FINISHED, NAMES, TABLE, WAITING, Bounds, Run, World


class Promises(Runs):
    """The model, with what it must keep."""

    def faults(self, before: World, step: Step) -> Iterator[str]:
        after = step.after
        assert isinstance(after, World)
        for r, (old, new) in enumerate(zip(before.runs, after.runs, strict=True)):
            if old is not new:
                yield from self._of_the_row(before, step, r)
                yield from self._of_the_effects(new)
            yield from self._of_the_holders(after, r)
        if self.bounds.limit and (after.slots > self.bounds.limit or self._executing(after) > self.bounds.limit):
            yield "more runs of a key are running than its limit"
        yield from self._of_the_hosts(before, after)

    def _executing(self, world: World) -> int:
        hands = (hand for host in world.hosts for hand in host.hands)
        return sum(hand.fits and hand.stage in ("begun", "affected") for hand in hands)

    def _of_the_row(self, before: World, step: Step, r: int) -> Iterator[str]:
        old, new = before.runs[r], step.after.runs[r]
        if old.status in FINISHED and old[:7] != new[:7]:
            yield "a finished run changed"
        if old[:7] != new[:7] and step.actor in NAMES and self._is_zombie(before, step, r):
            yield "a zombie changed a run"
        if new.status == old.status:
            return
        if new.status not in TABLE[old.status]:
            yield f"a run went from {old.status} to {new.status}"
        if step.actor in NAMES and new.holder is not None and not before.hosts[new.holder[0]].rows[new.holder[1]].live:
            yield "a host that was given up claimed a run"
        if new.status == "running" and old.wished:
            yield "a run was begun although its cancel had been accepted"
        if old.status == "scheduled" and new.status == "ready" and not old.due:
            yield "a run was made ready before its time"
        if new.status in WAITING and new.attempt != new.failures:
            yield "an attempt was burnt although it did not fail"

    def _is_zombie(self, before: World, step: Step, r: int) -> bool:
        """Tell whether a host wrote what it had in hand although another holds the run by now."""
        h = NAMES.index(step.actor)
        mine = [hand for hand in before.hosts[h].hands if hand not in step.after.hosts[h].hands]
        return any(hand.r == r and not hand.fits for hand in mine)

    def _of_the_effects(self, run: Run) -> Iterator[str]:
        if run.status == "succeeded" and not run.effects:
            yield "a run succeeded without its effect"
        if self.bounds.atomic and run.effects > 1:
            yield "atomic effects happened twice"
        if self.bounds.atomic and run.effects and run.status != "succeeded":
            yield "atomic effects were kept though the run did not succeed"

    def _of_the_hosts(self, before: World, after: World) -> Iterator[str]:
        for old, new in zip(before.hosts, after.hosts, strict=True):
            if old.rows is not new.rows and new.up:
                for row, now in zip(old.rows, new.rows, strict=False):
                    if row.live and not row.silent and not now.live:
                        yield "a host was given up although it had spoken again"

    def _of_the_holders(self, world: World, r: int) -> Iterator[str]:
        holders = 0
        for host in world.hosts:
            mine = [hand for hand in host.hands if hand.r == r and hand.stage != "deaf"]
            holders += any(hand.fits and world.runs[r].status == "running" for hand in mine)
            for hand in mine:
                if not (hand.fits or hand.written) and hand.row == host.id and host.rows[host.id].live:
                    yield "a run was taken from a live host"
        if holders > 1:
            yield "two hosts hold a run"


def goes_on(world: World, h: int) -> bool:
    """Tell whether a host is there to stay: up, not stopping, and not given up for good."""
    host = world.hosts[h]
    return host.up and not host.stopping and (host.rows[-1].live or world.left.lives > 0)


def check(bounds: Bounds) -> Map:
    """Explore all that can happen; Broken where a promise is not kept, also that each run comes to its end."""
    found = explore(Promises(bounds))
    for h, name in enumerate(NAMES):
        # By this host alone: the other one may stand still for ever. And without its giving itself up.
        ending = found.reaching(
            lambda world: world.is_over,
            lambda actor, what, name=name: actor == "time" or (actor == name and what != "gives itself up"),
        )
        for state in found.edges:
            if state not in ending and goes_on(state, h):
                raise Broken(f"a run is lost although {name} goes on", found.trace(state))
    for state in found.ends():
        if not state.is_over and any(goes_on(state, h) for h in range(len(NAMES))):
            raise Broken("nothing happens any more, but a run is open", found.trace(state))
    return found
