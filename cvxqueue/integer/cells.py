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

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.deadline import Deadline
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.increments import Increments
from cvxqueue.model import Evaluation
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.model.model import LEAST_IDLE
from cvxqueue.model.queue import Prices
from cvxqueue.numerics.arrays import FloatArray

_EPS = float(np.finfo(np.float64).eps)
# As in the gap certificate: four roundings of relative size ε, and twice that for the rest.
_ROUNDINGS = 8.0 * _EPS
# Numbers held at a time by one array over cells and types: such arrays stay in the cache (measured
# at 20 000 types: twice as fast as with twenty times as many), and the clock is looked at between.
_LARGEST_BLOCK = 100_000
_PRICE_STEPS = 30
# A price is good enough when no other brings the bound nearer to its level by more than this part.
_CENTERED = 0.05
# Until there is a bracket, a price is changed by this factor, then by its fourth power, and so on.
_FIRST_FACTOR, _LARGEST_FACTOR = 1.01, 100.0
# A price below this share of the marginal cost of mean service is none.
_NOTHING = 1e-6
# Prices of which the demand is known before the first cells are bounded: a grid over a range.
_GUESSES = np.geomspace(1e-3, 1e3, 25)
# Prices that differ by less are the same; the mean jumps between them.
_SAME_PRICE = 1e-12


