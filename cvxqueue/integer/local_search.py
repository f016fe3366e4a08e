"""Local search: change types, each by little or much, or two that help only together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.deadline import Deadline
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.increments import Increments
from cvxqueue.integer.incumbent import Base
from cvxqueue.numerics.arrays import FloatArray

# Each changes as many types as help; two or three are usual.
_MOST_MOVES = 200
# Pairs are made of so many of the single changes that lose least at the prices.
_PAIRED = 120


class _Moves(NamedTuple):
    types: NDArray[np.intp]
    to: FloatArray
    increments: Increments


def local_search(
    choices: Choices, point: FloatArray, deadline: Deadline, *, is_thorough: bool = False
) -> FloatArray:
    """Return a choice that no change of one type to a neighboring choice improves, given the time.

    It begins at a stable point. A thorough search tries longer changes of one type, and changes of
    two at once, as well.
    """
    for _ in range(_MOST_MOVES):
        if deadline.is_over:
            break
        base = Base(choices, choices.evaluate(point))
        targets = [*choices.neighbors(point), *choices.with_entries(point)]
        targets += [*choices.leaps(point)] if is_thorough else []
        to = np.array(targets)
        types, rows = np.nonzero((to != point).T)
        increments = choices.increments(point, to).take((rows, types))
        moves = _Moves(types, to[rows, types], increments)
        changed = _best_together(base, moves)
        if changed is None and is_thorough:
            changed = _best_pair(base, moves)
        if changed is None:
            break
        point = point.copy()
        point[moves.types[changed]] = moves.to[changed]
    return point


def _best_together(base: Base, moves: _Moves) -> NDArray[np.intp] | None:
    """The best changes, one for each type, as many of them at once as gain most."""
    gains = base.gain(moves.increments)
    (helpful,) = np.nonzero(gains > 0.0)
    if not helpful.size:
        return None
    order = helpful[np.argsort(-gains[helpful], kind="stable")]
    _, first = np.unique(moves.types[order], return_index=True)
    order = order[np.sort(first)]
    together = base.gain(Increments(*(np.cumsum(part[order]) for part in moves.increments)))
    return order[: int(np.argmax(together)) + 1]


def _best_pair(base: Base, moves: _Moves) -> NDArray[np.intp] | None:
    if not moves.types.size:
        return None
    net = moves.increments.net_benefit(base.mean_price, base.second_price)
    kept = np.argsort(-net, kind="stable")[:_PAIRED]
    gains = base.gain(
        Increments(*(part[kept, np.newaxis] + part[kept] for part in moves.increments))
    )
    gains[moves.types[kept, np.newaxis] == moves.types[kept]] = -np.inf
    best = int(np.argmax(gains))
    if gains.flat[best] <= 0.0:
        return None
    pair: NDArray[np.intp] = kept[np.array(divmod(best, kept.size))]
    return pair
