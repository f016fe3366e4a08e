"""Local search: change types, each by little or much, or two that help only together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.deadline import Deadline
from cvxqueue.integer.cells import Base
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.increments import Increments
from cvxqueue.numerics.arrays import FloatArray

_ROUNDS = 200
# Pairs are made of so many of the single changes that lose least at the prices.
_PAIRED = 120


class _Moves(NamedTuple):
    types: NDArray[np.intp]
    to: FloatArray
    shift: Increments


def local_search(
    choices: Choices, point: FloatArray, *, is_thorough: bool, deadline: Deadline
) -> FloatArray:
    """Return a choice that no change of one type to a neighboring choice improves, given the time.

    Parameters
    ----------
    choices : Choices
    point : ndarray, shape (N,)
        A stable choice.
    is_thorough : bool
        Whether to try longer changes of one type, and changes of two at once, as well.
    deadline : Deadline
    """
    for _ in range(_ROUNDS):
        if deadline.is_over:
            break
        base = Base(choices, choices.evaluate(point))
        moves = _moves(choices, point, is_thorough=is_thorough)
        changed = _best_together(base, moves)
        if changed is None and is_thorough:
            changed = _best_pair(base, moves)
        if changed is None:
            break
        point = point.copy()
        point[moves.types[changed]] = moves.to[changed]
    return point


def _moves(choices: Choices, point: FloatArray, *, is_thorough: bool) -> _Moves:
    """Changes of one type to its neighbors, or to any entry of a table; maybe longer ones."""
    targets = np.concatenate([np.array(choices.neighbors(point)), choices.with_entries(point)])
    if is_thorough:
        targets = np.concatenate([targets, choices.leaps(point)])
    types, rows = np.nonzero((targets != point).T)
    shift = choices.shift(point, targets)
    return _Moves(types, targets[rows, types], Increments(*(part[rows, types] for part in shift)))


def _best_together(base: Base, moves: _Moves) -> NDArray[np.intp] | None:
    """The best changes, one for each type, as many of them at once as gain most."""
    gains = base.gain(moves.shift)
    (helpful,) = np.nonzero(gains > 0.0)
    if not helpful.size:
        return None
    order = helpful[np.argsort(-gains[helpful], kind="stable")]
    _, first = np.unique(moves.types[order], return_index=True)
    order = order[np.sort(first)]
    together = base.gain(Increments(*(np.cumsum(part[order]) for part in moves.shift)))
    return order[: int(np.argmax(together)) + 1]


def _best_pair(base: Base, moves: _Moves) -> NDArray[np.intp] | None:
    if not moves.types.size:
        return None
    worth = moves.shift.worth(base.mean_price, base.second_price)
    kept = np.argsort(-worth, kind="stable")[:_PAIRED]
    both = Increments(*(part[kept, np.newaxis] + part[kept] for part in moves.shift))
    gains = base.gain(both)
    gains[moves.types[kept, np.newaxis] == moves.types[kept]] = -np.inf
    best = int(np.argmax(gains))
    if gains.flat[best] <= 0.0:
        return None
    pair: NDArray[np.intp] = kept[np.array(divmod(best, kept.size))]
    return pair
