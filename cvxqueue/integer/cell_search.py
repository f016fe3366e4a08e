"""Search of one cell: lists, then every combination or partial choices in order."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np

from cvxqueue.deadline import TimeIsUp
from cvxqueue.integer.cells import Bounds
from cvxqueue.integer.enumeration import (
    Enumerated,
    PriceCorners,
    Tangents,
    enumerate_all,
    enumerate_bounded,
)
from cvxqueue.integer.increments import Increments
from cvxqueue.integer.incumbent import Incumbent
from cvxqueue.numerics.arrays import FloatArray

# Logarithm of the number of combinations that are looked at one by one.
_EASY_LOGARITHM = 9.0
# Partial choices kept by the first search, and by the last.
_FIRST_KEPT, _LAST_KEPT = 20_000, 300_000
# The same where nothing is to be proven, with lists cut to so many choices.
_HEURISTIC_KEPT, _HEURISTIC_LIST = 1_000, 9
# Choices of all open types together that are listed.
_LONGEST_LIST = 1_000_000
# Prices of mean service that bound a partial choice are off by the gap over the largest step,
# and so many times as far in turn, until a choice brings less than the gap at the next cell.
_OFFSET_RATIO, _MOST_OFFSETS = 5.0, 7
# Parts of the tolerance that comparisons may cost: of a few types next to nothing.
_SMALL_SHARE, _LARGE_SHARE, _EASY = 0.02, 0.2, 8
# Shares of the price of a squared second by which it is changed to bound the second moment.
_PRICE_SHARES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Part of the width of a cell that comparisons may move m1 by.
_REACH = 0.1
# Parts of the gap that lists are cut to where they are too long.
_LIST_SHARES = (1.0, 1e-2, 1e-4, 1e-6)


class Proven(NamedTuple):
    """What the search of a cell proved: by default nothing."""

    bound: float = np.inf
    """On what its choices gain over the base, in seconds."""
    is_complete: bool = False
    """Whether every choice was looked at: then a narrower cell proves no more."""


def search_cell(
    incumbent: Incumbent, cell: Bounds, *, is_last: bool = False, only_easy: bool = False
) -> Proven:
    """Search one cell, and note the best choice in it.

    Nothing is proven where only easy cells are wanted and there are many combinations, or where the
    time is up too soon. The last search has more room, and is content with the tolerance.
    """
    with suppress(TimeIsUp):
        lists, best = _lists(incumbent, cell)
        if lists is None:
            return Proven()
        combinations = sum(float(np.log(listed.size)) for listed in lists.values())
        is_easy = combinations <= _EASY_LOGARITHM
        if is_easy or not only_easy:
            problem = _Problem(incumbent, cell, lists, best)
            if not is_easy:
                return Proven(
                    problem.solved(_LAST_KEPT if is_last else _FIRST_KEPT, is_last=is_last)
                )
            found = enumerate_all(incumbent.base, problem.rest, [*problem.increments.values()])
            problem.update(found)
            # Every choice in the cell is listed, or gains no more than the best so far.
            return Proven(max(incumbent.gain, found.bound), is_complete=True)
    return Proven()


def primal_heuristic(incumbent: Incumbent, cell: Bounds) -> None:
    """Look for a good choice in a cell, among the best of each type; nothing is proven."""
    with suppress(TimeIsUp):
        for share in incumbent.deadline.each(_LIST_SHARES):
            lists, best = _lists(incumbent, cell, share)
            if lists is not None:
                problem = _Problem(incumbent, cell, lists, best)
                problem.shorten()
                problem.solved(_HEURISTIC_KEPT, is_last=False)
                return


class _Problem:
    """What is to be searched in one cell: lists of choices by type, and `best` of the others."""

    def __init__(
        self, incumbent: Incumbent, cell: Bounds, lists: dict[int, FloatArray], best: FloatArray
    ) -> None:
        self.incumbent, self.cell, self.base = incumbent, cell, incumbent.base
        choices, origin = self.base.choices, self.base.point.tokens
        # What the types have that are not searched.
        self.fixed = best.copy()
        for k, listed in lists.items():
            if listed.size == 1:
                self.fixed[k] = listed[0]
        self.lists = {k: listed for k, listed in lists.items() if listed.size > 1}
        self.increments = {
            k: choices.increments_of(k, float(origin[k]), listed)
            for k, listed in incumbent.deadline.each(self.lists.items())
        }
        self.moved = choices.increments(origin, self.fixed)
        # What the types that are not searched change in all.
        is_in = np.ones(self.fixed.size, dtype=bool)
        is_in[list(self.lists)] = False
        self.rest = Increments(*(np.where(is_in, part, 0.0) for part in self.moved)).totals()

    def shorten(self) -> None:
        """Leave the best choices of each type."""
        prices = float(self.cell.mean_price[0]), float(self.cell.start_price[0])
        for k, increments in self.incumbent.deadline.each(self.increments.items()):
            net = increments.net_benefit(*prices)
            kept = np.sort(np.argsort(-net, kind="stable")[:_HEURISTIC_LIST])
            self.lists[k], self.increments[k] = self.lists[k][kept], increments.take(kept)

    def update(self, found: Enumerated) -> None:
        """Note the best combination."""
        if found.picks is None:
            return
        point = self.fixed.copy()
        for (k, listed), pick in zip(self.lists.items(), found.picks, strict=True):
            point[k] = listed[pick]
        self.incumbent.update_with(point)

    def solved(self, most: int, *, is_last: bool) -> float:
        """Search partial choices, and return the bound."""
        incumbent, cell, base = self.incumbent, self.cell, self.base
        first, last = float(cell.first[0]), float(cell.last[0])
        # What cannot exceed the level is not looked for.
        level = incumbent.gain + (0.5 * incumbent.target if is_last else 0.0)
        share = _LARGE_SHARE if is_last or len(self.lists) > _EASY else _SMALL_SHARE
        listed = [*self.increments.values()]
        corners = self._price_corners(level, share * incumbent.target)
        reach = _REACH * (last - first)
        widest = max((float(np.ptp(increments.mean)) for increments in listed), default=0.0)
        tangents = self._tangents((first - reach, last + reach), widest)
        found = enumerate_bounded(
            base, self.rest, listed, tangents, corners, level, most, incumbent.deadline
        )
        self.update(found)
        rounding = float(base.allowance(np.asarray(last), self.moved.totals()))
        reached = max(max(level, found.dropped) + rounding, found.bound)
        return reached + corners.cost

    def _price_corners(self, level: float, cost: float) -> PriceCorners:
        """Range of the prices of all choices that exceed a level, and of those near them.

        The bound of the cell with p ± θ in place of p says how far m2 can be off: if Σ is the
        largest sum at p − θ, then level < Σ − θ Δm2.
        """
        base, cell, listed = self.base, self.cell, [*self.increments.values()]
        first, last, nu = float(cell.first[0]), float(cell.last[0]), float(cell.mean_price[0])
        ends = self._tangents((first, last), 0.0)
        second, of_rest = [increments.second for increments in listed], float(self.rest.second)
        fewest = least = of_rest + sum(float(part.min()) for part in second)
        largest = most = of_rest + sum(float(part.max()) for part in second)
        shares = np.array([*_PRICE_SHARES, *(-share for share in _PRICE_SHARES)])[:, np.newaxis]
        # One row for each share, one column for each end.
        prices = ends.second_prices * (1.0 + shares)
        top = self.rest.net_benefit(nu, prices) + ends.constants[0]
        for increments in self.incumbent.deadline.each(listed):
            spread = increments.take((slice(None), np.newaxis, np.newaxis))
            top = top + spread.net_benefit(nu, prices).max(axis=0)
        above, below = np.split((level - top) / (shares * ends.second_prices), 2)
        least = np.fmax.reduce(above.min(axis=1), initial=least)
        most = np.fmin.reduce(below.max(axis=1), initial=most)
        # Where nothing exceeds the level any range will do, and at a price of zero it has no end.
        least, most = min(float(least), largest), max(float(most), fewest)
        reach, second_reach = _REACH * (last - first), max(most - least, 0.0)
        corners = [
            base.prices_at(at, max(at_second, -base.second))
            for at, at_second in (
                (first - reach, least - second_reach),
                (last + reach, most + second_reach),
            )
        ]
        means, seconds = (np.array(part) for part in zip(*corners, strict=True))
        layers = max(len(listed), 1)
        widths = reach / layers, second_reach / layers
        return PriceCorners(np.repeat(means, 2), np.tile(seconds, 2), widths, cost)

    def _tangents(self, ends: tuple[float, float], widest: float) -> Tangents:
        """The bounds of the cell between other ends, at several prices around its own.

        No choice of one type changes the mean by more than the widest.
        """
        middle, at = 0.5 * (ends[0] + ends[1]), np.array(ends)
        price, price_slope = self.base.second_price_at(np.asarray(middle))
        cost, slope = self.base.cost(np.asarray(middle))
        nu, offsets = float(self.cell.mean_price[0]), np.zeros(1)
        if widest > 0.0:
            decades = np.log(max(widest / (ends[1] - ends[0]), 1.0)) / np.log(_OFFSET_RATIO)
            ladder = _OFFSET_RATIO ** np.arange(min(np.ceil(decades) + 1.0, _MOST_OFFSETS))
            gap = float(self.cell.value[0]) - self.incumbent.gain
            offsets = gap / widest * np.concatenate([-ladder[::-1], [0.0], ladder])
        prices = np.unique(np.maximum(nu + offsets, 0.0))[:, np.newaxis]
        return Tangents(
            prices,
            price + price_slope * (at - middle),
            prices * at - (cost + slope * (at - middle)),
        )


def _lists(
    incumbent: Incumbent, cell: Bounds, share: float = 1.0
) -> tuple[dict[int, FloatArray] | None, FloatArray]:
    """Choices by type that may be part of something better, and the best ones at the prices.

    A share below one leaves out what loses more than that part of the gap; then nothing is proven.
    """
    choices, nu = incumbent.base.choices, float(cell.mean_price[0])
    prices = np.array([cell.start_price[0], cell.end_price[0]])
    budgets = share * (np.array([cell.at_first[0], cell.at_last[0]]) - incumbent.gain)
    best = choices.best(np.full(2, nu), prices, incumbent.base.point.tokens)
    spans = [choices.span(best[e], nu, float(prices[e]), float(budgets[e])) for e in range(2)]
    sizes = np.array([choices.sizes(span) for span in spans])
    if sizes.sum() > 2.0 * best.shape[1] + _LONGEST_LIST:
        return None, best[0]
    is_single = (best[0] == best[1]) & (sizes <= 1.0).all(axis=0)
    lists: dict[int, FloatArray] = {}
    for k in incumbent.deadline.each(np.flatnonzero(~is_single).tolist()):
        listed = np.unique(np.concatenate([choices.listed(k, span) for span in spans]))
        # A choice has to be good enough at one of the two ends.
        is_good = np.zeros(listed.size, dtype=bool)
        for e in range(2):
            increments = choices.increments_of(k, float(best[e, k]), listed)
            is_good |= -increments.net_benefit(nu, float(prices[e])) <= budgets[e]
        if is_good.any():
            lists[k] = listed[is_good]
    return lists, best[0]
