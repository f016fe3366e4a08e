"""The gap certificate: how far the objective can be from the optimum, proven at one point.

T is convex, so for every feasible l′

    J(l′) ≤ J(l) + Σ_k [α π_k w_k (p_k(l′_k) − p_k(l_k)) − ∂T/∂l_k (l′_k − l_k)],

and the right side is separable: each type's term is largest at its response to ∇T(l).
"""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.summation import accurate_sum

__all__ = ["certified_gap", "certified_objective", "rounding_allowance", "type_gaps"]

# Four roundings of relative size ε/2 each reach the utilization and the second moment, and the
# waiting time magnifies those of the utilization by 1/(1−ρ); twice that covers the rest.
_ROUNDINGS = 4.0


def rounding_allowance(point: Evaluation) -> float:
    """What rounding can have done to the objective at a stable point, in seconds."""
    relative = _ROUNDINGS * np.finfo(np.float64).eps
    return float(relative * (point.benefit + point.mean_system_time / point.idle))


def certified_objective(point: Evaluation) -> float:
    """Objective, rounded down: the exact J at these tokens is no less, nor is the optimum."""
    if not point.is_stable:
        return -np.inf
    return float(point.objective) - rounding_allowance(point)


def type_gaps(point: Evaluation) -> FloatArray:
    """Each type's share of the gap, in seconds, shape (N,), without the allowance.

    Every term is ≥ 0 up to its own rounding, because the response maximises it.
    """
    return np.maximum(point.separable_gains(point.response), 0.0)


def certified_gap(point: Evaluation) -> float:
    """Proven bound on max J less the certified objective, in seconds.

    The allowance for rounding is in it twice, once below and once above the objective.

    Parameters
    ----------
    point : Evaluation
        One allocation in the box; where it is unstable, the bound is infinite.
    """
    if not point.is_stable:
        return np.inf
    gap = float(accurate_sum(type_gaps(point))) + _gap_rounding(point)
    gap += 2.0 * rounding_allowance(point)
    return gap if np.isfinite(gap) else np.inf


def _gap_rounding(point: Evaluation) -> float:
    """What rounding can have taken from the gap itself, in seconds.

    The two terms of each type are rounded, and the response is: by its share of the interval, and
    by what the rounding of the marginal cost moves it. Off the maximum, the loss is quadratic.
    """
    instance, response = point.instance, point.response
    error = _ROUNDINGS * np.finfo(np.float64).eps / point.idle
    moved = np.abs(response - point.tokens)
    rise = instance.accuracy_value * np.abs(instance.accuracy.difference(point.tokens, response))
    terms = error * (rise + point.marginal_cost * moved)
    sensitivity = instance.accuracy.inverse_slope_sensitivity(point.tokens, response)
    shift = 4.0 * error * (sensitivity + np.abs(response))
    nearest = np.clip(point.unclipped_response, response - shift, response + shift)
    # A type whose response lies beyond its bound by more than that is not moved by rounding.
    is_near = nearest == point.unclipped_response
    quadratic = np.where(is_near, point.marginal_cost * np.square(shift) / sensitivity, 0.0)
    return float(accurate_sum(instance.probabilities * (terms + quadratic)))
