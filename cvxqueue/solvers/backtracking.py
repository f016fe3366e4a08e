"""Backtracking on the objective, strictly inside the stability region."""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.model.differences import improvement
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum

# Largest part of the idle fraction that one step may consume.
_TO_THE_BOUNDARY = 0.99
# Share of the increase predicted by the slope that a step must achieve (Armijo).
_SUFFICIENT = 1e-4
# Slope of the objective behind its maximum, relative to that at the start, that a step may reach:
# a step far beyond the maximum, next to saturation, would cost many steps back.
_OVERSHOOT = 0.5
# Shorter steps than this change nothing that float64 can see.
_SHORTEST_STEP = 2.0**-50


def backtrack(point: Evaluation, target: FloatArray) -> Evaluation | None:
    """Return the first point on the way back from `target` that increases J enough.

    Parameters
    ----------
    point : Evaluation
        A stable allocation in the box.
    target : ndarray, shape (N,)
        Where to go, in the box.

    Returns
    -------
    Evaluation or None
        ``None`` where `target` is not finite, lies in no ascent direction, or no step that float64
        can tell from none increases the objective.
    """
    if not np.all(np.isfinite(target)):
        return None
    step = target - point.tokens
    ascent = float(accurate_sum(point.gradient * step))
    if ascent <= 0.0:
        return None
    model = point.model
    moved = model.evaluate(target)
    length = 1.0
    consumed = float(point.idle - moved.idle)
    if consumed > _TO_THE_BOUNDARY * point.idle:
        length = _TO_THE_BOUNDARY * float(point.idle) / consumed
        moved = model.evaluate(point.tokens + length * step)
    while length > _SHORTEST_STEP:
        if (
            moved.is_stable
            and improvement(point, moved) >= _SUFFICIENT * length * ascent
            and accurate_sum(moved.gradient * step) >= -_OVERSHOOT * ascent
        ):
            return moved
        length *= 0.5
        moved = model.evaluate(point.tokens + length * step)
    return None
