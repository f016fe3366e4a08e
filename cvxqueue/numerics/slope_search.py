"""Search along a ray by the slope alone: near an optimum values agree in all their digits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvxqueue.numerics.arrays import FloatArray

# Doublings from one step to the largest number, or halvings to the least change of one, are fewer.
_TRIALS = 80


def longest_step(start: FloatArray, step: FloatArray) -> float:
    """Length at which the first entry of start + length · step, all ≥ 0, becomes negative."""
    falling = step < 0.0
    return float(np.min(-start[falling] / step[falling], initial=np.inf))


def bracketed_minimum(
    slope_at: Callable[[float], float | None], longest: float, growth: float, rtol: float = 0.0
) -> tuple[float, float]:
    """Enclose the length of a step at which a convex function is least: longer ones, then halves.

    `slope_at` has the slope of the function at a length, negative at first; ``None`` ends the
    search. It begins at a length of one, or at the `longest`, grows by the factor `growth` while it
    is too short, and ends where the distance of the ends, relative to the longer one, is at most
    `rtol`.

    The ends have slopes of either sign, the upper one infinite where none was positive; or both are
    the length at which the search was ended, by ``None`` or for want of longer ones.
    """
    below, above, length = 0.0, np.inf, min(1.0, longest)
    for _ in range(_TRIALS):
        slope = slope_at(length)
        if slope is None or (slope < 0.0 and length >= longest):
            return length, length
        below, above = (length, above) if slope < 0.0 else (below, length)
        length = min(growth * length, longest) if above == np.inf else 0.5 * (below + above)
        if not below < length < above or (above < np.inf and above - below <= rtol * above):
            break
    return below, above
