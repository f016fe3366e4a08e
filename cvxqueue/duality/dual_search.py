"""The search for the multipliers of the constraints that couple the types.

At given multipliers the Lagrangian is the objective of a model without couplings, which the search
for the two prices maximises. Its maximum, as a function of the multipliers, is convex, with the
negative excesses of the constraints as its gradient and, where the active bounds do not change,

    Σ over free types of  ∇c_i (−∇²L)⁻¹ ∇c_j

as its Hessian. −∇²L is diagonal plus rank two, so a step of Newton's method costs a few passes over
the types. The line search looks at the slope alone: near the optimum values of the maximum agree in
all their digits, and slopes do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cvxqueue.deadline import Deadline
from cvxqueue.duality.dual_step import multiplier_step
from cvxqueue.duality.maximum import maximize
from cvxqueue.duality.multipliers import LEAST_STIFFNESS
from cvxqueue.model import Evaluation
from cvxqueue.model.couplings import excesses
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_minimum, bracketed_root, longest_step

# Share of the slope at the start that the line search leaves, of either sign.
_CURVATURE = 0.5
_SHORTEST_RAY = 1e-15
# A multiplier this far above what the objective is worth stands for an infinite one.
_INFINITE = 1e12
# A step of Newton's method that is this short, relatively, leaves about the square of it.
_MULTIPLIERS_SETTLED = 1e-7
# Of 205 hostile instances smooth ones took 16 steps at most, and those with kinks 9, or crept on
# between two kinks for as long as they were let.
_MOST_RAYS = 40
# A kink of the maximum is found to so much of the step: responses are no surer beside a jump.
_KINK_FOUND = 1e-12


class DualPoint(NamedTuple):
    """The maximiser of a Lagrangian."""

    multipliers: FloatArray
    """One ≥ 0 for each coupling constraint."""
    point: Evaluation
    """The maximiser, as a point of the Lagrangian's model."""
    excess: FloatArray
    """Excess of each constraint there."""
    is_settled: bool = False
    """Whether the multipliers are as good as they get, or the next step hardly moves them."""


def dual_search(
    model: Model, deadline: Deadline, start: FloatArray | None = None
) -> Iterator[DualPoint]:
    """Yield maximisers of Lagrangians whose multipliers approach the optimal ones.

    Each coupling constraint can be satisfied; the multipliers start from zeros unless told
    otherwise. It ends where float64 sees no further progress, a multiplier has no limit, or the
    time or the number of steps is up.
    """

    def at(multipliers: FloatArray, near: Evaluation | None) -> DualPoint:
        point = maximize(model.priced(multipliers), near, deadline)
        return DualPoint(multipliers, point, excesses(model.evaluate(point.tokens)))

    today = at(np.zeros(len(model.couplings)) if start is None else start, None)
    seen = {today.multipliers.tobytes()}
    while True:
        direction, moved = None, None
        if model.couplings:
            hessian, worth = _dual_hessian(model, today), _worth(model, today)
            direction = multiplier_step(today.multipliers, today.excess, hessian, worth)
        if direction is not None:
            is_small = np.abs(direction) <= _MULTIPLIERS_SETTLED * today.multipliers
            yield today._replace(is_settled=today.is_settled or bool(is_small.all()))
            if today.multipliers.max() <= _INFINITE * _worth(model, today):
                moved = _line_search(model, today, direction, at, deadline)
        # Between two kinks the same multipliers may come again, and would for ever.
        is_last = deadline.is_over or len(seen) > _MOST_RAYS
        if moved is None or is_last or moved.multipliers.tobytes() in seen:
            yield today._replace(is_settled=True)
            return
        seen.add(moved.multipliers.tobytes())
        today = moved


def _worth(model: Model, today: DualPoint) -> float:
    """Seconds that the objective is about; where it is about none, those that tokens can take."""
    scale = float(today.point.scale)
    return scale if scale > 0.0 else float(model.evaluate(model.upper).mean_service_time)


