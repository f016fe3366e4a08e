"""The best choice of all, with a proof: parts without holes, each bounded, then searched."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.cell_search import glance, search_cell
from cvxqueue.integer.cells import Base, Bounds
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Incumbent, target_of
from cvxqueue.integer.local_search import local_search
from cvxqueue.integer.partition import SETTLED, bounded, first_ceiling, halved, worst
from cvxqueue.model import Evaluation
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solution import Solution

# One whose bound exceeds that of its middle by less than this part of the gap is not worth cutting
# when its search fails.
_NARROW = 0.005
# Cells that are looked into before anything is to be proven.
_LOOKS = 3
# Part of the tolerance that proofs are sought to: the scale may fall before the best is found.
_SOUGHT = 0.97


class Proof(NamedTuple):
    """A choice and what is proven of it."""

    point: Evaluation
    gap: float
    """Bound on what any choice gains over it, in seconds, rounding included."""
    is_exact: bool
    """Whether that is within the tolerance, or within what rounding can do to the objective."""


def best_choice(
    choices: Choices,
    start: FloatArray,
    relaxed: Solution | None,
    tolerance: float,
    deadline: Deadline,
) -> Proof:
    """Find the best choice, and prove it to `tolerance` relative to `scale`.

    Parameters
    ----------
    choices : Choices
        Some of them stable.
    start : ndarray, shape (N,)
        A stable choice to begin with.
    relaxed : Solution or None
        The continuous answer over a box that has all choices, which bounds what they gain.
    tolerance : float
    deadline : Deadline
    """
    start = local_search(choices, start, is_thorough=False, deadline=deadline)
    ceiling = first_ceiling(choices, choices.evaluate(start), relaxed)
    tree = _Tree(choices, start, ceiling, _SOUGHT * tolerance, deadline)
    tree.search()
    point = choices.evaluate(tree.best)
    is_exact = tree.gap <= target_of(point, tolerance)
    return Proof(point, tree.gap + 2.0 * float(rounding_allowance(point)), is_exact)


class _Node(NamedTuple):
    """A part of the choices, bounded by cells around a base of its own."""

    incumbent: Incumbent
    bounds: Bounds
    ceiling: float
    """The excess of what it is a part of."""

    @property
    def excess(self) -> float:
        """Bound on what its choices gain over the best of all, in seconds."""
        own = worst(self.bounds, self.incumbent) - self.incumbent.ahead
        return min(own, self.ceiling)


class _Tree:
    """Parts of the choices, split at the holes that types jump over.

    Parameters
    ----------
    choices : Choices
    start : ndarray, shape (N,)
        A stable choice that no neighbor improves.
    ceiling : float
        Bound on what any choice gains over it, in seconds.
    tolerance : float
        Relative to the scale of the best choice.
    deadline : Deadline
    """

    def __init__(
        self,
        choices: Choices,
        start: FloatArray,
        ceiling: float,
        tolerance: float,
        deadline: Deadline,
    ) -> None:
        self.choices, self.tolerance, self.deadline = choices, tolerance, deadline
        self.target, self.gap = np.inf, 0.0
        self.nodes: list[_Node] = []
        self._see(start)
        if ceiling <= self.target or deadline.is_over:
            self.gap = ceiling
        else:
            self._bound(choices, start, ceiling)

    def search(self) -> None:
        """Close all parts, or put on record what is left of those that cannot be."""
        while self.nodes and not self.deadline.is_over:
            self.nodes.sort(key=lambda node: node.excess)
            node = self.nodes.pop()
            incumbent = node.incumbent
            incumbent.compare(self.best)
            incumbent.target = self.target
            excess = node.excess
            if excess > self.target:
                if incumbent.closed > incumbent.ahead + self.target:
                    # What was proven of closed cells is too little for the best since then.
                    self._grow(incumbent.base.choices, self.best, excess)
                    continue
                parts = _split(node)
                if parts is not None:
                    for part in parts:
                        self._grow(part, incumbent.base.point.tokens, excess)
                    continue
                found = _searched(self.choices, incumbent, node.bounds) - incumbent.ahead
                excess = min(found, excess)
                self._see(incumbent.best)
            self.gap = max(self.gap, excess)
        self.gap = max([self.gap, *(node.excess for node in self.nodes)])

    def _grow(self, part: Choices, start: FloatArray, ceiling: float) -> None:
        start = part.moved_into(start)
        if not part.evaluate(start).is_stable:
            start = part.lowest
            if not part.evaluate(start).is_stable:
                return
        start = local_search(part, start, is_thorough=False, deadline=self.deadline)
        self._bound(part, start, ceiling)

    def _bound(self, part: Choices, start: FloatArray, ceiling: float) -> None:
        incumbent, bounds = bounded(part, start, self._target_at, self.deadline)
        incumbent.compare(self.best)
        self._see(incumbent.best)
        self.nodes.append(_Node(incumbent, bounds, ceiling))

    def _target_at(self, base: Base) -> float:
        """What is to be proven around a base: no more than around the best choice so far."""
        return min(self.target, target_of(base.point, self.tolerance))

    def _see(self, best: FloatArray) -> None:
        self.best = best
        self.target = min(self.target, target_of(self.choices.evaluate(best), self.tolerance))


def _split(node: _Node) -> tuple[Choices, Choices] | None:
    """Two parts without the hole that a type jumps over furthest, if any does.

    Tables alone need no parts: their lists are short.
    """
    choices, bounds = node.incumbent.base.choices, node.bounds
    if choices.is_tabled.all():
        return None
    cell = int(np.argmax(bounds.value))
    alternatives = choices.alternatives(
        float(bounds.mean_price[cell]), float(bounds.start_price[cell])
    )
    jumps = np.where(alternatives.losses <= node.excess, alternatives.jumps, 0.0)
    k = int(np.argmax(jumps))
    return choices.split(k, float(alternatives.choice[k])) if jumps[k] > 0.0 else None


def _searched(whole: Choices, incumbent: Incumbent, bounds: Bounds) -> float:
    """Search the cells that are left of a part of the whole; return the bound that this proves.

    A cell whose search does not close it is halved while it is wide, and else searched again with
    more room, unless every choice in it was looked at.
    """
    _look_around(whole, incumbent, bounds)
    todo = [(bounds.take(np.array([row])), False) for row in range(bounds.value.size)]
    value = incumbent.closed
    while todo:
        # The best first: what it finds closes others.
        todo.sort(key=lambda cell: float(cell[0].value[0]))
        cell, is_last = todo.pop()
        bound = float(cell.value[0])
        if incumbent.is_over:
            # No other cell has a larger bound.
            value = max(value, bound)
            break
        if bound <= incumbent.ahead + incumbent.target:
            value = max(value, bound)
            continue
        gap, excess = bound - incumbent.ahead, bound - float(cell.at_middle[0])
        can_halve = bool(cell.is_divisible[0])
        is_wide = can_halve and max(excess, float(cell.error[0])) > SETTLED * gap
        found = search_cell(incumbent, cell, is_last=is_last, only_easy=is_wide)
        reached = min(found.bound, bound)
        if found.is_complete or reached <= incumbent.ahead + incumbent.target:
            value = max(value, reached)
        elif is_wide or (can_halve and excess > _NARROW * gap):
            halves = halved(incumbent, cell)
            todo += [(halves.take(np.array([k])), is_last) for k in range(halves.value.size)]
        elif not is_last:
            todo.append((cell, True))
        else:
            value = max(value, reached)
    return max(value, incumbent.ahead)


def _look_around(whole: Choices, incumbent: Incumbent, bounds: Bounds) -> None:
    """Look for something good before anything is to be proven: proofs of small gaps are short."""
    for row in np.argsort(-bounds.at_middle)[:_LOOKS].tolist():
        before = incumbent.ahead
        glance(incumbent, bounds.take(np.array([row])))
        incumbent.compare(
            local_search(whole, incumbent.best, is_thorough=True, deadline=incumbent.deadline)
        )
        if incumbent.ahead == before:
            break
