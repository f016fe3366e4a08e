"""The search for the multipliers of the constraints that couple the types.

At given multipliers the Lagrangian is the objective of a model without couplings, which the search
for the two prices maximises. Its maximum, as a function of the multipliers, is convex, with the
negative excesses of the constraints as its gradient and, where the active bounds do not change,

    Σ over free types of  ∇c_i (−∇²L)⁻¹ ∇c_j

as its Hessian. −∇²L is diagonal plus rank two, so a step of Newton's method costs a few passes over
the types.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from cvxqueue.deadline import Deadline
from cvxqueue.duality.maximum import maximize
from cvxqueue.duality.newton_on_multipliers import DualPoint, descent, multiplier_step, pliancy
from cvxqueue.model.couplings import excesses
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_root

# A multiplier this far above what the objective is worth stands for an infinite one.
_INFINITE = 1e12
# A step of Newton's method that is this short, relatively, leaves about the square of it.
_MULTIPLIERS_SETTLED = 1e-7


def dual_search(
    model: Model, deadline: Deadline, start: FloatArray | None = None
) -> Iterator[DualPoint]:
    """Yield maximisers of Lagrangians whose multipliers approach the optimal ones.

    Each coupling constraint can be satisfied; the multipliers start from zeros unless told
    otherwise. It ends where float64 sees no further progress, a multiplier has no limit, or the
    time or the number of steps is up.
    """

    def at(multipliers: FloatArray, near: DualPoint | None) -> DualPoint:
        point = maximize(model.priced(multipliers), near and near.point, deadline)
        return DualPoint(multipliers, point, excesses(model.evaluate(point.tokens)))

    def step_from(today: DualPoint) -> FloatArray | None:
        worth = _worth(model, today)
        if not model.couplings or today.multipliers.max() > _INFINITE * worth:
            return None
        hessian = _dual_hessian(model, today)
        return multiplier_step(today.multipliers, today.excess, hessian, worth)

    first = at(np.zeros(len(model.couplings)) if start is None else start, None)
    kinked = None if model.accuracy.is_smooth else partial(_between, model)
    for found, step in descent(first, at, step_from, deadline, kinked):
        is_small = step is None or (np.abs(step) <= _MULTIPLIERS_SETTLED * found.multipliers).all()
        found = found._replace(is_settled=found.is_settled or bool(is_small))
        yield found
    if not found.is_settled:
        yield found._replace(is_settled=True)


def _worth(model: Model, today: DualPoint) -> float:
    """Seconds that the objective is about; where it is about none, those that tokens can take."""
    scale = float(today.point.scale)
    return scale if scale > 0.0 else float(model.evaluate(model.upper).mean_service_time)


def _dual_hessian(model: Model, today: DualPoint) -> FloatArray:
    """Σ ∇c_i (−∇²L)⁻¹ ∇c_j over the types that are free, by the formula of Woodbury."""
    point, here = today.point, model.evaluate(today.point.tokens)
    # At a corner a type answers its marginal cost with what it has, and stays.
    bend = point.model.benefit.curvature(point.tokens)
    is_inside = model.accuracy.is_smooth | (bend < 0.0) | (point.response != point.tokens)
    pliant = pliancy(point, is_inside)
    gradients = np.stack([coupling.gradient(here) for coupling in model.couplings])
    slopes = np.stack(point.moment_slopes)
    price = point.price_slopes
    coupling = np.array(
        [
            [float(price.mean_mean), float(price.mean_second)],
            [float(price.mean_second), float(price.second_second)],
        ]
    )
    across = (gradients * pliant) @ slopes.T
    within = (slopes * pliant) @ slopes.T
    inverse = np.linalg.solve(np.eye(2) + coupling @ within, coupling)
    hessian: FloatArray = (gradients * pliant) @ gradients.T - across @ inverse @ across.T
    return 0.5 * (hessian + hessian.T)


def _between(model: Model, first: DualPoint, last: DualPoint, direction: FloatArray) -> DualPoint:
    """The mixture of two maximisers, on the two sides of a kink, with no slope along a ray.

    It maximises the Lagrangian as well: the maximum may have a kink where curves have some.
    """
    priced, start = last.point.model, first.point.tokens
    step = last.point.tokens - start
    best, least = last, np.inf

    def slope_at(share: FloatArray) -> FloatArray:
        nonlocal best, least
        point = priced.evaluate(priced.boxed(start + share * step))
        excess = excesses(model.evaluate(point.tokens))
        slope = -np.asarray(excess @ direction)
        if abs(slope) < least:
            least = abs(float(slope))
            best = DualPoint(last.multipliers, point, excess, is_settled=True)
        return slope

    bracketed_root(slope_at, np.zeros(()), np.ones(()))
    return best
