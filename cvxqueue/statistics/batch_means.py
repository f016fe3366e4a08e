"""Sums over batches of a simulation, and the estimates that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cvxqueue.numerics.arrays import FloatArray, frozen, read_only
from cvxqueue.statistics.estimate import Estimate, estimate_of, spread_of

# Fewer batches make Student's t wide and the standard error itself uncertain.
_FEWEST = 10
# Quantile of the normal distribution at which a correlation of neighbours counts as found: 95 %.
_FOUND = 1.645
# Events in fewer batches tell too little of how they cluster.
FEWEST_SEEN = 30
# Where fewer batches, or a smaller part of them, hold the spread, it is that of rare events: the
# estimate and its error are then small together, and Student's t covers too rarely.
_FEWEST_HOLDING, _PART_HOLDING = 10, 1.0 / 6.0


class BatchSums:
    """Sums over batches, one row for each batch, one column for each thing that is summed.

    The parts, shape (batches, columns), are the rows of each replication, in order of time;
    replications are independent. `steering` has the columns of the ratio whose correlation decides:
    that of the mean waiting time.
    """

    def __init__(
        self, parts: Sequence[FloatArray], confidence: float, steering: tuple[int, int]
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
        """Return the sums over neighbouring batches, two by two; an odd last one goes to these."""
        pairs = [
            np.add.reduceat(rows, np.arange(0, len(rows) - 1, 2), axis=0) if len(rows) > 1 else rows
            for rows in self.parts
        ]
        return BatchSums(pairs, self.confidence, self._steering)

    def settles(self, estimate: Estimate) -> bool:
        """Whether enough batches hold the spread of an estimate for its interval to be believed."""
        if estimate.trials is not None:
            return estimate.degrees > 0
        return estimate.degrees + 1 >= max(_FEWEST_HOLDING, _PART_HOLDING * self.count)

    @property
    def count(self) -> int:
        """Number of batches that the intervals rest on."""
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

    def residuals(
        self, above: FloatArray | int, below: FloatArray | int
    ) -> tuple[float, FloatArray]:
        """Ratio of two sums, and what each batch adds to its error to first order."""
        top, bottom = self._column(above), self._column(below)
        total = float(bottom.sum())
        if total <= 0:
            return math.nan, np.full(len(self.rows), math.nan)
        ratio = float(top.sum()) / total
        return ratio, (top - ratio * bottom) / total

    def ratio(self, above: FloatArray | int, below: FloatArray | int) -> Estimate:
        """Estimate of the ratio of two sums, each a column or a number for each batch."""
        # Batches without any query of a rare type say nothing of its spread.
        count = int(np.count_nonzero(self._column(below)))
        return self.estimate(*self.residuals(above, below), count=count)

    def _column(self, given: FloatArray | int) -> FloatArray:
        return self.rows[:, given] if isinstance(given, int) else given

    def fraction(
        self, above: FloatArray | int, below: int, *, clustering: float | None = None
    ) -> Estimate:
        """Estimate of the fraction of queries, `above` of all `below`, to which something happens.

        So many queries as `clustering` says share their luck where too few batches have seen the
        event to tell; by default each has its own, and the fraction is binomial.
        """
        top, bottom = self._column(above), self.rows[:, below]
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
        self,
        value: float,
        residuals: FloatArray,
        *,
        terms: float | None = None,
        count: int | None = None,
    ) -> Estimate:
        """Estimate from what each batch adds to the error of a value, as `spread_of` takes it.

        A value that is what is left of `terms` of some size is known to the rounding of these.
        """
        size = value if terms is None else terms
        error, degrees, skewness = spread_of(residuals, size, count)
        return estimate_of(value, error, degrees, self.confidence, skewness=skewness)