def _dual_hessian(model: Model, today: DualPoint) -> FloatArray:
    """Σ ∇c_i (−∇²L)⁻¹ ∇c_j over the types that are free, by the formula of Woodbury."""
    point = today.point
    mix, tokens = model.probabilities, point.tokens
    here = model.evaluate(tokens)
    is_free = (tokens > model.lower) & (tokens < model.upper)
    bend = point.model.benefit.curvature(tokens)
    if not model.accuracy.is_smooth:
        # At a corner a type answers its marginal cost with what it has, and stays.
        is_free = is_free & ((bend < 0.0) | (point.response != tokens))
    stiffness = point.cost_curvature - bend
    # Inside a straight piece a type may have none of its own, and gives way until the others do.
    stiffness = np.maximum(
        stiffness, LEAST_STIFFNESS * point.marginal_cost / np.maximum(model.upper, 1.0)
    )
    pliancy = np.where(is_free & (stiffness > 0.0), 1.0 / (mix * stiffness), 0.0)
    gradients = np.stack([coupling.gradient(here) for coupling in model.couplings])
    slopes = np.stack(point.moment_slopes)
    price = point.price_slopes
    coupling = np.array(
        [
            [float(price.mean_mean), float(price.mean_second)],
            [float(price.mean_second), float(price.second_second)],
        ]
    )
    across = (gradients * pliancy) @ slopes.T
    within = (slopes * pliancy) @ slopes.T
    inverse = np.linalg.solve(np.eye(2) + coupling @ within, coupling)
    hessian: FloatArray = (gradients * pliancy) @ gradients.T - across @ inverse @ across.T
    return 0.5 * (hessian + hessian.T)


def _line_search(
    model: Model,
    today: DualPoint,
    direction: FloatArray,
    at: Callable[[FloatArray, Evaluation | None], DualPoint],
    deadline: Deadline,
) -> DualPoint | None:
    """The point on a ray of multipliers at which the slope of the maximum has nearly vanished.

    Where curves have kinks the maximum may have one too, and its slope jumps there: what lies
    between the maximisers on its two sides maximises the Lagrangian as well.
    """
    start = -float(today.excess @ direction)
    if start >= 0.0:
        return None
    near, best, best_slope = today.point, None, -start
    sides, longest = [today, today], longest_step(today.multipliers, direction)

    def slope_at(length: float) -> float | None:
        nonlocal near, best, best_slope
        moved = at(np.maximum(today.multipliers + length * direction, 0.0), near)
        slope, near = -float(moved.excess @ direction), moved.point
        sides[0 if slope < 0.0 else 1] = moved
        if abs(slope) < best_slope or (slope < 0.0 and length >= longest):
            best, best_slope = moved, abs(slope)
        is_over = abs(slope) <= _CURVATURE * -start or deadline.is_over
        return None if is_over else slope

    shortest = _SHORTEST_RAY if model.accuracy.is_smooth else _KINK_FOUND
    below, above = bracketed_minimum(slope_at, longest, 2.0, shortest)
    if below < above < np.inf and not model.accuracy.is_smooth:
        return _between(model, sides[0], sides[1], direction)
    return best


def _between(model: Model, first: DualPoint, last: DualPoint, direction: FloatArray) -> DualPoint:
    """The mixture of two maximisers, on the two sides of a kink, with no slope along a ray."""
    priced, start = last.point.model, first.point.tokens
    step = last.point.tokens - start
    best, least = last, np.inf

    def slope_at(share: FloatArray) -> FloatArray:
        nonlocal best, least
        point = priced.evaluate(priced.boxed(start + share * step))
        excess = excesses(model.evaluate(point.tokens))
        slope = -np.asarray(excess @ direction)
        if abs(slope) < least:
            best, least = DualPoint(last.multipliers, point, excess, True), abs(float(slope))
        return slope

    bracketed_root(slope_at, np.zeros(()), np.ones(()))
    return best