class Base:
    """A stable choice, and what the others are in terms of what they change.

    Parameters
    ----------
    choices : Choices
    point : Evaluation
        Stable.
    """

    def __init__(self, choices: Choices, point: Evaluation) -> None:
        queue, instance = choices.instance.queue, choices.instance
        if not isinstance(queue, LinearFractionalQueue):
            raise InvalidInputError(
                f"queue {shown(queue)} has no integer bound: it must be one of the package's"
            )
        by_mean, by_load, by_second = queue.weights
        self.choices, self.point, self.queue = choices, point, queue
        self.share, self.congested = 1.0 - by_load, by_mean + by_load
        self.rate = float(instance.arrival_rate)
        self.by_second = by_second * self.rate
        self.idle = float(point.idle)
        self.mean = float(point.mean_service_time)
        self.second = float(point.service_time_second_moment)
        self.burden = self.congested * self.mean + 0.5 * self.by_second * self.second
        self.mean_price, self.second_price = (float(price) for price in point.prices)
        self.benefit_size = float(point.benefit_size)

    def gain(self, totals: Increments) -> FloatArray:
        """J less that of the base, exactly but for rounding; −inf where the queue is unstable.

        T is linear at the prices of the base but for h (y Δn + n h)/(y² y′), with h = λ Δm1 and
        n = κ m1 + ω λ m2/2.
        """
        h = self.rate * totals.mean
        idle = self.idle - h
        change = self.congested * totals.mean + 0.5 * self.by_second * totals.second
        is_stable = idle > LEAST_IDLE
        bend = h * (self.idle * change + self.burden * h)
        bend /= self.idle * self.idle * np.where(is_stable, idle, 1.0)
        gain = totals.worth(self.mean_price, self.second_price) - bend
        return np.where(is_stable, gain, -np.inf)

    def idle_at(self, mean: FloatArray) -> FloatArray:
        """Idle fraction where the mean service time has changed by so much."""
        return self.idle - self.rate * mean

    def prices_at(self, mean: float, second: float) -> Prices:
        """The prices where the moments have changed by so much."""
        to = np.asarray(self.mean + mean), np.asarray(self.second + second)
        return self.queue.prices(self.rate, *to, self.idle_at(np.asarray(mean)))

    def second_price_at(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The price p of a squared second there, and its slope."""
        # Asked for at every step of every cell: without the other price, which is half of the work.
        idle = self.idle_at(mean)
        price = 0.5 * self.by_second / idle
        return price, price * self.rate / idle

    def cost(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ψ less that of the base, and its slope."""
        idle = self.idle_at(mean)
        bend = (self.congested * self.idle + self.burden * self.rate) / (self.idle * idle)
        slope = self.share + (self.congested + 0.5 * self.by_second * self.rate * self.second) / (
            idle * idle
        )
        return (self.share + bend) * mean, slope

    def allowance(self, mean: FloatArray, totals: Increments) -> FloatArray:
        """What rounding can have done to a bound: as for the objective, at the choice found."""
        idle = self.idle_at(mean)
        second = self.second + np.maximum(totals.second, 0.0)
        first = self.mean + np.maximum(np.maximum(mean, totals.mean), 0.0)
        time = self.share * first + (self.congested * first + 0.5 * self.by_second * second) / idle
        benefit = self.benefit_size + np.maximum(totals.benefit, 0.0)
        rounding: FloatArray = _ROUNDINGS * (benefit + time / np.minimum(idle, self.idle))
        return rounding


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


class _Best:
    """The best of the choices that were come across, by what it gains over the base."""

    def __init__(self, base: Base) -> None:
        self.gain, self.point = 0.0, base.point.tokens

    def see(self, gains: FloatArray, points: FloatArray) -> None:
        place = int(np.argmax(gains))
        if gains[place] > self.gain:
            self.gain, self.point = float(gains[place]), points[place].copy()


def price_guesses(base: Base, mean: FloatArray, deadline: Deadline) -> FloatArray:
    """Prices ν at which the types about take these changes of m1, at today's price p."""
    prices = base.mean_price * _GUESSES
    origin, parts = base.point.tokens, []
    for place in _blocks(prices.size, origin.size):
        if deadline.is_over:
            return np.full_like(mean, base.mean_price)
        some = prices[place]
        points = base.choices.best(some, np.full_like(some, base.second_price), origin)
        parts.append(base.choices.shift(origin, points).totals().mean)
    demand = np.append(np.concatenate(parts), 0.0)
    prices = np.append(prices, base.mean_price)
    # What is taken falls with the price; the base is on record as well.
    order = np.lexsort((-prices, demand))
    guesses: FloatArray = np.exp(np.interp(mean, demand[order], np.log(prices[order])))
    return guesses


def _blocks(count: int, size: int) -> Iterator[slice]:
    """Runs of cells or prices, so short that arrays over these and the types stay small."""
    rows = max(_LARGEST_BLOCK // size, 1)
    return (slice(start, start + rows) for start in range(0, count, rows))


def cell_bounds(
    base: Base,
    first: FloatArray,
    last: FloatArray,
    mean_price: FloatArray,
    level: float,
    deadline: Deadline,
) -> tuple[Bounds, float, FloatArray]:
    """Bound what choices gain over the base, cell by cell.

    Parameters
    ----------
    base : Base
    first, last : ndarray, shape (M,)
        Ends of the cells: changes of m1 with a positive idle fraction.
    mean_price : ndarray, shape (M,)
        Guesses of ν > 0; a cell that they bring to the level or below needs no better ones.
    level : float
        Seconds over the base.
    deadline : Deadline

    Returns
    -------
    bounds : Bounds
        Infinite for cells that were not reached in time.
    gain : float
        What the best choice come across gains over the base.
    point : ndarray, shape (N,)
        That choice.
    """
    best = _Best(base)
    parts: list[Bounds] = []
    for place in _blocks(first.size, base.point.tokens.size):
        if deadline.is_over:
            rest = [part[place.start :] for part in (first, last, mean_price)]
            parts.append(Bounds(*rest, *np.full((6, rest[0].size), np.inf)))
            break
        block = _Block(base, first[place], last[place], best, deadline)
        parts.append(block.bounds(mean_price[place], level))
    bounds = Bounds(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return bounds, best.gain, best.point


class _Block:
    """Some cells, few enough for arrays over all cells and types."""

    def __init__(
        self, base: Base, first: FloatArray, last: FloatArray, best: _Best, deadline: Deadline
    ) -> None:
        self.base, self.first, self.last = base, first, last
        self.best, self.deadline = best, deadline
        self.middle = 0.5 * (first + last)
        self.price, self.price_slope = base.second_price_at(self.middle)
        self.cost, self.slope = base.cost(self.middle)

    def bounds(self, nu: FloatArray, level: float) -> Bounds:
        """Return the bounds at the guesses; where these are above the level, at better prices."""
        start = np.broadcast_to(self.base.point.tokens, (nu.size, self.base.point.tokens.size))
        found = self._ends(nu, start, np.full_like(nu, np.inf))
        rows = np.flatnonzero(found.value > level)
        if not rows.size:
            return found
        part = self if rows.size == nu.size else self._take(rows)
        better = part._ends(*part._centered(nu[rows], level))
        is_better = better.value < found.value[rows]
        for old, new in zip(found[2:7], better[2:7], strict=True):
            old[rows] = np.where(is_better, new, old[rows])
        found.at_middle[rows] = better.at_middle
        found.error[rows] = np.where(is_better, better.error, found.error[rows])
        return found

    def _take(self, rows: NDArray[np.intp]) -> _Block:
        return _Block(self.base, self.first[rows], self.last[rows], self.best, self.deadline)

    def _sums(
        self, nu: FloatArray, p: FloatArray, start: FloatArray
    ) -> tuple[FloatArray, Increments]:
        choices = self.base.choices
        points = choices.best(nu, p, start)
        totals = choices.shift(self.base.point.tokens, points).totals()
        self.best.see(self.base.gain(totals), points)
        return points, totals

    def _ends(self, nu: FloatArray, points: FloatArray, at_middle: FloatArray) -> Bounds:
        """Bounds at the two ends of each cell."""
        tangents: list[FloatArray] = []
        values: list[FloatArray] = []
        errors: list[FloatArray] = []
        for at in (self.first, self.last):
            tangent = np.maximum(self.price + self.price_slope * (at - self.middle), 0.0)
            points, totals = self._sums(nu, tangent, points)
            cost = self.cost + self.slope * (at - self.middle)
            value = totals.worth(nu, tangent) + nu * at - cost
            tangents.append(tangent)
            values.append(value + self.base.allowance(self.last, totals))
            price, exact = self.base.second_price_at(at)[0], self.base.cost(at)[0]
            errors.append(exact - cost + (price - tangent) * totals.second)
        return Bounds(
            first=self.first,
            last=self.last,
            mean_price=nu.copy(),
            start_price=tangents[0],
            end_price=tangents[1],
            at_first=values[0],
            at_last=values[1],
            at_middle=at_middle,
            error=np.maximum(*errors),
        )

    def _centered(self, nu: FloatArray, level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Prices that make the bound of the middle small, the points that they lead to, that bound.

        It is convex in ν, with the slope middle − Δm1: the tangents at two prices that bracket its
        minimum bound it from below, and meet at the next price to try.
        """
        size, origin = nu.size, self.base.point.tokens
        low, high = np.zeros(size), np.full(size, np.inf)
        # Value and slope at the ends of the bracket.
        low_value, low_slope = np.full(size, -np.inf), np.full(size, -1.0)
        high_value, high_slope = np.full(size, -np.inf), np.full(size, 1.0)
        trial, kept, at_middle = nu.copy(), nu.copy(), np.full(size, np.inf)
        points = np.broadcast_to(origin, (size, origin.size)).copy()
        tried = points
        is_done, factor = np.zeros(size, dtype=bool), _FIRST_FACTOR
        for step in range(_PRICE_STEPS):
            tried, totals = self._sums(trial, self.price, tried)
            bound = totals.worth(trial, self.price) + trial * self.middle - self.cost
            slope = self.middle - totals.mean
            is_low = slope < 0.0
            low, high = np.where(is_low, trial, low), np.where(is_low, high, trial)
            low_value = np.where(is_low, bound, low_value)
            low_slope = np.where(is_low, slope, low_slope)
            high_value = np.where(is_low, high_value, bound)
            high_slope = np.where(is_low, high_slope, slope)
            bound = bound + self.base.allowance(self.middle, totals)
            is_better = bound < at_middle
            at_middle = np.where(is_better, bound, at_middle)
            kept = np.where(is_better, trial, kept)
            points = np.where(is_better[:, np.newaxis], tried, points)
            is_bracketed = (low > 0.0) & (high < np.inf)
            meeting = high_value - low_value - high_slope * high + low_slope * low
            meeting /= low_slope - high_slope
            floor = low_value + low_slope * (meeting - low)
            is_done |= is_bracketed & (at_middle - floor <= _CENTERED * np.abs(at_middle - level))
            is_done |= is_bracketed & (high <= low * (1.0 + _SAME_PRICE))
            # Even for nothing the types would not take more.
            is_done |= high <= _NOTHING * self.slope
            # A tangent of a smooth bound meets near an end too often: halve now and then.
            if step % 3 == 2:
                meeting = np.sqrt(low * high)
            meeting = np.where((meeting > low) & (meeting < high), meeting, np.sqrt(low * high))
            if is_done.all() or self.deadline.is_over:
                break
            outward = np.where(is_low, trial * factor, trial / factor)
            trial = np.where(is_done, kept, np.where(is_bracketed, meeting, outward))
            factor = min(factor**4, _LARGEST_FACTOR)
        return kept, points, at_middle
