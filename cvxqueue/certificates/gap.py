"""The gap certificate: how far the objective can be from the optimum, proven at one point.

T is convex, so for every feasible l′

    J(l′) ≤ J(l) + Σ_k [α π_k w_k (p_k(l′_k) − p_k(l_k)) − ∂T/∂l_k (l′_k − l_k)],

and the right side is separable: each type's term is largest at its response to ∇T(l).
"""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.model.differences import GAP_ROUNDINGS, separable_gap
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray


@quiet
def rounding_allowance(point: Evaluation) -> FloatArray:
    """What rounding can have done to the objective at a stable point, in seconds, shape (...).

    To the objective itself, and to that of the optimum by the least tokens that it may have: twice
    what they cost, because the cost of a token rises.
    """
    allowance = GAP_ROUNDINGS * (point.benefit_size + point.mean_system_time / point.idle)
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
    gap = 2.0 * rounding_allowance(point) + separable_gap(point)
    # What is not a number proves nothing.
    return np.where((point.idle > 0.0) & (gap < np.inf), gap, np.inf)
