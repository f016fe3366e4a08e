"""Where a function changes its sign: of real numbers, of whole ones, and slopes along a ray.

Near an optimum values agree in all their digits, so that a line is searched by the slope alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

# Bisection alone takes 53 rounds from ends within a factor of two, and one more for each factor.
_BRACKETINGS = 200
# Bisection of 2^53 numbers, and some for galloping.
_WHOLE_ROUNDS = 120


@quiet
def bracketed_root(
    function: Callable[[FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    xtol: FloatArray | float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Enclose where a function changes its sign between two ends, ever more closely.

    Inverse quadratic interpolation where three points say that it can be trusted, and bisection
    where not, until the ends are neighbors to the rounding of float64 or nearer than `xtol`. A
    value of zero ends the search: both ends are there.

    Elementwise, for ends with values of opposite signs, which may be infinite; what is no bracket
    stays as it is. Return the ends of what is left, each with the sign that it had.

    References
    ----------
    Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear
    function without using derivatives", Advances in Engineering Software 28(3), 1997.
    """
    first, other = (np.array(end, dtype=np.float64) for end in (high, low))
    at_other, at_first = np.asarray(function(other)), np.asarray(function(first))
    is_rising = at_first > 0.0
    is_open = is_rising != (at_other > 0.0)
    share: Any = 0.5
    for _ in range(_BRACKETINGS):
        other = np.where(at_first == 0.0, first, other)
        first = np.where(at_other == 0.0, other, first)
        width = other - first
        tolerance = np.maximum(xtol, 2.0 * EPSILON * np.maximum(np.abs(first), np.abs(other)))
        is_open = is_open & (np.abs(width) > tolerance)
        if not is_open.any():
            break
        least = 0.5 * tolerance / np.where(is_open, np.abs(width), np.inf)
        probe = np.where(is_open, first + np.clip(share, least, 1.0 - least) * width, first)
        found = np.asarray(function(probe))
        stays = (found > 0.0) == (at_first > 0.0)
        old, at_old = np.where(stays, first, other), np.where(stays, at_first, at_other)
        other = np.where(is_open & ~stays, first, other)
        at_other = np.where(is_open & ~stays, at_first, at_other)
        first, at_first = np.where(is_open, probe, first), np.where(is_open, found, at_first)
        share = _interpolated(first, other, old, at_first, at_other, at_old)
    swapped = (at_first > 0.0) == is_rising
    return np.where(swapped, other, first), np.where(swapped, first, other)


def _interpolated(
    x1: FloatArray, x2: FloatArray, x3: FloatArray, f1: FloatArray, f2: FloatArray, f3: FloatArray
) -> FloatArray:
    """Share of the way from x1 to x2 at which the inverse parabola through three points is zero."""
    place, height = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
    is_trusted = (height**2 < place) & ((1.0 - height) ** 2 < 1.0 - place)
    share = f1 / (f2 - f1) * f3 / (f2 - f3)
    share = share + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
    return np.where(is_trusted & np.isfinite(share), share, 0.5)


def first_refused(
    is_accepted: Callable[[FloatArray], NDArray[np.bool_]],
    start: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """Return the first whole number from `low` on that is not accepted, or `high` if there is none.

    `is_accepted` maps whole numbers of shape (...) to bool, elementwise: true up to some number of
    each, and false from there on. It is not asked about `high`. The search begins at `start`, with
    strides that double while the answers stay the same. All are of shape (...), and low ≤ high.
    """
    first, last = np.broadcast_arrays(low, high)
    probe, stride = start, 1.0
    was_accepted = was_refused = np.zeros(first.shape, dtype=bool)
    for _ in range(_WHOLE_ROUNDS):
        is_open = first < last
        if not is_open.any():
            break
        # What is not a number is no place to start from.
        probe = np.minimum(np.fmax(probe, first), np.maximum(last - 1.0, first))
        accepted = np.asarray(is_accepted(probe))
        was_accepted, was_refused = was_accepted | accepted, was_refused | ~accepted
        first = np.where(is_open & accepted, probe + 1.0, first)
        last = np.where(is_open & ~accepted, probe, last)
        beyond = np.where(accepted, first + (stride - 1.0), last - stride)
        # Between an answer of each kind close by there is nothing to ask; far apart, bisection.
        is_wide = was_accepted & was_refused & (last - first > 2.0)
        probe = np.where(is_wide, np.floor(0.5 * (first + last)), beyond)
        stride *= 2.0
    return np.asarray(first, dtype=np.float64)


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
