"""Estimates with intervals, from the means of batches that are long enough to be independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxqueue.json_values import json_values
from cvxqueue.numerics.arrays import FloatArray, frozen, read_only

__all__ = ["FEWEST_SEEN", "BatchSums", "Estimate", "estimate_of", "spread_of", "wilson"]

# Fewer batches make Student's t wide and the standard error itself uncertain.
_FEWEST = 10
# Quantile of the normal distribution at which a correlation of neighbours counts as found: 95 %.
_FOUND = 1.645
# Events in fewer batches tell too little of how they cluster.
FEWEST_SEEN = 30
# Where fewer batches, or a smaller part of them, hold the spread, it is that of rare events: the
# estimate and its error are then small together, and Student's t covers too rarely.
_FEWEST_HOLDING, _PART_HOLDING = 10, 1.0 / 6.0
# Fourth moment of a normal variable over the square of its second.
_NORMAL_KURTOSIS = 3.0
# A spread below this part of the value is rounding.
_ROUNDING = 1e-13
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
        return json_values(
            {
                "value": self.value,
                "interval": list(self.interval),
                "confidence": self.confidence,
            }
        )

    def __str__(self) -> str:
        return (
            f"{self.value:.6g} in [{self.interval[0]:.6g}, {self.interval[1]:.6g}] "
            f"at {100 * self.confidence:g} %"
        )


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

    if degrees < 1:
        ends = (-math.inf, math.inf) if trials is None else (0.0, 1.0)
        return Estimate(value, ends, confidence, error, degrees, trials, skewness)
    reach = float(stdtrit(degrees, 0.5 + 0.5 * confidence))
    if trials is None:
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

    Parameters
    ----------
    fraction : float
        Events over trials.
    trials : float
        Independent ones.
    reach : float
        Standard errors on each side.
    """
    square = reach * reach / trials
    centre = (fraction + 0.5 * square) / (1.0 + square)
    spread = square * (fraction * (1.0 - fraction) + 0.25 * square)
    half = math.sqrt(spread) / (1.0 + square)
    # Rounding must not exclude what was seen.
    return max(min(centre - half, fraction), 0.0), min(max(centre + half, fraction), 1.0)


