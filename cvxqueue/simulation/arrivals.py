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

    @abstractmethod
    def _next(self, out: FloatArray) -> None:
        """Fill an array with the next gaps."""

    def __init__(self) -> None:
        self._has_begun = False

    def fill(self, out: FloatArray) -> None:
        """Fill an array with the next gaps, in seconds."""
        self._next(out)
        if not self._has_begun:
            out[0] = 0.0
            self._has_begun = True


class RenewalGaps(Gaps):
    """Independent gaps of one gamma law; exponential ones are those of a Poisson stream."""

    def __init__(self, generator: np.random.Generator, rate: float, scv: float) -> None:
        super().__init__()
        self._generator, self._law = generator, GammaLaw(1.0 / rate, scv)

    def _next(self, out: FloatArray) -> None:
        self._law.draw(self._generator, out)


class BatchGaps(Gaps):
    """Gaps of a law between batches, and none within them."""

    def __init__(
        self, generator: np.random.Generator, rate: float, scv: float, sizes: SizeLaw, mean: float
    ) -> None:
        super().__init__()
        self._generator, self._law = generator, GammaLaw(mean / rate, scv)
        self._sizes, self._mean = sizes, mean
        self._left = 0

    def _next(self, out: FloatArray) -> None:
        # Whole batches are drawn; what is left of the last one begins the next array.
        out.fill(0.0)
        first = self._left
        while first < len(out):
            count = int((len(out) - first) / self._mean) + 1
            sizes = self._generator.choice(
                self._sizes.sizes, size=count, p=self._sizes.probabilities
            )
            starts: NDArray[np.int64] = first + np.concatenate(([0], np.cumsum(sizes)))
            first = int(starts[-1])
            starts = starts[:-1]
            gaps = np.empty(count)
            self._law.draw(self._generator, gaps)
            if first > len(out):
                # A batch that begins beyond the end is not begun.
                kept = int(np.searchsorted(starts, len(out)))
                if kept < count:
                    first = int(starts[kept])
                starts, gaps = starts[:kept], gaps[:kept]
            out[starts] = gaps
            if first > len(out):
                break
        self._left = first - len(out)


class TraceGaps(Gaps):
    """The gaps of given arrival times."""

    def __init__(self, times: FloatArray) -> None:
        super().__init__()
        self._times, self._position = times, 0

    def _next(self, out: FloatArray) -> None:
        at = self._position
        times = self._times[max(at - 1, 0) : at + len(out)]
        np.subtract(times[1:], times[:-1], out=out[len(out) - len(times) + 1 :])
        self._position = at + len(out)
