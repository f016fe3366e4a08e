"""The problem as a textbook writes it: convex, and refused by the rules that would prove it."""

from __future__ import annotations

from types import MappingProxyType

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.formulation import Expressions, Fixed, Formulation, named_problem
from cvxqueue.dcp.queueing import affine_service, exponential_accuracy, waiting
from cvxqueue.model import Instance

__all__ = ["textbook"]


def textbook(instance: Instance) -> Formulation:
    """Return the problem in the tokens, with the formula of Pollaczek and Khinchine as it stands.

    The waiting time divides a convex function by an affine one. That this quotient is convex does
    not follow from its parts, so the rules of disciplined convex programming refuse it; cvxpy's
    nonlinear grammar takes it.
    """
    times, curve = affine_service(instance), exponential_accuracy(instance)
    mix, rate = instance.probabilities, instance.arrival_rate

    tokens = cp.Variable(instance.size, name="tokens")
    service_times = times.base + cp.multiply(times.slope, tokens)
    mean_service_time = mix @ service_times
    second_moment = mix @ cp.square(service_times)
    utilization = rate * mean_service_time
    mean_waiting_time = waiting(instance).formula(rate, mean_service_time, second_moment)
    mean_system_time = mean_service_time + mean_waiting_time
    accuracies = curve.ceiling - cp.multiply(curve.gain, cp.exp(-cp.multiply(curve.rate, tokens)))
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
            mean_service_time=mean_service_time,
            mean_waiting_time=mean_waiting_time,
            mean_system_time=mean_system_time,
            utilization=utilization,
            objective=objective,
        ),
        filling=Fixed(instance, 1.0),
    )
