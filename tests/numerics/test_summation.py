"""Sums against exact ones, on data that a plain sum loses."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cvxqueue.numerics.summation import accurate_sum

EPSILON = Fraction(2) ** -52


def exact(values: NDArray[np.float64]) -> Fraction:
    return sum(map(Fraction, values.tolist()), Fraction(0))


def allowed_error(values: NDArray[np.float64]) -> Fraction:
    """One rounding of the sum, and (N ε)² of the largest term.

    Extraction leaves of each term less than 2 (N + 2) ε max|x|; adding N such remainders loses less
    than N ε/2 of their sum.
    """
    count, largest = values.size, Fraction(float(np.abs(values).max()))
    return EPSILON * abs(exact(values)) + (EPSILON * (count + 2)) ** 2 * count * largest


def is_accurate(values: NDArray[np.float64]) -> bool:
    return abs(Fraction(float(accurate_sum(values))) - exact(values)) <= allowed_error(values)


HARD = {
    "zero": [0.0],
    "tenths": [0.1] * 10,
    "tiny tail": [1.0, *[1e-16] * 1000],
    "cancel": [1e8, 1.0, -1e8, 1e-8],
    "cancel to the tail": [1.0, 1e-9, -1.0],
    "subnormal": [5e-324, 5e-324],
    "large": [1e300, 1e284, -1e300],
    "odd": [2.0**52 + 1, -(2.0**52), 0.5],
    "harmonic": (1.0 / np.arange(1, 5000)).tolist(),
    "alternating": ((-1.0) ** np.arange(4001) / np.arange(1, 4002)).tolist(),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_sums(name: str) -> None:
    assert is_accurate(np.array(HARD[name]))


def test_a_plain_sum_would_fail() -> None:
    values = np.array(HARD["tiny tail"])
    assert abs(Fraction(float(np.sum(values))) - exact(values)) > allowed_error(values)


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=60))
def test_any_sum(values: list[float]) -> None:
    assert is_accurate(np.array(values))


def test_the_idle_fraction_survives_near_saturation() -> None:
    # A million terms whose sum is one less 1e-9: what is lost here is magnified by 1e9.
    rng = np.random.default_rng(0)
    terms = rng.random(1_000_000)
    terms *= (1.0 - 1e-9) / math.fsum(terms)
    expected = math.fsum([1.0, *(-terms)])
    found = 1.0 - float(accurate_sum(terms))
    assert abs(found - expected) <= 2.0**-53
    assert expected == pytest.approx(1e-9, rel=1e-3)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4), (0, 3)])
def test_the_last_axis_is_summed(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).standard_normal(shape)
    total = accurate_sum(values)
    assert total.shape == shape[:-1]
    expected = [math.fsum(row) for row in values.reshape(-1, shape[-1])]
    np.testing.assert_allclose(np.ravel(total), expected, rtol=0, atol=1e-15)


def test_rows_of_different_size_do_not_disturb_each_other() -> None:
    tiny = np.array([1e-20, 3e-20, -1e-20])
    rows = np.stack([np.array([1e20, 1.0, -1e20]), tiny])
    assert accurate_sum(rows)[1] == accurate_sum(tiny)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("repeats", [1, 100])
def test_what_is_not_finite_is_summed_plainly(repeats: int) -> None:
    # By either way of adding: few terms one by one, many at a time.
    zeros = np.zeros(3 * repeats)
    assert accurate_sum(np.append(zeros, [np.inf, 1.0])) == np.inf
    assert np.isnan(accurate_sum(np.append(zeros, [np.inf, -np.inf])))
    assert np.isnan(accurate_sum(np.append(zeros, [np.nan, 1.0])))
    assert not np.isfinite(accurate_sum(np.append(zeros, [1e308, 1e308])))
