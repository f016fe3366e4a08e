"""Search through the choices that a bound leaves, type by type, with what is dropped on record.

A partial choice, of some of the types, is bounded by what it gains at given prices plus the best
that the remaining types can add. With several prices of mean service at a time, a partial choice
whose mean is off is bounded by a price that the remaining types cannot make good at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.deadline import Deadline
from cvxqueue.integer.cells import Base
from cvxqueue.integer.increments import Increments
from cvxqueue.numerics.arrays import FloatArray

# Extensions of partial choices that are looked at at a time.
_CHUNK = 200_000
# Nor are more than so many looked at in all for each that may be kept.
_CROWD = 20
# Fewer partial choices are not compared with each other.
_COMPARED = 2_000


class Tangents(NamedTuple):
    """Bounds that are sums over types at prices (ν_i, p_e), for several ν and both ends of a cell.

    For every choice in the cell and every i, J − J⁰ is at most the larger of the two sums
    Σ [Δbenefit − ν_i Δmean − p_e Δsecond] + constant_ie.
    """

    mean_prices: FloatArray
    """ν_i, shape (P, 1)."""
    second_prices: FloatArray
    """p_e, shape (2,)."""
    constants: FloatArray
    """Shape (P, 2), in seconds."""

    def worth(self, shift: Increments) -> FloatArray:
        """Worth at each of the prices, shape (..., P, 2)."""
        spread = Increments(*(np.asarray(part)[..., np.newaxis, np.newaxis] for part in shift))
        return spread.worth(self.mean_prices, self.second_prices)


class Corners(NamedTuple):
    """Range of the prices in a cell, and what may be lost to comparisons."""

    mean_prices: FloatArray
    """∂T/∂m1 at the corners, shape (4,)."""
    second_prices: FloatArray
    """∂T/∂m2 at the corners, shape (4,)."""
    widths: tuple[float, float]
    """How far the moments of two partial choices may be apart to be compared, s and s²."""
    cost: float
    """Seconds that may be lost to all comparisons."""

    def worth(self, sums: FloatArray) -> FloatArray:
        """Worth of partial choices, shape (S, 3), at the corners, shape (S, 4)."""
        return Increments(*sums.T[..., np.newaxis]).worth(self.mean_prices, self.second_prices)


class Found(NamedTuple):
    """What the search found."""

    gain: float
    """What the best choice gains over the base, in seconds; −inf where none was found."""
    picks: NDArray[np.intp] | None
    """Its entry of the list of each type."""
    bound: float
    """Bound on every choice that was looked at, rounding included; −inf where none was."""
    dropped: float
    """Bound on every choice that was left out for want of room; −inf where none was."""


def _good_enough(losses: FloatArray, room: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Runs of choices, (J,), that may lose no more than each partial choice has room for, (S,).

    Parameters
    ----------
    losses : ndarray, shape (J, P)
    room : ndarray, shape (S, P)

    Returns
    -------
    start, counts : ndarray of int, shape (S,)
    """
    start = np.zeros(len(room), dtype=np.intp)
    stop = np.full(len(room), len(losses), dtype=np.intp)
    for lost, left in zip(losses.T, room.T, strict=True):
        # Least losses so far, from either end: the first and the last choice with less to lose.
        down, up = np.minimum.accumulate(lost), np.minimum.accumulate(lost[::-1])[::-1]
        start = np.maximum(start, np.searchsorted(-down, -left, side="left"))
        stop = np.minimum(stop, np.searchsorted(up, left, side="right"))
    return start, np.maximum(stop - start, 0)


