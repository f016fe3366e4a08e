"""The best choice of all, with a proof: parts without holes, each bounded, then searched."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.cell_search import primal_heuristic, search_cell
from cvxqueue.integer.cells import Bounds
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Base, Incumbent, Proof, target_of
from cvxqueue.integer.local_search import local_search
from cvxqueue.integer.partition import NARROW_SHARE, bounded, first_ceiling, halved, worst
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solution import Solution

# One whose bound exceeds that of its middle by less than this part of the gap is not worth cutting
# when its search fails.
_NARROW = 0.005
# Cells of which the primal heuristic looks for a good choice before anything is to be proven.
_HEURISTIC_CELLS = 3
# Part of the tolerance that proofs are sought to: the scale may fall before the best is found.
_SOUGHT = 0.97


def best_choice(
    choices: Choices,
    start: FloatArray,
    relaxed: Solution | None,
    tolerance: float,
    deadline: Deadline,
) -> Proof:
    """Find the best choice, from a stable one, and prove it to `tolerance` relative to `scale`."""
    start = local_search(choices, start, deadline)
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
    """The gap of what it is a part of."""

    @property
    def gap(self) -> float:
        """Bound on what its choices gain over the best of all, in seconds."""
        own = worst(self.bounds, self.incumbent) - self.incumbent.gain
        return min(own, self.ceiling)


class _Tree:
    """Parts of the choices, split at the holes that types jump over.

    It begins with a stable choice that no neighbor improves, over which no choice gains more than
    the ceiling; the tolerance is relative to the scale of the best choice.
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
        self._update(start)
        if ceiling <= self.target or deadline.is_over:
            self.gap = ceiling
        else:
            self._bound(choices, start, ceiling)

    def search(self) -> None:
        """Close all parts, or put on record what is left of those that cannot be."""
        while self.nodes and not self.deadline.is_over:
            self.nodes.sort(key=lambda node: node.gap)
            node = self.nodes.pop()
            incumbent = node.incumbent
            incumbent.update_with(self.best)
            incumbent.target = self.target
            gap = node.gap
            if gap > self.target:
                if incumbent.pruned > incumbent.cutoff:
                    # What was proven of pruned cells is too little for the best since then.
                    self._branch(incumbent.base.choices, self.best, gap)
                    continue
                parts = _split(node)
                if parts is not None:
                    for part in parts:
                        self._branch(part, incumbent.base.point.tokens, gap)
                    continue
                gap = min(_search_cells(self.choices, incumbent, node.bounds), gap)
                self._update(incumbent.best)
            self.gap = max(self.gap, gap)
        self.gap = max([self.gap, *(node.gap for node in self.nodes)])

    def _branch(self, part: Choices, start: FloatArray, ceiling: float) -> None:
        start = part.moved_into(start)
        if not part.evaluate(start).is_stable:
            start = part.lowest
            if not part.evaluate(start).is_stable:
                return
        self._bound(part, local_search(part, start, self.deadline), ceiling)

    def _bound(self, part: Choices, start: FloatArray, ceiling: float) -> None:
        incumbent, bounds = bounded(part, start, self._target_at, self.deadline)
        incumbent.update_with(self.best)
        self._update(incumbent.best)
        self.nodes.append(_Node(incumbent, bounds, ceiling))

    def _target_at(self, base: Base) -> float:
        """What is to be proven around a base: no more than around the best choice so far."""
        return min(self.target, target_of(base.point, self.tolerance))

    def _update(self, best: FloatArray) -> None:
        self.best = best
        self.target = min(self.target, target_of(self.choices.evaluate(best), self.tolerance))


def _split(node: _Node) -> tuple[Choices, Choices] | None:
    """Two parts without the hole that a type jumps over furthest, if any does."""
    choices, bounds = node.incumbent.base.choices, node.bounds
    # The lists of tables are short.
    if choices.is_tabled.all():
        return None
    cell = int(np.argmax(bounds.value))
    alternatives = choices.alternatives(
        float(bounds.mean_price[cell]), float(bounds.start_price[cell])
    )
    jumps = np.where(alternatives.losses <= node.gap, alternatives.jumps, 0.0)
    k = int(np.argmax(jumps))
    return choices.split(k, float(alternatives.choice[k])) if jumps[k] > 0.0 else None


def _search_cells(whole: Choices, incumbent: Incumbent, bounds: Bounds) -> float:
    """Search the cells that are left of a part of the whole; return the gap that this proves.

    A cell whose search does not prune it is halved while it is wide, and else searched again with
    more room, unless every choice in it was looked at.
    """
    _run_heuristic(whole, incumbent, bounds)
    todo = [(bounds.take(np.array([row])), False) for row in range(bounds.value.size)]
    value = incumbent.pruned
    while todo:
        # The best first: what it finds prunes others.
        todo.sort(key=lambda cell: float(cell[0].value[0]))
        cell, is_last = todo.pop()
        bound = float(cell.value[0])
        if incumbent.deadline.is_over:
            # No other cell has a larger bound.
            value = max(value, bound)
            break
        if bound <= incumbent.cutoff:
            value = max(value, bound)
            continue
        gap, excess = bound - incumbent.gain, bound - float(cell.at_middle[0])
        can_halve = bool(cell.is_divisible[0])
        is_wide = can_halve and max(excess, float(cell.error[0])) > NARROW_SHARE * gap
        found = search_cell(incumbent, cell, is_last=is_last, only_easy=is_wide)
        bound = min(found.bound, bound)
        is_proven = found.is_complete or bound <= incumbent.cutoff
        if not is_proven and (is_wide or (can_halve and excess > _NARROW * gap)):
            halves = halved(incumbent, cell)
            todo += [(halves.take(np.array([k])), is_last) for k in range(halves.value.size)]
        elif not is_proven and not is_last:
            todo.append((cell, True))
        else:
            value = max(value, bound)
    return max(value - incumbent.gain, 0.0)


def _run_heuristic(whole: Choices, incumbent: Incumbent, bounds: Bounds) -> None:
    """Look for a good choice before anything is to be proven: proofs of small gaps are short."""
    for row in np.argsort(-bounds.at_middle)[:_HEURISTIC_CELLS].tolist():
        before = incumbent.gain
        primal_heuristic(incumbent, bounds.take(np.array([row])))
        incumbent.update_with(
            local_search(whole, incumbent.best, incumbent.deadline, is_thorough=True)
        )
        if incumbent.gain == before:
            break
