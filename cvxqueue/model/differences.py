"""Differences between two allocations of one model, without cancellation."""

from __future__ import annotations

import numpy as np

from cvxqueue.model.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.summation import accurate_sum

# Four roundings of relative size ε/2 each reach the utilization and the second moment, and the
# waiting time magnifies those of the utilization by 1/(1−ρ); twice that covers the rest.
GAP_ROUNDINGS = 4.0 * EPSILON
COST_ERRORS = 16.0
"""The share of a marginal cost that it may be off by, in such errors: see `response_loss`."""
# Terms that are not negative, a few thousand at a time: every sum is right to 2^13 roundings.
_SUMMATION = 1.0 + 1e-11


@quiet
def separable_gains(point: Evaluation, to: FloatArray) -> FloatArray:
    """Per type, what moving to `to` gains if the mean system time were linear, shape (..., N).

    α π w (p(to) − p(l)) − ∇T · (to − l), in seconds, to full relative accuracy of each of the two
    terms. The sum bounds J(to) − J(tokens) from above, because T is convex.
    """
    model = point.model
    gain = model.benefit.difference(point.tokens, to)
    return model.probabilities * (gain - point.marginal_cost * (to - point.tokens))


@quiet
def separable_gap(point: Evaluation) -> FloatArray:
    """What the types gain by their responses at the prices of a stable point, in seconds, (...).

    With what rounding can have taken from each of them, but not from the objective.
    """
    return np.asarray(sum(map(_part_gap, point.parts)))


def marginal_error(point: Evaluation) -> FloatArray:
    """Share of each of the two terms of a gap that it may be off by, shape (..., N) or (..., 1)."""
    return np.asarray(GAP_ROUNDINGS * point.magnification)[..., np.newaxis]


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


@quiet
def divergence(point: Evaluation, other: Evaluation) -> FloatArray:
    """T(other) − T − ∇T · (other − point) ≥ 0, in seconds, shape (...), without cancellation.

    Both must be stable.
    """
    model = point.model
    ratio = np.asarray(other.idle / point.idle)[..., np.newaxis]
    apart = model.service.mean_square_distance(point.tokens, other.tokens, ratio)
    of_queue = model.queue.divergence(
        model.arrival_rate,
        point.idle,
        other.idle,
        accurate_sum(model.probabilities * (other.times - point.times)),
        accurate_sum(model.probabilities * apart),
    )
    bend = model.service.bend(point.tokens, other.tokens, *point.prices.by_type)
    return of_queue + accurate_sum(model.probabilities * bend)


@quiet
def improvement(point: Evaluation, other: Evaluation) -> FloatArray:
    """J(other) − J(point), in seconds, shape (...), without cancellation.

    Both must be stable. Near the optimum the two objectives agree in all their digits; this
    difference keeps its sign.
    """
    return accurate_sum(separable_gains(point, other.tokens)) - divergence(point, other)
