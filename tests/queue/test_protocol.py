"""The protocol by which hosts share runs and singletons: a model of it is explored in every order of its steps."""

import gc
from dataclasses import fields, replace
from textwrap import dedent

import pytest

from background.queue.transitions import NEXT
from tests.queue import lease_model, promises
from tests.queue.explorer import Broken, explore
from tests.queue.lease_model import LeaseGuards
from tests.queue.without_guards import LEASES_WITHOUT, WITHOUT
from tests.queue.world import TABLE, Bounds, Guards

# Each world is small; together they hold every pair of troubles.
WORLDS = {
    "a host dies, an answer is lost, a person cancels": Bounds(lives=0, crashes=1, answers=1, cancels=1),
    "a host dies and another begins, or one is given up and starts afresh": Bounds(crashes=1, max_attempts=1),
    "a host stops, one dies": Bounds(lives=0, stops=1, crashes=1),
    "a host stops, an answer is lost, a person cancels": Bounds(lives=0, stops=1, answers=1, cancels=1, max_attempts=1),
    "a run is due later, a person cancels": Bounds(lives=0, first="scheduled", cancels=1),
    "a function is deaf to its timeout, an answer is lost": Bounds(lives=0, timeouts=1, answers=1),
    "an atomic run, a host dies or starts afresh, an answer is lost": Bounds(
        atomic=True, crashes=1, answers=1, max_attempts=1
    ),
    "an atomic run, a host stops, one dies, an answer is lost": Bounds(
        atomic=True, lives=0, stops=1, crashes=1, answers=1, max_attempts=1
    ),
    "an atomic run, its function is deaf to its timeout, a person cancels": Bounds(
        atomic=True, lives=0, timeouts=1, cancels=1
    ),
    "two runs of one key, a host dies": Bounds(lives=0, runs=2, limit=1, crashes=1, max_attempts=1, max_lost=1),
}
LARGE = {
    "two runs of one key, a person cancels": Bounds(lives=0, runs=2, limit=1, cancels=1, max_attempts=1, max_lost=1),
    "two runs of one key, a host stops": Bounds(lives=0, runs=2, limit=1, stops=1, max_attempts=1, max_lost=1),
    "a host stops, one starts afresh": Bounds(stops=1, max_attempts=1),
}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_collection():
    """States refer to each other in no circle: looking for those takes a third of the time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("bounds", WORLDS.values(), ids=WORLDS)
def test_no_order_of_steps_breaks_a_promise_and_each_run_comes_to_its_end(bounds):
    found = promises.check(bounds)

    assert len(found.edges) > 500  # it has looked at something


@pytest.mark.parametrize("bounds", LARGE.values(), ids=LARGE)
def test_no_order_of_steps_breaks_a_promise_in_a_larger_world(bounds):
    promises.check(bounds)


LEASES = {
    "a host dies": {"lives": 0, "crashes": 1, "answers": 0},
    "an answer is lost": {"lives": 0, "crashes": 0, "answers": 1},
    "a host is given up and starts afresh": {"lives": 1, "crashes": 0, "answers": 0},
}


@pytest.mark.parametrize(
    "bounds",
    [pytest.param(bounds, id=name) for name, bounds in LEASES.items()],
)
def test_no_order_of_steps_gives_a_singleton_to_two_hosts_or_leaves_it_alone(bounds):
    found = lease_model.check(**bounds)

    assert len(found.edges) > 500


@pytest.mark.parametrize("troubles", [{"crashes": 1}, {"cancels": 1, "max_lost": 1}], ids=str)
def test_reading_apart_from_a_write_that_looks_again_changes_nothing(troubles):
    """So the worlds above may do both at once, which is much less to explore."""

    def rows(bounds):
        return {
            (world.runs, tuple(host._replace(due=None, silent=None, gone=None) for host in world.hosts), world.left)
            for world in promises.check(bounds).edges
        }

    at_once = Bounds(lives=0, **troubles)
    assert rows(replace(at_once, in_two_steps=True)) == rows(at_once)


def test_the_table_of_the_model_is_that_of_the_code():
    assert {str(old): {str(new) for new in following} for old, following in NEXT.items()} == TABLE


def test_the_model_makes_each_move_of_the_table_but_those_of_other_causes():
    made = set()
    for bounds in (WORLDS["a run is due later, a person cancels"], LARGE["two runs of one key, a person cancels"]):
        for before, edges in explore(promises.Promises(bounds)).edges.items():
            for _, _, after in edges:
                made |= {(old.status, new.status) for old, new in zip(before.runs, after.runs, strict=True)}

    assert {(old, new) for old, following in TABLE.items() for new in following} - made == {
        ("ready", "failed"),  # a task that no code knows
        ("blocked", "running"),  # it takes a third run to make one wait that is then taken behind another
        ("ready", "scheduled"),  # a duplicate with a later time replaces it
    }


@pytest.mark.parametrize(("guard", "bounds", "expected"), WITHOUT, ids=[case[0] for case in WITHOUT])
def test_without_a_guard_a_promise_is_broken(guard, bounds, expected):
    with pytest.raises(Broken) as broken:
        promises.check(replace(bounds, guards=Guards(**{guard: False})))

    assert str(broken.value) == dedent(expected).strip()


@pytest.mark.parametrize(("guard", "expected"), LEASES_WITHOUT, ids=[case[0] for case in LEASES_WITHOUT])
def test_without_a_guard_two_hosts_believe_in_one_singleton(guard, expected):
    with pytest.raises(Broken) as broken:
        lease_model.check(LeaseGuards(**{guard: False}), lives=0, crashes=0, answers=0)

    assert str(broken.value) == dedent(expected).strip()


def test_each_guard_of_the_model_is_tried_without():
    assert {case[0] for case in WITHOUT} == {one.name for one in fields(Guards)}
    assert {case[0] for case in LEASES_WITHOUT} == {one.name for one in fields(LeaseGuards)} - {
        "renewing_looks_at_the_end"
    }


def test_a_lease_that_is_over_may_be_renewed_by_its_holder_as_long_as_nobody_took_it():
    """That guard spares the database a write; it is the holder's name that keeps two apart."""
    lease_model.check(LeaseGuards(renewing_looks_at_the_end=False), lives=0, crashes=1, answers=0)
