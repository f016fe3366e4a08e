"""Estimates and their intervals: of means of batches, and of fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from cvxqueue.statistics.batch_means import BatchSums
from cvxqueue.statistics.estimate import estimate_of, spread_of, wilson
from tests.tolerances import CLOSED_FORM


def test_correlated_batches_are_joined() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(400)
    values = np.empty(400)
    values[0] = noise[0]
    for i in range(1, 400):
        values[i] = 0.8 * values[i - 1] + noise[i]
    rows = np.column_stack([values + 50.0, np.ones(400)])
    sums = BatchSums([rows[:201], rows[201:]], 0.95, (0, 1))
    assert sums.is_correlated
    joined = sums.joined()
    assert joined.count == 199
    CLOSED_FORM.check(joined.rows.sum(axis=0), rows.sum(axis=0))
    assert joined.correlation < sums.correlation
    assert not BatchSums([rows[:6]], 0.95, (0, 1)).is_correlated


def test_the_intervals_are_those_of_student_and_of_wilson() -> None:
    from scipy.stats import binomtest, t

    estimate = estimate_of(2.0, 0.1, 19, 0.9)
    low, high = t.interval(0.9, 19, loc=2.0, scale=0.1)
    np.testing.assert_allclose(estimate.interval, (low, high), rtol=1e-12)
    np.testing.assert_allclose(estimate.at(0.99).interval, t.interval(0.99, 19, 2.0, 0.1))
    for events in (0, 1, 7, 50):
        expected = binomtest(events, 50).proportion_ci(0.95, method="wilson")
        found = wilson(events / 50, 50.0, 1.959963984540054)
        np.testing.assert_allclose(found, (expected.low, expected.high), atol=1e-12)


@pytest.mark.parametrize("skewness", [-0.6, 1e-6, 0.3, 0.9])
def test_intervals_lean_as_halls_transformation_says(skewness: float) -> None:
    estimate = estimate_of(5.0, 0.1, 19, 0.95, skewness=skewness)
    reach = stats.t.ppf(0.975, 19)
    for end, normal in zip(estimate.interval, (reach, -reach), strict=True):
        t = (5.0 - end) / 0.1
        polynomial = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6
        assert polynomial == pytest.approx(normal, rel=1e-8)
    assert estimate.at(0.9).at(0.95) == estimate
    # However low the confidence, what was found is within.
    assert estimate.at(0.01).covers(5.0)


def test_the_skewness_is_that_of_the_batches() -> None:
    residuals = [Fraction(k) for k in (-3, -2, -2, -1, -1, 0, 0, 1, 2, 6)]
    error, degrees, skewness = spread_of(np.array([float(r) for r in residuals]), 100.0)
    total = sum(r**2 for r in residuals)
    assert degrees + 1 == math.floor(3 * total**2 / sum(r**4 for r in residuals))
    assert error == pytest.approx(math.sqrt(Fraction(degrees + 1, degrees) * total))
    assert skewness == pytest.approx(float(sum(r**3 for r in residuals)) / float(total) ** 1.5)


def test_the_intervals_of_skewed_means_cover() -> None:
    # Means of 20 exponential batches. Student's interval alone covers at 95 and 99.3 % in 0.926 and
    # 0.978, and is below the truth in nearly all of the rest.
    draws = np.random.default_rng(12).standard_exponential((4000, 20))
    below = above = rarely = 0
    for batch in draws:
        estimate = BatchSums([np.column_stack([batch, np.ones(20)])], 0.95, (0, 1)).ratio(0, 1)
        below += estimate.interval[1] < 1.0
        above += estimate.interval[0] > 1.0
        rarely += not estimate.at(1.0 - 0.05 / 7).covers(1.0)
    assert 0.94 <= 1.0 - (below + above) / 4000 <= 0.97
    assert below < 5 * above
    assert rarely / 4000 < 0.013


def test_one_batch_says_nothing_of_its_error() -> None:
    sums = BatchSums([np.array([[3.0, 2.0]])], 0.95, (0, 1))
    estimate = sums.ratio(0, 1)
    assert estimate.value == 1.5
    assert estimate.interval == (-math.inf, math.inf)
    assert math.isnan(sums.ratio(np.ones(1), np.zeros(1)).value)
    assert not sums.is_correlated
    assert sums.joined().count == 1
    assert BatchSums([np.zeros((30, 2))], 0.95, (0, 1)).correlation == 0.0
