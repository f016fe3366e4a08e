"""Token intervals: which values of each type's tokens can still be optimal."""

from __future__ import annotations

import numpy as np

from cvxqueue.certificates.gap import certified_gap, marginal_error
from cvxqueue.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray

# Each step leaves a valid bound, so that stopping early only widens it. Every third one halves.
_STEPS = 120
# A bound this close to its limit, relative to the half-width of the interval, is sharp enough.
_SHARP_END = 1e-9


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
    """Value between `best` and `end` whose loss against `best` just exceeds `slack`, or `end`.

    The loss is convex, and grows beyond its root, so that Newton's method stays outside. A long
    step may be carried past the root by its rounding: what counts as outside is checked and never
    inferred.
    """
    model = point.model
    benefit, cost = model.benefit, point.marginal_cost
    allowed = slack / model.probabilities
    error = marginal_error(point)

    def loss(tokens: FloatArray) -> FloatArray:
        """What is lost for sure: less what rounding can do to either of two large terms."""
        difference = benefit.difference(best, tokens)
        price = cost * (tokens - best)
        return price - difference - error * np.abs(price + difference)

    # All in distances from the response, towards the end.
    towards, reach = np.sign(end - best), np.abs(end - best)
    inside, outside = np.zeros_like(reach), reach
    is_open = loss(end) > allowed
    for step in range(_STEPS):
        if not is_open.any():
            break
        tokens = best + towards * outside
        rise = benefit.slope(tokens)
        slope = towards * (cost - rise) - error * (cost + rise)
        newton = outside - (loss(tokens) - allowed) / slope
        halving = np.where(inside > 0.0, np.sqrt(inside) * np.sqrt(outside), 0.5 * outside)
        is_halved = (step % 3 == 2) | ~((newton > inside) & (newton < outside))
        candidate = np.where(is_halved, halving, newton)
        is_outside = loss(best + towards * candidate) > allowed
        is_sharp = np.abs(outside - candidate) <= _SHARP_END * outside
        inside = np.where(is_open & ~is_outside, candidate, inside)
        outside = np.where(is_open & is_outside, candidate, outside)
        is_open = is_open & ~is_sharp
    return np.where(outside < reach, best + towards * outside, end)
