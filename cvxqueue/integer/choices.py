"""What every type may choose from, and its best choice at given prices.

At a price ν of a second of mean service and a price p of a squared second, type k takes the choice
with the largest

    π_k (α w_k p_k − ν E t_k − p E t_k²).

On whole numbers, and on multiples of a step, this is a concave sequence: its maximum lies next to
the continuous response, and is found by the sign of its increments, however many numbers there are.
Menus and levels are tables, and searched through.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.integer.levels import level_data
from cvxqueue.integer.tables import Rivals, Shift, Tables
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.data import ModelData
from cvxqueue.model.demand import wanted_tokens
from cvxqueue.model.domains import Domains, Integers, LevelMenu, Menu, Multiples
from cvxqueue.model.queue import Prices

__all__ = ["Choices", "Span"]

# From here on float64 skips whole numbers.
_LARGEST_COUNT = 2.0**53
_NEWTON_STEPS = 6
# Bisection of 2^53 numbers, and some for galloping.
_BISECTIONS = 120


class Span(NamedTuple):
    """A run of neighboring choices of each type, by position; maybe zero tokens besides."""

    first: FloatArray
    last: FloatArray
    has_zero: NDArray[np.bool_]


class Choices:
    """The choices of every type: a domain within the box.

    A point is an array of shape (..., N): tokens, or the position of a level where a type has
    levels.

    Parameters
    ----------
    instance : Instance
    domains : Domains
        One for each type.

    Raises
    ------
    InfeasibleError
        If a type has no choice in its box.
    InvalidInputError
        If tokens cannot be counted in float64.
    """

    def __init__(self, instance: Instance, domains: Domains) -> None:
        self.instance, self.domains = instance, domains
        size = instance.size
        self.is_level = np.array([isinstance(domain, LevelMenu) for domain in domains])
        self.data: ModelData = level_data(instance, domains) if self.is_level.any() else instance
        # low + step · i for 0 ≤ i ≤ count, and zero where it is allowed besides.
        self.low, self.high = np.ceil(instance.lower), np.floor(instance.upper)
        self.step, self.has_zero = np.ones(size), np.zeros(size, dtype=bool)
        tables: dict[int, FloatArray] = {}
        if not all(type(domain) is Integers for domain in domains):
            self._read_domains(tables)
        is_empty = self.low > self.high
        if is_empty.any():
            self._refuse(int(np.argmax(is_empty)))
        is_uncountable = self.high > _LARGEST_COUNT
        if is_uncountable.any():
            k = int(np.argmax(is_uncountable))
            raise InvalidInputError(
                f"max_tokens[{k}] = {float(instance.upper[k])!r} must be at most 2^53 for tokens "
                "to be counted one by one; lower it"
            )
        self.count = np.floor((self.high - self.low) / self.step)
        self.high = self.low + self.step * self.count
        self.tables = Tables(tables)
        self.is_tabled = np.zeros(size, dtype=bool)
        self.is_tabled[self.tables.types] = True
        self._has_zeros = bool(self.has_zero.any())
        self.has_lattice = self.tables.types.size < size
        self.has_steps = bool((self.step > 1.0).any())
        if self.tables:
            values = self._absolute(self.with_entries(self.low))
            self.tables.values = Shift(*(part[:, self.tables.types] for part in values))

    def _read_domains(self, tables: dict[int, FloatArray]) -> None:
        lower, upper = self.instance.lower, self.instance.upper
        for k, domain in enumerate(self.domains):
            if isinstance(domain, Multiples):
                step = float(domain.step)
                self.step[k] = step
                self.low[k] = step * np.ceil(lower[k] / step)
                self.high[k] = step * np.floor(upper[k] / step)
            elif isinstance(domain, Menu):
                row = domain.tokens[(domain.tokens >= lower[k]) & (domain.tokens <= upper[k])]
                if not row.size:
                    self._refuse(k)
                tables[k] = row
                # For the columns of the lattice, a lattice of one number.
                self.low[k] = self.high[k] = row[0]
            elif isinstance(domain, LevelMenu):
                tables[k] = np.arange(float(domain.size))
                self.low[k] = self.high[k] = 0.0
            elif not isinstance(domain, Integers):
                self.low[k] = max(self.low[k], float(domain.minimum))
                self.has_zero[k] = lower[k] == 0.0
                if self.low[k] > self.high[k] and self.has_zero[k]:
                    self.low[k] = self.high[k] = 0.0
                    self.has_zero[k] = False

    def _refuse(self, k: int) -> None:
        instance, domain = self.instance, self.domains[k]
        what = (
            "no whole number of tokens"
            if isinstance(domain, Integers)
            else f"no tokens of {domain}"
        )
        least, most = float(instance.lower[k]), float(instance.upper[k])
        if least > float(instance.min_tokens[k]):
            start, advice = f"{least!r}, which its least accuracy takes,", "lower that, or widen"
        else:
            start, advice = f"min_tokens[{k}] = {least!r}", "widen"
        raise InfeasibleError(
            f"{instance.type_name(k)!r} can have {what}: there is none between {start} and "
            f"max_tokens[{k}] = {most!r}; {advice} the box"
        )

    def evaluate(self, point: FloatArray) -> Evaluation:
        """Return the closed forms at a point, levels included."""
        return Evaluation(self.data, np.asarray(point, dtype=np.float64))

    def _absolute(self, point: FloatArray) -> Shift:
        """α π w p, π E t and π E t² by type."""
        data, mix = self.data, self.data.probabilities
        return Shift(
            mix * self.instance.accuracy_value * data.accuracy.value(point),
            mix * data.service.mean(point),
            mix * data.service.second_moment(point),
        )

    def shift(self, start: FloatArray, to: FloatArray) -> Shift:
        """What moving from one point to another changes, shape (..., N)."""
        return _shift(self.instance, self.data, self.is_level, start, to)

    def shift_of(self, k: int, start: float, to: FloatArray) -> Shift:
        """What moving one type from one choice to each of several changes, shape (J,)."""
        place = slice(k, k + 1)
        own = self.instance.types(place)
        data = own if self.data is self.instance else self.data.types(place)
        column = to[:, np.newaxis]
        shift = _shift(own, data, self.is_level[place], np.full(1, start), column)
        return Shift(*(np.broadcast_to(part, column.shape)[:, 0] for part in shift))

    @property
    def lowest(self) -> FloatArray:
        """The point that asks least of the server: some point is stable iff this one is."""
        return self._with(np.where(self.has_zero, 0.0, self.low), self.tables.least_mean())

    @property
    def highest(self) -> FloatArray:
        """The point that asks most of the server."""
        return self._with(self.high, self.tables.most_mean())

    @property
    def best_accuracy(self) -> FloatArray:
        """The point of the largest benefit."""
        return self._with(self.high, self.tables.most_benefit())

    def _with(self, point: FloatArray, entries: FloatArray) -> FloatArray:
        """A point with these entries of the tables."""
        point = point.copy()
        point[..., self.tables.types] = entries
        return point

    def best(
        self, mean_price: FloatArray, second_price: FloatArray, start: FloatArray
    ) -> FloatArray:
        """Best choice of each type at prices ν ≥ 0 and p ≥ 0 of shape (M,): a point (M, N).

        Parameters
        ----------
        mean_price, second_price : ndarray, shape (M,)
        start : ndarray, shape (N,) or (M, N)
            Where the search begins.
        """
        nu, p = mean_price[:, np.newaxis], second_price[:, np.newaxis]
        shape = (mean_price.size, self.instance.size)
        point = np.broadcast_to(start, shape).copy()
        if self.has_lattice:
            point = self._best_of_lattice(nu, p, point)
        if self.tables:
            point = self._with(point, self.tables.best(mean_price, second_price))
        return point

    def _best_of_lattice(self, nu: FloatArray, p: FloatArray, start: FloatArray) -> FloatArray:
        instance, low, step = self.instance, self.low, self.step
        with np.errstate(all="ignore"):
            prices = Prices(nu[:, 0], p[:, 0])
            wanted = wanted_tokens(instance, instance.boxed(start), prices, _NEWTON_STEPS)
            wanted = np.where(np.isfinite(wanted), wanted, start)
        first, last = np.zeros(start.shape), np.broadcast_to(self.count, start.shape)
        probe = np.floor((wanted - low) / step)
        stride = 1.0
        has_risen = np.zeros(start.shape, dtype=bool)
        has_fallen = np.zeros(start.shape, dtype=bool)
        for _ in range(_BISECTIONS):
            is_open = first < last
            if not is_open.any():
                break
            probe = np.minimum(np.maximum(probe, first), np.maximum(last - 1.0, first))
            at = low + step * probe
            is_rising = self._token_worth(at, at + step, nu, p) > 0.0
            has_risen |= is_rising
            has_fallen |= ~is_rising
            first = np.where(is_open & is_rising, probe + 1.0, first)
            last = np.where(is_open & ~is_rising, probe, last)
            beyond = np.where(is_rising, first + (stride - 1.0), last - stride)
            # Between a rise and a fall close by the answer is found; far apart, it is bisected.
            is_wide = has_risen & has_fallen & (last - first > 2.0)
            probe = np.where(is_wide, np.floor(0.5 * (first + last)), beyond)
            stride *= 2.0
        point = low + step * first
        if self._has_zeros:
            is_zero = self.has_zero & (self._token_worth(point, np.zeros(1), nu, p) > 0.0)
            point = np.where(is_zero, 0.0, point)
        return point

    def _token_worth(
        self, start: FloatArray, to: FloatArray, nu: FloatArray, p: FloatArray
    ) -> FloatArray:
        """What a move is worth at the prices, per π, for types that have tokens."""
        instance, service = self.instance, self.instance.service
        worth: FloatArray = instance.benefit.difference(start, to) - (
            nu * (service.mean(to) - service.mean(start))
            + p * (service.second_moment(to) - service.second_moment(start))
        )
        return worth

    def neighbors(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next lower and the next higher choice; the choice itself where there is none."""
        down, up = point - self.step, point + self.step
        down = np.where(down < self.low, np.where(self.has_zero, 0.0, point), down)
        is_zero = self.has_zero & (point == 0.0)
        up = np.where(is_zero, self.low, np.where(up > self.high, point, up))
        if self.tables:
            before, after = self.tables.neighbors(point[self.tables.types])
            down, up = self._with(down, before), self._with(up, after)
        return down, up

    def leaps(self, point: FloatArray) -> FloatArray:
        """The point with all types on a lattice 2, 4, 8, ... steps up, and as many down: (J, N)."""
        strides = 2.0 ** np.arange(1.0, np.ceil(np.log2(self.count.max() + 1.0)) + 1.0)
        moves = self.step * np.concatenate([strides, -strides])[:, np.newaxis]
        stays = self.is_tabled | (point < self.low)
        return np.where(stays, point, np.clip(point + moves, self.low, self.high))

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
        if self.is_level.any():
            k = int(np.argmax(self.is_level))
            raise InvalidInputError(
                f"{self.instance.type_name(k)!r} chooses among levels, which have no tokens to "
                "round; use method 'exact' or 'descent'"
            )
        place = (tokens - self.low) / self.step
        down = self.low + self.step * np.clip(np.floor(place), 0.0, self.count)
        up = self.low + self.step * np.clip(np.ceil(place), 0.0, self.count)
        down = np.where(self.has_zero & (tokens < self.low), 0.0, down)
        up = np.where(self.has_zero & (tokens <= 0.0), 0.0, up)
        if self.tables:
            below, above = self.tables.around(tokens[self.tables.types])
            down, up = self._with(down, below), self._with(up, above)
        return down, up

    def span(self, best: FloatArray, mean_price: float, second_price: float, budget: float) -> Span:
        """The choices that lose no more than `budget` seconds against the best ones at the prices.

        For the types with a lattice; of a table all entries are looked at by `listed`.
        """
        nu, p = np.full(1, mean_price), np.full(1, second_price)
        mix = self.instance.probabilities

        def loss(place: FloatArray) -> FloatArray:
            at = self.low + self.step * place
            lost: FloatArray = -mix * self._token_worth(best, at, nu, p)
            return lost

        # Zero lies below the lattice: the span of its neighbors starts at the lattice's best.
        is_zero = self.has_zero & (best == 0.0)
        middle = np.where(is_zero, 0.0, np.round((best - self.low) / self.step))
        if is_zero.any():
            inner = self._lattice_top(nu, p)
            middle = np.where(is_zero, inner, middle)
        first = self._edge(loss, middle, -1.0, budget)
        last = self._edge(loss, middle, 1.0, budget)
        is_dear = loss(middle) > budget
        first, last = np.where(is_dear, 1.0, first), np.where(is_dear, 0.0, last)
        zero_loss = -mix * self._token_worth(best, np.zeros(1), nu, p)
        return Span(first, last, self.has_zero & (zero_loss <= budget))

    def _lattice_top(self, nu: FloatArray, p: FloatArray) -> FloatArray:
        """Position of the best number of the lattice, zero left out."""
        has_zeros, self._has_zeros = self._has_zeros, False
        try:
            top = self._best_of_lattice(nu[:, np.newaxis], p[:, np.newaxis], self.low[np.newaxis])
        finally:
            self._has_zeros = has_zeros
        place: FloatArray = np.round((top[0] - self.low) / self.step)
        return place

    def rivals(self, mean_price: float, second_price: float) -> Rivals:
        """The best choice of each type at the prices, and what is on the other side of a hole."""
        nu, p = np.full(1, mean_price), np.full(1, second_price)
        parts = Rivals(
            np.zeros(self.low.size), np.full(self.low.size, np.inf), np.zeros(self.low.size)
        )
        if self._has_zeros or self.has_steps:
            top = self.low + self.step * self._lattice_top(nu, p)
            down, up = np.maximum(top - self.step, self.low), np.minimum(top + self.step, self.high)
            for which, lower, upper in (
                (self.has_zero, np.zeros_like(top), top),
                (self.step > 1.0, down, top),
                (self.step > 1.0, top, up),
            ):
                loss, jump = self._apart(lower, upper, nu, p)
                is_nearer = which & (lower < upper) & (loss < parts.losses)
                for part, own in zip(parts, (lower, loss, jump), strict=True):
                    part[is_nearer] = own[is_nearer]
        if self.tables:
            for part, own in zip(parts, self.tables.rivals(mean_price, second_price), strict=True):
                part[self.tables.types] = own
        return parts

    def _apart(
        self, lower: FloatArray, upper: FloatArray, nu: FloatArray, p: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """What the worse of two choices loses at the prices, and the seconds between them."""
        mix, service = self.instance.probabilities, self.instance.service
        loss = np.abs(mix * self._token_worth(lower, upper, nu, p))
        return loss, mix * (service.mean(upper) - service.mean(lower))

    def split(self, k: int, choice: float) -> tuple[Choices, Choices]:
        """Two parts: one choice of a type, or what is up to it in steps, and all the others."""
        one, others = copy.copy(self), copy.copy(self)
        if self.is_tabled[k]:
            one.tables, others.tables = self.tables.split(k, choice)
            return one, others
        for part in (one, others):
            part.low, part.high, part.count, part.has_zero = (
                array.copy() for array in (self.low, self.high, self.count, self.has_zero)
            )
            part.has_zero[k] = False
            part._has_zeros = bool(part.has_zero.any())
        one.high[k] = choice
        if self.has_zero[k]:
            one.low[k] = choice
        else:
            others.low[k] = choice + self.step[k]
        for part in (one, others):
            part.count[k] = np.round((part.high[k] - part.low[k]) / self.step[k])
        return one, others

    def moved_into(self, point: FloatArray) -> FloatArray:
        """A point of which each type that has another choice keeps it, or comes near it."""
        moved = np.where(self.has_zero & (point == 0.0), 0.0, np.clip(point, self.low, self.high))
        if self.tables:
            moved = self._with(moved, self.tables.nearest(point[self.tables.types]))
        return moved

    def _edge(
        self,
        loss: Callable[[FloatArray], FloatArray],
        middle: FloatArray,
        sign: float,
        budget: float,
    ) -> FloatArray:
        """Furthest position on one side whose loss is within the budget."""
        room = self.count - middle if sign > 0 else middle
        # `inside` is within the budget; `outside` is beyond it, or beyond the lattice.
        inside, outside = np.zeros_like(middle), room + 1.0
        stride = 1.0
        for _ in range(_BISECTIONS):
            is_open = outside - inside > 1.0
            if not is_open.any():
                break
            probe = np.where(
                outside > room, np.minimum(stride, room), np.floor(0.5 * (inside + outside))
            )
            probe = np.maximum(probe, inside + is_open)
            is_inside = loss(middle + sign * probe) <= budget
            inside = np.where(is_open & is_inside, probe, inside)
            outside = np.where(is_open & ~is_inside, probe, outside)
            stride *= 2.0
        return middle + sign * inside

    def table_of(self, k: int) -> FloatArray | None:
        """The entries of the table of a type, or ``None`` where it has a lattice."""
        (found,) = np.nonzero(self.tables.types == k)
        if not found.size:
            return None
        column = found[0]
        return self.tables.entries[: self.tables.sizes[column], column]

    def listed(self, k: int, span: Span) -> FloatArray:
        """The choices of one type in a span, or all of its table."""
        table = self.table_of(k)
        if table is not None:
            return table
        numbers = self.low[k] + self.step[k] * np.arange(span.first[k], span.last[k] + 1.0)
        return np.append(0.0, numbers) if span.has_zero[k] else numbers

    def sizes(self, span: Span) -> FloatArray:
        """How many choices each type has in a span."""
        sizes = np.maximum(span.last - span.first + 1.0, 0.0) + span.has_zero
        sizes[self.tables.types] = self.tables.sizes
        return sizes


def _shift(
    own: ModelData,
    data: ModelData,
    is_level: NDArray[np.bool_],
    start: FloatArray,
    to: FloatArray,
) -> Shift:
    mix, service = own.probabilities, data.service
    benefit = mix * own.benefit.difference(start, to)
    if is_level.any():
        there, here = data.accuracy.value(to), data.accuracy.value(start)
        benefit = np.where(is_level, mix * own.accuracy_value * (there - here), benefit)
    return Shift(
        benefit,
        mix * (service.mean(to) - service.mean(start)),
        mix * (service.second_moment(to) - service.second_moment(start)),
    )
