"""Search of one cell: lists, fixing, then every combination or partial choices in order."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from cvxqueue.deadline import TimeIsUp
from cvxqueue.integer.cells import Base, Bounds
from cvxqueue.integer.increments import Increments
from cvxqueue.integer.incumbent import Incumbent
from cvxqueue.integer.search import Corners, Found, Tangents, enumerate_all, search
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum

# Logarithm of the number of combinations that are looked at one by one.
_EASY_LOGARITHM = 9.0
# Partial choices kept by the first search, and by the last.
_FEW, _MANY = 20_000, 300_000
# The same where nothing is to be proven, with lists cut to so many choices.
_GLANCE, _GLIMPSE = 1_000, 9
# Choices of all open types together that are listed.
_LONGEST_LIST = 1_000_000
# Prices of mean service that bound a partial choice are off by the gap over the largest step,
# and so many times as far in turn, until a choice is worth less than the gap at the next cell.
_OFFSET_RATIO, _MOST_OFFSETS = 5.0, 7
# Parts of the tolerance that fixing and comparing may cost each: of a few types next to nothing.
_SMALL_SHARE, _LARGE_SHARE, _EASY = 0.02, 0.2, 8
# Shares of the price of a squared second by which it is changed to bound the second moment.
_PRICE_SHARES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Part of the width of a cell that fixed types may move m1 by, and comparisons as much again.
_REACH = 0.1
# Parts of the gap that lists are cut to where they are too long.
_LIST_SHARES = (1.0, 1e-2, 1e-4, 1e-6)


class Searched(NamedTuple):
    """What the search of a cell proved."""

    bound: float
    """On what its choices gain over the base, in seconds."""
    is_complete: bool
    """Whether every choice was looked at: then a narrower cell proves no more."""


def search_cell(
    incumbent: Incumbent, cell: Bounds, *, is_last: bool = False, only_easy: bool = False
) -> Searched:
    """Search one cell, and note the best choice in it.

    Nothing is proven where only easy cells are wanted and there are many combinations, or where the
    time is up too soon. The last search has more room, and is content with the tolerance.
    """
    with suppress(TimeIsUp):
        return _search_cell(incumbent, cell, is_last=is_last, only_easy=only_easy)
    return Searched(np.inf, is_complete=False)


def _search_cell(incumbent: Incumbent, cell: Bounds, *, is_last: bool, only_easy: bool) -> Searched:
    lists, chosen = _lists(incumbent, cell)
    if lists is None:
        return Searched(np.inf, is_complete=False)
    is_easy = _count_logarithm(lists) <= _EASY_LOGARITHM
    if only_easy and not is_easy:
        return Searched(np.inf, is_complete=False)
    task = _Task(incumbent, cell, lists, chosen)
    if is_easy:
        # Every choice in the cell is listed, or gains no more than the best so far.
        found = enumerate_all(incumbent.base, task.rest, [*task.shifts.values()])
        task.see(found)
        return Searched(max(incumbent.ahead, found.bound), is_complete=True)
    bound = task.searched(_MANY if is_last else _FEW, is_last=is_last)
    return Searched(bound, is_complete=False)


def glance(incumbent: Incumbent, cell: Bounds) -> None:
    """Look for something good in a cell, among the best of its choices; nothing is proven."""
    with suppress(TimeIsUp):
        for share in incumbent.deadline.each(_LIST_SHARES):
            lists, chosen = _lists(incumbent, cell, share)
            if lists is not None:
                task = _Task(incumbent, cell, lists, chosen)
                task.shorten()
                task.searched(_GLANCE, is_last=False)
                return


def _count_logarithm(lists: dict[int, FloatArray]) -> float:
    return sum(float(np.log(listed.size)) for listed in lists.values())


class _Task:
    """What is to be searched in one cell.

    Parameters
    ----------
    incumbent : Incumbent
    cell : Bounds
        One cell.
    lists : dict of ndarray
        Choices by type.
    chosen : ndarray, shape (N,)
        Of the types that are not listed.
    """

    def __init__(
        self, incumbent: Incumbent, cell: Bounds, lists: dict[int, FloatArray], chosen: FloatArray
    ) -> None:
        self.incumbent, self.cell = incumbent, cell
        choices, self.origin = incumbent.base.choices, incumbent.base.point.tokens
        self.settled, each = chosen.copy(), incumbent.deadline.each
        for k, listed in lists.items():
            if listed.size == 1:
                self.settled[k] = listed[0]
        self.lists = {k: listed for k, listed in lists.items() if listed.size > 1}
        self.shifts = {
            k: choices.shift_of(k, float(self.origin[k]), listed)
            for k, listed in each(self.lists.items())
        }
        self.moved = choices.shift(self.origin, self.settled)
        self.rest = _rest(self.moved, self.lists)

    def shorten(self) -> None:
        """Leave the best choices of each type."""
        cell = self.cell
        for k, shift in self.incumbent.deadline.each(self.shifts.items()):
            worth = shift.worth(float(cell.mean_price[0]), float(cell.start_price[0]))
            kept = np.sort(np.argsort(-worth, kind="stable")[:_GLIMPSE])
            self.lists[k] = self.lists[k][kept]
            self.shifts[k] = Increments(*(part[kept] for part in shift))

    def see(self, found: Found) -> None:
        """Note the best combination."""
        if found.picks is None:
            return
        point = self.settled.copy()
        for (k, listed), pick in zip(self.lists.items(), found.picks, strict=True):
            point[k] = listed[pick]
        self.incumbent.compare(point)

    def searched(self, most: int, *, is_last: bool) -> float:
        """Fix types that hardly matter, and search the others."""
        incumbent, cell, base = self.incumbent, self.cell, self.incumbent.base
        first, last = float(cell.first[0]), float(cell.last[0])
        # What cannot exceed the level is not looked for.
        level = incumbent.ahead + (0.5 * incumbent.target if is_last else 0.0)
        share = _LARGE_SHARE if is_last or len(self.lists) > _EASY else _SMALL_SHARE
        box = _price_box(incumbent, cell, list(self.shifts.values()), self.rest, level)
        fixed = _negligible(incumbent, self.shifts, self.settled, box, share)
        for k in fixed.types:
            del self.lists[k], self.shifts[k]
        shifts = list(self.shifts.values())
        reach = _REACH * (last - first)
        layers = max(len(shifts), 1)
        widths = reach / layers, box.second_reach / layers
        compared = Corners(box.mean_prices, box.second_prices, widths, share * incumbent.target)
        ends = first - 2.0 * reach, last + 2.0 * reach
        tangents = _tangents(base, cell, shifts, ends, float(cell.value[0]) - incumbent.ahead)
        found = search(
            base,
            _rest(self.moved, self.lists),
            shifts,
            tangents,
            compared,
            level,
            most,
            incumbent.deadline,
        )
        self.see(found)
        rounding = float(base.allowance(np.asarray(last), self.moved.totals()))
        reached = max(max(level, found.dropped) + rounding, found.bound)
        return reached + fixed.cost + compared.cost


def _lists(
    incumbent: Incumbent, cell: Bounds, share: float = 1.0
) -> tuple[dict[int, FloatArray] | None, FloatArray]:
    """Choices by type that may be part of something better, and the best ones at the prices.

    A share below one leaves out what loses more than that part of the gap; then nothing is proven.
    """
    base, choices = incumbent.base, incumbent.base.choices
    nu = float(cell.mean_price[0])
    prices = np.array([cell.start_price[0], cell.end_price[0]])
    budgets = share * (np.array([cell.at_first[0], cell.at_last[0]]) - incumbent.ahead)
    best = choices.best(np.full(2, nu), prices, base.point.tokens)
    spans = [choices.span(best[e], nu, float(prices[e]), float(budgets[e])) for e in range(2)]
    sizes = np.array([choices.sizes(span) for span in spans])
    if sizes.sum() > 2.0 * base.point.tokens.size + _LONGEST_LIST:
        return None, best[0]
    is_single = (best[0] == best[1]) & (sizes <= 1.0).all(axis=0)
    lists: dict[int, FloatArray] = {}
    for k in incumbent.deadline.each(np.flatnonzero(~is_single).tolist()):
        listed = np.unique(np.concatenate([choices.listed(k, span) for span in spans]))
        # A choice has to be good enough at one of the two ends.
        loss = np.array(
            [
                -choices.shift_of(k, float(best[e, k]), listed).worth(nu, float(prices[e]))
                for e in range(2)
            ]
        )
        lists[k] = listed[(loss <= budgets[:, np.newaxis]).any(axis=0)]
    return {k: listed for k, listed in lists.items() if listed.size}, best[0]


def _rest(moved: Increments, left_out: Iterable[int]) -> Increments:
    """What the types that are not left out change in all."""
    is_in = np.ones(moved.mean.size, dtype=bool)
    is_in[list(left_out)] = False
    return Increments(*(accurate_sum(np.where(is_in, part, 0.0)) for part in moved))


class _PriceBox(NamedTuple):
    """Range of the prices near a cell, for choices better than a level and those near them."""

    mean_prices: FloatArray
    """∂T/∂m1 at the four corners."""
    second_prices: FloatArray
    """∂T/∂m2 at the four corners."""
    reach: float
    """How far beyond the cell the prices may be used, in seconds: twice."""
    second_reach: float
    """The same for the second moment, in seconds²."""


def _price_box(
    incumbent: Incumbent, cell: Bounds, shifts: list[Increments], rest: Increments, level: float
) -> _PriceBox:
    """Range of the prices of all choices in a cell that exceed a level.

    The bound of the cell with p ± θ in place of p says how far m2 can be off: if Σ is the largest
    sum at p − θ, then level < Σ − θ Δm2.
    """
    base, nu = incumbent.base, float(cell.mean_price[0])
    first, last = float(cell.first[0]), float(cell.last[0])
    ends = _tangents(base, cell, [], (first, last), 0.0)
    fewest = least = float(rest.second) + sum(float(shift.second.min()) for shift in shifts)
    largest = most = float(rest.second) + sum(float(shift.second.max()) for shift in shifts)
    for share in _PRICE_SHARES:
        for sign in (1.0, -1.0):
            # (2,): one for each end.
            prices = ends.second_prices * (1.0 + sign * share)
            theta = sign * share * ends.second_prices
            top = rest.worth(nu, prices) + ends.constants[0]
            for shift in incumbent.deadline.each(shifts):
                spread = Increments(*(part[:, np.newaxis] for part in shift))
                top = top + spread.worth(nu, prices).max(axis=0)
            limits = (level - top) / theta
            if sign > 0.0:
                least = np.fmax(least, np.min(limits))
            else:
                most = np.fmin(most, np.max(limits))
    # Where nothing exceeds the level any range will do, and at a price of zero it has no end.
    least, most = min(float(least), largest), max(float(most), fewest)
    reach = _REACH * (last - first)
    spread_second = max(most - least, 0.0)
    corners = []
    for at, second in (
        (first - 2.0 * reach, least - 2.0 * spread_second),
        (last + 2.0 * reach, most + 2.0 * spread_second),
    ):
        corners.append(base.prices_at(at, max(second, -base.second)))
    means, seconds = (np.array(part) for part in zip(*corners, strict=True))
    return _PriceBox(np.repeat(means, 2), np.tile(seconds, 2), reach, spread_second)


class _Fixed(NamedTuple):
    types: set[int]
    cost: float
    """What fixing them costs at most in all, in seconds."""


def _negligible(
    incumbent: Incumbent,
    shifts: dict[int, Increments],
    settled: FloatArray,
    box: _PriceBox,
    share: float,
) -> _Fixed:
    """Types that may be fixed at what was chosen for them.

    By the mean value theorem along the segment from the moments of any choice to those with these
    types fixed, J falls by no more than what the types lose at some prices on that segment, the
    same for all. A loss is convex in the prices: it is largest at a corner of their range.
    """
    choices = incumbent.base.choices
    best = choices.best(box.mean_prices, box.second_prices, settled)
    worth = choices.shift(settled, best).worth(
        box.mean_prices[:, np.newaxis], box.second_prices[:, np.newaxis]
    )
    losses = np.maximum(worth.max(axis=0), 0.0)
    fixed: set[int] = set()
    cost = mean = second = 0.0
    for k in sorted(shifts, key=lambda k: float(losses[k])):
        mean += float(np.ptp(shifts[k].mean))
        second += float(np.ptp(shifts[k].second))
        if cost + float(losses[k]) > share * incumbent.target:
            break
        if mean > box.reach or second > box.second_reach:
            break
        cost += float(losses[k])
        fixed.add(k)
    return _Fixed(fixed, cost)


def _tangents(
    base: Base, cell: Bounds, lists: list[Increments], ends: tuple[float, float], gap: float
) -> Tangents:
    """The bounds of a cell between other ends, at several prices around its own."""
    middle, at = 0.5 * (ends[0] + ends[1]), np.array(ends)
    price, price_slope = base.second_price_at(np.asarray(middle))
    cost, slope = base.cost(np.asarray(middle))
    widest = max((float(np.ptp(shift.mean)) for shift in lists), default=0.0)
    nu, offsets = float(cell.mean_price[0]), np.zeros(1)
    if widest > 0.0:
        decades = np.log(max(widest / (ends[1] - ends[0]), 1.0)) / np.log(_OFFSET_RATIO)
        ladder = _OFFSET_RATIO ** np.arange(min(np.ceil(decades) + 1.0, _MOST_OFFSETS))
        offsets = gap / widest * np.concatenate([-ladder[::-1], [0.0], ladder])
    prices = np.unique(np.maximum(nu + offsets, 0.0))[:, np.newaxis]
    return Tangents(
        prices,
        price + price_slope * (at - middle),
        prices * at - (cost + slope * (at - middle)),
    )
