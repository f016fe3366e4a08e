"""What every type may choose from, and its best choice at given prices.

At a price ν of a second of mean service and a price p of a squared second, type k takes the choice
with the largest

    π_k (α w_k p_k − ν E t_k − p E t_k²).

Whole numbers, and multiples of a step, are a lattice, on which this is a concave sequence: its best
number lies next to the continuous response, and is found by the sign of its increments, however
many there are. Menus and levels are tables.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.increments import Increments
from cvxqueue.integer.lattice import Alternatives, Tables, lattice_and_tables
from cvxqueue.integer.level_model import level_model
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.domains import Domains, LevelMenu
from cvxqueue.model.model import Model
from cvxqueue.model.price_response import response_tokens
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import first_refused

# Of the continuous response; what is left of its error costs the search on the lattice a step.
_RESPONSE_STEPS = 6


class Span(NamedTuple):
    """A run of neighboring choices of each type, by position; maybe zero tokens besides."""

    first: FloatArray
    last: FloatArray
    has_zero: NDArray[np.bool_]


class Choices:
    """The choices of every type: a domain within the box.

    A point is an array of shape (..., N): tokens, or the position of a level where a type has
    levels. A type has the numbers low + step · i for 0 ≤ i ≤ count, and zero where that is
    allowed; or a table, and then its lattice says nothing.
    """

    def __init__(self, instance: Instance, domains: Domains) -> None:
        self.instance, self.domains = instance, domains
        self.model = level_model(instance, domains)
        found = lattice_and_tables(instance, domains)
        self.low, high, self.step, self.has_zero, self.tables = found
        self.count = np.floor((high - self.low) / self.step)
        self.is_tabled = np.isin(np.arange(instance.size), self.tables.types)
        if self.tables:
            model, mix = self.model, self.model.probabilities
            points = self.with_entries(self.low)
            values = Increments(
                mix * model.accuracy_value * model.accuracy.value(points),
                mix * model.service.mean(points),
                mix * model.service.second_moment(points),
            )
            self.tables.values = values.take((slice(None), self.tables.types))

    def refuse_levels(self) -> None:
        """Raise the error of a rounding where types have levels."""
        for k, domain in enumerate(self.domains):
            if isinstance(domain, LevelMenu):
                raise InvalidInputError(
                    f"{shown(self.instance.type_name(k))} chooses among levels, which have no "
                    "tokens to round; solve_integer takes them by method 'exact' or 'descent'"
                )

    def evaluate(self, point: FloatArray) -> Evaluation:
        """Return the closed forms at a point, levels included."""
        return self.model.evaluate(np.asarray(point, dtype=np.float64))

    def increments(self, start: FloatArray, to: FloatArray) -> Increments:
        """What moving from one point to another changes, shape (..., N)."""
        return _increments(self.model, start, to)

    def increments_of(self, k: int, start: float, to: FloatArray) -> Increments:
        """What moving one type from one choice to each of several changes, shape (J,)."""
        own, column = self.model.types(slice(k, k + 1)), to[:, np.newaxis]
        increments = _increments(own, np.full(1, start), column)
        return Increments(*(np.broadcast_to(part, column.shape)[:, 0] for part in increments))

    @property
    def high(self) -> FloatArray:
        """The largest number of each lattice."""
        return self.low + self.step * self.count

    @property
    def lowest(self) -> FloatArray:
        """The point that asks least of the server: some point is stable iff this one is."""
        least = np.where(self.has_zero, 0.0, self.low)
        return self._with(least, self.tables.at(np.argmin(self.tables.values.mean, axis=0)))

    @property
    def highest(self) -> FloatArray:
        """The point that asks most of the server."""
        return self._with(self.high, self.tables.at(np.argmax(self.tables.values.mean, axis=0)))

    @property
    def best_accuracy(self) -> FloatArray:
        """The point of the largest benefit."""
        return self._with(self.high, self.tables.at(np.argmax(self.tables.values.benefit, axis=0)))

    def _with(self, point: FloatArray, entries: FloatArray | NDArray[np.intp]) -> FloatArray:
        """A point with these entries of the tables."""
        if self.tables:
            point = point.copy()
            point[..., self.tables.types] = entries
        return point

    def best(
        self, mean_price: FloatArray, second_price: FloatArray, start: FloatArray
    ) -> FloatArray:
        """Best choice of each type at prices ν ≥ 0 and p ≥ 0, (M,), from a start: (M, N)."""
        point = np.broadcast_to(start, (mean_price.size, self.instance.size))
        if not self.is_tabled.all():
            point = self._best_number(mean_price, second_price, point)
        if self.has_zero.any():
            gain = self._net_benefits(point, np.zeros(1), mean_price, second_price)
            point = np.where(self.has_zero & (gain > 0.0), 0.0, point)
        if self.tables:
            point = self._with(point, self.tables.best(mean_price, second_price))
        return point

    def _best_number(self, nu: FloatArray, p: FloatArray, start: FloatArray) -> FloatArray:
        """Best number of each lattice, zero left out."""
        model, low, step = self.instance.model, self.low, self.step
        response = response_tokens(model, model.boxed(start), Prices(nu, p), _RESPONSE_STEPS)
        response = np.where(np.isfinite(response), response, start)

        def is_rising(place: FloatArray) -> NDArray[np.bool_]:
            at = low + step * place
            return self._net_benefits(at, at + step, nu, p) > 0.0

        near, last = np.floor((response - low) / step), np.broadcast_to(self.count, start.shape)
        return low + step * first_refused(is_rising, near, np.zeros(start.shape), last)

    def _best_number_at(self, mean_price: float, second_price: float) -> FloatArray:
        """Best number of each lattice at one pair of prices, shape (N,)."""
        prices = np.full(1, mean_price), np.full(1, second_price)
        return np.asarray(self._best_number(*prices, self.low[np.newaxis])[0])

    def _net_benefits(
        self, start: FloatArray, to: FloatArray, nu: FloatArray, p: FloatArray
    ) -> FloatArray:
        """Benefit less cost of moves on a lattice, over π, at prices (M,): shape (M, N)."""
        model, service = self.instance.model, self.instance.service
        return model.benefit.difference(start, to) - (
            nu[:, np.newaxis] * (service.mean(to) - service.mean(start))
            + p[:, np.newaxis] * (service.second_moment(to) - service.second_moment(start))
        )

    def neighbors(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next lower and the next higher choice; the choice itself where there is none."""
        down, up = point - self.step, point + self.step
        down = np.where(down < self.low, np.where(self.has_zero, 0.0, point), down)
        is_zero = self.has_zero & (point == 0.0)
        up = np.where(is_zero, self.low, np.where(up > self.high, point, up))
        before, after = self.tables.neighbors(point[self.tables.types])
        return self._with(down, before), self._with(up, after)

    def leaps(self, point: FloatArray) -> FloatArray:
        """The point with all types on a lattice 2, 4, 8, ... steps up, and as many down: (J, N)."""
        strides = 2.0 ** np.arange(1.0, np.ceil(np.log2(self.count.max() + 1.0)) + 1.0)
        moves = self.step * np.concatenate([strides, -strides])[:, np.newaxis]
        leaps = np.clip(point + moves, self.low, self.high)
        return self._with(np.where(point < self.low, point, leaps), point[self.tables.types])

    def with_entries(self, point: FloatArray) -> FloatArray:
        """The point with each entry of the tables in turn, shape (J, N); (0, N) without tables."""
        if not self.tables:
            return np.empty((0, point.size))
        entries = self.tables.entries
        return self._with(np.tile(point, (len(entries), 1)), entries)

    def around(self, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next choice at or below each number of tokens, and the next at or above.

        Where there is none on one side, both are the choice at that end.
        """
        place = (tokens - self.low) / self.step
        down = self.low + self.step * np.clip(np.floor(place), 0.0, self.count)
        up = self.low + self.step * np.clip(np.ceil(place), 0.0, self.count)
        down = np.where(self.has_zero & (tokens < self.low), 0.0, down)
        up = np.where(self.has_zero & (tokens <= 0.0), 0.0, up)
        below, above = self.tables.around(tokens[self.tables.types])
        return self._with(down, below), self._with(up, above)

    def moved_into(self, point: FloatArray) -> FloatArray:
        """A point of which each type that has another choice keeps it, or comes near it."""
        is_zero = self.has_zero & (point == 0.0)
        numbers = np.where(is_zero, 0.0, np.clip(point, self.low, self.high))
        return self._with(numbers, self.tables.nearest(point[self.tables.types]))

    def span(self, best: FloatArray, mean_price: float, second_price: float, budget: float) -> Span:
        """The numbers that lose no more than `budget` seconds against the best at the prices."""

        def loss(number: FloatArray) -> FloatArray:
            moved = _increments(self.instance.model, best, number)
            return -moved.net_benefit(mean_price, second_price)

        # Zero lies below the lattice: the span of its neighbors starts at the lattice's best.
        is_zero, number = self.has_zero & (best == 0.0), best
        if is_zero.any():
            number = np.where(is_zero, self._best_number_at(mean_price, second_price), best)
        middle = np.round((number - self.low) / self.step)
        one = np.ones_like(middle)

        def steps(sign: float, room: FloatArray) -> FloatArray:
            def is_within(number: FloatArray) -> NDArray[np.bool_]:
                return loss(self.low + self.step * (middle + sign * number)) <= budget

            return first_refused(is_within, one, one, room + 1.0) - 1.0

        is_beyond = loss(number) > budget
        first = np.where(is_beyond, 1.0, middle - steps(-1.0, middle))
        last = np.where(is_beyond, 0.0, middle + steps(1.0, self.count - middle))
        return Span(first, last, self.has_zero & (loss(np.zeros(1)) <= budget))

    def listed(self, k: int, span: Span) -> FloatArray:
        """The choices of one type in a span, or all of its table."""
        if self.is_tabled[k]:
            return self.tables.listed(k)
        numbers = self.low[k] + self.step[k] * np.arange(span.first[k], span.last[k] + 1.0)
        return np.append(0.0, numbers) if span.has_zero[k] else numbers

    def sizes(self, span: Span) -> FloatArray:
        """How many choices each type has in a span."""
        sizes = np.maximum(span.last - span.first + 1.0, 0.0) + span.has_zero
        return self._with(sizes, self.tables.sizes)

    def alternatives(self, mean_price: float, second_price: float) -> Alternatives:
        """Choices on both sides of a hole next to the best: zero, a coarse step, or two entries."""
        size, is_coarse = self.low.size, self.step > 1.0
        alternatives = Alternatives(np.zeros(size), np.full(size, np.inf), np.zeros(size))
        if (self.has_zero | is_coarse).any():
            top = self._best_number_at(mean_price, second_price)
            down, up = np.maximum(top - self.step, self.low), np.minimum(top + self.step, self.high)
            for which, lower, upper in (
                (self.has_zero, np.zeros_like(top), top),
                (is_coarse, down, top),
                (is_coarse, top, up),
            ):
                moved = _increments(self.instance.model, lower, upper)
                loss = np.abs(moved.net_benefit(mean_price, second_price))
                is_nearer = which & (lower < upper) & (loss < alternatives.losses)
                for part, own in zip(alternatives, (lower, loss, moved.mean), strict=True):
                    part[is_nearer] = own[is_nearer]
        if not self.tables:
            return alternatives
        of_tables = self.tables.alternatives(mean_price, second_price)
        return Alternatives(*map(self._with, alternatives, of_tables))

    def only(self, lower: FloatArray, upper: FloatArray) -> Choices:
        """A part in which every type has these two of its choices, of tokens, and no others."""
        part, is_open = copy.copy(self), upper > lower
        part.low, part.count = lower, is_open.astype(np.float64)
        part.step = np.where(is_open, upper - lower, 1.0)
        part.has_zero = part.is_tabled = np.zeros(lower.size, dtype=bool)
        part.tables = Tables({})
        return part

    def split(self, k: int, choice: float) -> tuple[Choices, Choices]:
        """Two parts: one choice of a type, or what is up to it in steps, and all the others."""
        one, others = copy.copy(self), copy.copy(self)
        if self.is_tabled[k]:
            one.tables, others.tables = self.tables.split(k, choice)
            return one, others
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


def _increments(model: Model, start: FloatArray, to: FloatArray) -> Increments:
    mix, service = model.probabilities, model.service
    return Increments(
        mix * model.benefit.difference(start, to),
        mix * (service.mean(to) - service.mean(start)),
        mix * (service.second_moment(to) - service.second_moment(start)),
    )
