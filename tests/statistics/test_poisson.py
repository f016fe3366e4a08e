"""Whether arrivals are Poisson: p-values that are uniform, and intervals that are right."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from cvxqueue import InvalidInputError
from cvxqueue.statistics.poisson import exponential_p_value, poisson_test


# A simulation of its own: gaps are exponential, so p-values are uniform.
@pytest.mark.parametrize("count", [20, 200])
def test_the_p_value_of_the_gaps_is_uniform(count: int) -> None:
    rng = np.random.default_rng(42)
    p = np.array([exponential_p_value(rng.exponential(3.0, count))[1] for _ in range(20000)])
    for level in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95):
        spread = np.sqrt(level * (1.0 - level) / p.size)
        # The published polynomials are good to about two percent.
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * spread + 0.02 * level + 1e-3)


def test_the_p_value_never_rises_with_the_statistic() -> None:
    rng = np.random.default_rng(0)
    base = rng.exponential(1.0, 400)
    found = [exponential_p_value(base**power) for power in np.linspace(1.0, 3.0, 30)]
    far = [p for statistic, p in found if statistic > 1.0]
    assert far == sorted(far, reverse=True)
    assert min(far) < 1e-6


def test_the_interval_of_the_scv_is_the_jackknife_of_its_reciprocal() -> None:
    gaps = [Fraction(k * k % 17 + 1) for k in range(25)]

    def shape(of: list[Fraction]) -> Fraction:
        mean = sum(of, Fraction(0)) / len(of)
        squares = sum(((gap - mean) ** 2 for gap in of), Fraction(0))
        return mean**2 * (len(of) - 1) / squares

    without = [shape(gaps[:k] + gaps[k + 1 :]) for k in range(25)]
    middle = sum(without) / 25
    total = sum((it - middle) ** 2 for it in without) * 24 / 25
    fourth = sum((it - middle) ** 4 for it in without) * (Fraction(24) / 25) ** 2
    used = min(25, math.floor(3 * total**2 / fourth))
    error = math.sqrt(Fraction(used, used - 1) * total)
    whole = float(shape(gaps))
    low, high = stats.t.interval(0.95, used - 1, loc=whole, scale=error)
    found = poisson_test(np.cumsum([0.0, *map(float, gaps)])).gap_scv
    assert found.value == pytest.approx(1.0 / whole, rel=1e-12)
    assert found.interval == pytest.approx((1.0 / high, 1.0 / low), rel=1e-9)


def test_gaps_that_bound_their_scv_on_one_side_only() -> None:
    with np.errstate(all="raise"):
        one = poisson_test(np.cumsum([0.0] + [1.0] * 30 + [9.0]))
    assert one.gap_scv.interval[0] < one.gap_scv.value
    assert one.gap_scv.interval[1] == math.inf
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["gap_scv"]["interval"][1] is None
    even = poisson_test(np.arange(40.0))
    assert even.gap_scv.interval == (0.0, 0.0)


def test_so_few_gaps_have_a_caution() -> None:
    times = np.cumsum(np.random.default_rng(6).exponential(1.0, 25))
    few, enough = poisson_test(times[:24]), poisson_test(times)
    assert few.caution.startswith("23 gaps say little of how they vary")
    assert few.sentence.endswith(few.caution)
    assert enough.caution == ""
    assert "say little" not in enough.sentence


@pytest.mark.parametrize(
    ("times", "message"),
    [([0.0, 1.0], "2 arrivals are too few"), ([1.0] * 10, "all 10 arrivals are at one time")],
)
def test_arrivals_that_cannot_be_tested(times: list[float], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        poisson_test(times)
