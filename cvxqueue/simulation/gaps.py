"""When queries come: gaps between arrivals in seconds, drawn or replayed, so many at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation.laws import GammaLaw, SizeLaw

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
