"""Local search between two values of each type: flip types while that helps."""

from __future__ import annotations

import numpy as np

from cvxqueue.deadline import Deadline
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import improvement, separable_gains
from cvxqueue.numerics.arrays import FloatArray

# Each round changes as many types as help; two or three rounds are usual.
_ROUNDS = 50
_PASSES = 10
# Gains below this part of the linear term are rounding.
_NOTHING = 1e-13


def flip(point: Evaluation, lower: FloatArray, upper: FloatArray, deadline: Deadline) -> Evaluation:
    """Return an allocation at least as good, with tokens that are `lower` or `upper`.

    A quadratic model of the objective around the point, diagonal plus rank two, says what changing
    one more type gains in O(1). Its proposal counts only if the objective rises; where it does not,
    the best single change is tried.

    Parameters
    ----------
    point : Evaluation
        Stable, each type at `lower` or `upper`.
    lower, upper : ndarray, shape (N,)
        The two values of each type.
    deadline : Deadline
    """
    for _ in range(_ROUNDS):
        if deadline.is_over:
            break
        other = np.where(point.tokens == lower, upper, lower)
        for changed in _proposals(point, other, deadline):
            moved = point.model.evaluate(np.where(changed, other, point.tokens))
            if moved.is_stable and improvement(point, moved) > 0:
                point = moved
                break
        else:
            break
    return point


def _proposals(point: Evaluation, other: FloatArray, deadline: Deadline) -> list[np.ndarray]:
    """Which types to change: all that the model wants, then the best one alone."""
    step = other - point.tokens
    linear = separable_gains(point, other)
    mean, second = (slope * step for slope in point.moment_slopes)
    slopes = point.price_slopes
    coupling = (float(slopes.mean_mean), float(slopes.mean_second), float(slopes.second_second))
    own = 0.5 * (
        point.model.probabilities * point.cost_curvature * step**2
        + coupling[0] * mean**2
        + 2.0 * coupling[1] * mean * second
        + coupling[2] * second**2
    )
    alone = linear - own
    best = int(np.argmax(alone))
    threshold = _NOTHING * np.abs(linear)
    wanted = _coordinate_ascent(alone, mean, second, coupling, threshold, deadline)
    single = np.arange(alone.size) == best
    proposals = [wanted] if wanted.any() else []
    return [*proposals, single] if alone[best] > 0 and wanted.sum() > 1 else proposals


def _coordinate_ascent(
    alone: FloatArray,
    mean: FloatArray,
    second: FloatArray,
    coupling: tuple[float, float, float],
    threshold: FloatArray,
    deadline: Deadline,
) -> np.ndarray:
    """Maximise Σ alone over the changed types less what the changes cost each other."""
    s11, s12, s22 = coupling
    # Plain floats: the loop is over types, and numpy scalars would make it ten times slower.
    rows = list(
        zip(*(x.tolist() for x in (alone, mean, second, threshold)), range(alone.size), strict=True)
    )
    rows = [rows[k] for k in np.argsort(-alone, kind="stable").tolist() if mean[k] != 0.0]
    changed = [False] * alone.size
    moved_mean = moved_second = 0.0
    for _ in range(_PASSES):
        if deadline.is_over:
            break
        is_settled = True
        for gain, m, v, least, k in rows:
            sign = -1.0 if changed[k] else 1.0
            # The others' displacement, without this type's own share.
            om, ov = (
                (moved_mean - m, moved_second - v) if changed[k] else (moved_mean, moved_second)
            )
            worth = gain - (s11 * m * om + s12 * (m * ov + v * om) + s22 * v * ov)
            if sign * worth > least:
                changed[k] = not changed[k]
                moved_mean += sign * m
                moved_second += sign * v
                is_settled = False
        if is_settled:
            break
    return np.array(changed)
