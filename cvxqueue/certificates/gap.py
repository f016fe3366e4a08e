"""The gap certificate: how far the objective can be from the optimum, proven at one point.

T is convex, so for every feasible l′

    J(l′) ≤ J(l) + Σ_k [α π_k w_k (p_k(l′_k) − p_k(l_k)) − ∂T/∂l_k (l′_k − l_k)],

and the right side is separable: each type's term is largest at its response to ∇T(l).
"""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

# Four roundings of relative size ε/2 each reach the utilization and the second moment, and the
# waiting time magnifies those of the utilization by 1/(1−ρ); twice that covers the rest.
_GAP_ROUNDINGS = 4.0 * EPSILON
COST_ERRORS = 16.0
"""The share of a marginal cost that it may be off by, in such errors: see `response_loss`."""
# Terms that are not negative, a few thousand at a time: every sum is right to 2^13 roundings.
_SUMMATION = 1.0 + 1e-11


@quiet
def rounding_allowance(point: Evaluation) -> FloatArray:
    """What rounding can have done to the objective at a stable point, in seconds, shape (...).

    To the objective itself, and to that of the optimum by the least tokens that it may have: twice
    what they cost, because the cost of a token rises.
    """
    allowance = _GAP_ROUNDINGS * (point.benefit_size + point.mean_system_time / point.idle)
    moved = point.model.counted_rounding
    if moved is None:
        return allowance
    cost = point.model.probabilities * point.marginal_cost
    return np.asarray(allowance + 2.0 * np.vecdot(cost, moved))


@quiet
def certified_objective(point: Evaluation) -> FloatArray:
    """Objective of tokens in the box, in seconds, rounded down, shape (...); −inf where unstable.

    The exact J at these tokens is no less, nor is the optimum.
    """
    objective = point.objective - rounding_allowance(point)
    return np.where(point.idle > 0.0, objective, -np.inf)


@quiet
def relative_gap(gap: float | FloatArray, scale: float | FloatArray) -> FloatArray:
    """A gap in seconds relative to its scale, free of units, shape (...).

    Zero where the gap is, infinite where unknown. Every status is computed from this number: an
    answer is optimal where it is at most the tolerance. The scale is `Evaluation.scale`, zero only
    where neither tokens nor accuracy matter.
    """
    relative = np.where(np.equal(gap, 0.0), 0.0, np.divide(gap, scale))
    # What is not a number proves nothing.
    return np.where(np.isfinite(scale) & (relative >= 0.0), relative, np.inf)


@quiet
def certified_gap(point: Evaluation) -> FloatArray:
    """Proven bound on max J less the certified objective, in seconds, shape (...).

    Of tokens in the box; infinite where the queue is unstable. The allowance for rounding is in it
    twice, once below and once above the objective.
    """
    gap = 2.0 * rounding_allowance(point)
    for part in point.parts:
        gap = gap + _part_gap(part)
    # What is not a number proves nothing.
    return np.where((point.idle > 0.0) & (gap < np.inf), gap, np.inf)


def marginal_error(point: Evaluation) -> FloatArray:
    """Share of each of the two terms of a gap that it may be off by, shape (..., N) or (..., 1)."""
    return np.asarray(_GAP_ROUNDINGS * point.magnification)[..., np.newaxis]


def _part_gap(point: Evaluation) -> FloatArray:
    """Sum of the gaps of some types, and of what rounding can have taken from each of them.

    The two terms of a gap are rounded, and the response is: by its share of the interval, and by
    what the rounding of the marginal cost moves it, which the curve knows the price of.
    """
    model, response, cost = point.model, point.reachable_response, point.marginal_cost
    benefit = model.benefit
    error = marginal_error(point)
    loss = benefit.response_loss(cost, point.unclipped_response, response, error)
    if not model.accuracy.is_smooth:
        # That share, times the way from the right response to this one: both within the reach.
        loss = np.minimum(loss, COST_ERRORS * error * (point.reach - model.lower))
    # A type without a choice responds exactly.
    loss *= np.where(model.upper > model.lower, cost, 0.0)
    fall = response - point.tokens
    fall *= cost
    gaps = benefit.difference(point.tokens, response)
    size = gaps + fall
    np.abs(size, out=size)
    size *= error
    gaps -= fall
    np.maximum(gaps, 0.0, out=gaps)
    gaps += size
    gaps += loss
    total: FloatArray = _SUMMATION * np.vecdot(model.probabilities, gaps)
    return total
