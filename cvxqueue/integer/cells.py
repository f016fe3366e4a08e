"""Upper bounds on the objective over all choices whose mean service time lies in an interval.

Fix a base choice with moments m1 and m2, idle fraction y and objective J⁰. For any other choice,
let δ be the change of m1, which is the sum of changes of single types, as is the change of m2. At
the idle fraction y(δ) = y − λ δ the mean system time is

    T = φ(δ) + p(δ) (m2 + Δm2),    p = ω λ/(2 y(δ)),    φ = s (m1 + δ) + κ (m1 + δ)/y(δ),

and both p and φ are convex in δ. For any price ν, with the tangents of p and φ at a δ0,

    J − J⁰ ≤ Σ_k [Δbenefit − ν Δmean − p_lin(δ) Δsecond] + ν δ − (ψ_lin(δ) − ψ⁰),    ψ = φ + p m2,

because second moments are not negative. At a fixed choice the right side is affine in δ, hence no
larger than at the worse end of the interval; there the largest sum is that of the best choices of
the types, each by itself. Narrow cells lose a share of their width squared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.deadline import Deadline
from cvxqueue.integer.incumbent import Base, Incumbent
from cvxqueue.integer.lattice import Increments
from cvxqueue.numerics.arrays import FloatArray

# Numbers held at a time by one array over cells and types: such arrays stay in the cache (measured
# at 20 000 types: twice as fast as with twenty times as many), and the clock is looked at between.
_LARGEST_BLOCK = 100_000
# Of a cell: 10 or 90 took as long, of 21 instances of the tests.
_MOST_PRICES = 30
# A price is good enough when no other brings the bound nearer to the cutoff by more than this part
# (from 0.01 to 0.25 all 21 instances took within 15 % of the time).
_CENTERED = 0.05
# Until there is a bracket, a price is changed by this factor, then by its fourth power, and so on.
_FIRST_FACTOR, _LARGEST_FACTOR = 1.01, 100.0
# A price below this share of the marginal cost of mean service is none.
_LEAST_PRICE = 1e-6
# Prices of which the response is known before the first cells are bounded: a grid over a range.
_PRICE_GRID = np.geomspace(1e-3, 1e3, 25)
# Prices that differ by less are the same; the mean jumps between them.
_SAME_PRICE = 1e-12


class Bounds(NamedTuple):
    """What is proven of cells, each of shape (M,); seconds above the objective of the base."""

    first: FloatArray
    """Least change of m1 in the cell, in seconds."""
    last: FloatArray
    """Greatest."""
    mean_price: FloatArray
    """ν."""
    start_price: FloatArray
    """Tangent of p at `first`."""
    end_price: FloatArray
    """Tangent of p at `last`."""
    at_first: FloatArray
    """Bound on what a choice gains over the base, with the prices at `first`."""
    at_last: FloatArray
    """The same at `last`: the larger of the two bounds every choice in the cell."""
    at_middle: FloatArray
    """The bound of a cell without width: what more cells cannot do away with."""
    error: FloatArray
    """What the tangents take from T at the worse end."""

    @property
    def value(self) -> FloatArray:
        """Bound on what any choice in each cell gains over the base."""
        return np.maximum(self.at_first, self.at_last)

    @property
    def middle(self) -> FloatArray:
        """Where to cut each cell in two."""
        return 0.5 * (self.first + self.last)

    @property
    def is_divisible(self) -> NDArray[np.bool_]:
        """Whether float64 has a number between the ends of each cell."""
        return (self.first < self.middle) & (self.middle < self.last)

    def take(self, which: NDArray[Any]) -> Bounds:
        """Return some of the cells."""
        return Bounds(*(part[which] for part in self))


def price_guesses(base: Base, mean: FloatArray, deadline: Deadline) -> FloatArray:
    """Prices ν at which the types about take these changes of m1, at today's price p."""
    prices = base.mean_price * _PRICE_GRID
    origin, parts = base.point.tokens, []
    for place in _blocks(prices.size, origin.size):
        if deadline.is_over:
            return np.full_like(mean, base.mean_price)
        some = prices[place]
        points = base.choices.best(some, np.full_like(some, base.second_price), origin)
        parts.append(base.choices.increments(origin, points).totals().mean)
    response = np.append(np.concatenate(parts), 0.0)
    prices = np.append(prices, base.mean_price)
    # What is taken falls with the price; the base is on record as well.
    order = np.lexsort((-prices, response))
    return np.exp(np.interp(mean, response[order], np.log(prices[order])))


