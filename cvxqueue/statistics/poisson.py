"""Whether arrival times are Poisson: by their gaps, and by their counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural
from cvxqueue.json_values import JsonRecord
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics.estimate import (
    SIGNIFICANCE,
    FittedParameter,
    estimate_of,
    probability,
    spread_of,
)
from cvxqueue.statistics.time_units import seconds_array

# Fewer arrivals tell too little by their gaps and counts.
FEWEST_ARRIVALS = 10

# Two tests share the significance (Bonferroni).
_TESTS = 2
# From so many gaps on, 95 % intervals of their squared coefficient of variation cover it in 93 to
# 98 % of gamma gaps, of a coefficient from 0.1 to 2 (tests/campaign/intervals.py); of fewer they
# cover it in up to 99.9 %.
_ENOUGH_GAPS = 24
# Windows of the count test: about so many arrivals in each, within these numbers of windows.
_ARRIVALS_PER_WINDOW = 20
_FEWEST_WINDOWS = 5
_MOST_WINDOWS = 60
# Gaps of fewer steps tell the step of a clock, and others may be off it by this part of a step.
_FEW_STEPS, _OFF_STEP = 10.0, 0.05
# Counts that vary too little are looked for among so many windows; a few counts may be equal by
# chance, which χ² does not know.
_ENOUGH_FOR_EVENNESS = 10
# p-values of the Anderson–Darling statistic of exponential gaps whose rate is estimated, after
# D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), section 4.9: from each value on, exp
# of a polynomial, or in the lower tail one less it. Simulation agrees to 2 % of p (test_poisson);
# `scipy.stats.anderson` has five critical values.
_P_VALUE = (
    (0.950, (0.731, -3.009, 0.15)),
    (0.510, (0.9209, -3.353, 0.300)),
    (0.260, (-6.1327, 20.218, -18.663)),
    (-math.inf, (-12.2204, 67.459, -110.3)),
)
_UPPER_TAIL = 0.510
# The last polynomial turns upwards beyond this; p is below 6e-7 there.
_LARGEST_STATISTIC = 10.03


class Observed(NamedTuple):
    """Sorted arrival times in seconds, and the period that they tell of.

    It goes from the first to the last, or is the whole steps of a clock between them. Times are
    spread over the `step` of a clock, which is zero where there is none.
    """

    times: FloatArray
    start: float
    end: float
    step: float
    is_whole_steps: bool


@dataclass(frozen=True)
class PoissonTest(JsonRecord):
    """Whether arrivals are Poisson, by their gaps and by their counts.

    Attributes
    ----------
    gap_statistic, gap_p_value : float
        Anderson–Darling test of exponential gaps, the rate being estimated.
    gaps : int
        Number of gaps.
    gap_scv : FittedParameter
        Squared coefficient of variation of the gaps: 1 for Poisson arrivals.
    dispersion : float
        Variance of the counts in equal windows over their mean: 1 for Poisson arrivals.
    windows : int
        Number of windows; they are `window` seconds long.
    window : float
        Length of a window, in seconds.
    count_p_value : float
        χ² test of the dispersion, two-sided from ten windows.
    """

    gap_statistic: float
    gap_p_value: float
    gaps: int
    gap_scv: FittedParameter
    dispersion: float
    windows: int
    window: float
    count_p_value: float

    _properties = ("p_value", "is_rejected", "caution", "sentence")

    @property
    def p_value(self) -> float:
        """Of both tests together (Bonferroni)."""
        return min(_TESTS * min(self.gap_p_value, self.count_p_value), 1.0)

    @property
    def is_rejected(self) -> bool:
        """Whether Poisson arrivals are ruled out at 5 %."""
        return self.p_value < SIGNIFICANCE

    @property
    def caution(self) -> str:
        """What a reader of the interval of `gap_scv` should know; empty where it holds."""
        if self.gaps >= _ENOUGH_GAPS:
            return ""
        return (
            f"{self.gaps} gaps say little of how they vary: the interval of the squared "
            f"coefficient of variation is wider than its confidence asks for; use {_ENOUGH_GAPS}"
        )

    @property
    def sentence(self) -> str:
        """The outcome in plain words."""
        scv = f"the squared coefficient of variation of the gaps is {self.gap_scv.value:.2f}"
        counts = (
            f"the counts in {self.windows} windows of {self.window:.3g} s vary "
            f"{self.dispersion:.2f} times as much as Poisson counts"
        )
        if self.caution:
            counts += f"; {self.caution}"
        if not self.is_rejected:
            return (
                f"Poisson arrivals are not rejected (p = {self.p_value:.2g}): {scv}, and {counts}"
            )
        p = "p < 1e-6" if self.p_value < 1e-6 else f"p = {self.p_value:.2g}"
        ways = [
            name
            for name, value in (("gaps", self.gap_p_value), ("counts", self.count_p_value))
            if _TESTS * value < SIGNIFICANCE
        ]
        return (
            f"Poisson arrivals are rejected by their {' and their '.join(ways)} ({p}): {scv}, "
            f"and {counts}"
        )


def poisson_test(times: ArrayLike, confidence: float = 0.95) -> PoissonTest:
    """Test whether arrival times can be those of a Poisson stream.

    Parameters
    ----------
    times : array_like, shape (M,)
        Arrival times in seconds, from any origin, or dates and times, in any order; at least ten.
    confidence : float, default 0.95
        Of the interval of the squared coefficient of variation.

    Raises
    ------
    InvalidInputError
        If there are fewer than ten, all are at one time, or the confidence is not in (0, 1).

    Notes
    -----
    Times of a clock that counts in steps are spread at random over their steps first, and the first
    and the last step, which may be seen in part, left out.

    Examples
    --------
    >>> import numpy as np
    >>> from cvxqueue.statistics import poisson_test
    >>> gaps = np.random.default_rng(1).gamma(0.4, 2.5, 2000)
    >>> poisson_test(np.cumsum(gaps)).is_rejected
    True
    """
    from scipy.special import chdtr, chdtrc

    confidence = probability("confidence", confidence)
    times = np.sort(np.atleast_1d(seconds_array("arrivals", times, is_moment=True)))
    if times.size < FEWEST_ARRIVALS:
        raise InvalidInputError(
            f"{plural(times.size, 'arrival')} are too few; at least {FEWEST_ARRIVALS} are needed"
        )
    if times[0] == times[-1]:
        raise InvalidInputError(
            f"all {times.size} arrivals are at one time; times that differ are needed"
        )
    times, start, end, _, is_whole_steps = observe(times)
    gaps = np.diff(times)
    # Two at one time differ by less than the smallest gap.
    gaps[gaps == 0.0] = gaps[gaps > 0.0].min() / 2.0
    statistic, gap_p = exponential_p_value(gaps)
    windows = int(min(max(times.size // _ARRIVALS_PER_WINDOW, _FEWEST_WINDOWS), _MOST_WINDOWS))
    # Given the first and the last, the arrivals between them are uniform; so are all over a period
    # that no arrival ends.
    within = times if is_whole_steps else times[1:-1]
    counts, edges = np.histogram(within, bins=windows, range=(start, end))
    dispersion = float(counts.var(ddof=1) / counts.mean())
    square = dispersion * (windows - 1)
    count_p = float(chdtrc(windows - 1, square))
    if windows >= _ENOUGH_FOR_EVENNESS:
        count_p = 2.0 * min(float(chdtr(windows - 1, square)), count_p)
    return PoissonTest(
        gap_statistic=statistic,
        gap_p_value=gap_p,
        gaps=gaps.size,
        gap_scv=_scv(gaps, confidence),
        dispersion=dispersion,
        windows=windows,
        window=float(edges[1] - edges[0]),
        count_p_value=min(count_p, 1.0),
    )


def observe(times: FloatArray) -> Observed:
    """Return sorted times and the period that they tell of, as rate and test take them.

    Notes
    -----
    Times of a clock that counts in steps are each put at random within their step: Poisson arrivals
    that were rounded are Poisson again then, and no others become so, as what lies between the
    steps nobody knows. The first and the last step are left out, since a trace may begin or end
    within a step; that takes three steps, and ten arrivals between. Times that all differ, or have
    no common step, are left as they are.
    """
    step = _step(times)
    first, last = float(times[0]), float(times[-1])
    if step == 0.0:
        return Observed(times, first, last, 0.0, is_whole_steps=False)
    is_between = (times > first + step / 2.0) & (times < last - step / 2.0)
    spread = times + step * np.random.default_rng(0).random(times.size)
    if np.count_nonzero(is_between) < FEWEST_ARRIVALS:
        spread = np.sort(spread)
        return Observed(spread, float(spread[0]), float(spread[-1]), step, is_whole_steps=False)
    return Observed(np.sort(spread[is_between]), first + step, last, step, is_whole_steps=True)


def _step(times: FloatArray) -> float:
    """Step of the clock of sorted times; zero where they all differ, or have no common one."""
    gaps = np.diff(times)
    if gaps.all():
        return 0.0
    step = float(gaps[gaps > 0].min())
    few = gaps[(gaps > 0) & (gaps < _FEW_STEPS * step)]
    # Of printed times the smallest gap is off by their rounding; many together are not.
    step = float((few / np.round(few / step)).mean())
    if np.any(np.abs(gaps - step * np.round(gaps / step)) > _OFF_STEP * step):
        return 0.0
    return step


def exponential_p_value(gaps: FloatArray) -> tuple[float, float]:
    """Return the Anderson–Darling statistic of exponential gaps, and its p-value.

    Of gaps > 0, shape (M,), whose rate is estimated.
    """
    n = gaps.size
    scaled = np.sort(gaps) / gaps.mean()
    order = np.arange(1, n + 1)
    terms = (2 * order - 1) * (np.log(-np.expm1(-scaled)) - scaled[::-1])
    statistic = float(-n - terms.sum() / n) * (1.0 + 0.6 / n)
    a = min(statistic, _LARGEST_STATISTIC)
    start, (c0, c1, c2) = next(piece for piece in _P_VALUE if a >= piece[0])
    p = math.exp(c0 + c1 * a + c2 * a * a)
    return statistic, p if start >= _UPPER_TAIL else 1.0 - p


def _scv(gaps: FloatArray, confidence: float) -> FittedParameter:
    """Squared coefficient of variation, with an interval by the jackknife of its reciprocal.

    The estimate and its error are small together, where long gaps happen to be missing: the
    reciprocal, which for gamma gaps is their shape, is less skewed. Where few gaps hold the spread,
    Student's t has fewer degrees of freedom, and the data may not bound the coefficient from above.
    """
    n = gaps.size
    mean = float(gaps.mean())
    scv = float(gaps.var(ddof=1)) / mean**2
    if scv == 0.0:
        return FittedParameter(0.0, 0.0, (0.0, 0.0), confidence)
    off = gaps / mean - 1.0
    squares = np.square(off)
    total = float(squares.sum())
    # Without a gap, the mean is off by −off/(n − 1), and the squares are fewer by off² n/(n − 1);
    # they vanish, but for rounding, where all other gaps are equal.
    left = np.maximum(total - squares * n / (n - 1), np.finfo(np.float64).eps * total)
    without = np.square(1.0 - off / (n - 1)) * (n - 2) / left * scv
    residuals = math.sqrt((n - 1) / n) * (without.mean() - without)
    error, degrees, _ = spread_of(residuals, 1.0)
    low, high = estimate_of(1.0, error, degrees, confidence).interval
    ends = (scv / high, scv / low if low > 0.0 else math.inf)
    return FittedParameter(scv, error * scv, ends, confidence)