class BatchSums:
    """Sums over batches, one row for each batch, one column for each thing that is summed.

    Parameters
    ----------
    parts : sequence of ndarray, shape (batches, columns)
        The rows of each replication, in order of time. Replications are independent.
    confidence : float
        Of the intervals.
    steering : tuple of int
        Columns of the ratio whose correlation decides: that of the mean waiting time.
    """

    def __init__(
        self,
        parts: Sequence[FloatArray],
        confidence: float,
        steering: tuple[int, int],
    ) -> None:
        self.confidence = confidence
        self.parts = tuple(map(read_only, parts))
        self._steering = steering
        self.rows = frozen(np.concatenate(self.parts))
        self.correlation = self._correlation()

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchSums, (self.parts, self.confidence, self._steering)

    @property
    def is_correlated(self) -> bool:
        """Whether neighbours are found to be correlated, and there are enough to join them."""
        fewer = sum(max(len(part) // 2, 1) for part in self.parts)
        return fewer >= _FEWEST and self.correlation > _FOUND / math.sqrt(self.count)

    def joined(self) -> BatchSums:
        """Return the sums over neighbouring batches, two by two."""
        return BatchSums([_pairs(part) for part in self.parts], self.confidence, self._steering)

    def settles(self, estimate: Estimate) -> bool:
        """Whether enough batches hold the spread of an estimate for its interval to be believed."""
        if estimate.trials is not None:
            return estimate.degrees > 0
        return estimate.degrees + 1 >= max(_FEWEST_HOLDING, _PART_HOLDING * self.count)

    @property
    def count(self) -> int:
        """Number of batches."""
        return sum(len(part) for part in self.parts)

    def _correlation(self) -> float:
        """Correlation of a batch with the next, across all replications."""
        above, below = self._steering
        total = self.rows.sum(axis=0)
        if total[below] <= 0:
            return 0.0
        ratio = total[above] / total[below]
        residuals = [part[:, above] - ratio * part[:, below] for part in self.parts]
        spread = sum(float(r @ r) for r in residuals)
        together = sum(float(r[1:] @ r[:-1]) for r in residuals)
        return together / spread if spread > 0 else 0.0

    def residuals(self, above: FloatArray, below: FloatArray) -> tuple[float, FloatArray]:
        """Ratio of two sums, and what each batch adds to its error to first order."""
        bottom = float(below.sum())
        if bottom <= 0:
            return math.nan, np.full(len(self.rows), math.nan)
        ratio = float(above.sum()) / bottom
        return ratio, (above - ratio * below) / bottom

    def ratio(self, above: FloatArray | int, below: FloatArray | int) -> Estimate:
        """Estimate of the ratio of two sums, each a column or a number for each batch."""
        top = self.rows[:, above] if isinstance(above, int) else above
        bottom = self.rows[:, below] if isinstance(below, int) else below
        # Batches without any query of a rare type say nothing of its spread.
        return self.estimate(*self.residuals(top, bottom), count=int(np.count_nonzero(bottom)))

    def fraction(
        self, above: FloatArray | int, below: int, *, clustering: float | None = None
    ) -> Estimate:
        """Estimate of the fraction of queries to which something happens.

        Parameters
        ----------
        above, below : ndarray of shape (batches,), or int
            Queries to which it happens, and all of them.
        clustering : float, optional
            Queries that share their luck where too few batches have seen the event to tell; by
            default each has its own, and the fraction is binomial.
        """
        top = self.rows[:, above] if isinstance(above, int) else above
        bottom = self.rows[:, below]
        value, residuals = self.residuals(top, bottom)
        queries, count = float(bottom.sum()), self.count
        if queries <= 0 or count < 2:
            return estimate_of(value, math.inf, 0, self.confidence, trials=max(queries, 1.0))
        error = math.sqrt(count / (count - 1) * float(residuals @ residuals))
        binomial = math.sqrt(value * (1.0 - value) / queries)
        if clustering is None:
            return estimate_of(value, binomial, count - 1, self.confidence, trials=queries)
        rarest = min(np.count_nonzero(top), np.count_nonzero(top < bottom))
        together = (error / binomial) ** 2 if binomial > 0 else 0.0
        if rarest < FEWEST_SEEN:
            together = max(together, clustering)
        trials = queries / together if together > 0 else queries
        return estimate_of(value, error, count - 1, self.confidence, trials=max(trials, 1.0))

    def estimate(
        self, value: float, residuals: FloatArray, *, count: int | None = None
    ) -> Estimate:
        """Estimate from what each batch adds to the error of a value to first order.

        The spread of few batches that differ from many is as uncertain as that of few.

        Parameters
        ----------
        value : float
            The estimate.
        residuals : ndarray, shape (batches,)
            What each batch adds to its error.
        count : int, optional
            Batches that say something of it; by default all.
        """
        error, degrees, skewness = spread_of(residuals, value, count)
        return estimate_of(value, error, degrees, self.confidence, skewness=skewness)


def spread_of(
    residuals: FloatArray, value: float, count: int | None = None
) -> tuple[float, int, float]:
    """Return the standard error of a value, its degrees of freedom, and the skewness of the value.

    The parameters are those of `BatchSums.estimate`.
    """
    used = len(residuals) if count is None else count
    squares = np.square(residuals)
    total, fourth = float(squares.sum()), float(squares @ squares)
    skewness = 0.0
    if math.isfinite(total):
        # Of normal residuals this is the number of batches.
        spread_over = _NORMAL_KURTOSIS * total * total / fourth if fourth > 0 else 0.0
        is_still = math.sqrt(total) <= _ROUNDING * abs(value)
        used = 0 if is_still else min(used, math.floor(spread_over))
        if used > 1:
            skewness = float(squares @ residuals) / total**1.5
    error = math.sqrt(used / (used - 1) * total) if used > 1 else math.inf
    return error, max(used - 1, 0), skewness


def _pairs(rows: FloatArray) -> FloatArray:
    """Neighbouring batches joined two by two; an odd last one goes to the pair before it."""
    if len(rows) < 2:
        return rows
    return np.add.reduceat(rows, np.arange(0, len(rows) - 1, 2), axis=0)
