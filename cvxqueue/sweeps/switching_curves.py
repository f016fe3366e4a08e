"""Switching curves: for each type and rest, the arrival rate at which it switches, by the weight.

At a rest, θ fixes the tokens of all types (`cvxqueue.sweeps.rests`), and with h = λ/(1 − ρ) the
prices of the queue are P1(λ, m1, m2) and 2 P2 = ω h. At a given α, θ = ω h/(α K) and λ =
h/(1 + h m1), and what remains is one equation for h: P1 + ω h τ₀ = α K. Its left side rises with h
for every queue of the package (docs/sweeps.md has the proof), so it has one root at most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance, Queue, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.numerics.checks import float_array
from cvxqueue.numerics.roots import bracketed_root
from cvxqueue.sweeps.rests import Rests, rests_of

LEAST, MOST = 1e-30, 1e30
"""What instances may have as rates and weights."""
# In ln h, from where h itself is searched.
_NEAR_ROOT = 1e-3


class SwitchingCurve(NamedTuple):
    """Where one type is on the verge of leaving one rest."""

    type: int
    """Position of the type."""
    bound: str
    """Which, as in `SwitchingPoints`; left of its curve a type rests at its max tokens, and at a
    kink from below, and has more tokens than its min tokens, or a kink from above."""
    tokens: float
    """What it has there."""
    arrival_rate: FloatArray
    """λ, per second, one for each weight; NaN where it switches at none."""


@quiet
def switching_curves(
    instance: Instance, *, accuracy_weight: ArrayLike
) -> tuple[SwitchingCurve, ...]:
    """Return, for each type and rest, the arrival rate of its switch at each accuracy weight.

    Where the optimum is unique there is one at most, because tokens never rise with the arrival
    rate; the other way round, a rate may have several weights. Under processor sharing with
    straight pieces it may not be unique, and a curve is that of one optimum. Nothing is solved: a
    point is the root of one equation.

    Parameters
    ----------
    instance : Instance
        As in `switching_points`. Its own arrival rate and accuracy weight have no part.
    accuracy_weight : array_like, shape (points,)
        Weights α > 0, in seconds.

    Returns
    -------
    tuple of SwitchingCurve
        One for each end of the box, and two for each kink within it: to the left and to the right.

    Raises
    ------
    InvalidInputError
        If a weight is not positive, constraints couple the types, or a curve of one's own has kinks
        and does not say where.
    InfeasibleError
        If a type cannot reach its accuracy floor.
    """
    require_instance(instance)
    weights = np.atleast_1d(float_array("accuracy_weight", accuracy_weight))
    if not (weights > 0.0).all():
        raise InvalidInputError("accuracy_weight must be > 0 (s) everywhere")
    rests, found = rests_of(instance), []
    for row in range(rests.types.size):
        each = rests.take(np.full(weights.size, row))
        rates = switching_rates(instance.queue, each, weights)[0]
        who, bound, tokens = int(rests.types[row]), rests.bounds[row], float(rests.tokens[row])
        found.append(SwitchingCurve(who, bound, tokens, frozen(rates)))
    return tuple(found)


def switching_rates(
    queue: Queue, rests: Rests, accuracy_weight: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the arrival rate at which each rest is left, or NaN, and the tokens of all there."""
    share, worth = queue.second_weight, accuracy_weight * rests.worth

    def at(h: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        theta = np.minimum(share * h / worth, 1.0 / rests.time)
        tokens, mean, second = rests.response(theta)
        idle = 1.0 / (1.0 + h * mean)
        price = queue.prices(h * idle, mean, second, idle).mean
        return h * idle, tokens, price + share * h * rests.time - worth

    # Beyond, ω h τ₀ alone exceeds α K.
    most = np.minimum(MOST, worth / (share * rests.time))
    low, high = np.full(worth.shape, LEAST), np.maximum(most, LEAST)
    is_found = (at(low)[2] < 0.0) & (at(high)[2] > 0.0)
    near = bracketed_root(lambda u: at(np.exp(u))[2], np.log(low), np.log(high), _NEAR_ROOT)
    root = bracketed_root(lambda h: at(h)[2], *map(np.exp, near))[0]
    rates, tokens, _ = at(root)
    # No type comes to rest at a rate that cannot be told from one that no tokens make stable.
    is_found &= rests.model.with_(arrival_rate=rates).evaluate(tokens).idle > 0.0
    return np.where(is_found & (rates >= LEAST) & (rates <= MOST), rates, np.nan), tokens
