"""Enumerate the choices that a bound leaves, type by type, with what is dropped on record.

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
from cvxqueue.integer.increments import Increments
from cvxqueue.integer.incumbent import Base
from cvxqueue.numerics.arrays import FloatArray

# Extensions of partial choices in one array.
_EXTENSIONS_AT_A_TIME = 200_000
# Nor are more than so many looked at in all for each that may be kept.
_MOST_EXTENSIONS = 20
# Fewer partial choices are not compared (without comparisons, one of 20 larger instances is left).
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

    def net_benefit(self, increments: Increments) -> FloatArray:
        """Net benefit at each of the prices, shape (..., P, 2)."""
        spread = increments.take((..., np.newaxis, np.newaxis))
        return spread.net_benefit(self.mean_prices, self.second_prices)


class PriceCorners(NamedTuple):
    """Range of the prices in a cell, and what may be lost to comparisons."""

    mean_prices: FloatArray
    """∂T/∂m1 at the corners, shape (4,)."""
    second_prices: FloatArray
    """∂T/∂m2 at the corners, shape (4,)."""
    widths: tuple[float, float]
    """How far the moments of two partial choices may be apart to be compared, s and s²."""
    cost: float
    """Seconds that may be lost to all comparisons."""


class Enumerated(NamedTuple):
    """What was found, in seconds over the base; −inf where there was nothing."""

    gain: float = -np.inf
    """That of the best choice."""
    picks: NDArray[np.intp] | None = None
    """Its entry of the list of each type."""
    bound: float = -np.inf
    """Bound on every choice that was looked at, rounding included."""
    dropped: float = -np.inf
    """Bound on every choice that was left out for want of room."""


class _Partial(NamedTuple):
    """Partial choices: the one that each extends, the entry that it adds, what it can reach."""

    parent: NDArray[np.intp]
    pick: NDArray[np.intp]
    reach: FloatArray
    """Bound at each pair of prices, shape (S, P, 2)."""

    @property
    def bound(self) -> FloatArray:
        """The least bound of all prices, of the worse end of the cell."""
        return np.asarray(self.reach.max(axis=-1).min(axis=-1))

    def take(self, which: NDArray[np.generic]) -> _Partial:
        return _Partial(*(part[which] for part in self))


def _good_enough(losses: FloatArray, room: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Start and length (S,) of the runs of losses (J, P) that are within each room of (S, P)."""
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
    groups = np.cumsum(counts) // _EXTENSIONS_AT_A_TIME
    edges = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), counts.size]
    return map(slice, edges[:-1], edges[1:])


def _undominated(corners: PriceCorners, sums: FloatArray, cost: float) -> NDArray[np.intp]:
    """Partial choices that no other one replaces at a cost of at most `cost`.

    By the mean value theorem, replacing one by another changes the objective of what completes it
    by the difference of their net benefits at some prices of the segment between: at most the
    largest at the corners of the range.
    """
    if min(corners.widths) <= 0.0:
        return np.arange(len(sums))
    columns = Increments(*sums.T[..., np.newaxis])
    net = columns.net_benefit(corners.mean_prices, corners.second_prices)
    buckets = np.floor(sums[:, 1:] / corners.widths)
    order = np.lexsort((-net.sum(axis=-1), *buckets.T))
    is_first = np.append(True, np.diff(buckets[order], axis=0).any(axis=-1))
    leader = order[is_first][np.cumsum(is_first) - 1]
    lost = (net[order] - net[leader]).max(axis=-1)
    return np.sort(order[is_first | (lost > cost)])


def enumerate_bounded(
    base: Base,
    fixed: Increments,
    lists: list[Increments],
    tangents: Tangents,
    corners: PriceCorners,
    level: float,
    most: int,
    deadline: Deadline,
) -> Enumerated:
    """Find the best choice that gains more than `level` seconds over the base.

    `fixed` sums over the types that are not listed. Of more partial choices than `most`, those with
    the smallest bounds are dropped.
    """
    order = sorted(range(len(lists)), key=lambda k: -float(np.ptp(lists[k].mean)))
    benefits = [tangents.net_benefit(lists[k]) for k in deadline.each(order)]
    tops = [benefit.max(axis=0) for benefit in benefits]
    nothing = np.zeros(1, dtype=np.intp)
    reach = tangents.net_benefit(fixed) + tangents.constants + np.sum(tops, axis=0)
    kept = _Partial(nothing, nothing, reach[np.newaxis])
    sums = np.array([[float(part) for part in fixed]])
    layers: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    dropped = -np.inf
    for k, benefit, top in zip(order, benefits, tops, strict=True):
        losses, steps = benefit - top, np.stack(lists[k], axis=-1)
        start, counts = _good_enough((-losses).min(axis=-1), kept.reach.max(axis=-1) - level)
        if counts.sum() > _MOST_EXTENSIONS * most:
            # Too many to go through: cells that are narrower leave less.
            return Enumerated(dropped=max(dropped, _largest(kept.bound)))
        parts: list[_Partial] = []
        for rows in _chunks(counts):
            if deadline.is_over:
                left = kept.take(np.arange(rows.start, counts.size))
                bounds = [_largest(part.bound) for part in (left, *parts)]
                return Enumerated(dropped=max(dropped, *bounds))
            pairs = counts[rows]
            parent = np.repeat(np.arange(rows.start, rows.stop), pairs)
            ends = np.cumsum(pairs)
            pick = np.arange(parent.size) - np.repeat(ends - pairs - start[rows], pairs)
            extended = _Partial(parent, pick, kept.reach[parent] + losses[pick])
            parts.append(extended.take(np.flatnonzero(extended.bound > level)))
        kept = _Partial(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        if kept.pick.size > _COMPARED:
            together = sums[kept.parent] + steps[kept.pick]
            kept = kept.take(_undominated(corners, together, corners.cost / len(order)))
        if kept.pick.size > most:
            ranked = np.argpartition(-kept.bound, most)
            dropped = max(dropped, _largest(kept.bound[ranked[most:]]))
            kept = kept.take(np.sort(ranked[:most]))
        if not kept.pick.size:
            return Enumerated(dropped=dropped)
        sums = sums[kept.parent] + steps[kept.pick]
        layers.append((kept.parent, kept.pick))
    gain, row, bound = _best_of(base, sums)
    picks = np.zeros(len(lists), dtype=np.intp)
    for k, (parent, pick) in zip(reversed(order), reversed(layers), strict=True):
        picks[k], row = pick[row], int(parent[row])
    return Enumerated(gain, picks, bound, dropped)


def enumerate_all(base: Base, fixed: Increments, lists: list[Increments]) -> Enumerated:
    """Look at every combination of the choices in the lists; `fixed` sums over the other types."""
    sums = np.array([float(part) for part in fixed])
    for increments in lists:
        sums = sums[..., np.newaxis, :] + np.stack(increments, axis=-1)
    gain, row, bound = _best_of(base, sums.reshape(-1, 3))
    return Enumerated(gain, np.array(np.unravel_index(row, sums.shape[:-1]), np.intp), bound)


def _largest(values: FloatArray) -> float:
    return float(np.max(values, initial=-np.inf))


def _best_of(base: Base, sums: FloatArray) -> tuple[float, int, float]:
    """The largest gain, its row, and what no row exceeds, rounding included."""
    gains = base.gain(Increments(*sums.T))
    row = int(np.argmax(gains))
    (stable,) = np.nonzero(gains > -np.inf)
    totals = Increments(*sums[stable].T)
    bound = _largest(gains[stable] + base.allowance(totals.mean, totals))
    return float(gains[row]), row, bound
