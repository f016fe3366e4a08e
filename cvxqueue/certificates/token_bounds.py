"""Token intervals: which values of each type's tokens can still be optimal."""

from __future__ import annotations

import numpy as np

from cvxqueue.certificates.gap import certified_gap
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import marginal_error
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_root

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
