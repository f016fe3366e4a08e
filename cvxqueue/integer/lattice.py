"""Choices in equal steps, maybe none of them besides: a concave sequence at given prices.

Its best choice lies next to the continuous response, and is found by the sign of its increments,
however many numbers there are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.integer.increments import Alternatives
from cvxqueue.model.model import Model
from cvxqueue.model.price_response import response_tokens
from cvxqueue.model.queue import Prices
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import first_refused

_NEWTON_STEPS = 6


class Span(NamedTuple):
    """A run of neighboring choices of each type, by position; maybe zero tokens besides."""

    first: FloatArray
    last: FloatArray
    has_zero: NDArray[np.bool_]


class Lattice:
    """For each type the numbers low + step · i for 0 ≤ i ≤ count, and zero where that is allowed.

    Parameters
    ----------
    model : Model
    low, high : ndarray, shape (N,)
        The least number, and one that the largest does not exceed.
    step : ndarray, shape (N,)
    has_zero : ndarray of bool, shape (N,)
        Whether no tokens are allowed besides.
    """

    def __init__(
        self,
        model: Model,
        low: FloatArray,
        high: FloatArray,
        step: FloatArray,
        has_zero: NDArray[np.bool_],
    ) -> None:
        self.model, self.low, self.step, self.has_zero = model, low, step, has_zero
        self.count = np.floor((high - low) / step)

    @property
    def high(self) -> FloatArray:
        """The largest number of each type."""
        return self.low + self.step * self.count

    @property
    def lowest(self) -> FloatArray:
        """The smallest choice of each type."""
        return np.where(self.has_zero, 0.0, self.low)

    def best(self, nu: FloatArray, p: FloatArray, start: FloatArray) -> FloatArray:
        """Best choice of each type at prices of shape (M,): an array (M, N).

        Parameters
        ----------
        nu, p : ndarray, shape (M,)
            Prices of a second of mean service and of a squared second.
        start : ndarray, shape (M, N)
            Where the search begins.
        """
        top = self._top(nu, p, start)
        if not self.has_zero.any():
            return top
        is_zero = self.has_zero & (self._worth(top, np.zeros(1), nu, p) > 0.0)
        return np.where(is_zero, 0.0, top)

    def _top(self, nu: FloatArray, p: FloatArray, start: FloatArray) -> FloatArray:
        """Best number of each type, zero left out."""
        model, low, step = self.model, self.low, self.step
        prices = Prices(nu, p)
        response = response_tokens(model, model.boxed(start), prices, _NEWTON_STEPS)
        response = np.where(np.isfinite(response), response, start)

        def is_rising(place: FloatArray) -> NDArray[np.bool_]:
            at = low + step * place
            return self._worth(at, at + step, nu, p) > 0.0

        near, last = np.floor((response - low) / step), np.broadcast_to(self.count, start.shape)
        first = first_refused(is_rising, near, np.zeros(start.shape), last)
        top: FloatArray = low + step * first
        return top

    def _worth(
        self, start: FloatArray, to: FloatArray, nu: FloatArray, p: FloatArray
    ) -> FloatArray:
        """What moves are worth at prices of shape (M,), per π, shape (M, N)."""
        model, service = self.model, self.model.service
        worth: FloatArray = model.benefit.difference(start, to) - (
            nu[:, np.newaxis] * (service.mean(to) - service.mean(start))
            + p[:, np.newaxis] * (service.second_moment(to) - service.second_moment(start))
        )
        return worth

    def _losses(
        self, start: FloatArray, to: FloatArray, mean_price: float, second_price: float
    ) -> FloatArray:
        """Seconds that moves lose at the prices, shape (N,)."""
        worth = self._worth(start, to, np.full(1, mean_price), np.full(1, second_price))
        losses: FloatArray = -self.model.probabilities * worth[0]
        return losses

    def _top_at(self, mean_price: float, second_price: float) -> FloatArray:
        """Best number of each type at the prices, zero left out, shape (N,)."""
        prices = np.full(1, mean_price), np.full(1, second_price)
        (top,) = self._top(*prices, self.low[np.newaxis])
        return np.asarray(top)

    def neighbors(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next lower and the next higher choice; the choice itself where there is none."""
        down, up = point - self.step, point + self.step
        down = np.where(down < self.low, np.where(self.has_zero, 0.0, point), down)
        is_zero = self.has_zero & (point == 0.0)
        return down, np.where(is_zero, self.low, np.where(up > self.high, point, up))

    def leaps(self, point: FloatArray) -> FloatArray:
        """The point 2, 4, 8, ... steps up, and as many down, shape (J, N)."""
        strides = 2.0 ** np.arange(1.0, np.ceil(np.log2(self.count.max() + 1.0)) + 1.0)
        moves = self.step * np.concatenate([strides, -strides])[:, np.newaxis]
        is_below = point < self.low
        return np.where(is_below, point, np.clip(point + moves, self.low, self.high))

    def around(self, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next choice at or below each number of tokens, and the next at or above."""
        place = (tokens - self.low) / self.step
        down = self.low + self.step * np.clip(np.floor(place), 0.0, self.count)
        up = self.low + self.step * np.clip(np.ceil(place), 0.0, self.count)
        down = np.where(self.has_zero & (tokens < self.low), 0.0, down)
        return down, np.where(self.has_zero & (tokens <= 0.0), 0.0, up)

    def clip(self, point: FloatArray) -> FloatArray:
        """The point, moved into the range of each type; zero stays where it is allowed."""
        is_zero = self.has_zero & (point == 0.0)
        return np.where(is_zero, 0.0, np.clip(point, self.low, self.high))

    def span(self, best: FloatArray, mean_price: float, second_price: float, budget: float) -> Span:
        """The choices that lose no more than `budget` seconds against the best ones at the prices.

        Parameters
        ----------
        best : ndarray, shape (N,)
            As `best` returns them.
        mean_price, second_price, budget : float
        """

        def loss(place: FloatArray) -> FloatArray:
            return self._losses(best, self.low + self.step * place, mean_price, second_price)

        # Zero lies below the lattice: the span of its neighbors starts at the lattice's best.
        is_zero = self.has_zero & (best == 0.0)
        middle = np.where(is_zero, self.low, best)
        if is_zero.any():
            middle = np.where(is_zero, self._top_at(mean_price, second_price), middle)
        middle = np.round((middle - self.low) / self.step)
        first = self._edge(loss, middle, -1.0, budget)
        last = self._edge(loss, middle, 1.0, budget)
        is_dear = loss(middle) > budget
        first, last = np.where(is_dear, 1.0, first), np.where(is_dear, 0.0, last)
        zero_loss = self._losses(best, np.zeros(1), mean_price, second_price)
        return Span(first, last, self.has_zero & (zero_loss <= budget))

    def _edge(
        self,
        loss: Callable[[FloatArray], FloatArray],
        middle: FloatArray,
        sign: float,
        budget: float,
    ) -> FloatArray:
        """Furthest position on one side whose loss is within the budget."""

        def is_within(steps: FloatArray) -> NDArray[np.bool_]:
            return loss(middle + sign * steps) <= budget

        room = self.count - middle if sign > 0 else middle
        one = np.ones_like(middle)
        return middle + sign * (first_refused(is_within, one, one, room + 1.0) - 1.0)

    def listed(self, k: int, span: Span) -> FloatArray:
        """The choices of one type in a span."""
        numbers = self.low[k] + self.step[k] * np.arange(span.first[k], span.last[k] + 1.0)
        return np.append(0.0, numbers) if span.has_zero[k] else numbers

    def alternatives(self, mean_price: float, second_price: float) -> Alternatives:
        """Choices on both sides of zero tokens or of a coarse step, next to the best."""
        size, is_coarse = self.low.size, self.step > 1.0
        alternatives = Alternatives(np.zeros(size), np.full(size, np.inf), np.zeros(size))
        if not (self.has_zero | is_coarse).any():
            return alternatives
        top = self._top_at(mean_price, second_price)
        down, up = np.maximum(top - self.step, self.low), np.minimum(top + self.step, self.high)
        mix, service = self.model.probabilities, self.model.service
        for which, lower, upper in (
            (self.has_zero, np.zeros_like(top), top),
            (is_coarse, down, top),
            (is_coarse, top, up),
        ):
            loss = np.abs(self._losses(lower, upper, mean_price, second_price))
            jump = mix * (service.mean(upper) - service.mean(lower))
            is_nearer = which & (lower < upper) & (loss < alternatives.losses)
            for part, own in zip(alternatives, (lower, loss, jump), strict=True):
                part[is_nearer] = own[is_nearer]
        return alternatives

    def split(self, k: int, choice: float) -> tuple[Lattice, Lattice]:
        """Zero tokens alone for the type, or what is up to a choice, and all the others."""
        one, others = copy.copy(self), copy.copy(self)
        for part in (one, others):
            part.low, part.count = self.low.copy(), self.count.copy()
            part.has_zero = self.has_zero.copy()
            part.has_zero[k] = False
        if self.has_zero[k]:
            one.low[k] = one.count[k] = 0.0
        else:
            one.count[k] = np.round((choice - self.low[k]) / self.step[k])
            others.low[k] = choice + self.step[k]
            others.count[k] = self.count[k] - one.count[k] - 1.0
        return one, others
