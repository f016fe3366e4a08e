"""The problem as a textbook writes it: convex, and refused by the rules that would prove it."""

from __future__ import annotations

from types import MappingProxyType

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.accuracy import GAIN, curve_groups, in_place, missed_accuracies
from cvxqueue.dcp.disciplined import coefficients
from cvxqueue.dcp.formulation import Expressions, Fixed, Formulation, named_problem
from cvxqueue.dcp.queueing import service_law, textbook_waiting_time
from cvxqueue.model import Instance

__all__ = ["textbook"]


def textbook(instance: Instance) -> Formulation:
    """Return the problem in the tokens, with the formula of Pollaczek and Khinchine as it stands.

    The waiting time divides a convex function by an affine one. That this quotient is convex does
    not follow from its parts, so the rules of disciplined convex programming refuse it; cvxpy's
    nonlinear grammar takes it.
    """
    groups, mix, rate = curve_groups(instance), instance.probabilities, instance.arrival_rate
    data = coefficients(instance, 1.0)
    times = service_law(instance, np.ones(instance.size)).times

    # A convex time that is not known to be positive has no convex square.
    tokens = cp.Variable(instance.size, name="tokens", nonneg=times.square is not None)
    service_times = times.base + cp.multiply(times.slope, tokens)
    if times.square is not None:
        service_times = service_times + cp.multiply(times.square, cp.square(tokens))
    mean_service_time = mix @ service_times
    second_moment = mix @ cp.square(service_times)
    if np.any(times.scv):
        variance = np.multiply(times.scv, np.square(times.slope))
        second_moment = second_moment + np.multiply(mix, variance) @ cp.square(tokens)
    utilization = rate * mean_service_time
    mean_waiting_time = textbook_waiting_time(instance, mean_service_time, second_moment)
    mean_system_time = mean_service_time + mean_waiting_time
    missed = missed_accuracies(groups, data, GAIN, tokens / data["tokens_per_unit"])
    accuracies = data["ceiling"] - in_place(groups, missed, instance.size)
    value = instance.accuracy_weight * (np.multiply(mix, instance.importance) @ accuracies)
    objective = value - mean_system_time
    problem, constraints = named_problem(
        objective,
        {
            "min_tokens": tokens >= instance.lower,
            "max_tokens": tokens <= instance.upper,
            # The formula is finite and negative beyond saturation, so it must be kept out.
            "stability": utilization <= 1,
        },
    )
    return Formulation(
        form="textbook",
        problem=problem,
        variables=MappingProxyType({"tokens": tokens}),
        constraints=constraints,
        expressions=Expressions(
            tokens=tokens,
            accuracies=accuracies,
            mean_accuracy=mix @ accuracies,
            service_times=service_times,
            token_rate=rate * mix @ tokens,
            mean_service_time=mean_service_time,
            mean_waiting_time=mean_waiting_time,
            mean_system_time=mean_system_time,
            utilization=utilization,
            objective=objective,
        ),
        filling=Fixed(instance, 1.0),
    )
