"""Choices that are listed one by one: menus, and levels of effort."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from cvxqueue.integer.increments import Alternatives, Increments
from cvxqueue.numerics.arrays import FloatArray


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
