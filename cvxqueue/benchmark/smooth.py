"""The problem as a careful user hands it to a solver of smooth programs.

The variables are shares of the box, so that all are of one size, and the objective is counted in
units of its own. Solvers of this kind fail in tokens: SLSQP and trust-constr stop where they begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.constraints import CouplingConstraint
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray


class Limit(NamedTuple):
    """Room ≥ 0 that an allocation has to leave."""

    room: Callable[[FloatArray], float]
    gradient: Callable[[FloatArray], FloatArray]
    is_kept_at_start: bool = False


@quiet
class SmoothProgram:
    """A cost to minimise over [0, 1]^N, with its gradient, its limits and a stable start."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.widths = instance.upper - instance.lower
        self.unit = float(instance.evaluate(instance.lower).scale)
        # Halfway from the least load to saturation, or less.
        most, share = (1.0 + instance.least_utilization) / 2.0, 0.5
        while not self.at(np.full(instance.size, share)).utilization < most:
            share /= 2.0
        self.start = np.full(instance.size, share)

    def tokens(self, shares: FloatArray) -> FloatArray:
        """Return the tokens of a point."""
        return np.asarray(self.instance.lower + self.widths * shares)

    def at(self, shares: FloatArray) -> Evaluation:
        """Return the closed forms at a point."""
        return self.instance.evaluate(self.tokens(shares))

    def cost(self, shares: FloatArray) -> float:
        """Return the negative objective; infinite where the queue is unstable."""
        return -float(self.at(shares).objective) / self.unit

    def gradient(self, shares: FloatArray) -> FloatArray:
        """Return the gradient of the cost; NaN where the queue is unstable."""
        point = self.at(shares)
        if not point.is_stable:
            return np.full(self.instance.size, np.nan)
        return np.asarray(-point.gradient * self.widths / self.unit)

    @property
    def limits(self) -> list[Limit]:
        """The idle time, and the constraints on all types together."""
        couplings = self.instance.model.couplings
        idle = Limit(self._idle, self._idle_gradient, is_kept_at_start=True)
        return [idle, *map(self._limit, couplings)]

    def _idle(self, shares: FloatArray) -> float:
        return 1.0 - float(self.at(shares).utilization)

    def _idle_gradient(self, shares: FloatArray) -> FloatArray:
        slopes = self.instance.service.mean_slope(self.tokens(shares))
        rates = self.instance.arrival_rate * self.instance.probabilities
        return np.asarray(-rates * slopes * self.widths)

    def _limit(self, coupling: CouplingConstraint) -> Limit:
        def room(shares: FloatArray) -> float:
            point = self.at(shares)
            return -float(coupling.excess(point)) if point.is_stable else -np.inf

        def gradient(shares: FloatArray) -> FloatArray:
            point = self.at(shares)
            if not point.is_stable:
                return np.full(self.instance.size, np.nan)
            return np.asarray(-coupling.gradient(point) * self.widths)

        return Limit(room, gradient)
