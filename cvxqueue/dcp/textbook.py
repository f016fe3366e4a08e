"""The problem as a textbook writes it: convex, and refused by the rules that would prove it."""

from __future__ import annotations

import cvxpy as cp

from cvxqueue.dcp.expressions import expressions, token_variance
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.dcp.service_levels import limited
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import AffineService, Instance
from cvxqueue.model.linear_fractional import LinearFractionalQueue


def textbook(instance: Instance) -> Formulation:
    """Return the problem in the tokens, with the formula of Pollaczek and Khinchine as it stands.

    The waiting time divides a convex function by an affine one. That this quotient is convex does
    not follow from its parts, so the rules of disciplined convex programming refuse it; cvxpy's
    nonlinear grammar takes it.
    """
    is_affine = type(instance.service) is AffineService
    # A convex time that is not known to be positive has no convex square.
    tokens = cp.Variable(instance.size, name="tokens", nonneg=not is_affine)
    quantities = expressions(instance, tokens, _waiting_time) | {"tokens": tokens}
    constraints = {
        "min_tokens": tokens >= instance.lower,
        "max_tokens": tokens <= instance.upper,
        # The formula is finite and negative beyond saturation, so it must be kept out.
        "stability": quantities["utilization"] <= 1,
    }
    variables, data = {"tokens": tokens}, FixedData(instance, 1.0, textbook)
    objective = quantities["objective"]
    return limited("textbook", objective, variables, constraints, data, quantities)


def _waiting_time(
    instance: Instance, mean: cp.Expression, times: cp.Expression, tokens: cp.Expression
) -> cp.Expression:
    """The mean waiting time as a quotient of the two moments; what has no weight is left out."""
    queue, rate, mix = instance.queue, instance.arrival_rate, instance.probabilities
    if not isinstance(queue, LinearFractionalQueue):
        raise InvalidInputError(f"queue = {shown(queue)} has no textbook form")
    second_moment = mix @ cp.square(times)
    variance = token_variance(instance.service)
    if variance is not None:
        second_moment = second_moment + (mix * variance) @ cp.square(tokens)
    by_mean, by_load, by_second = queue.weights
    terms = (by_mean * mean, by_load * rate * cp.square(mean), by_second * rate * second_moment / 2)
    work = sum(term for term, weight in zip(terms, queue.weights, strict=True) if weight)
    return work / (1 - rate * mean) + queue.constant(rate)
