"""Roots between two ends, of real and of whole numbers, against those that are known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_root, first_refused


def test_many_roots_at_a_time_to_the_last_bits() -> None:
    roots = np.array([1e-9, 0.3, 1.0, 7.5, 2.0**40])
    calls = []

    def function(x: FloatArray) -> FloatArray:
        calls.append(1)
        values: FloatArray = np.log(x / roots) * np.array([1.0, 1.0, -1.0, 1e30, 1e-30])
        return values

    low, high = bracketed_root(function, np.full(5, 1e-12), np.full(5, 1e15))
    assert (low <= roots * (1 + 4e-16)).all()
    assert (high >= roots * (1 - 4e-16)).all()
    np.testing.assert_allclose(high, low, rtol=2e-15)
    # Bisection alone would take 133 from ends 24 decades apart.
    assert len(calls) < 100


def cubic(sign: float, x: FloatArray) -> FloatArray:
    return sign * (x**3 - 2.0)


def test_each_end_keeps_the_sign_that_it_had() -> None:
    for sign in (1.0, -1.0):
        low, high = bracketed_root(partial(cubic, sign), np.array(0.0), np.array(3.0))
        assert low**3 <= 2.0 <= high**3
        assert high - low <= 1e-15


def test_a_jump_and_infinite_values_are_bisected() -> None:
    def function(x: FloatArray) -> FloatArray:
        return np.where(x < 1.0 / 3.0, np.inf, -1.0)

    low, high = bracketed_root(function, np.array(0.0), np.array(1.0))
    assert low < 1.0 / 3.0 <= high
    assert high - low <= 2e-16


def test_what_is_no_bracket_stays_as_it_is() -> None:
    low, high = bracketed_root(lambda x: x + 1.0, np.array([0.0, -3.0]), np.array([1.0, 5.0]))
    assert sorted((low[0], high[0])) == [0.0, 1.0]
    assert low[1] == pytest.approx(-1.0)


def test_a_tolerance_saves_calls() -> None:
    low, high = bracketed_root(lambda x: np.cos(x), np.array(0.0), np.array(3.0), xtol=0.1)
    assert low <= np.pi / 2 <= high
    assert 1e-3 < high - low <= 0.1


@given(st.integers(-5, 2**53), st.integers(0, 2**53), st.integers(0, 2**53), st.integers(0, 2**53))
def test_the_first_whole_number_that_is_refused(
    start: int, answer: int, low: int, length: int
) -> None:
    high = min(low + length, 2**53)
    wanted = float(min(max(answer, low), high))
    asked = []

    def is_accepted(place: FloatArray) -> NDArray[np.bool_]:
        asked.append(float(place[0]))
        return place < answer

    found = first_refused(
        is_accepted, np.array([float(start)]), np.array([float(low)]), np.array([float(high)])
    )
    assert found[0] == wanted
    assert all(low <= place < max(high, low + 1) for place in asked)
    assert len(asked) <= 110


def test_near_its_answer_a_search_asks_little() -> None:
    answers, asked = np.array([1000.0, 5.0, 2.0**50]), []

    def is_accepted(place: FloatArray) -> NDArray[np.bool_]:
        asked.append(1)
        return place < answers

    start = answers + np.array([1.0, -2.0, 0.0])
    found = first_refused(is_accepted, start, np.zeros(3), np.full(3, 2.0**53))
    np.testing.assert_array_equal(found, answers)
    assert len(asked) <= 5


def test_a_value_of_zero_ends_the_search() -> None:
    asked = []

    def function(x: FloatArray) -> FloatArray:
        asked.append(x)
        return np.where(np.abs(x - 0.5) < 0.1, 0.0, 0.5 - x)

    low, high = bracketed_root(function, np.array([0.0, 0.5, 0.2]), np.array([1.0, 3.0, 0.55]))
    assert (low == high).all()
    assert (np.abs(low - 0.5) < 0.1).all()
    assert len(asked) == 3
