"""How far a worker reads ahead."""

import time

import pytest

from background.engine import lookahead
from background.engine.lookahead import Lookahead


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(lookahead.time, "monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()
    assert time.monotonic() != now[0]


def test_nothing_is_known_at_first(clock):
    seen = Lookahead()
    assert (seen.runs, seen.depth("task")) == (0, 0)


def test_as_much_is_read_ahead_as_can_begin_within_a_tenth_of_a_second(clock):
    seen = Lookahead()
    for _ in range(20):
        for _ in range(50):
            seen.note("task", 0.001)
        clock[0] += 0.05
        seen.runs  # noqa: B018 - a sample
    assert 90 <= seen.runs <= 100  # a thousand a second
    assert seen.depth("task") == 100


def test_the_pace_of_before_is_forgotten_when_nothing_ends_any_more(clock):
    seen = Lookahead()
    for _ in range(1000):
        seen.note("task", 0.001)
    clock[0] += 0.1
    assert seen.runs > 100
    for _ in range(20):
        clock[0] += 1
        last = seen.runs
    assert last == 0


def test_one_slow_run_ends_the_belief_that_a_task_is_quick(clock):
    seen = Lookahead()
    seen.note("task", 0.001)
    assert seen.depth("task") == 100
    seen.note("task", 2)
    assert seen.depth("task") == 0


def test_no_more_than_a_thousand_wait(clock):
    seen = Lookahead()
    for _ in range(100_000):
        seen.note("task", 0)
    clock[0] += 0.1
    assert seen.runs == seen.depth("task") == lookahead.MOST