def _chunks(counts: NDArray[np.intp]) -> Iterator[slice]:
    """Runs of partial choices with so many extensions that arrays over these stay small."""
    total = np.cumsum(counts)
    start = 0
    while start < counts.size:
        done = total[start - 1] if start else 0
        stop = max(int(np.searchsorted(total, done + _CHUNK, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def _top(values: FloatArray) -> float:
    return float(np.max(values, initial=-np.inf))


def _undominated(corners: Corners, sums: FloatArray, cost: float) -> NDArray[np.intp]:
    """Partial choices that no other one replaces at a cost of at most `cost`.

    By the mean value theorem, replacing one by another changes the objective of what completes it
    by the difference of their worths at some prices of the segment between: at most the largest at
    the corners of the range.
    """
    worth = corners.worth(sums)
    if min(corners.widths) <= 0.0:
        return np.arange(worth.shape[0])
    buckets = np.floor(sums[:, 1:] / corners.widths)
    order = np.lexsort((-worth.sum(axis=-1), *buckets.T))
    is_first = np.append(True, np.diff(buckets[order], axis=0).any(axis=-1))
    leader = order[is_first][np.cumsum(is_first) - 1]
    lost = (worth[order] - worth[leader]).max(axis=-1)
    return np.sort(order[is_first | (lost > cost)])


class _Layer(NamedTuple):
    parent: NDArray[np.intp]
    pick: NDArray[np.intp]


def search(
    base: Base,
    fixed: Increments,
    lists: list[Increments],
    tangents: Tangents,
    corners: Corners,
    level: float,
    most: int,
    deadline: Deadline,
) -> Found:
    """Find the best choice that gains more than `level` over the base.

    Parameters
    ----------
    base : Base
    fixed : Increments
        Sums over the types that have one choice left.
    lists : list of Increments
        For each other type, what each of its choices changes.
    tangents : Tangents
        Bounds of the cell.
    corners : Corners
        Range of the prices, by which partial choices are compared with each other.
    level : float
        Seconds over the base; what cannot exceed it is left out.
    most : int
        Partial choices kept at a time; of more, those with the smallest bounds are dropped.
    deadline : Deadline
        When it is over, what is left is bounded as it is.

    Raises
    ------
    TimeIsUp
        If it is over before anything is bounded.
    """
    order = sorted(range(len(lists)), key=lambda k: -float(np.ptp(lists[k].mean)))
    worths = [tangents.worth(lists[k]) for k in deadline.each(order)]
    tops = [worth.max(axis=0) for worth in worths]
    # Bounds of the partial choices: what they can reach at each price.
    reach = (tangents.worth(fixed) + tangents.constants + np.sum(tops, axis=0))[np.newaxis]
    sums = np.array([[float(part) for part in fixed]])
    layers: list[_Layer] = []
    dropped = -np.inf
    for position, k in enumerate(order):
        losses = worths[position] - tops[position]
        steps = np.stack(lists[k], axis=-1)
        start, counts = _good_enough((-losses).min(axis=-1), reach.max(axis=-1) - level)
        if counts.sum() > _CROWD * most:
            # Too many to go through: cells that are narrower leave less.
            left = _top(reach.max(axis=-1).min(axis=-1))
            return Found(-np.inf, None, -np.inf, max(dropped, left))
        parents: list[NDArray[np.intp]] = []
        picks: list[NDArray[np.intp]] = []
        reaches: list[FloatArray] = []
        values: list[FloatArray] = []
        for rows in _chunks(counts):
            if deadline.is_over:
                left = reach[rows.start :].max(axis=-1).min(axis=-1)
                most_left = max(dropped, float(left.max()), *map(_top, values))
                return Found(-np.inf, None, -np.inf, most_left)
            pairs = counts[rows]
            parent = np.repeat(np.arange(rows.start, rows.stop), pairs)
            ends = np.cumsum(pairs)
            pick = np.arange(parent.size) - np.repeat(ends - pairs - start[rows], pairs)
            extended = reach[parent] + losses[pick]
            bound = extended.max(axis=-1).min(axis=-1)
            (alive,) = np.nonzero(bound > level)
            parents.append(parent[alive])
            picks.append(pick[alive])
            reaches.append(extended[alive])
            values.append(bound[alive])
        parent, pick = np.concatenate(parents), np.concatenate(picks)
        reach, value = np.concatenate(reaches), np.concatenate(values)
        if parent.size > _COMPARED:
            kept = _undominated(corners, sums[parent] + steps[pick], corners.cost / len(order))
            parent, pick, reach, value = parent[kept], pick[kept], reach[kept], value[kept]
        if parent.size > most:
            ranked = np.argpartition(-value, most)
            dropped = max(dropped, float(value[ranked[most:]].max()))
            kept = np.sort(ranked[:most])
            parent, pick, reach = parent[kept], pick[kept], reach[kept]
        if not parent.size:
            return Found(-np.inf, None, -np.inf, dropped)
        sums = sums[parent] + steps[pick]
        layers.append(_Layer(parent, pick))
    gain, row, bound = _judged(base, sums)
    picks_found = np.zeros(len(lists), dtype=np.intp)
    for position in range(len(order) - 1, -1, -1):
        layer = layers[position]
        picks_found[order[position]] = layer.pick[row]
        row = int(layer.parent[row])
    return Found(gain, picks_found, bound, dropped)


def enumerate_all(base: Base, fixed: Increments, lists: list[Increments]) -> Found:
    """Look at every combination of the choices in the lists, each of at least two.

    Parameters
    ----------
    base : Base
    fixed : Increments
        Sums over the other types.
    lists : list of Increments
        For each type, what each of its choices changes.
    """
    sums = np.array([float(part) for part in fixed])
    for shift in lists:
        sums = sums[..., np.newaxis, :] + np.stack(shift, axis=-1)
    gain, row, bound = _judged(base, sums.reshape(-1, 3))
    picks = np.array(np.unravel_index(row, sums.shape[:-1]), dtype=np.intp)
    return Found(gain, picks, bound, -np.inf)


def _judged(base: Base, sums: FloatArray) -> tuple[float, int, float]:
    """The largest gain, its row, and what no row exceeds, rounding included."""
    totals = Increments(*sums.T)
    gains = base.gain(totals)
    row = int(np.argmax(gains))
    (stable,) = np.nonzero(gains > -np.inf)
    totals = Increments(*sums[stable].T)
    return float(gains[row]), row, _top(gains[stable] + base.allowance(totals.mean, totals))
