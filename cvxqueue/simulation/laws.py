"""Lengths of time and sizes of batches, of which the model states two moments; gaps of arrivals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.numerics.arrays import FloatArray

# A second moment that misses the least possible one by rounding is that one.
_SLACK = 1e-9


class GammaLaw(NamedTuple):
    """A gamma distribution, or a constant where the squared coefficient of variation is zero."""

    mean: float
    scv: float

    @classmethod
    def of_moments(cls, mean: float, second_moment: float) -> Self:
        """Return the law with two given moments."""
        return cls(mean, max(second_moment / mean**2 - 1.0, 0.0))

    def draw(self, generator: np.random.Generator, count: int) -> FloatArray:
        """Return so many independent lengths."""
        if self.scv < _SLACK:
            return np.full(count, self.mean)
        if self.scv == 1.0:
            return generator.standard_exponential(count) * self.mean
        return generator.standard_gamma(1.0 / self.scv, count) * (self.mean * self.scv)


class SizeLaw(NamedTuple):
    """Whole batch sizes with two given moments, on at most four values."""

    sizes: FloatArray
    probabilities: FloatArray
    mean: float

    @classmethod
    def of_moments(cls, mean: float, second_moment: float) -> Self:
        """Return a law on whole numbers ≥ 1 with two given moments.

        It mixes the law of least variance, on the neighbours ⌊m⌋ and ⌊m⌋ + 1 of the mean m, with
        that on 1 and K of the same mean, whose second moment is (K + 1) m − K.

        Raises
        ------
        InvalidInputError
            If no law on whole numbers has these moments.
        """
        below = math.floor(mean)
        share = mean - below
        least = below**2 + (2 * below + 1) * share
        if second_moment < least * (1.0 - _SLACK):
            raise InvalidInputError(
                f"queue.size_second_moment = {second_moment!r} must be at least {least!r} for "
                f"whole batch sizes of mean {mean!r}"
            )
        sizes, probabilities = [below, below + 1], [1.0 - share, share]
        if second_moment > least * (1.0 + _SLACK):
            if mean <= 1.0:
                raise InvalidInputError(
                    f"queue.size_second_moment = {second_moment!r} must be 1 for whole batch sizes "
                    "of mean 1"
                )
            largest = max(math.ceil((second_moment - mean) / (mean - 1.0)), below + 1)
            most = (largest + 1) * mean - largest
            kept = min(max((most - second_moment) / (most - least), 0.0), 1.0)
            rare = (mean - 1.0) / (largest - 1.0)
            sizes += [1, largest]
            probabilities = [kept * p for p in probabilities]
            probabilities += [(1.0 - kept) * (1.0 - rare), (1.0 - kept) * rare]
        return cls(np.array(sizes, dtype=np.int64), np.array(probabilities), mean)


GapSource = Callable[[int], FloatArray]
"""Returns the next gaps, as many as asked for."""


def renewal_gaps(generator: np.random.Generator, rate: float, scv: float) -> GapSource:
    """Independent gaps of one gamma law; exponential ones are those of a Poisson stream."""
    return partial(GammaLaw(1.0 / rate, scv).draw, generator)


def batch_gaps(
    generator: np.random.Generator, rate: float, scv: float, sizes: SizeLaw
) -> GapSource:
    """Gaps of a law between batches, and none within them."""
    law, left = GammaLaw(sizes.mean / rate, scv), 0

    def draw(count: int) -> FloatArray:
        nonlocal left
        # Whole batches are drawn; what is left of the last one begins the next array.
        gaps, first = np.zeros(count), left
        while first < count:
            drawn = int((count - first) / sizes.mean) + 1
            lengths = generator.choice(sizes.sizes, size=drawn, p=sizes.probabilities)
            ends: NDArray[np.int64] = first + np.concatenate(([0], np.cumsum(lengths)))
            # A batch that begins beyond the end is not begun.
            kept = int(np.searchsorted(ends[:-1], count))
            first = int(ends[kept])
            gaps[ends[:kept]] = law.draw(generator, drawn)[:kept]
        left = first - count
        return gaps

    return draw


def trace_gaps(times: FloatArray) -> GapSource:
    """The gaps of given arrival times; before the first arrival there is none."""
    gaps, position = np.diff(times, prepend=times[:1]), 0

    def draw(count: int) -> FloatArray:
        nonlocal position
        position += count
        return gaps[position - count : position]

    return draw
