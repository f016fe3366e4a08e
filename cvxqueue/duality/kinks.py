"""The best point between what the types want at two prices that are next to each other.

Where curves have kinks, it may jump from one price to the other: some types then rest inside a
straight piece, and only the whole tells where. The others stay where they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.model import Evaluation
from cvxqueue.model.price_response import response_tokens
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.roots import bracketed_root

# A gain of less, in units of the scale, no certificate can tell from rounding.
_NO_GAIN = 1e-15
# Slopes of pieces that are this close may be of one.
_SAME_SLOPE = 1e-9
# What the certificate lets a marginal cost be off by, over the idle fraction.
_UNSURE = 64.0 * EPSILON


def best_between(point: Evaluation, prices: Prices, most_steps: int) -> Evaluation:
    """Return the best point on the way from a stable point to the response to given prices.

    The point is what the types want at higher prices, or less; the response to the prices, each of
    shape (...), may be unstable. Along the way the objective is concave, and its slope is looked at
    alone: until what is left of the gradient is worth nothing, or one rounding of the tokens is
    left of the way. Of the points tried, it is the one with the least gap.
    """
    way = _Way(point, prices, most_steps)
    if not way.which.size:
        return point
    nothing, idle = _NO_GAIN * point.scale, point.idle
    best, best_left = np.zeros_like(idle), np.full_like(idle, np.inf)
    is_found = np.zeros_like(idle, dtype=bool)

    def slope_at(share: FloatArray) -> FloatArray:
        nonlocal best, best_left, is_found
        slope, left, unsure = way.slope(share)
        is_better = ~is_found & (left + unsure < best_left)
        is_found = is_found | (left <= nothing)
        best, best_left = np.where(is_better, share, best), np.fmin(left + unsure, best_left)
        return np.where(left <= nothing, 0.0, slope)

    bracketed_root(slope_at, np.zeros_like(idle), np.ones_like(idle), EPSILON / way.length)
    return way.point(best)


class _Way:
    """The way from a point to the response to lower prices: the types that move, and how far."""

    which: NDArray[np.intp]
    """The types that move."""
    length: FloatArray
    """Longest relative change of their tokens, shape (...)."""

    def __init__(self, start: Evaluation, prices: Prices, most_steps: int) -> None:
        self._start, self.which = start, _dissatisfied(start, prices)
        if not self.which.size:
            return
        self._model = start.model.types(self.which)
        self._tokens = start.tokens[..., self.which]
        to = response_tokens(self._model, self._tokens.copy(), prices, most_steps)
        self._step = to - self._tokens
        largest = np.maximum(self._tokens, to)
        self.length = np.max(np.abs(self._step) / np.where(largest > 0.0, largest, 1.0), axis=-1)
        # The piece that a type is in, or enters.
        here, benefit = self._model.evaluate(self._tokens), self._model.benefit
        first, end = (
            self._model.boxed(benefit.inverse_slope(factor * here.marginal_benefit))
            for factor in (1.0 + _SAME_SLOPE, 1.0 - _SAME_SLOPE)
        )
        self._first, self._end = np.minimum(first, self._tokens), np.maximum(largest, end)
        # Moments of the types that stay.
        self._mean = start.mean_service_time - here.mean_service_time
        self._second = start.service_time_second_moment - here.service_time_second_moment

    def slope(self, share: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Slope of the objective, and two parts of the gap, all in seconds.

        The certificate counts what is left of a gradient times the rest of the piece that a type
        is in, however short its way; and where rounding may hide its sign, a share of the piece.
        """
        whole = self._start.model
        alone = self._model.evaluate(self._tokens + share[..., np.newaxis] * self._step)
        rate, mean = whole.arrival_rate, self._mean + alone.mean_service_time
        second = self._second + alone.service_time_second_moment
        idle = 1.0 - rate * mean
        # Those of all types, not of these alone.
        prices = whole.queue.prices(rate, mean, second, idle)
        point = unchecked(
            Evaluation, model=self._model, tokens=alone.tokens, idle=idle, prices=prices
        )
        error = np.asarray(_UNSURE / point.idle)[..., np.newaxis]
        slope, left, unsure = (np.zeros_like(point.idle) for _ in range(3))
        for (place, model), part in zip(self._model.blocks, point.parts, strict=True):
            gradient, first, end = part.gradient, self._first[..., place], self._end[..., place]
            slope = slope + np.vecdot(gradient, self._step[..., place])
            rest = np.where(gradient > 0.0, end - part.tokens, first - part.tokens)
            left = left + np.vecdot(gradient, rest)
            noise = error * model.probabilities * part.marginal_cost
            unsure = unsure + np.vecdot(noise * (np.abs(gradient) <= noise), end - first)
        # Where the queue is unstable, any less is better, and nothing is proven.
        is_stable = point.idle > 0.0
        return np.where(is_stable, slope, -np.inf), np.where(is_stable, left, np.inf), unsure

    def point(self, share: FloatArray) -> Evaluation:
        """The closed forms of the whole after a share of the way."""
        model, tokens = self._start.model, self._start.tokens.copy()
        found = self._tokens + share[..., np.newaxis] * self._step
        tokens[..., self.which] = self._model.boxed(found)
        return model.evaluate(tokens)


def _dissatisfied(point: Evaluation, prices: Prices) -> NDArray[np.intp]:
    """The types to which another token is worth more than its price, in one instance at least."""
    mean, second = prices.mean[..., np.newaxis], prices.second_moment[..., np.newaxis]
    found = [np.zeros(0, dtype=np.intp)]
    for place, part in point.model.blocks:
        tokens = point.tokens[..., place]
        wants = part.benefit.slope(tokens) > part.marginal_cost(tokens, mean, second)[0]
        wants &= tokens < part.upper
        some = np.flatnonzero(wants.any(axis=tuple(range(wants.ndim - 1))))
        found.append(some + (place.start or 0))
    return np.concatenate(found)
