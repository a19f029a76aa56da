"""Own the search through all states that a model of a protocol can reach, breadth first: the first fault has the shortest trace."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

State = Hashable

# A model that reaches more states than this is too large to be explored whenever the tests run.
MOST = 300_000


class Step(NamedTuple):
    """What one actor can do next: one atomic statement of the database, or one act within a process."""

    actor: str
    what: str
    after: State

    def __str__(self) -> str:
        return f"{self.actor} {self.what}"


class Model(Protocol):
    """What is explored."""

    def first(self) -> State: ...

    def steps(self, state: State) -> Iterable[Step]: ...

    def faults(self, before: State, step: Step) -> Iterable[str]:
        """Return what a step breaks."""

    def settled(self, state: State) -> State:
        """Return the one state that stands for all those from which the same can happen."""


class Broken(AssertionError):
    """A promise is not kept; `trace` is the shortest way there."""

    def __init__(self, fault: str, trace: list[str]) -> None:
        self.fault = fault
        self.trace = trace
        super().__init__("\n".join([f"{fault}:", *(f"  {n}. {line}" for n, line in enumerate(trace, 1))]))


@dataclass
class Map:
    """All reachable states and the steps between them."""

    came_by: dict[State, tuple[State, Step] | None] = field(default_factory=dict)
    edges: dict[State, list[tuple[str, str, State]]] = field(default_factory=dict)

    def trace(self, state: State) -> list[str]:
        """Return the shortest way to a state."""
        found = []
        while (origin := self.came_by[state]) is not None:
            state, step = origin
            found.append(str(step))
        return found[::-1]

    def reaching(self, goal: Callable[[State], bool], by: Callable[[str, str], bool]) -> set[State]:
        """Return the states from which a goal can be reached by the steps (actor, what) that `by` allows."""
        backwards: dict[State, list[State]] = {}
        for state, edges in self.edges.items():
            for actor, what, after in edges:
                if by(actor, what):
                    backwards.setdefault(after, []).append(state)
        found = {state for state in self.edges if goal(state)}
        waiting = deque(found)
        while waiting:
            for state in backwards.get(waiting.popleft(), ()):
                if state not in found:
                    found.add(state)
                    waiting.append(state)
        return found

    def ends(self) -> Iterator[State]:
        """Yield the states after which nothing more happens."""
        return (state for state, edges in self.edges.items() if not edges)


def explore(model: Model, most: int = MOST) -> Map:
    """Visit every reachable state; Broken at the first step that breaks a promise."""
    first = model.settled(model.first())
    found = Map({first: None})
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        edges = found.edges[state] = []
        for step in model.steps(state):
            for fault in model.faults(state, step):
                raise Broken(fault, [*found.trace(state), str(step)])
            after = model.settled(step.after)
            edges.append((step.actor, step.what, after))
            if after not in found.came_by:
                found.came_by[after] = (state, step)
                waiting.append(after)
        if len(found.came_by) > most:
            raise RuntimeError(f"More than {most} states: the model has no bounds, or too wide ones.")
    return found
