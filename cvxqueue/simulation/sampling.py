"""Which type a query is of, how long it is served, and the exact stationary workload."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import AffineService, Instance
from cvxqueue.numerics.arrays import FloatArray

# A table of so many cells fits the first cache, and few cells hold a boundary between two types.
_CELL_BITS = 12
# Relative difference of the second moment from the square of the mean that is rounding.
_SAME = 1e-9


class TypeSampler:
    """Exact draws of types by a guide table.

    The unit interval is cut in 4096 cells, and a random cell names its type at once. The few cells
    that hold a boundary between types are settled by a second number.
    """

    def __init__(self, probabilities: FloatArray) -> None:
        self._ends = np.cumsum(probabilities)
        self._ends[-1] = 1.0
        self._cells = 1 << _CELL_BITS
        edges = np.arange(self._cells + 1) / self._cells
        low = np.searchsorted(self._ends, edges[:-1], side="right")
        # The last number below the upper edge decides whether the cell is of one type.
        high = np.searchsorted(self._ends, np.nextafter(edges[1:], 0.0), side="right")
        self._table = np.where(low == high, low, -1).astype(np.int64)

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return the types of so many queries."""
        # Four cells to each raw number: the generator's own small integers take five times as long.
        raw = np.asarray(generator.bit_generator.random_raw(-(-count // 4)), dtype=np.uint64)
        cells = raw.view(np.uint16)[:count] >> np.uint16(16 - _CELL_BITS)
        kinds: NDArray[np.int64] = self._table[cells]
        unsettled = np.flatnonzero(kinds < 0)
        if unsettled.size:
            within = cells[unsettled] + generator.random(unsettled.size)
            kinds[unsettled] = np.minimum(
                np.searchsorted(self._ends, within / self._cells, side="right"), len(self._ends) - 1
            )
        return kinds


class ServiceTimes:
    """The service times of one allocation.

    Where the use of tokens is random, the model states two moments only; the tokens used are drawn
    from the gamma distribution that has them.
    """

    def __init__(self, instance: Instance, tokens: FloatArray) -> None:
        self.mean = np.array(instance.service.mean(tokens), dtype=np.float64)
        square = np.array(instance.service.second_moment(tokens), dtype=np.float64)
        self._probabilities = instance.probabilities
        law = instance.service
        if type(law) is AffineService:
            self._fixed = np.array(law.base, dtype=np.float64)
            self._scv = np.where(tokens > 0, law.token_scv, 0.0)
        elif not law.is_random and (np.abs(square - self.mean**2) <= _SAME * square).all():
            self._fixed, self._scv = self.mean, np.zeros_like(self.mean)
        else:
            raise InvalidInputError(
                f"service = {shown(law)} has random times of a law that the "
                "simulation does not know; it knows AffineService and every law with fixed times"
            )
        self._used = self.mean - self._fixed
        self.is_random = bool((self._scv > 0).any())

    def moment(self, order: int) -> float:
        """Moment of the mixture, Σ π E[(f + u G)^n], in seconds^n: G is gamma, of mean one."""
        # E[G^j] = (1 + v)(1 + 2 v) … (1 + (j − 1) v).
        powers, gamma = np.zeros_like(self.mean), np.ones_like(self.mean)
        for j in range(order + 1):
            powers += math.comb(order, j) * self._fixed ** (order - j) * self._used**j * gamma
            gamma = gamma * (1.0 + j * self._scv)
        return math.fsum((self._probabilities * powers).tolist())

    def draw(self, generator: np.random.Generator, kinds: NDArray[np.int64]) -> FloatArray:
        """Return service times of queries of given types."""
        if not self.is_random:
            return np.take(self.mean, kinds)
        scv = np.take(self._scv, kinds)
        is_random = scv > 0
        shares = np.ones(len(kinds))
        spread = scv[is_random]
        # The same numbers are drawn for every allocation whose use of tokens is as random.
        shares[is_random] = generator.standard_gamma(1.0 / spread) * spread
        return np.take(self._fixed, kinds) + np.take(self._used, kinds) * shares

    def draw_by_length(self, generator: np.random.Generator, count: int) -> FloatArray:
        """Return service times met by a random moment of work: long ones in proportion.

        A type is met in proportion to π t; within it, the fixed and the random part in proportion
        to their means, and a gamma variable met by length has a shape that is larger by one.
        """
        weights = self._probabilities * self.mean
        kinds = generator.choice(len(weights), size=count, p=weights / weights.sum())
        if not self.is_random:
            return np.take(self.mean, kinds)
        used, scv = np.take(self._used, kinds), np.take(self._scv, kinds)
        by_use = generator.random(count) * np.take(self.mean, kinds) < used
        shares = np.ones(count)
        is_random = scv > 0
        shape = 1.0 / scv[is_random] + by_use[is_random]
        shares[is_random] = generator.standard_gamma(shape) * scv[is_random]
        return np.take(self._fixed, kinds) + used * shares
