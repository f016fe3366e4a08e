"""The gap certificate: how far the objective can be from the optimum, proven at one point.

T is convex, so for every feasible l′

    J(l′) ≤ J(l) + Σ_k [α π_k w_k (p_k(l′_k) − p_k(l_k)) − ∂T/∂l_k (l′_k − l_k)],

and the right side is separable: each type's term is largest at its response to ∇T(l). Whatever the
tokens of a type at which the same bound falls below J(l), they are not optimal.
"""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.model.differences import separable_gains
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.roots import bracketed_root

# Four roundings of relative size ε/2 each reach the utilization and the second moment, and the
# waiting time magnifies those of the utilization by 1/(1−ρ); twice that covers the rest.
_GAP_ROUNDINGS = 4.0 * EPSILON
# The share of a marginal cost that it may be off by, in such errors: see `response_loss`.
_COST_ERRORS = 16.0
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
def type_gaps(point: Evaluation) -> FloatArray:
    """Each type's share of the gap, in seconds, shape (..., N), without what rounding can do.

    Every term is ≥ 0 up to its own rounding, because the response maximises it.
    """
    return np.maximum(separable_gains(point, point.reachable_response), 0.0)


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
        loss = np.minimum(loss, _COST_ERRORS * error * (point.reach - model.lower))
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


# A bound this close to its limit, relative to its distance from the response, is sharp enough.
_SHARP_END = 1e-9
# Logarithm of the distance in tokens from which it is looked for, and the least loss that counts:
# a loss of zero would be found at the response.
_NEAREST, _LEAST_LOSS = -700.0, 1e-290


@quiet
def token_bounds(point: Evaluation, slack: float | None = None) -> FloatArray:
    """Interval of each type that contains its optimal tokens, shape (N, 2).

    If type k had v tokens, the separable bound on J would be J(l) + gap less what type k loses by
    not being at its response. Where that is below J(l), v is not optimal. The bound is concave in
    v, so the values that remain form an interval: the whole box where the point is unstable.

    `slack` bounds what the optimum gains over the point, in seconds; by default the certified gap.
    """
    model = point.model
    lower, upper = model.lower, model.upper
    if not point.is_stable:
        return np.stack([lower, upper], axis=-1)
    slack = float(certified_gap(point)) if slack is None else slack
    if not np.isfinite(slack):
        return np.stack([lower, upper], axis=-1)
    best = point.reachable_response
    least, most = (_outer_root(point, best, end, slack) for end in (lower, point.reach))
    if (moved := model.lower_rounding) is not None:
        least = np.where(least <= lower, np.maximum(lower - moved, 0.0), least)
        most = np.maximum(most, np.minimum(lower + moved, upper))
    return np.stack([least, most], axis=-1)


def _outer_root(point: Evaluation, best: FloatArray, end: FloatArray, slack: float) -> FloatArray:
    """Value between `best` and `end` whose loss against `best` just reaches `slack`, or `end`.

    What counts as outside is checked and never inferred.
    """
    model = point.model
    benefit, cost = model.benefit, point.marginal_cost
    allowed = np.maximum(slack / model.probabilities, _LEAST_LOSS)
    error = marginal_error(point)

    def loss(tokens: FloatArray) -> FloatArray:
        """What is lost for sure: less what rounding can do to either of two large terms."""
        difference = benefit.difference(best, tokens)
        price = cost * (tokens - best)
        return price - difference - error * np.abs(price + difference)

    # By the logarithm of the distance from the response, towards the end.
    towards, farthest = np.sign(end - best), np.log(np.abs(end - best))

    def place(logarithm: FloatArray) -> FloatArray:
        return np.asarray(best + towards * np.exp(logarithm))

    nearest = np.full(farthest.shape, _NEAREST)
    found = bracketed_root(lambda at: loss(place(at)) - allowed, nearest, farthest, _SHARP_END)[1]
    outside = place(found)
    return np.where((loss(outside) >= allowed) & (found < farthest), outside, end)
