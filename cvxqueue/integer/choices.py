"""What every type may choose from, and its best choice at given prices.

At a price ν of a second of mean service and a price p of a squared second, type k takes the choice
with the largest

    π_k (α w_k p_k − ν E t_k − p E t_k²).

Whole numbers, and multiples of a step, are a lattice; menus and levels are tables.
"""

from __future__ import annotations

import copy
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.increments import Alternatives, Increments
from cvxqueue.integer.lattice import Lattice, Span
from cvxqueue.integer.load_levels import level_model
from cvxqueue.integer.value_tables import Tables
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.domains import (
    Domains,
    Integers,
    LevelMenu,
    Menu,
    Multiples,
    ZeroOrAtLeast,
)
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import LARGEST_COUNT


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
        self.model: Model = (
            level_model(instance, domains) if self.is_level.any() else instance.model
        )
        low, high = np.ceil(instance.lower), np.floor(instance.upper)
        step, has_zero = np.ones(size), np.zeros(size, dtype=bool)
        tables: dict[int, FloatArray] = {}
        for k, domain in enumerate(domains):
            if isinstance(domain, Integers):
                continue
            least, most = float(instance.lower[k]), float(instance.upper[k])
            if isinstance(domain, Multiples):
                step[k] = domain.step
                low[k] = step[k] * np.ceil(least / step[k])
                high[k] = step[k] * np.floor(most / step[k])
            elif isinstance(domain, Menu):
                tables[k] = domain.tokens[(domain.tokens >= least) & (domain.tokens <= most)]
                # For the columns of the lattice, a lattice of one number.
                low[k], high[k] = (tables[k][0],) * 2 if tables[k].size else (1.0, 0.0)
            elif isinstance(domain, LevelMenu):
                tables[k] = np.arange(float(domain.size))
                low[k] = high[k] = 0.0
            elif isinstance(domain, ZeroOrAtLeast):
                low[k] = max(low[k], float(domain.minimum))
                has_zero[k] = least == 0.0
                if low[k] > high[k] and has_zero[k]:
                    low[k] = high[k] = 0.0
                    has_zero[k] = False
        is_empty = low > high
        if is_empty.any():
            self._refuse(int(np.argmax(is_empty)))
        is_uncountable = high > LARGEST_COUNT
        if is_uncountable.any():
            k = int(np.argmax(is_uncountable))
            raise InvalidInputError(
                f"max_tokens[{k}] = {float(instance.upper[k])!r} must be at most 2^53 for tokens "
                "to be counted one by one; lower it"
            )
        self.lattice, self.tables = (
            Lattice(instance.model, low, high, step, has_zero),
            Tables(tables),
        )
        self.is_tabled = np.zeros(size, dtype=bool)
        self.is_tabled[self.tables.types] = True
        if self.tables:
            values = self._absolute(self.with_entries(low))
            self.tables.values = Increments(*(part[:, self.tables.types] for part in values))

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
            f"{shown(instance.type_name(k))} can have {what}: there is none between {start} and "
            f"max_tokens[{k}] = {most!r}; {advice} the box"
        )

    def refuse_levels(self) -> NoReturn:
        """Raise the error of a rounding where types have levels."""
        k = int(np.argmax(self.is_level))
        raise InvalidInputError(
            f"{shown(self.instance.type_name(k))} chooses among levels, which have no tokens to "
            "round; use method 'exact' or 'descent'"
        )

    def evaluate(self, point: FloatArray) -> Evaluation:
        """Return the closed forms at a point, levels included."""
        return Evaluation(self.model, np.asarray(point, dtype=np.float64))

    def _absolute(self, point: FloatArray) -> Increments:
        """α π w p, π E t and π E t² by type."""
        model, mix = self.model, self.model.probabilities
        return Increments(
            mix * self.instance.model.accuracy_value * model.accuracy.value(point),
            mix * model.service.mean(point),
            mix * model.service.second_moment(point),
        )

    def shift(self, start: FloatArray, to: FloatArray) -> Increments:
        """What moving from one point to another changes, shape (..., N)."""
        return _shift(self.instance.model, self.model, self.is_level, start, to)

    def shift_of(self, k: int, start: float, to: FloatArray) -> Increments:
        """What moving one type from one choice to each of several changes, shape (J,)."""
        place = slice(k, k + 1)
        own = self.instance.model.types(place)
        model = own if self.model is self.instance.model else self.model.types(place)
        column = to[:, np.newaxis]
        shift = _shift(own, model, self.is_level[place], np.full(1, start), column)
        return Increments(*(np.broadcast_to(part, column.shape)[:, 0] for part in shift))

    @property
    def lowest(self) -> FloatArray:
        """The point that asks least of the server: some point is stable iff this one is."""
        return self._with(self.lattice.lowest, self.tables.least_mean())

    @property
    def highest(self) -> FloatArray:
        """The point that asks most of the server."""
        return self._with(self.lattice.high, self.tables.most_mean())

    @property
    def best_accuracy(self) -> FloatArray:
        """The point of the largest benefit."""
        return self._with(self.lattice.high, self.tables.most_benefit())

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
        point = np.broadcast_to(start, (mean_price.size, self.instance.size)).copy()
        if not self.is_tabled.all():
            point = self.lattice.best(mean_price, second_price, point)
        if self.tables:
            point = self._with(point, self.tables.best(mean_price, second_price))
        return point

    def neighbors(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next lower and the next higher choice; the choice itself where there is none."""
        down, up = self.lattice.neighbors(point)
        if self.tables:
            before, after = self.tables.neighbors(point[self.tables.types])
            down, up = self._with(down, before), self._with(up, after)
        return down, up

    def leaps(self, point: FloatArray) -> FloatArray:
        """The point with all types on a lattice 2, 4, 8, ... steps up, and as many down: (J, N)."""
        return self._with(self.lattice.leaps(point), point[self.tables.types])

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
            self.refuse_levels()
        down, up = self.lattice.around(tokens)
        if self.tables:
            below, above = self.tables.around(tokens[self.tables.types])
            down, up = self._with(down, below), self._with(up, above)
        return down, up

    def span(self, best: FloatArray, mean_price: float, second_price: float, budget: float) -> Span:
        """The choices that lose no more than `budget` seconds against the best ones at the prices.

        For the types with a lattice; of a table all entries are looked at by `listed`.
        """
        return self.lattice.span(best, mean_price, second_price, budget)

    def alternatives(self, mean_price: float, second_price: float) -> Alternatives:
        """The best choice of each type at the prices, and what is on the other side of a hole."""
        alternatives = self.lattice.alternatives(mean_price, second_price)
        if self.tables:
            for part, own in zip(
                alternatives, self.tables.alternatives(mean_price, second_price), strict=True
            ):
                part[self.tables.types] = own
        return alternatives

    def split(self, k: int, choice: float) -> tuple[Choices, Choices]:
        """Two parts: one choice of a type, or what is up to it in steps, and all the others."""
        one, others = copy.copy(self), copy.copy(self)
        if self.is_tabled[k]:
            one.tables, others.tables = self.tables.split(k, choice)
        else:
            one.lattice, others.lattice = self.lattice.split(k, choice)
        return one, others

    def moved_into(self, point: FloatArray) -> FloatArray:
        """A point of which each type that has another choice keeps it, or comes near it."""
        return self._with(self.lattice.clip(point), self.tables.nearest(point[self.tables.types]))

    def listed(self, k: int, span: Span) -> FloatArray:
        """The choices of one type in a span, or all of its table."""
        return self.tables.listed(k) if self.is_tabled[k] else self.lattice.listed(k, span)

    def sizes(self, span: Span) -> FloatArray:
        """How many choices each type has in a span."""
        sizes = np.maximum(span.last - span.first + 1.0, 0.0) + span.has_zero
        sizes[self.tables.types] = self.tables.sizes
        return sizes


def _shift(
    own: Model,
    model: Model,
    is_level: NDArray[np.bool_],
    start: FloatArray,
    to: FloatArray,
) -> Increments:
    mix, service = own.probabilities, model.service
    benefit = mix * own.benefit.difference(start, to)
    if is_level.any():
        there, here = model.accuracy.value(to), model.accuracy.value(start)
        benefit = np.where(is_level, mix * own.accuracy_value * (there - here), benefit)
    return Increments(
        benefit,
        mix * (service.mean(to) - service.mean(start)),
        mix * (service.second_moment(to) - service.second_moment(start)),
    )
