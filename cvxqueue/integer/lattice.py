"""What the types may choose from within the box, lattices and tables."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.increments import Increments
from cvxqueue.model import Instance
from cvxqueue.model.domains import Domains, Integers, LevelMenu, Menu, Multiples, ZeroOrAtLeast
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import LARGEST_COUNT


class Alternatives(NamedTuple):
    """Choices of types with holes between them, shape (N,) each."""

    choice: FloatArray
    """The best of a table; the lower one of two steps; or zero, beside a lattice."""
    losses: FloatArray
    """Seconds lost by the worse of the two at the prices; ∞ for types without holes."""
    jumps: FloatArray
    """π |Δ(E t)| between the two, in seconds."""


class Tables:
    """The entries of K types, in order: tokens, or positions of levels; and what each brings."""

    def __init__(self, rows: dict[int, FloatArray]) -> None:
        self.types = np.array(list(rows), dtype=np.intp)
        self.sizes = np.array([row.size for row in rows.values()], dtype=np.intp)
        most = max((row.size for row in rows.values()), default=1)
        # (J, K): shorter tables repeat their last entry.
        self.entries = (
            np.array([np.pad(row, (0, most - row.size), mode="edge") for row in rows.values()])
            .reshape(len(rows), most)
            .T
        )
        # α π w p, π E t and π E t² of each entry, (J, K).
        self.values = Increments(*np.zeros((3, *self.entries.shape)))

    def __bool__(self) -> bool:
        return bool(self.types.size)

    def at(self, place: NDArray[np.intp]) -> FloatArray:
        """One entry of each table, by position."""
        return np.asarray(self.entries[place, np.arange(self.types.size)])

    def best(self, mean_price: FloatArray, second_price: FloatArray) -> FloatArray:
        """Best entry of each table at prices of shape (M,): an array (M, K)."""
        prices = (price[:, np.newaxis, np.newaxis] for price in (mean_price, second_price))
        # (M, J, K)
        net = self.values.net_benefit(*prices)
        return self.at(np.argmax(net, axis=1))

    def neighbors(self, chosen: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The entries before and after the chosen ones; themselves where there are none."""
        place = np.argmax(self.entries == chosen, axis=0)
        return self.at(np.maximum(place - 1, 0)), self.at(np.minimum(place + 1, self.sizes - 1))

    def around(self, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next entries at or below some numbers, and the next at or above."""
        below = np.maximum(np.sum(self.entries <= tokens, axis=0) - 1, 0)
        above = np.minimum(np.sum(self.entries < tokens, axis=0), self.sizes - 1)
        # A padded table repeats its last entry, so that a count may run into the padding.
        return self.at(np.minimum(below, self.sizes - 1)), self.at(above)

    def listed(self, k: int) -> FloatArray:
        """All entries of one type."""
        column = int(np.flatnonzero(self.types == k)[0])
        return self.entries[: self.sizes[column], column]

    def nearest(self, tokens: FloatArray) -> FloatArray:
        """The entries nearest to some numbers."""
        return self.at(np.argmin(np.abs(self.entries - tokens), axis=0))

    def alternatives(self, mean_price: float, second_price: float) -> Alternatives:
        """The best entry of each table at the prices, and the next best."""
        net = self.values.net_benefit(mean_price, second_price)
        best = np.argmax(net, axis=0)
        choice, columns = self.at(best), np.arange(self.types.size)
        others = np.where(self.entries == choice, -np.inf, net)
        second = np.argmax(others, axis=0)
        mean = self.values.mean
        return Alternatives(
            choice,
            net[best, columns] - others[second, columns],
            np.abs(mean[best, columns] - mean[second, columns]),
        )

    def split(self, k: int, entry: float) -> tuple[Tables, Tables]:
        """Tables with one entry alone for the type, and with all its others."""
        is_entry = self.listed(k) == entry
        return self._kept(k, is_entry), self._kept(k, ~is_entry)

    def _kept(self, k: int, which: NDArray[np.bool_]) -> Tables:
        part, place, column = copy.copy(self), np.flatnonzero(which), self.types == k
        part.sizes = np.where(column, place.size, self.sizes)
        place = np.pad(place, (0, self.entries.shape[0] - place.size), mode="edge")
        part.entries = np.where(column, self.entries[place], self.entries)
        part.values = Increments(*(np.where(column, value[place], value) for value in self.values))
        return part


def lattice_and_tables(
    instance: Instance, domains: Domains
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_], Tables]:
    """Return low, high, step of the lattice in the box, where there is zero besides, and tables.

    What reaches an accuracy floor as far as rounding can tell is in the box.
    """
    lower, moved = instance.lower, instance.model.lower_rounding
    if moved is not None:
        lower = np.maximum(lower - moved, instance.min_tokens)
    low, high = np.ceil(lower), np.floor(instance.upper)
    step, has_zero = np.ones(instance.size), np.zeros(instance.size, dtype=bool)
    tables: dict[int, FloatArray] = {}
    for k, domain in enumerate(domains):
        if isinstance(domain, Integers):
            continue
        least, most = float(lower[k]), float(instance.upper[k])
        if isinstance(domain, Multiples):
            step[k] = domain.step
            low[k] = step[k] * np.ceil(least / step[k])
            high[k] = step[k] * np.floor(most / step[k])
        elif isinstance(domain, Menu):
            tables[k] = domain.tokens[(domain.tokens >= least) & (domain.tokens <= most)]
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
    is_empty, is_uncountable = low > high, high > LARGEST_COUNT
    if is_empty.any():
        _refuse(instance, domains, int(np.argmax(is_empty)))
    if is_uncountable.any():
        k = int(np.argmax(is_uncountable))
        raise InvalidInputError(
            f"max_tokens[{k}] = {float(instance.upper[k])!r} must be at most 2^53 for tokens "
            "to be counted one by one; lower it"
        )
    return low, high, step, has_zero, Tables(tables)


def _refuse(instance: Instance, domains: Domains, k: int) -> None:
    is_whole = isinstance(domains[k], Integers)
    what = "no whole number of tokens" if is_whole else f"no tokens of {domains[k]}"
    least, most = float(instance.lower[k]), float(instance.upper[k])
    if least > float(instance.min_tokens[k]):
        start, advice = f"{least!r}, which its least accuracy takes,", "lower that, or widen"
    else:
        start, advice = f"min_tokens[{k}] = {least!r}", "widen"
    raise InfeasibleError(
        f"{shown(instance.type_name(k))} can have {what}: there is none between {start} and "
        f"max_tokens[{k}] = {most!r}; {advice} the box"
    )
