"""What moving from one choice to another changes."""

from __future__ import annotations

from typing import Any, NamedTuple

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum


class Increments(NamedTuple):
    """What moving from one choice to another changes, by type; π is in all of them."""

    benefit: FloatArray
    """α π w Δp, in seconds."""
    mean: FloatArray
    """π Δ(E t), in seconds."""
    second: FloatArray
    """π Δ(E t²), in seconds²."""

    def net_benefit(
        self, mean_price: FloatArray | float, second_price: FloatArray | float
    ) -> FloatArray:
        """Benefit less cost at given prices."""
        return self.benefit - mean_price * self.mean - second_price * self.second

    def totals(self) -> Increments:
        """Return the sums over the types."""
        return Increments(*(accurate_sum(part) for part in self))

    def take(self, index: Any) -> Increments:
        """Return some of them, or more axes."""
        return Increments(*(part[index] for part in self))
