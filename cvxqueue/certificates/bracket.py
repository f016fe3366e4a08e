"""The order bracket: a box around the optimum from two calls of the response map.

The response map F is order-reversing: more tokens raise every marginal cost. The optimum is its
fixed point, so that lo ≤ l* gives l* ≤ min(L, F(lo)), and this gives l* ≥ F(min(L, F(lo))).
Where a curve has kinks, F has several values at a cost, and rounding outwards includes them all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cvxqueue.model import Evaluation, Instance, require_feasible
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen, frozen_tuple
from cvxqueue.numerics.float64 import EPSILON, SMALLEST_NORMAL

# Relative error of a marginal cost: a few roundings, magnified by 1/(1−ρ).
_COST_ROUNDINGS = 16.0


class Bracket(NamedTuple):
    """A box that contains the optimum."""

    lower: FloatArray
    """shape (N,)"""
    upper: FloatArray
    """shape (N,)"""

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen_tuple, (type(self), *self)


@quiet
def order_bracket(instance: Instance, rounds: int = 1) -> Bracket:
    """Return a box that contains the optimum, by the order-reversing response map.

    Parameters
    ----------
    instance : Instance
        Feasible.
    rounds : int, default 1
        How often both ends are improved. The bracket shrinks from round to round, to a point where
        the map contracts, and stays as it is where the upper end is unstable.

    Returns
    -------
    Bracket
        Rounded outwards, inside ``[min_tokens, max_tokens]``.

    Raises
    ------
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or none satisfies the constraints.
    """
    require_feasible(instance)
    lower, upper = instance.lower, instance.upper
    if instance.model.couplings:
        # Their multipliers raise every marginal cost, and only a floor on the accuracy is a reason
        # for more tokens: the first half of the first round holds.
        if not any(coupling.is_floor for coupling in instance.model.couplings):
            upper = np.minimum(upper, _response(instance.evaluate(lower), direction=1.0))
        return Bracket(frozen(lower), frozen(upper))
    for _ in range(rounds):
        upper = np.minimum(upper, _response(instance.evaluate(lower), direction=1.0))
        above = instance.evaluate(upper)
        if not above.is_stable:
            break
        lower = np.maximum(lower, _response(above, direction=-1.0))
    return Bracket(frozen(lower), frozen(upper))


def _response(point: Evaluation, direction: float) -> FloatArray:
    """Response, rounded outwards: up for direction 1, down for direction −1."""
    model = point.model
    error = _COST_ROUNDINGS * EPSILON / float(point.idle)
    slope = point.marginal_cost * (1.0 - direction * error) / model.accuracy_value
    if direction < 0:
        # A slope that is lost to underflow would put the lower end too high.
        slope = np.maximum(slope, SMALLEST_NORMAL)
    tokens = model.accuracy.inverse_slope(slope)
    tokens = np.clip(tokens, model.lower, model.upper)
    tokens = tokens + direction * model.accuracy.inverse_slope_rounding(tokens)
    return np.clip(tokens, model.lower, model.upper)
