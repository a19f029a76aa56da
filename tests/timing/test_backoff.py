"""Delays grow, stay below their maximum, and are spread."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from background.timing import Backoff


def middle() -> float:
    return 0.5


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(5, 60)
    assert [backoff.delay(n, middle) for n in range(1, 7)] == [5, 10, 20, 40, 60, 60]


def test_jitter_goes_both_ways_and_never_over_the_maximum() -> None:
    backoff = Backoff(10, 20, jitter=0.1)
    assert backoff.delay(1, lambda: 0) == pytest.approx(9)
    assert backoff.delay(1, lambda: 1) == pytest.approx(11)
    assert backoff.delay(9, lambda: 0) == pytest.approx(18)
    assert backoff.delay(9, lambda: 1) == 20


def test_delays_differ_by_chance() -> None:
    assert len({Backoff().delay(1) for _ in range(20)}) > 1


def test_the_millionth_attempt_waits_the_maximum() -> None:
    assert Backoff(5, 3600, jitter=0).delay(10**6) == 3600
    assert Backoff(5, 3600, factor=1, jitter=0).delay(10**6) == 5
    assert Backoff(0, 3600).delay(10**6) >= 0


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Backoff().delay(0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e3), st.floats(0, 1), st.integers(1, 10**9), st.floats(0, 1))
def test_a_delay_is_between_zero_and_the_maximum(
    initial: float, more: float, factor: float, jitter: float, attempt: int, chance: float
) -> None:
    backoff = Backoff(initial, initial + more, factor, jitter)
    assert 0 <= backoff.delay(attempt, lambda: chance) <= initial + more


@pytest.mark.parametrize(
    "values",
    [
        (-1, 5),
        (10, 5),
        (1, 5, 0.5),
        (1, 5, 2, -0.1),
        (1, 5, 2, 1.1),
        ("1", 5),
        (None, 5),
        (True, 5),
        (1, float("inf")),
        (float("nan"), 5),
    ],
    ids=str,
)
def test_senseless_values_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="Backoff"):
        Backoff(*values)


def test_a_backoff_survives_json() -> None:
    backoff = Backoff(1, 60, factor=1.5, jitter=0)
    assert Backoff.from_dict(json.loads(json.dumps(backoff.as_dict()))) == backoff
    assert Backoff.from_dict({}) == Backoff() == Backoff(5, 3600, 2, 0.1)
    with pytest.raises(ValueError, match="speed"):
        Backoff.from_dict({"speed": 1})
