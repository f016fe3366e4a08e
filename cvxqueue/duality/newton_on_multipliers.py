"""Newton's method for a convex function of a few multipliers, which may not be negative.

The line search looks at the slope alone: near the minimum values agree in all their digits, and
slopes do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.deadline import Deadline
from cvxqueue.model import Evaluation
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.roots import bracketed_minimum, longest_step

# The Hessian is zero where every type is at a bound; this share of the natural one stands in.
_REGULARIZATION = 1e-12
_NO_STEP = 4.0 * EPSILON
# Share of the slope at the start that the line search leaves, of either sign.
_CURVATURE = 0.5
_SHORTEST_RAY = 1e-15
# A kink is found to so much of the step: responses are no surer beside a jump.
_KINK_FOUND = 1e-12
# Of 205 hostile instances smooth ones took 16 steps at most, and those with kinks 9, or crept on
# between two kinks for as long as they were let.
_MOST_RAYS = 40
# What stands for a curvature of zero, relative to a marginal cost over the largest tokens, or one.
_LEAST_STIFFNESS = 1e-8


class DualPoint(NamedTuple):
    """A convex function at some multipliers: the maximum of a Lagrangian, or a bound on it."""

    multipliers: FloatArray
    """One ≥ 0 for each coupling constraint."""
    point: Evaluation
    """A point of the Lagrangian's model: the maximiser, or the tokens that the bound is of."""
    excess: FloatArray
    """What exceeds each constraint there, or at the responses, to first order: less the slopes."""
    gap: float = np.inf
    """What the bound is above the objective, in seconds."""
    is_settled: bool = False
    """Whether the multipliers are as good as they get, or the next step hardly moves them."""


Between = Callable[[DualPoint, DualPoint, FloatArray], DualPoint]


def descent(
    today: DualPoint,
    at: Callable[[FloatArray, DualPoint], DualPoint],
    step_from: Callable[[DualPoint], FloatArray | None],
    deadline: Deadline,
    between: Between | None = None,
) -> Iterator[tuple[DualPoint, FloatArray | None]]:
    """Yield places ever nearer to the minimum, each with Newton's step from there, if there is one.

    `at` evaluates the function at multipliers, from a place nearby, and `step_from` has the step.
    Where slopes may jump, `between` has what lies between the two sides of a kink along a step. It
    ends where float64 sees no further progress, or the time or the number of steps is up.
    """
    seen: set[bytes] = set()
    while True:
        step = step_from(today)
        yield today, step
        seen.add(today.multipliers.tobytes())
        if step is None or deadline.is_over or len(seen) > _MOST_RAYS:
            return
        moved = _along(today, step, at, deadline, between)
        # Between two kinks the same multipliers may come again, and would for ever.
        if moved is None or moved.multipliers.tobytes() in seen:
            return
        today = moved


def _along(
    today: DualPoint,
    step: FloatArray,
    at: Callable[[FloatArray, DualPoint], DualPoint],
    deadline: Deadline,
    between: Between | None,
) -> DualPoint | None:
    """The place on a ray of multipliers at which the slope has nearly vanished."""
    start = -float(today.excess @ step)
    if start >= 0.0:
        return None
    near, best, best_slope = today, None, -start
    sides, longest = [today, today], longest_step(today.multipliers, step)

    def slope_at(length: float) -> float | None:
        nonlocal near, best, best_slope
        near = at(np.maximum(today.multipliers + length * step, 0.0), near)
        slope = -float(near.excess @ step)
        sides[0 if slope < 0.0 else 1] = near
        if abs(slope) < best_slope or (slope < 0.0 and length >= longest):
            best, best_slope = near, abs(slope)
        # Far beyond the minimum a convex function may be flat again, and higher than at the start.
        is_flat = abs(slope) <= _CURVATURE * -start and not near.gap > today.gap
        return None if is_flat or deadline.is_over else slope

    shortest = _SHORTEST_RAY if between is None else _KINK_FOUND
    below, above = bracketed_minimum(slope_at, longest, 2.0, shortest)
    if between is not None and below < above < np.inf:
        return between(sides[0], sides[1], step)
    return best


def multiplier_step(
    multipliers: FloatArray, excess: FloatArray, hessian: FloatArray, worth: float
) -> FloatArray | None:
    """Newton's step towards the minimum of a convex function over multipliers ≥ 0, shape (M,).

    `excess` is less the slopes there, and `hessian`, shape (M, M), zero where every type is at a
    bound; `worth`, the size of the function in seconds, stands for a second derivative of zero.
    ``None`` where nothing moves.
    """
    # Where all types are at bounds, the step on which a multiplier shows is that of the scale.
    natural = np.square(excess) / worth
    own = np.maximum(hessian.diagonal(), 0.0)
    own = np.where(own > 0.0, own * (1.0 + _REGULARIZATION), natural)
    active = np.flatnonzero(((multipliers > 0.0) | (excess > 0.0)) & (own > 0.0))
    if not (active.size and np.isfinite(own).all() and np.isfinite(hessian).all()):
        return None
    model = hessian.copy()
    model[np.diag_indices(own.size)] = own
    model = model[np.ix_(active, active)]
    # In units of its own for each multiplier: they may be dozens of decades apart.
    unit = 1.0 / np.sqrt(model.diagonal())
    scaled = model * unit * unit[:, np.newaxis]
    step = np.zeros_like(multipliers)
    start = multipliers[active] / unit
    step[active] = unit * nonnegative_step(scaled, excess[active] * unit, start)
    is_nothing = np.abs(step) <= _NO_STEP * multipliers
    return step if np.isfinite(step).all() and not is_nothing.all() else None


def nonnegative_step(
    hessian: FloatArray, excess: FloatArray, multipliers: FloatArray
) -> FloatArray:
    """Return the minimiser d of ½ dᵀHd − excess·d with multipliers + d ≥ 0, shape (M,).

    H is positive semidefinite, with a positive diagonal. By trying every active set: there are a
    handful of multipliers. Where it falls without end, as it may where H is singular, a short step
    downhill.
    """
    count = multipliers.size
    for size in range(count, -1, -1):
        for chosen in combinations(range(count), size):
            free = list(chosen)
            step: FloatArray = -multipliers
            step[free] = 0.0
            if free:
                right = excess[free] - hessian[free] @ step
                step[free] = np.linalg.lstsq(hessian[np.ix_(free, free)], right, rcond=None)[0]
            slope = hessian @ step - excess
            slope[free] = 0.0
            if (multipliers + step >= 0.0).all() and (slope >= 0.0).all():
                return step
    downhill: FloatArray = np.maximum(excess / hessian.diagonal().max(), -multipliers)
    return downhill


def pliancy(point: Evaluation, is_inside: NDArray[np.bool_]) -> FloatArray:
    """How many tokens the types give up when each costs a second more, in tokens²/s, shape (N,).

    At a bound a type stays where it is, and at a kink of its curve, which is not `is_inside`.
    """
    model, tokens = point.model, point.tokens
    is_free = (tokens > model.lower) & (tokens < model.upper) & is_inside
    stiffness = point.cost_curvature - model.benefit.curvature(tokens)
    # Inside a straight piece a type may have none of its own, and gives way until the others do.
    least = _LEAST_STIFFNESS * point.marginal_cost / np.maximum(model.upper, 1.0)
    stiffness = model.probabilities * np.maximum(stiffness, least)
    return np.where(is_free & (stiffness > 0.0), 1.0 / stiffness, 0.0)
