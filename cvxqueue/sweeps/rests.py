"""Where types come to rest, and what all do when one of them is on the verge of leaving.

A type rests at an end of its box, or at a kink of its curve. It is on the verge of leaving where
the multiplier is zero: α w p′ = (P1 + 2 P2 τ) t′ with the slope of the side that it leaves to. With
K = w p′/t′ and τ₀ there, and θ = 2 P2/(α K), this fixes the prices of all types up to α:

    P1 = α K (1 − θ τ₀),    2 P2 = α K θ,    0 ≤ θ ≤ 1/τ₀.

So the tokens of the others follow from θ, and m1 and m2 from these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.model.feasibility import missed_floor
from cvxqueue.model.model import Model
from cvxqueue.model.price_response import response_tokens
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.solvers.batch_solution import ENTRIES

# A response settles within a few steps; each one more squares what remains, of 3e-2 at most.
_SETTLING_STEPS, _MORE_STEPS = 60, 3


class Response(NamedTuple):
    """The tokens of all types when one is on the verge, and their moments."""

    tokens: FloatArray
    """Shape (M, N)."""
    mean: FloatArray
    """m1, in seconds, shape (M,)."""
    second_moment: FloatArray
    """m2, in seconds squared."""


@dataclass(frozen=True)
class Rests:
    """Places where types rest, M in all, and the side to which each is about to be left."""

    model: Model
    """Of the instance, but with an accuracy weight of one."""
    types: NDArray[np.intp]
    tokens: FloatArray
    """There, shape (M,)."""
    bounds: tuple[str, ...]
    """Which one: ``"min tokens"``, ``"max tokens"``, ``"kink from above"`` or ``... below"``."""
    is_above: NDArray[np.bool_]
    """Whether it is left for more tokens."""
    worth: FloatArray
    """K = w p′/t′, per second."""
    time: FloatArray
    """τ₀, in seconds."""

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Rests:
        """Return some of the rests."""
        bounds = tuple(np.asarray(self.bounds, dtype=object)[which])
        return Rests(
            self.model,
            self.types[which],
            self.tokens[which],
            bounds,
            self.is_above[which],
            self.worth[which],
            self.time[which],
        )

    def response(self, theta: FloatArray) -> Response:
        """Return what all types do at the prices that θ stands for, one for each rest."""
        size = self.model.size
        rows = max(1, ENTRIES // size)
        parts = [
            self._tokens(slice(first, first + rows), theta[first : first + rows])
            for first in range(0, max(theta.size, 1), rows)
        ]
        tokens = np.concatenate(parts)
        point = self.model.evaluate(tokens)
        return Response(tokens, point.mean_service_time, point.service_time_second_moment)

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
    every, found = np.arange(model.size), []
    for bound, ends, is_above in (
        ("min tokens", model.lower, True),
        ("max tokens", model.upper, False),
    ):
        found.append(_rest(model, every, ends, bound, is_above=is_above))
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
    bounds = tuple(bound for each in found for bound in each.bounds)
    arrays = ((it.types, it.tokens, it.is_above, it.worth, it.time) for it in found)
    types, tokens, above, worth, time = map(np.concatenate, zip(*arrays, strict=True))
    # Types with fewer corners than others repeat their last.
    rows = np.column_stack([types, tokens, above])
    firsts = np.zeros(types.size, dtype=bool)
    firsts[np.unique(rows, axis=0, return_index=True)[1]] = True
    rests = Rests(model, types, tokens, bounds, above, worth, time)
    # What is worth nothing is left by nobody.
    return rests.take(firsts & (worth > 0.0) & (model.lower < model.upper)[types])


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
    return Rests(
        model,
        types,
        tokens,
        (bound,) * types.size,
        np.full(types.size, is_above),
        worth[types],
        time[types],
    )
