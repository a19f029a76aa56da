"""
Own a model of how two hosts share a singleton: one lease, asked for, renewed and given back while clocks run.

It follows `background/engine/leases.py` and `background/host/lease.py`. A question is three steps: it is asked (from here
on its belief is counted, and `now` is read), the row is written, the answer is heard. Any time may pass between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.queue.explorer import Broken, Map, Step, explore
from tests.queue.world import NAMES, put

# In ticks: how long the database holds a lease (HOST_TIMEOUT). A tick more, and it is over.
TERM = 1
# A question that is not answered by then has failed.
LONG = TERM + 1


@dataclass(frozen=True)
class LeaseGuards:
    """What keeps a second host from running the singleton; each can be left out."""

    belief_ends_before_the_lease: bool = True
    belief_counts_from_the_question: bool = True
    taking_looks_at_the_end: bool = True
    renewing_looks_at_the_end: bool = True
    renewing_looks_at_the_holder: bool = True
    giving_back_looks_at_the_holder: bool = True
    a_silent_hosts_lease_runs_out: bool = True


class Question(NamedTuple):
    kind: str  # take, renew, give
    id: int
    age: int = 0
    answer: bool | None = None


class Believer(NamedTuple):
    """A host, as far as the singleton is concerned."""

    id: int = 0
    held: bool = False
    belief: int = 0  # ticks of its monotonic clock
    question: Question | None = None
    silent: int = 0
    given_up: bool = False
    up: bool = True


class Shared(NamedTuple):
    hosts: tuple[Believer, Believer]
    lives: int
    crashes: int
    answers: int
    holder: tuple[int, int] | None = None
    left: int = -LONG - 1  # ticks until it ends by the database's clock; below 0 it is over

    def with_host(self, h: int, **changes: Any) -> "Shared":
        return self._replace(hosts=put(self.hosts, h, self.hosts[h]._replace(**changes)))


class Leases:
    """What can happen next to the lease."""

    def __init__(
        self, guards: LeaseGuards | None = None, *, lives: int = 1, crashes: int = 1, answers: int = 1
    ) -> None:
        self.guards = guards or LeaseGuards()
        self.begin = Shared((Believer(), Believer()), lives, crashes, answers)
        self.belief = TERM if self.guards.belief_ends_before_the_lease else TERM + 2

    def first(self) -> Shared:
        return self.begin

    def settled(self, world: Shared) -> Shared:
        """Forget who held a lease that is over, if it is on nobody's mind; and the end of one that nobody holds."""
        if world.holder is not None and world.left < 0:
            h, id = world.holder
            host = world.hosts[h]
            if not host.held and (host.question is None or host.question.id != id):
                world = world._replace(holder=None)
        return world if world.holder is not None else world._replace(left=-LONG - 1)

    def steps(self, world: Shared) -> Iterator[Step]:
        yield Step("time", "passes", self._tick(world))
        for h, host in enumerate(world.hosts):
            for what, after in self._host(world, h, host):
                yield Step(NAMES[h], what, after)

    def _tick(self, world: Shared) -> Shared:
        for h, host in enumerate(world.hosts):
            question = host.question and self._older(host.question)
            silent = 0 if self.guards.a_silent_hosts_lease_runs_out else min(host.silent + 1, LONG)
            world = world.with_host(h, belief=max(host.belief - 1, 0), silent=silent, question=question)
        return world._replace(left=max(world.left - 1, -LONG - 1))

    def _older(self, question: Question) -> Question | None:
        if question.age < LONG:
            return question._replace(age=question.age + 1)
        return question if question.answer is not None else None

    def _host(self, world: Shared, h: int, host: Believer) -> Iterator[tuple[str, Shared]]:
        if not host.up:
            if world.lives:
                fresh = world._replace(hosts=put(world.hosts, h, Believer(host.id + 1)), lives=world.lives - 1)
                yield "is started again", fresh
            return
        yield from self._heartbeat(world, h, host)
        yield from self._give_up(world, h)
        yield from self._question(world, h, host)
        if host.held and not host.belief:
            yield "sees that its time is over", world.with_host(h, held=False)
        if world.crashes:
            yield (
                "dies",
                world._replace(crashes=world.crashes - 1, hosts=put(world.hosts, h, Believer(host.id, up=False))),
            )

    def _heartbeat(self, world: Shared, h: int, host: Believer) -> Iterator[tuple[str, Shared]]:
        if host.silent and not host.given_up:
            yield "beats", world.with_host(h, silent=0)
        elif host.given_up and world.lives:
            fresh = host._replace(id=host.id + 1, held=False, belief=0, silent=0, given_up=False)
            yield "starts afresh", world._replace(hosts=put(world.hosts, h, fresh), lives=world.lives - 1)

    def _give_up(self, world: Shared, h: int) -> Iterator[tuple[str, Shared]]:
        guarded = self.guards.a_silent_hosts_lease_runs_out
        for other in (1 - h, h):
            one = world.hosts[other]
            if one.given_up or not one.up or (guarded and not world.lives):
                continue
            after = world.with_host(other, given_up=True)
            if guarded:  # so it does not matter how long it was silent
                yield f"gives {NAMES[other]} up", after
            elif one.silent > TERM:
                mine = world.holder == (other, one.id)
                yield f"gives {NAMES[other]} up", after._replace(holder=None if mine else world.holder)

    def _question(self, world: Shared, h: int, host: Believer) -> Iterator[tuple[str, Shared]]:
        asked = host.question
        if asked is None:
            if host.held:
                yield "asks to renew it", world.with_host(h, question=Question("renew", host.id))
                give = Question("give", host.id)
                yield "stops its service", world.with_host(h, held=False, belief=0, question=give)
            else:
                yield "asks for it", world.with_host(h, question=Question("take", host.id))
        elif asked.answer is None:
            what, after, answer = self._written(world, h, asked)
            yield what, after.with_host(h, question=asked._replace(answer=answer))
            if world.answers:
                gone = after._replace(answers=world.answers - 1).with_host(h, question=None)
                yield f"{what}, the answer is lost", gone
        else:
            yield "hears the answer", self._heard(world, h, host, asked)

    def _written(self, world: Shared, h: int, asked: Question) -> tuple[str, Shared, bool]:
        """One guarded update by the `now` that was read when it was asked."""
        me, left_then, g = (h, asked.id), world.left + asked.age, self.guards
        if asked.kind == "take":
            may = world.holder in (None, me) or left_then < 0 or not g.taking_looks_at_the_end
        elif asked.kind == "renew":
            may = world.holder == me or not g.renewing_looks_at_the_holder
            may = may and (left_then >= 0 or not g.renewing_looks_at_the_end)
        else:
            may = world.holder == me or not g.giving_back_looks_at_the_holder
            return "gives it back", world._replace(holder=None) if may else world, may
        after = world._replace(holder=me, left=TERM - asked.age) if may else world
        return f"{'takes' if asked.kind == 'take' else 'renews'} it" if may else "is refused", after, may

    def _heard(self, world: Shared, h: int, host: Believer, asked: Question) -> Shared:
        after = world.with_host(h, question=None)
        if asked.kind == "give":
            return after
        age = asked.age if self.guards.belief_counts_from_the_question else 0
        belief = max(self.belief - age, 0)
        if asked.kind == "take":
            return after.with_host(h, held=bool(asked.answer), belief=belief if asked.answer else 0)
        if not asked.answer:
            return after.with_host(h, held=False, belief=0)
        return after.with_host(h, belief=max(belief, host.belief)) if host.held else after

    def faults(self, before: Shared, step: Step) -> Iterator[str]:
        after = step.after
        assert isinstance(after, Shared)
        if all(believes(after, h) for h in range(len(NAMES))):
            yield "two hosts believe that the singleton is theirs"


def believes(world: Shared, h: int) -> bool:
    host = world.hosts[h]
    return host.up and host.held and host.belief > 0


def check(guards: LeaseGuards | None = None, **bounds: int) -> Map:
    """Explore all that can happen; Broken where two believe, or nobody can any more although a host is up."""
    found = explore(Leases(guards, **bounds))
    for h, name in enumerate(NAMES):
        able = found.reaching(
            lambda world, h=h: believes(world, h),
            lambda actor, what, name=name: actor in (name, "time") and what != "dies",
        )
        for state in found.edges:
            if state.hosts[h].up and state not in able:
                raise Broken(f"the singleton is left alone although {name} goes on", found.trace(state))
    return found
