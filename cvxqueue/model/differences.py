"""Differences between two allocations of one model, without cancellation."""

from __future__ import annotations

import numpy as np

from cvxqueue.model.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum


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
def type_gaps(point: Evaluation) -> FloatArray:
    """Each type's share of the gap, in seconds, shape (..., N), without what rounding can do.

    Every term is ≥ 0 up to its own rounding, because the response maximises it.
    """
    return np.maximum(separable_gains(point, point.reachable_response), 0.0)


@quiet
def divergence(point: Evaluation, other: Evaluation) -> FloatArray:
    """T(other) − T − ∇T · (other − point) ≥ 0, in seconds, shape (...), without cancellation.

    Both must be stable.
    """
    model = point.model
    ratio = np.asarray(other.idle / point.idle)[..., np.newaxis]
    prices = (np.asarray(price)[..., np.newaxis] for price in point.prices)
    apart = model.service.mean_square_distance(point.tokens, other.tokens, ratio)
    of_queue = model.queue.divergence(
        model.arrival_rate,
        point.idle,
        other.idle,
        accurate_sum(model.probabilities * (other.times - point.times)),
        accurate_sum(model.probabilities * apart),
    )
    bend = model.service.bend(point.tokens, other.tokens, *prices)
    return of_queue + accurate_sum(model.probabilities * bend)


@quiet
def improvement(point: Evaluation, other: Evaluation) -> FloatArray:
    """J(other) − J(point), in seconds, shape (...), without cancellation.

    Both must be stable. Near the optimum the two objectives agree in all their digits; this
    difference keeps its sign.
    """
    return accurate_sum(separable_gains(point, other.tokens)) - divergence(point, other)
