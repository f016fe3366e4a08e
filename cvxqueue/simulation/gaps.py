"""When queries come: gaps between arrivals, drawn or replayed."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation.laws import GammaLaw, SizeLaw

__all__ = ["BatchGaps", "Gaps", "RenewalGaps", "TraceGaps"]


class Gaps(ABC):
    """A stream of times between one arrival and the next.

    The first query comes at once: the state that a query finds is that of the queue at arrivals,
    and a gap before it would leave less work than queries find on average.
    """

    def __init__(self) -> None:
        self._has_begun = False

    @abstractmethod
    def _next(self, count: int) -> FloatArray:
        """Return the next gaps."""

    def draw(self, count: int) -> FloatArray:
        """Return the next gaps, in seconds."""
        gaps = self._next(count)
        if not self._has_begun:
            gaps[0] = 0.0
            self._has_begun = True
        return gaps


class RenewalGaps(Gaps):
    """Independent gaps of one gamma law; exponential ones are those of a Poisson stream."""

    def __init__(self, generator: np.random.Generator, rate: float, scv: float) -> None:
        super().__init__()
        self._generator, self._law = generator, GammaLaw(1.0 / rate, scv)

    def _next(self, count: int) -> FloatArray:
        return self._law.draw(self._generator, count)


class BatchGaps(Gaps):
    """Gaps of a law between batches, and none within them."""

    def __init__(
        self, generator: np.random.Generator, rate: float, scv: float, sizes: SizeLaw, mean: float
    ) -> None:
        super().__init__()
        self._generator, self._law = generator, GammaLaw(mean / rate, scv)
        self._sizes, self._mean = sizes, mean
        self._left = 0

    def _next(self, count: int) -> FloatArray:
        # Whole batches are drawn; what is left of the last one begins the next array.
        gaps = np.zeros(count)
        first = self._left
        while first < count:
            drawn = int((count - first) / self._mean) + 1
            sizes = self._generator.choice(
                self._sizes.sizes, size=drawn, p=self._sizes.probabilities
            )
            ends: NDArray[np.int64] = first + np.concatenate(([0], np.cumsum(sizes)))
            # A batch that begins beyond the end is not begun.
            kept = int(np.searchsorted(ends[:-1], count))
            first = int(ends[kept])
            gaps[ends[:kept]] = self._law.draw(self._generator, drawn)[:kept]
        self._left = first - count
        return gaps


class TraceGaps(Gaps):
    """The gaps of given arrival times."""

    def __init__(self, times: FloatArray) -> None:
        super().__init__()
        self._times, self._position = times, 0

    def _next(self, count: int) -> FloatArray:
        at = self._position
        self._position += count
        # Before the first arrival there is no gap.
        return np.diff(self._times[max(at - 1, 0) : at + count], prepend=self._times[: at == 0])