def _blocks(count: int, size: int) -> Iterator[slice]:
    """Runs of cells or prices, so short that arrays over these and the types stay small."""
    rows = max(_LARGEST_BLOCK // size, 1)
    return (slice(start, start + rows) for start in range(0, count, rows))


def cell_bounds(
    incumbent: Incumbent, first: FloatArray, last: FloatArray, mean_price: FloatArray
) -> Bounds:
    """Bound what choices gain over the base, cell by cell; the best one come across is noted.

    The ends of the cells are changes of m1 with a positive idle fraction. A cell that the guesses
    of ν > 0 bring to the cutoff or below needs no better ones; what was not reached in time has an
    infinite bound.
    """
    cutoff = incumbent.cutoff
    parts: list[Bounds] = []
    for place in _blocks(first.size, incumbent.best.size):
        if incumbent.deadline.is_over:
            rest = [part[place.start :] for part in (first, last, mean_price)]
            parts.append(Bounds(*rest, *np.full((6, rest[0].size), np.inf)))
            break
        block = _Block(incumbent, first[place], last[place], cutoff)
        parts.append(block.bounds(mean_price[place]))
    return joined(parts)


def joined(parts: Sequence[Bounds]) -> Bounds:
    """All cells of several bounds."""
    return Bounds(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class _Block:
    """Some cells, few enough for arrays over all cells and types."""

    def __init__(
        self, incumbent: Incumbent, first: FloatArray, last: FloatArray, cutoff: float
    ) -> None:
        base = incumbent.base
        self.incumbent, self.base, self.cutoff = incumbent, base, cutoff
        self.first, self.last = first, last
        self.middle = 0.5 * (first + last)
        self.price, self.price_slope = base.second_price_at(self.middle)
        self.cost, self.slope = base.cost(self.middle)

    def bounds(self, nu: FloatArray) -> Bounds:
        """Return the bounds at the guesses; where these are above the cutoff, at better prices."""
        start = np.broadcast_to(self.base.point.tokens, (nu.size, self.base.point.tokens.size))
        found = self._ends(nu, start, np.full_like(nu, np.inf))
        rows = np.flatnonzero(found.value > self.cutoff)
        if not rows.size:
            return found
        part = self
        if rows.size < nu.size:
            part = _Block(self.incumbent, self.first[rows], self.last[rows], self.cutoff)
        better = part._ends(*part._centered(nu[rows]))
        is_better = better.value < found.value[rows]
        for old, new in zip(found[2:], better[2:], strict=True):
            old[rows] = np.where(is_better, new, old[rows])
        found.at_middle[rows] = better.at_middle
        return found

    def _sums(
        self, nu: FloatArray, p: FloatArray, start: FloatArray
    ) -> tuple[FloatArray, Increments]:
        choices = self.base.choices
        points = choices.best(nu, p, start)
        totals = choices.increments(self.base.point.tokens, points).totals()
        self.incumbent.update(self.base.gain(totals), points)
        return points, totals

    def _ends(self, nu: FloatArray, points: FloatArray, at_middle: FloatArray) -> Bounds:
        """Bounds at the two ends of each cell."""
        ends = np.stack([self.first, self.last])
        tangents = np.maximum(self.price + self.price_slope * (ends - self.middle), 0.0)
        costs = self.cost + self.slope * (ends - self.middle)
        values, errors = [], []
        for at, tangent, cost in zip(ends, tangents, costs, strict=True):
            points, totals = self._sums(nu, tangent, points)
            value = totals.net_benefit(nu, tangent) + nu * at - cost
            values.append(value + self.base.allowance(self.last, totals))
            price, exact = self.base.second_price_at(at)[0], self.base.cost(at)[0]
            errors.append(exact - cost + (price - tangent) * totals.second)
        parts = (*tangents, *values, at_middle, np.maximum(*errors))
        return Bounds(self.first, self.last, nu.copy(), *parts)

    def _centered(self, nu: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Prices that make the bound of the middle small, the points that they lead to, that bound.

        It is convex in ν, with the slope middle − Δm1: the tangents at two prices that bracket its
        minimum bound it from below, and meet at the next price to try.
        """
        size, origin = nu.size, self.base.point.tokens
        # Price, value and slope at the ends of the bracket.
        low = np.tile([[0.0], [-np.inf], [-1.0]], size)
        high = np.tile([[np.inf], [-np.inf], [1.0]], size)
        trial, kept, at_middle = nu.copy(), nu.copy(), np.full(size, np.inf)
        points = np.broadcast_to(origin, (size, origin.size)).copy()
        tried = points
        is_done, factor = np.zeros(size, dtype=bool), _FIRST_FACTOR
        for step in range(_MOST_PRICES):
            tried, totals = self._sums(trial, self.price, tried)
            bound = totals.net_benefit(trial, self.price) + trial * self.middle - self.cost
            slope = self.middle - totals.mean
            is_low, end = slope < 0.0, np.array([trial, bound, slope])
            low, high = np.where(is_low, end, low), np.where(is_low, high, end)
            bound = bound + self.base.allowance(self.middle, totals)
            is_better = bound < at_middle
            at_middle = np.where(is_better, bound, at_middle)
            kept = np.where(is_better, trial, kept)
            points = np.where(is_better[:, np.newaxis], tried, points)
            is_bracketed = (low[0] > 0.0) & (high[0] < np.inf)
            meeting = high[1] - low[1] - high[2] * high[0] + low[2] * low[0]
            meeting /= low[2] - high[2]
            floor = low[1] + low[2] * (meeting - low[0])
            is_centered = at_middle - floor <= _CENTERED * np.abs(at_middle - self.cutoff)
            is_done |= is_bracketed & (is_centered | (high[0] <= low[0] * (1.0 + _SAME_PRICE)))
            # Even for nothing the types would not take more.
            is_done |= high[0] <= _LEAST_PRICE * self.slope
            # A tangent of a smooth bound meets near an end too often: halve now and then.
            is_inside = (meeting > low[0]) & (meeting < high[0]) & (step % 3 != 2)
            meeting = np.where(is_inside, meeting, np.sqrt(low[0] * high[0]))
            if is_done.all() or self.incumbent.deadline.is_over:
                break
            outward = np.where(is_low, trial * factor, trial / factor)
            trial = np.where(is_done, kept, np.where(is_bracketed, meeting, outward))
            factor = min(factor**4, _LARGEST_FACTOR)
        return kept, points, at_middle
