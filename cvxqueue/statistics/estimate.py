"""Estimates with standard errors and confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.json_values import JsonRecord, json_attributes
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import real_number

SIGNIFICANCE = 0.05
"""Of tests: how often they may reject what is true; the custom of the field."""
# Fourth moment of a normal variable over the square of its second.
_NORMAL_KURTOSIS = 3.0
# A spread below this part of the numbers that it is of is rounding.
_STILL = 1e-13
# So small a skewness moves an end by less than a millionth of the error.
_SYMMETRIC = 1e-7


@dataclass(frozen=True)
class Estimate:
    """A simulated value with its confidence interval.

    Parameters
    ----------
    value : float
        The estimate.
    interval : tuple of float
        Lower and upper end: over many seeds it covers the truth in the fraction `confidence`.
    confidence : float
        Between 0 and 1.
    standard_error : float
        Of the value, from the spread of the batches.
    degrees : int
        Degrees of freedom of Student's t: batches less one, fewer where few of them hold most of
        the spread, and none where nothing was seen to vary; the interval is then infinite.
    trials : float, optional
        For a fraction, the independent trials that it is worth; its interval is Wilson's.
    skewness : float, default 0.0
        Of the value, from the batches: the interval reaches further to the side of its long tail.
    """

    value: float
    interval: tuple[float, float]
    confidence: float
    standard_error: float
    degrees: int
    trials: float | None = None
    skewness: float = 0.0

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return 0.5 * (self.interval[1] - self.interval[0])

    @property
    def relative_half_width(self) -> float:
        """Half the length of the interval, relative to the value; infinite at zero."""
        return self.half_width / abs(self.value) if self.value else math.inf

    def covers(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return bool(self.interval[0] <= value <= self.interval[1])

    def at(self, confidence: float) -> Estimate:
        """Return the same estimate at another confidence."""
        return estimate_of(
            self.value,
            self.standard_error,
            self.degrees,
            confidence,
            trials=self.trials,
            skewness=self.skewness,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; ``None`` for what is not finite."""
        return json_attributes(self, ("value", "interval", "confidence"))

    def __str__(self) -> str:
        return (
            f"{self.value:.6g} in [{self.interval[0]:.6g}, {self.interval[1]:.6g}] "
            f"at {100 * self.confidence:g} %"
        )


@dataclass(frozen=True)
class FittedParameter(JsonRecord):
    """A number estimated from data.

    Attributes
    ----------
    value : float
        The estimate.
    standard_error : float
        Of the estimate; NaN where the value lies on a bound or the data do not determine it.
    interval : tuple of float
        Confidence interval, within the bounds of the parameter; an end may be infinite.
    confidence : float
        Probability that such an interval holds the true value, in (0, 1).
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    confidence: float

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4g} [{low:.4g}, {high:.4g}]"


def probability(name: str, value: Any) -> float:
    """Return one number in (0, 1) as a float, or raise an error that names it."""
    number = real_number(name, value)
    if not 0.0 < number < 1.0:
        raise InvalidInputError(f"{name} = {shown(value)} must be in (0, 1)")
    return number


def estimate_of(
    value: float,
    error: float,
    degrees: int,
    confidence: float,
    *,
    trials: float | None = None,
    skewness: float = 0.0,
) -> Estimate:
    """Return an estimate with the interval of Student's t, or of a fraction that of Wilson.

    Notes
    -----
    Means of few long waits are skewed, and small together with their error, so that a symmetric
    interval misses the truth above it more often than it should. With T the error of a value of
    skewness s over its standard error, (1 + s T/3)³ = 1 + s (Y − s/6) defines a Y that is normal up
    to terms of the order s², and increases with T.

    References
    ----------
    P. Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical
    Society B 54 (1992), 221–228.
    """
    # scipy.special alone, and only where an interval is asked for.
    from scipy.special import stdtrit

    reach = float(stdtrit(degrees, 0.5 + 0.5 * confidence)) if degrees else math.inf
    if not degrees:
        ends = (-math.inf, math.inf) if trials is None else (0.0, 1.0)
    elif trials is None:
        # At a low confidence, too, the value itself is within.
        low, high = (error * _skewed(end, skewness) for end in (-reach, reach))
        ends = (value - max(high, 0.0), value - min(low, 0.0))
    else:
        ends = wilson(value, trials, reach)
    return Estimate(value, ends, confidence, error, degrees, trials, skewness)


def _skewed(reach: float, skewness: float) -> float:
    """Standardised error that Hall's transformation of a given skewness takes to a value."""
    if abs(skewness) < _SYMMETRIC:
        return reach
    return (math.cbrt(1.0 + skewness * (reach - skewness / 6.0)) - 1.0) * 3.0 / skewness


def wilson(fraction: float, trials: float, reach: float) -> tuple[float, float]:
    """Return Wilson's interval of a fraction: within [0, 1], and never without length.

    Of independent trials, with `reach` standard errors on each side.
    """
    square = reach * reach / trials
    centre = (fraction + 0.5 * square) / (1.0 + square)
    spread = square * (fraction * (1.0 - fraction) + 0.25 * square)
    half = math.sqrt(spread) / (1.0 + square)
    # Rounding must not exclude what was seen.
    return max(min(centre - half, fraction), 0.0), min(max(centre + half, fraction), 1.0)


def spread_of(
    residuals: FloatArray, size: float, count: int | None = None
) -> tuple[float, int, float]:
    """Return the standard error of a value, its degrees of freedom, and the skewness of the value.

    The residuals, shape (M,), are what each of M independent parts adds to the error of the value;
    of these `count` say something of it, by default all. The spread of few residuals that differ
    from many is as uncertain as that of few; a spread that is rounding of numbers of some `size` is
    none.
    """
    used = len(residuals) if count is None else count
    squares = np.square(residuals)
    total, fourth = float(squares.sum()), float(squares @ squares)
    skewness = 0.0
    if math.isfinite(total):
        # Of normal residuals this is the number of batches.
        spread_over = _NORMAL_KURTOSIS * total * total / fourth if fourth > 0 else 0.0
        is_still = math.sqrt(total) <= _STILL * abs(size)
        used = 0 if is_still else min(used, math.floor(spread_over))
        if used > 1:
            skewness = float(squares @ residuals) / total**1.5
    error = math.sqrt(used / (used - 1) * total) if used > 1 else math.inf
    return error, max(used - 1, 0), skewness


def normal_quantile(confidence: float) -> float:
    """Return how many standard deviations on each side hold so much of a normal variable."""
    from scipy.special import ndtri

    return float(ndtri((1.0 + confidence) / 2.0))
