"""Counts of times on a fine logarithmic scale: quantiles of any number of queries in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics.batch_means import BatchSums
from cvxqueue.statistics.estimate import Estimate, estimate_of

# Leading bits of the fraction of a float64 that tell bins apart: 2^10 bins to each factor of two.
_FRACTION_BITS = 10
_SHIFT = 52 - _FRACTION_BITS
# Bins below 2^-30 units (a nanosecond to the second) are joined with zero; the last is 2^34 units.
_LOWEST, _HIGHEST = -30, 34
_BINS = ((_HIGHEST - _LOWEST) << _FRACTION_BITS) + 1
# Where so many clusters are expected, Wilson's interval at 95 % holds the number that comes with a
# probability of 94 %, and nearer to 95 % of more; of four it is 91 %.
_FEW_CLUSTERS = 20.0


class Histogram:
    """Counts of nonnegative times in bins that are a thousandth of the time wide.

    The bit patterns of positive floats are in the order of their values, and their leading bits
    number the bins. Only the range of bins in use is kept, for each group of batches.

    The unit is about as long as the times are: seconds mean nothing to a queue.
    """

    def __init__(self, unit: float) -> None:
        # What the bins of a float64 are numbered from, one below the first that is not zero.
        self.start = ((1023 + math.frexp(unit)[1] + _LOWEST) << _FRACTION_BITS) - 1
        self.counts: dict[int, NDArray[np.int64]] = {}

    def add(self, times: FloatArray, group: int) -> None:
        """Count some times."""
        bits = np.ascontiguousarray(times).view(np.int64)
        bins = (bits >> _SHIFT) - self.start
        np.clip(bins, 0, _BINS - 1, out=bins)
        kept = self.counts.get(group, np.empty(0, dtype=np.int64))
        found = np.bincount(bins, minlength=len(kept))
        found[: len(kept)] += kept
        self.counts[group] = found


def quantile(
    histograms: Sequence[Histogram], probability: float, confidence: float, clustering: float
) -> Estimate:
    """Estimate a quantile from the histograms of independent replications.

    The groups of batches tell how uncertain the fraction below the quantile is; the ends of the
    interval are the quantiles at the ends of the interval of that fraction, out to the edges of
    their bins. Where few clusters of queries are expected beyond the quantile, the end on that side
    is the time beyond which luck may have left as few as there are. Where luck may have left none,
    the upper end is infinite and the lower one zero. Of no times at all the quantile is not a
    number, as their mean is.

    So many queries as `clustering` says share their luck, where too few groups have seen such times
    to tell.
    """
    groups = [counts for it in histograms for counts in it.counts.values()]
    pooled = np.zeros(max(len(counts) for counts in groups), dtype=np.int64)
    for counts in groups:
        pooled[: len(counts)] += counts
    below = np.cumsum(pooled)
    total = int(below[-1]) if below.size else 0
    if not total:
        return estimate_of(math.nan, math.inf, 0, confidence)

    def place_of(fraction: float) -> int:
        rank = min(max(fraction, 0.0), 1.0) * total
        return min(int(np.searchsorted(below, rank, side="left")), len(below) - 1)

    def edges(place: int) -> tuple[float, float]:
        """Ends of a bin; the first is zero itself, with what is next to nothing."""
        if place == 0:
            return 0.0, 0.0
        first = histograms[0].start + place
        bits = np.array([first, first + 1], dtype=np.int64) << _SHIFT
        low, high = bits.view(np.float64).tolist()
        return low, high

    place = place_of(probability)
    low, high = edges(place)
    before = int(below[place - 1]) if place else 0
    inside = int(below[place]) - before
    value = low + (high - low) * (probability * total - before) / inside
    sizes = np.array([counts.sum() for counts in groups], dtype=np.float64)
    under = np.array([counts[: place + 1].sum() for counts in groups], dtype=np.float64)
    # Of what was counted, which is more than asked for where many times are equal.
    counted = BatchSums([np.column_stack((under, sizes))], confidence, (0, 1))
    share = counted.fraction(0, 1, clustering=clustering)
    error, trials = share.standard_error, share.trials or total
    around = estimate_of(probability, error, share.degrees, confidence, trials=trials).interval
    first = min(around[0], _fewest(probability, trials, confidence))
    last = max(around[1], 1.0 - _fewest(1.0 - probability, trials, confidence))
    least = edges(place_of(first))[0] if first * total >= 1.0 else 0.0
    most = edges(place_of(last))[1] if (1.0 - last) * total >= 1.0 else math.inf
    # The error of the quantile itself, had it the normal shape of the fraction's.
    spread = math.sqrt(probability * (1.0 - probability) / trials)
    own = spread * (most - least) / (last - first)
    return Estimate(value, (least, most), confidence, own, len(groups) - 1)


def _fewest(share: float, trials: float, confidence: float) -> float:
    """Fraction that luck may leave of a small share, by the lower quantile of the binomial law.

    Wilson's interval holds the shares that may have led to a count, and reaches further up than
    down. A quantile asks for the counts that a share may lead to, and these may be far fewer.
    """
    from scipy.special import bdtrik

    if trials * share >= _FEW_CLUSTERS:
        return share
    rarely = 0.5 - 0.5 * confidence
    may_be_none = trials * math.log1p(-share) >= math.log(rarely)
    return 0.0 if may_be_none else float(bdtrik(rarely, trials, share)) / trials
