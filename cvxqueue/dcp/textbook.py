"""The problem as a textbook writes it: convex, and refused by the rules that would prove it."""

from __future__ import annotations

from types import MappingProxyType

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.accuracy_forms import GAIN, curve_groups, in_place, missed_accuracies
from cvxqueue.dcp.disciplined import coefficients
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.dcp.system_time_forms import (
    by_type,
    linear_fractional_queue,
    named_coefficients,
    service_times,
)
from cvxqueue.model import Instance


def textbook(instance: Instance) -> Formulation:
    """Return the problem in the tokens, with the formula of Pollaczek and Khinchine as it stands.

    The waiting time divides a convex function by an affine one. That this quotient is convex does
    not follow from its parts, so the rules of disciplined convex programming refuse it; cvxpy's
    nonlinear grammar takes it.
    """
    groups, mix, rate = curve_groups(instance), instance.probabilities, instance.arrival_rate
    data = coefficients(instance, 1.0)
    times = service_times(instance, np.ones(instance.size))

    # A convex time that is not known to be positive has no convex square.
    tokens = cp.Variable(instance.size, name="tokens", nonneg=times.square is not None)
    time = by_type(named_coefficients("service", times), "service", tokens)
    mean_service_time = mix @ time
    second_moment = mix @ cp.square(time)
    if np.any(times.scv):
        variance = np.multiply(times.scv, np.square(times.slope))
        second_moment = second_moment + np.multiply(mix, variance) @ cp.square(tokens)
    utilization = rate * mean_service_time
    mean_waiting_time = _waiting_time(instance, mean_service_time, second_moment)
    mean_system_time = mean_service_time + mean_waiting_time
    missed = missed_accuracies(groups, data, GAIN, tokens / data["tokens_per_unit"])
    accuracies = data["ceiling"] - in_place(groups, missed, instance.size)
    value = instance.accuracy_weight * (np.multiply(mix, instance.importance) @ accuracies)
    objective = value - mean_system_time
    constraints = {
        "min_tokens": tokens >= instance.lower,
        "max_tokens": tokens <= instance.upper,
        # The formula is finite and negative beyond saturation, so it must be kept out.
        "stability": utilization <= 1,
    }
    return Formulation(
        form="textbook",
        problem=cp.Problem(cp.Maximize(objective), list(constraints.values())),
        variables=MappingProxyType({"tokens": tokens}),
        constraints=MappingProxyType(constraints),
        data=FixedData(instance, 1.0),
        tokens=tokens,
        accuracies=accuracies,
        mean_accuracy=mix @ accuracies,
        service_times=time,
        token_rate=rate * mix @ tokens,
        mean_service_time=mean_service_time,
        mean_waiting_time=mean_waiting_time,
        mean_system_time=mean_system_time,
        utilization=utilization,
        objective=objective,
    )


def _waiting_time(
    instance: Instance, mean: cp.Expression, second_moment: cp.Expression
) -> cp.Expression:
    """The mean waiting time as a quotient of the two moments; what has no weight is left out."""
    queue, rate = linear_fractional_queue(instance), instance.arrival_rate
    by_mean, by_load, by_second = queue.weights
    terms = (
        by_mean * mean,
        by_load * rate * cp.square(mean),
        by_second * rate * second_moment / 2,
    )
    work = sum(term for term, weight in zip(terms, queue.weights, strict=True) if weight)
    waiting: cp.Expression = work / (1 - rate * mean) + queue.constant(rate)
    return waiting
