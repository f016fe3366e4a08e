"""The best choice of all, with a proof: bounds by cells, then a search of what they leave."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.integer.cell_search import glance, search_cell
from cvxqueue.integer.cells import Base, Bounds, cell_bounds, price_guesses
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.climb import climb
from cvxqueue.integer.incumbent import Incumbent, target_of
from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray

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
# One whose bound exceeds that of its middle by less than this part of the gap is not worth cutting
# when its search fails.
_NARROW = 0.005
# Cells that are looked into before anything is to be proven.
_LOOKS = 3
# What rounding may have cost an end of a range, relative to its size.
_MARGIN = 1e-9


class Proof(NamedTuple):
    """A choice and what is proven of it."""

    point: Evaluation
    gap: float
    """Bound on what any choice gains over it, in seconds, rounding included."""
    is_exact: bool
    """Whether that is within the tolerance, or within what rounding can do to the objective."""


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
    tree = _Tree(choices, start, tolerance, time.perf_counter() + time_limit)
    tree.search()
    point = choices.evaluate(tree.best)
    return Proof(point, tree.gap + 2.0 * float(rounding_allowance(point)), tree.is_proven)


class _Node(NamedTuple):
    """A part of the choices, bounded by cells around a base of its own."""

    incumbent: Incumbent
    bounds: Bounds
    ceiling: float
    """The excess of what it is a part of."""

    @property
    def excess(self) -> float:
        """Bound on what its choices gain over the best of all, in seconds."""
        own = _worst(self.bounds, self.incumbent) - self.incumbent.ahead
        return min(own, self.ceiling)


class _Tree:
    """Parts of the choices, split at types that may have no tokens or many.

    Parameters
    ----------
    choices : Choices
    start : ndarray, shape (N,)
        A stable choice to begin with.
    tolerance : float
        Relative to the scale of the first base.
    deadline : float
        On the clock of `time.perf_counter`.
    """

    def __init__(
        self, choices: Choices, start: FloatArray, tolerance: float, deadline: float
    ) -> None:
        self.choices = choices
        incumbent, bounds = _bounded(choices, start, deadline, tolerance=tolerance)
        self.target, self.deadline, self.best = incumbent.target, deadline, incumbent.best
        self.nodes, self.gap = [_Node(incumbent, bounds, np.inf)], 0.0

    @property
    def is_proven(self) -> bool:
        """Whether no choice is better by more than the target."""
        return self.gap <= self.target

    def search(self) -> None:
        """Close all parts, or put on record what is left of those that cannot be."""
        while self.nodes:
            self.nodes.sort(key=lambda node: node.excess)
            node = self.nodes.pop()
            incumbent = node.incumbent
            incumbent.compare(self.best)
            excess = node.excess
            if excess > self.target and not incumbent.is_over:
                parts = _split(node)
                if parts is not None:
                    for part in parts:
                        self._grow(part, incumbent.base.point.tokens, excess)
                    continue
                found = _searched(self.choices, incumbent, node.bounds) - incumbent.ahead
                excess = min(found, excess)
                self.best = incumbent.best
            self.gap = max(self.gap, excess)

    def _grow(self, part: Choices, start: FloatArray, ceiling: float) -> None:
        start = part.moved_into(start)
        if not part.evaluate(start).is_stable:
            start = part.lowest
            if not part.evaluate(start).is_stable:
                return
        incumbent, bounds = _bounded(part, start, self.deadline, target=self.target)
        incumbent.compare(self.best)
        self.best = incumbent.best
        self.nodes.append(_Node(incumbent, bounds, ceiling))


def _split(node: _Node) -> tuple[Choices, Choices] | None:
    """Two parts without the hole that a type jumps over furthest, if any does.

    Tables alone need no parts: their lists are short.
    """
    choices, bounds = node.incumbent.base.choices, node.bounds
    if not choices.has_lattice:
        return None
    cell = int(np.argmax(bounds.value))
    rivals = choices.rivals(float(bounds.mean_price[cell]), float(bounds.start_price[cell]))
    jumps = np.where(rivals.losses <= node.excess, rivals.jumps, 0.0)
    k = int(np.argmax(jumps))
    return choices.split(k, float(rivals.choice[k])) if jumps[k] > 0.0 else None


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
    incumbent = Incumbent(base, target_of(base, 0.0), deadline)
    bounds = _refined(incumbent, _first_bounds(incumbent), effort)
    return max(_worst(bounds, incumbent), 0.0) + 2.0 * float(rounding_allowance(base.point))


def _worst(bounds: Bounds, incumbent: Incumbent) -> float:
    return float(np.max(bounds.value, initial=max(incumbent.ahead, incumbent.closed)))


def _bounded(
    choices: Choices,
    start: FloatArray,
    deadline: float,
    *,
    tolerance: float = 0.0,
    target: float | None = None,
) -> tuple[Incumbent, Bounds]:
    """Cells around a good base, and what they prove: those that no proof has closed."""
    point = climb(choices, start, is_thorough=False, deadline=deadline)
    for _ in range(_REBASES):
        base = Base(choices, choices.evaluate(point))
        seconds = target_of(base, tolerance) if target is None else target
        incumbent = Incumbent(base, seconds, deadline)
        bounds = _first_bounds(incumbent)
        if incumbent.is_over or _worst(bounds, incumbent) <= incumbent.ahead + incumbent.target:
            break
        # Cells are fine around the base only: a much better choice becomes the base.
        if incumbent.ahead <= max(incumbent.target, 0.1 * _worst(bounds, incumbent)):
            break
        point = climb(choices, incumbent.best, is_thorough=False, deadline=deadline)
    return incumbent, _refined(incumbent, bounds, _SETTLED)


def _first_bounds(incumbent: Incumbent) -> Bounds:
    first, last = _cells(incumbent)
    return _cut(incumbent, first, last, price_guesses(incumbent.base, 0.5 * (first + last)))


def _cut(
    incumbent: Incumbent, first: FloatArray, last: FloatArray, mean_price: FloatArray
) -> Bounds:
    """Bound some cells, and note the best choice that comes across."""
    level = incumbent.ahead + incumbent.target
    bounds, gain, point = cell_bounds(incumbent.base, first, last, mean_price, level)
    incumbent.see(gain, point)
    return bounds


def _cells(incumbent: Incumbent) -> tuple[FloatArray, FloatArray]:
    """Cells that cover every change of m1 of a choice better than the base, finer around it."""
    base = incumbent.base
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
    width = 2.0 * np.sqrt(incumbent.target / bend) if bend > 0.0 else unit
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


def _refined(incumbent: Incumbent, bounds: Bounds, settled: float) -> Bounds:
    """Cut cells until none matters, or only such whose width costs no more than a part of it."""
    kept: list[Bounds] = []
    rounds = _ROUNDS if incumbent.best.size > _SMALL else _FEW_ROUNDS
    for _ in range(rounds):
        is_closed = bounds.value <= incumbent.ahead + incumbent.target
        incumbent.closed = float(np.max(bounds.value[is_closed], initial=incumbent.closed))
        bounds = bounds.take(~is_closed)
        gap = bounds.value - incumbent.ahead
        is_narrow = bounds.value - bounds.at_middle <= settled * gap
        if bounds.first.size > _MOST_CELLS:
            is_narrow[:] = True
        if incumbent.is_over:
            is_narrow[:] = True
        kept.append(bounds.take(is_narrow))
        bounds = bounds.take(~is_narrow)
        if not bounds.first.size:
            break
        bounds = _halved(incumbent, bounds)
    kept.append(bounds)
    return Bounds(*(np.concatenate(columns) for columns in zip(*kept, strict=True)))


def _halved(incumbent: Incumbent, bounds: Bounds) -> Bounds:
    middle = 0.5 * (bounds.first + bounds.last)
    return _cut(
        incumbent,
        np.concatenate([bounds.first, middle]),
        np.concatenate([middle, bounds.last]),
        np.tile(bounds.mean_price, 2),
    )


def _searched(choices: Choices, incumbent: Incumbent, bounds: Bounds) -> float:
    """Search the cells that are left; return the bound that this proves.

    A cell whose search does not close it is halved while it is wide, and else searched again with
    more room, unless every choice in it was looked at.
    """
    _look_around(choices, incumbent, bounds)
    todo = [(bounds.take(np.array([row])), False) for row in range(bounds.value.size)]
    value = incumbent.closed
    while todo:
        # The best first: what it finds closes others.
        todo.sort(key=lambda cell: float(cell[0].value[0]))
        cell, is_last = todo.pop()
        bound = float(cell.value[0])
        if bound <= incumbent.ahead + incumbent.target or incumbent.is_over:
            value = max(value, bound)
            continue
        gap, excess = bound - incumbent.ahead, bound - float(cell.at_middle[0])
        is_wide = max(excess, float(cell.error[0])) > _SETTLED * gap
        found = search_cell(incumbent, cell, is_last=is_last, only_easy=is_wide)
        reached = min(found.bound, bound)
        if found.is_complete or reached <= incumbent.ahead + incumbent.target:
            value = max(value, reached)
        elif is_wide or excess > _NARROW * gap:
            todo += [(half, is_last) for half in _halves(incumbent, cell)]
        elif not is_last:
            todo.append((cell, True))
        else:
            value = max(value, reached)
    return max(value, incumbent.ahead)


def _halves(incumbent: Incumbent, cell: Bounds) -> list[Bounds]:
    halves = _halved(incumbent, cell)
    return [halves.take(np.array([half])) for half in range(2)]


def _look_around(choices: Choices, incumbent: Incumbent, bounds: Bounds) -> None:
    """Look for something good before anything is to be proven: proofs of small gaps are short."""
    for row in np.argsort(-bounds.at_middle)[:_LOOKS].tolist():
        before = incumbent.ahead
        glance(incumbent, bounds.take(np.array([row])))
        incumbent.compare(
            climb(choices, incumbent.best, is_thorough=True, deadline=incumbent.deadline)
        )
        if incumbent.ahead == before:
            break
