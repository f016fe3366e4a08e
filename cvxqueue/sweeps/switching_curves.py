"""Switching curves: for each type and rest, the arrival rate at which it switches, by the weight.

A type rests at an end of its box, or at a kink of its curve. It is on the verge of leaving where
the multiplier is zero: α w p′ = (P1 + 2 P2 τ) t′ with the slope of the side that it leaves to. With
K = w p′/t′ and τ₀ there, and θ = 2 P2/(α K), this fixes the prices of all types up to α:

    P1 = α K (1 − θ τ₀),    2 P2 = α K θ,    0 ≤ θ ≤ 1/τ₀.

So the tokens of the others follow from θ, and m1 and m2 from these. With h = λ/(1 − ρ) the prices
of the queue are P1(λ, m1, m2) and 2 P2 = ω h. At a given α, θ = ω h/(α K) and λ = h/(1 + h m1), and
what remains is one equation for h: P1 + ω h τ₀ = α K. Its left side rises with h for every queue of
the package (docs/sweeps.md has the proof), so it has one root at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.model import Instance, Queue, require_instance
from cvxqueue.model.feasibility import missed_floor
from cvxqueue.model.model import Evaluation, Model
from cvxqueue.model.price_response import response_tokens
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.numerics.checks import float_array
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.roots import bracketed_root
from cvxqueue.solvers.batch_solution import ENTRIES

# A response settles within a few steps; each one more squares what remains, of 3e-2 at most.
_SETTLING_STEPS, _MORE_STEPS = 60, 3


class Rests(NamedTuple):
    """Places where types rest, M in all, and the side to which each is about to be left."""

    model: Model
    """Of the instance, but with an accuracy weight of one."""
    types: NDArray[np.intp]
    tokens: FloatArray
    """There, shape (M,)."""
    bounds: NDArray[np.object_]
    """Which one: ``"min tokens"``, ``"max tokens"``, ``"kink from above"`` or ``... below"``."""
    is_above: NDArray[np.bool_]
    """Whether it is left for more tokens."""
    worth: FloatArray
    """K = w p′/t′, per second."""
    time: FloatArray
    """τ₀, in seconds."""

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Rests:
        """Return some of the rests."""
        return Rests._make([self.model, *(part[which] for part in self[1:])])

    def response(self, theta: FloatArray) -> Evaluation:
        """Return what all types do at the prices that θ stands for, one for each rest."""
        rows = max(1, ENTRIES // self.model.size)
        parts = [
            self._tokens(slice(first, first + rows), theta[first : first + rows])
            for first in range(0, max(theta.size, 1), rows)
        ]
        return self.model.evaluate(np.concatenate(parts))

    def _tokens(self, rows: slice, theta: FloatArray) -> FloatArray:
        # Tokens that take no time at no price have no end.
        worth, of_mean = self.worth[rows], np.maximum(1.0 - theta * self.time[rows], EPSILON)
        prices = Prices(worth * of_mean, 0.5 * worth * theta)
        start = np.array(np.broadcast_to(self.model.lower, (theta.size, self.model.size)))
        tokens = response_tokens(self.model, start, prices, _SETTLING_STEPS)
        for _ in range(_MORE_STEPS):
            tokens = response_tokens(self.model, tokens, prices, 1)
        tokens[np.arange(theta.size), self.types[rows]] = self.tokens[rows]
        return tokens


def rests_of(instance: Instance) -> Rests:
    """Return where the types of an instance can rest, and leave."""
    # The multipliers of constraints would be prices of their own.
    if instance.model.couplings:
        raise InvalidInputError(
            f"constraints: with {instance.model.couplings[0].label}, which concerns all types "
            "together, switching points have no closed form: sweep, and read the tokens"
        )
    if missed := missed_floor(instance):
        raise InfeasibleError(f"constraints: {missed}")
    model = instance.model.with_(accuracy_weight=1.0)
    every = np.arange(model.size)
    found = [
        _rest(model, every, model.lower, "min tokens", is_above=True),
        _rest(model, every, model.upper, "max tokens", is_above=False),
    ]
    for place, curve in model.accuracy.groups:
        if curve.is_smooth:
            continue
        if not len(curve.breakpoints):
            raise InvalidInputError(
                f"accuracy: {type(curve).__name__} has kinks and says nothing of where they are: "
                "give it breakpoints, shape (C, N)"
            )
        for corner in curve.breakpoints:
            own = every[place]
            at = np.broadcast_to(corner, own.shape)
            is_inside = (at > model.lower[own]) & (at < model.upper[own])
            found += [
                _rest(model, own[is_inside], at[is_inside], f"kink from {side}", is_above=is_above)
                for side, is_above in (("below", False), ("above", True))
            ]
    columns: Iterable[Any] = zip(*(it[1:] for it in found), strict=True)
    rests = Rests._make([model, *map(np.concatenate, columns)])
    # Types with fewer corners than others repeat their last.
    rows = np.column_stack([rests.types, rests.tokens, rests.is_above])
    firsts = np.zeros(len(rows), dtype=bool)
    firsts[np.unique(rows, axis=0, return_index=True)[1]] = True
    # What is worth nothing is left by nobody.
    return rests.take(firsts & (rests.worth > 0.0) & (model.lower < model.upper)[rests.types])


def _rest(
    model: Model, types: NDArray[np.intp], tokens: FloatArray, bound: str, *, is_above: bool
) -> Rests:
    """One rest of each of some types."""
    at = model.lower.copy()
    at[types] = tokens
    # The slope of a curve is that to the right; one float below a kink it is that to the left.
    side = at if is_above or model.accuracy.is_smooth else np.nextafter(at, 0.0)
    worth = model.benefit.slope(side) / model.service.mean_slope(at)
    time = np.broadcast_to(model.service.marginal_time(at), at.shape)
    bounds, sides = np.full(types.size, bound, object), np.full(types.size, is_above)
    return Rests(model, types, tokens, bounds, sides, worth[types], time[types])


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
        point = rests.response(theta)
        mean, second = point.mean_service_time, point.service_time_second_moment
        idle = 1.0 / (1.0 + h * mean)
        price = queue.prices(h * idle, mean, second, idle).mean
        return h * idle, point.tokens, price + share * h * rests.time - worth

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
