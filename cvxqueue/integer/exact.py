"""The best choice of all, with a proof: bounds by cells, then a search of what they leave."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.integer.cells import Base, Bounds, cell_bounds, price_guesses
from cvxqueue.integer.choices import Choices, Shift
from cvxqueue.integer.climb import climb
from cvxqueue.integer.search import Corners, Tangents, search
from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.summation import accurate_sum

__all__ = ["Proof", "best_choice", "upper_gain"]

_ROUNDS = 40
# Rounds of cuts where so few types are left that a search is soon done.
_FEW_ROUNDS, _SMALL = 4, 8
_REBASES = 6
# Cells grow by this factor away from the base.
_GROWTH = 4.0
# A cell whose tangents cost less than this part of the gap is narrow enough to be searched.
_SETTLED = 0.25
# So many open cells are searched before they are cut further.
_MOST_CELLS = 16
# Logarithm of the number of combinations that a search gets through without much ado.
_EASY_LOGARITHM = 9.0
# One whose bound exceeds that of its middle by less than this part of the gap is not worth cutting
# when its search fails.
_NARROW = 0.02
# Partial choices kept by the first search, and by the last.
_FEW, _MANY = 20_000, 300_000
# The same where nothing is to be proven, with lists cut to so many choices, in so many cells.
_GLANCE, _GLIMPSE, _LOOKS = 1_000, 9, 3
# Choices of all open types together that are listed.
_LONGEST_LIST = 100_000
# Prices of mean service that bound a partial choice, in units of the gap over the largest step.
_OFFSETS = np.array([0.0, -1.0, 1.0, -5.0, 5.0])
# Parts of the tolerance that fixing and comparing may cost each: of a few types next to nothing.
_SMALL_SHARE, _LARGE_SHARE, _EASY = 0.02, 0.2, 8
# Shares of the price of a squared second by which it is changed to bound the second moment.
_PRICE_SHARES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Part of the width of a cell that fixed types may move m1 by, and comparisons as much again.
_REACH = 0.1
# Parts of the gap that lists are cut to where they are too long.
_LIST_SHARES = (1e-2, 1e-4, 1e-6)
# What rounding may have cost an end of a range, relative to its size.
_MARGIN = 1e-9


class Proof(NamedTuple):
    """A choice and what is proven of it."""

    point: Evaluation
    gap: float
    """Bound on what any choice gains over it, in seconds, rounding included."""
    is_exact: bool
    """Whether that is within the tolerance, or within what rounding can do to the objective."""


class _State:
    """The best choice so far, and how much better any other can be."""

    def __init__(self, base: Base, tolerance: float, deadline: float) -> None:
        self.base, self.deadline = base, deadline
        self.ahead, self.best = 0.0, base.point.tokens
        # Bound on what is in the cells that have been closed.
        self.closed = -np.inf
        allowance = float(rounding_allowance(base.point))
        # The allowance is part of the gap that is told, and no bound is sharper than it.
        self.target = max(tolerance * float(base.point.scale) - 3.0 * allowance, 2.0 * allowance)

    def see(self, gain: float, point: FloatArray) -> None:
        if gain > self.ahead:
            self.ahead, self.best = gain, point

    @property
    def is_over(self) -> bool:
        return time.perf_counter() > self.deadline


def best_choice(choices: Choices, start: FloatArray, tolerance: float, time_limit: float) -> Proof:
    """Find the best choice, and prove it to `tolerance` relative to `scale`.

    Parameters
    ----------
    choices : Choices
        Some of them stable.
    start : ndarray, shape (N,)
        A stable choice to begin with.
    tolerance : float
    time_limit : float
        Seconds.
    """
    deadline = time.perf_counter() + time_limit
    state, bounds = _bounded(choices, start, tolerance, deadline)
    value = _worst(bounds, state)
    if value > state.ahead + state.target:
        value = _searched(state, bounds)
    point = choices.evaluate(state.best)
    allowance = float(rounding_allowance(point))
    gap = max(value - state.ahead, 0.0)
    is_exact = gap <= state.target
    return Proof(point, gap + 2.0 * allowance, is_exact)


def upper_gain(choices: Choices, point: FloatArray, effort: float, deadline: float) -> float:
    """Bound on what any choice gains over a stable one, in seconds, rounding included.

    Parameters
    ----------
    choices : Choices
    point : ndarray, shape (N,)
        Stable.
    effort : float
        Cells are cut until they cost less than this part of the bound.
    deadline : float
        On the clock of `time.perf_counter`.
    """
    base = Base(choices, choices.evaluate(point))
    state = _State(base, 0.0, deadline)
    bounds = _refined(state, _first_bounds(state), effort)
    return max(_worst(bounds, state), 0.0) + 2.0 * float(rounding_allowance(base.point))


def _worst(bounds: Bounds, state: _State) -> float:
    return float(np.max(bounds.value, initial=max(state.ahead, state.closed)))


def _bounded(
    choices: Choices, start: FloatArray, tolerance: float, deadline: float
) -> tuple[_State, Bounds]:
    """Cells around a good base, and what they prove: those that no proof has closed."""
    point = climb(choices, start, pairs=False, deadline=deadline)
    for _ in range(_REBASES):
        state = _State(Base(choices, choices.evaluate(point)), tolerance, deadline)
        bounds = _first_bounds(state)
        if state.is_over or _worst(bounds, state) <= state.ahead + state.target:
            break
        # Cells are fine around the base only: a much better choice becomes the base.
        if state.ahead <= max(state.target, 0.1 * _worst(bounds, state)):
            break
        point = climb(choices, state.best, pairs=False, deadline=deadline)
    return state, _refined(state, bounds, _SETTLED)


def _first_bounds(state: _State) -> Bounds:
    first, last = _cells(state)
    return _cut(state, first, last, price_guesses(state.base, 0.5 * (first + last)))


def _cut(state: _State, first: FloatArray, last: FloatArray, mean_price: FloatArray) -> Bounds:
    """Bound some cells, and note the best choice that comes across."""
    level = state.ahead + state.target
    bounds, gain, point = cell_bounds(state.base, first, last, mean_price, level)
    state.see(gain, point)
    return bounds


def _cells(state: _State) -> tuple[FloatArray, FloatArray]:
    """Cells that cover every change of m1 of a choice better than the base, finer around it."""
    base = state.base
    choices, origin, queue = base.choices, base.point.tokens, base.choices.instance.queue
    least = choices.evaluate(choices.lowest)
    down = choices.shift(origin, choices.lowest).totals()
    up = choices.shift(origin, choices.highest).totals()
    most = choices.shift(origin, choices.best_accuracy).totals()
    # Where nothing takes any time there is still a cell, around no change at all.
    unit = base.mean or base.idle / base.rate
    margin = _MARGIN * max(unit, float(up.mean))
    start = float(down.mean) - margin
    # A better choice has T = benefit − J below this, whatever its accuracies.
    longest = float(base.point.mean_system_time) + float(most.benefit)
    longest += _MARGIN * float(base.point.scale)
    moments = float(least.mean_service_time), float(least.service_time_second_moment)
    if choices.is_level.any():
        # The fewest seconds need not be the fewest squared.
        moments = moments[0], moments[0] ** 2
    idle = float(queue.least_idle(base.rate, longest, *moments)) * (1.0 - _MARGIN)
    end = min(float(up.mean) + margin, (base.idle - idle) / base.rate)
    bend = float(base.point.price_slopes.mean_mean)
    width = 2.0 * np.sqrt(state.target / bend) if bend > 0.0 else unit
    width = max(float(width), _MARGIN * unit)
    edges = [*reversed(_edges(base, -width, start)), *_edges(base, width, end)[1:]]
    cuts = np.array(edges)
    return cuts[:-1], cuts[1:]


def _edges(base: Base, width: float, end: float) -> list[float]:
    """Ends of cells from the base to `end`, each wider than the one before."""
    edges, at = [0.0], 0.0
    while (end - at) * np.sign(width) > 0.0:
        # No cell has more than twice the idle fraction at one end than at the other.
        room = (base.idle - base.rate * at) / base.rate
        width = np.sign(width) * min(abs(width), 0.5 * room if width > 0.0 else room)
        at = min(at + width, end) if width > 0.0 else max(at + width, end)
        edges.append(at)
        width *= _GROWTH
    return edges


def _refined(state: _State, bounds: Bounds, settled: float) -> Bounds:
    """Cut cells until none matters, or only such whose width costs no more than a part of it."""
    kept: list[Bounds] = []
    rounds = _ROUNDS if state.best.size > _SMALL else _FEW_ROUNDS
    for _ in range(rounds):
        is_closed = bounds.value <= state.ahead + state.target
        state.closed = float(np.max(bounds.value[is_closed], initial=state.closed))
        bounds = bounds.take(~is_closed)
        gap = bounds.value - state.ahead
        is_narrow = bounds.value - bounds.at_middle <= settled * gap
        if bounds.first.size > _MOST_CELLS:
            is_narrow[:] = True
        if state.is_over:
            is_narrow[:] = True
        kept.append(bounds.take(is_narrow))
        bounds = bounds.take(~is_narrow)
        if not bounds.first.size:
            break
        bounds = _halved(state, bounds)
    kept.append(bounds)
    return Bounds(*(np.concatenate(columns) for columns in zip(*kept, strict=True)))


def _halved(state: _State, bounds: Bounds) -> Bounds:
    middle = 0.5 * (bounds.first + bounds.last)
    return _cut(
        state,
        np.concatenate([bounds.first, middle]),
        np.concatenate([middle, bounds.last]),
        np.tile(bounds.mean_price, 2),
    )


def _searched(state: _State, bounds: Bounds) -> float:
    """Search the cells that are left; return the bound that this proves.

    A cell whose search does not close it is halved while it is wide, and else searched again with
    more room.
    """
    _look_around(state, bounds)
    todo = [(bounds.take(np.array([row])), _FEW) for row in range(bounds.value.size)]
    value = state.closed
    while todo:
        # The best first: what it finds closes others.
        todo.sort(key=lambda cell: float(cell[0].value[0]))
        cell, most = todo.pop()
        bound = float(cell.value[0])
        if bound <= state.ahead + state.target or state.is_over:
            value = max(value, bound)
            continue
        gap, excess = bound - state.ahead, bound - float(cell.at_middle[0])
        is_wide = max(excess, float(cell.error[0])) > _SETTLED * gap
        reached = min(_search_cell(state, cell, most, only_easy=is_wide), bound)
        if reached <= state.ahead + state.target:
            value = max(value, reached)
        elif is_wide or excess > _NARROW * gap:
            todo += _halves(state, cell, most)
        elif most < _MANY:
            todo.append((cell, _MANY))
        else:
            value = max(value, reached)
    return max(value, state.ahead)


def _halves(state: _State, cell: Bounds, most: int) -> list[tuple[Bounds, int]]:
    halves = _halved(state, cell)
    return [(halves.take(np.array([half])), most) for half in range(2)]


def _look_around(state: _State, bounds: Bounds) -> None:
    """Look for something good before anything is to be proven: proofs of small gaps are short."""
    choices, origin = state.base.choices, state.base.point.tokens
    for row in np.argsort(-bounds.at_middle)[:_LOOKS].tolist():
        before = state.ahead
        _search_cell(state, bounds.take(np.array([row])), _GLANCE, _GLIMPSE)
        climbed = climb(choices, state.best, pairs=True, deadline=state.deadline)
        state.see(float(state.base.gain(choices.shift(origin, climbed).totals())), climbed)
        if state.ahead == before:
            break


def _search_cell(
    state: _State,
    cell: Bounds,
    most: int,
    longest: int | None = None,
    *,
    only_easy: bool = False,
) -> float:
    """Search one cell; return a bound on what its choices gain over the base.

    Where lists are cut to the `longest`, to come across something good, nothing is proven; nor
    where only easy cells are wanted and there are many combinations.
    """
    base, choices = state.base, state.base.choices
    origin = base.point.tokens
    first, last = float(cell.first[0]), float(cell.last[0])
    lists, chosen = _lists(state, cell)
    if longest is not None:
        # The best of long lists are enough to come across something good.
        for share in _LIST_SHARES:
            if lists is not None:
                break
            lists, chosen = _lists(state, cell, share)
    if lists is None:
        return np.inf
    if only_easy and sum(np.log(listed.size) for listed in lists.values()) > _EASY_LOGARITHM:
        return np.inf
    # What cannot exceed the level is not looked for: the last search is content with the tolerance.
    level = state.ahead + (0.5 * state.target if most == _MANY else 0.0)
    shifts = {k: choices.shift_of(k, float(origin[k]), listed) for k, listed in lists.items()}
    settled = chosen.copy()
    for k in lists:
        if lists[k].size == 1:
            settled[k] = lists[k][0]
    reach = _REACH * (last - first)
    share = _LARGE_SHARE if most == _MANY or len(lists) > _EASY else _SMALL_SHARE
    box = _price_box(
        base, cell, list(shifts.values()), _rest(choices, origin, settled, lists), level
    )
    fixed = _negligible(state, shifts, settled, box, share)
    open_types = [k for k in lists if lists[k].size > 1 and k not in fixed.types]
    totals = choices.shift(origin, settled)
    rest = _rest(choices, origin, settled, open_types)
    layers = max(len(open_types), 1)
    widths = reach / layers, box.second_reach / layers
    compared = Corners(box.mean_prices, box.second_prices, widths, share * state.target)
    tangents = _tangents(
        base,
        cell,
        [shifts[k] for k in open_types],
        (first - 2.0 * reach, last + 2.0 * reach),
        float(cell.value[0]) - state.ahead,
    )
    if longest is not None:
        for k in open_types:
            worth = shifts[k].worth(float(cell.mean_price[0]), float(cell.start_price[0]))
            kept = np.sort(np.argsort(-worth, kind="stable")[:longest])
            lists[k] = lists[k][kept]
            shifts[k] = Shift(*(part[kept] for part in shifts[k]))
    found = search(
        base, rest, [shifts[k] for k in open_types], tangents, compared, level, most, state.deadline
    )
    if found.picks is not None:
        point = settled.copy()
        for k, pick in zip(open_types, found.picks, strict=True):
            point[k] = lists[k][pick]
        state.see(float(base.gain(choices.shift(origin, point).totals())), point)
    if longest is not None:
        return np.inf
    allowance = float(base.allowance(np.asarray(last), totals.totals()))
    return max(level, found.gain, found.dropped) + fixed.cost + compared.cost + allowance


def _lists(
    state: _State, cell: Bounds, share: float = 1.0
) -> tuple[dict[int, FloatArray] | None, FloatArray]:
    """Choices by type that may be part of something better, and the best ones at the prices.

    A share below one leaves out what loses more than that part of the gap; then nothing is proven.
    """
    base, choices = state.base, state.base.choices
    nu = float(cell.mean_price[0])
    prices = np.array([cell.start_price[0], cell.end_price[0]])
    budgets = share * (np.array([cell.at_first[0], cell.at_last[0]]) - state.ahead)
    best = choices.best(np.full(2, nu), prices, base.point.tokens)
    spans = [choices.span(best[e], nu, float(prices[e]), float(budgets[e])) for e in range(2)]
    sizes = np.array([choices.sizes(span) for span in spans])
    if sizes.sum() > 2.0 * base.point.tokens.size + _LONGEST_LIST:
        return None, best[0]
    is_single = (best[0] == best[1]) & (sizes <= 1.0).all(axis=0)
    lists: dict[int, FloatArray] = {}
    for k in np.flatnonzero(~is_single).tolist():
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


def _rest(
    choices: Choices, origin: FloatArray, settled: FloatArray, left_out: Iterable[int]
) -> Shift:
    """What the types that are not left out change in all."""
    is_in = np.ones(origin.size, dtype=bool)
    is_in[list(left_out)] = False
    shift = choices.shift(origin, settled)
    return Shift(*(accurate_sum(np.where(is_in, part, 0.0)) for part in shift))


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
    base: Base, cell: Bounds, shifts: list[Shift], rest: Shift, level: float
) -> _PriceBox:
    """Range of the prices of all choices in a cell that exceed a level.

    The bound of the cell with p ± θ in place of p says how far m2 can be off: if Σ is the largest
    sum at p − θ, then level < Σ − θ Δm2.
    """
    nu = float(cell.mean_price[0])
    first, last = float(cell.first[0]), float(cell.last[0])
    ends = _tangents(base, cell, [], (first, last), 0.0)
    least = float(rest.second) + sum(float(shift.second.min()) for shift in shifts)
    most = float(rest.second) + sum(float(shift.second.max()) for shift in shifts)
    for share in _PRICE_SHARES:
        for sign in (1.0, -1.0):
            # (2,): one for each end.
            prices = ends.second_prices * (1.0 + sign * share)
            theta = sign * share * ends.second_prices
            top = rest.worth(nu, prices) + ends.constants[0]
            for shift in shifts:
                spread = Shift(*(part[:, np.newaxis] for part in shift))
                top = top + spread.worth(nu, prices).max(axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                limits = (level - top) / theta
            if sign > 0.0:
                least = np.fmax(least, np.min(limits))
            else:
                most = np.fmin(most, np.max(limits))
    reach = _REACH * (last - first)
    spread_second = max(float(most - least), 0.0)
    corners = []
    for at, second in (
        (first - 2.0 * reach, least - 2.0 * spread_second),
        (last + 2.0 * reach, most + 2.0 * spread_second),
    ):
        idle = float(base.idle_at(np.asarray(at)))
        moment = max(base.second + float(second), 0.0)
        pressure = base.congested + 0.5 * base.by_second * base.rate * moment
        corners.append((base.share + pressure / idle**2, 0.5 * base.by_second / idle))
    means, seconds = (np.array(part) for part in zip(*corners, strict=True))
    return _PriceBox(np.repeat(means, 2), np.tile(seconds, 2), reach, spread_second)


class _Fixed(NamedTuple):
    types: set[int]
    cost: float
    """What fixing them costs at most in all, in seconds."""


def _negligible(
    state: _State, shifts: dict[int, Shift], settled: FloatArray, box: _PriceBox, share: float
) -> _Fixed:
    """Types that may be fixed at what was chosen for them.

    By the mean value theorem along the segment from the moments of any choice to those with these
    types fixed, J falls by no more than what the types lose at some prices on that segment, the
    same for all. A loss is convex in the prices: it is largest at a corner of their range.
    """
    choices = state.base.choices
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
        if cost + float(losses[k]) > share * state.target:
            break
        if mean > box.reach or second > box.second_reach:
            break
        cost += float(losses[k])
        fixed.add(k)
    return _Fixed(fixed, cost)


def _tangents(
    base: Base, cell: Bounds, lists: list[Shift], ends: tuple[float, float], gap: float
) -> Tangents:
    """The bounds of a cell between other ends, at several prices around its own."""
    middle, at = 0.5 * (ends[0] + ends[1]), np.array(ends)
    price, price_slope = base.second_price_at(np.asarray(middle))
    cost, slope = base.cost(np.asarray(middle))
    widest = max((float(np.ptp(shift.mean)) for shift in lists), default=0.0)
    unit = gap / widest if widest > 0.0 else 0.0
    prices = np.unique(np.maximum(float(cell.mean_price[0]) + unit * _OFFSETS, 0.0))[:, np.newaxis]
    return Tangents(
        prices,
        price + price_slope * (at - middle),
        prices * at - (cost + slope * (at - middle)),
    )
