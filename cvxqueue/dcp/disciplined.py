"""The problem in the rules of disciplined convex programming, with coefficients or parameters.

The decision is u = rate ∘ tokens, the exponent of the accuracy curve: of order one for every type
where tokens range over many decades. The objective is counted in units of `scale` seconds, and its
coefficients stand inside the exponent, exp(ln(α π w gain / scale) − u), so that the cones see
numbers of order one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import order_bracket
from cvxqueue.dcp.formulation import Expressions, Filling, Fixed, Formulation, named_problem
from cvxqueue.dcp.queueing import Affine, affine_service, exponential_accuracy, waiting
from cvxqueue.model import Instance
from cvxqueue.model.arrays import FloatArray

__all__ = ["coefficients", "disciplined", "natural_scale", "program"]

# Prefixes of the two sets of waiting-time coefficients: in seconds, and in the problem's unit.
_SECONDS, _SCALED = "waiting_", "scaled_waiting_"


def disciplined(instance: Instance, scale: float | None = None) -> Formulation:
    """Return the disciplined form with the data as constants.

    Parameters
    ----------
    instance : Instance
        Feasible.
    scale : float, optional
        Seconds in one unit of the problem's objective; by default `natural_scale`.
    """
    scale = natural_scale(instance) if scale is None else scale
    data = coefficients(instance, scale)
    # A gain of zero has no logarithm; such a type only costs time, and needs no cone.
    is_curved = data["value_gain"] > 0.0
    return program("dcp", instance, data, is_curved, Fixed(instance, scale))


def natural_scale(instance: Instance) -> float:
    """Power of ten near α Σ π w p + T at the optimum, in seconds.

    In the order bracket [l, h], this sum is at least its value at l, and with T ≤ α Σ π w p − J(l)
    at most 2 α Σ π w p(h) − J(l): the power of ten below the geometric mean.
    """
    bracket = order_bracket(instance)
    low, high = instance.evaluate(bracket.lower), instance.evaluate(bracket.upper)
    most = 2.0 * float(high.benefit) - float(low.objective)
    middle = np.sqrt(float(low.scale) * max(most, float(low.scale)))
    return float(10.0 ** np.floor(np.log10(middle))) if middle > 0 else 1.0


def coefficients(instance: Instance, scale: float) -> dict[str, FloatArray]:
    """Everything that the program multiplies, adds or bounds by, as functions of the instance.

    Products of data are formed here: a program may multiply a variable by one parameter only.

    Parameters
    ----------
    instance : Instance
        The instance.
    scale : float
        Seconds in one unit of the objective.
    """
    service, curve = affine_service(instance), exponential_accuracy(instance)
    mix, rate = instance.probabilities, instance.arrival_rate
    times = Affine(service.base, service.slope / curve.rate)
    mean = Affine(np.asarray(mix @ times.base), mix * times.slope)
    value = instance.accuracy_value * mix
    value_gain = value * curve.gain
    with np.errstate(divide="ignore"):
        log_gain = np.log(value_gain / scale)
    data = {
        "tokens_per_unit": 1.0 / curve.rate,
        "lower": curve.rate * instance.lower,
        "upper": curve.rate * instance.upper,
        "mean_base": mean.base,
        "mean_slope": mean.slope,
        "load_base": rate * mean.base,
        "load_slope": rate * mean.slope,
        "ceiling": curve.ceiling,
        "gain": curve.gain,
        "mean_ceiling": np.asarray(mix @ curve.ceiling),
        "mean_gain": mix * curve.gain,
        "value_ceiling": np.asarray(value @ curve.ceiling),
        "value_gain": value_gain,
        "log_gain": log_gain,
        "scaled_constant": np.asarray((value @ curve.ceiling - mean.base) / scale),
        "scaled_mean_slope": mean.slope / scale,
    }
    for prefix, unit in ((_SECONDS, 1.0), (_SCALED, scale)):
        parts = waiting(instance).coefficients(instance, times, unit)
        data |= {prefix + name: part for name, part in parts.items()}
    return data


def program(
    form: str,
    instance: Instance,
    data: Mapping[str, Any],
    is_curved: NDArray[np.bool_],
    filling: Filling,
    idle: cp.Variable | None = None,
) -> Formulation:
    """Return the disciplined program over `data`: `coefficients`, or parameters of their names.

    Parameters
    ----------
    form : str
        Name of the form.
    instance : Instance
        For its size and its classes.
    data : mapping
        What `coefficients` returns, or cvxpy parameters in its place.
    is_curved : ndarray of bool, shape (N,)
        Types whose accuracy enters the objective through a cone.
    filling : Filling
        The data behind it.
    idle : cvxpy.Variable, optional
        Stands for 1 − ρ where this may not be written out: the rules for parameters keep them out
        of a denominator.
    """
    variable = cp.Variable(instance.size, name="scaled_tokens")
    variables = {"scaled_tokens": variable}
    constraints = {
        "min_tokens": variable >= data["lower"],
        "max_tokens": variable <= data["upper"],
    }
    utilization = data["load_base"] + data["load_slope"] @ variable
    if idle is None:
        denominator = 1 - utilization
    else:
        denominator = variables["idle"] = idle
        constraints["idle"] = idle == 1 - utilization

    def waiting_time(prefix: str) -> cp.Expression:
        parts = {
            name.removeprefix(prefix): part
            for name, part in data.items()
            if name.startswith(prefix)
        }
        return waiting(instance).expression(parts, variable, denominator)

    scaled_time = data["scaled_mean_slope"] @ variable + waiting_time(_SCALED)
    scaled_objective = data["scaled_constant"] - scaled_time
    if is_curved.any():
        exponent = data["log_gain"][is_curved] - variable[is_curved]
        scaled_objective = scaled_objective - cp.sum(cp.exp(exponent))
    problem, named = named_problem(scaled_objective, constraints)
    return Formulation(
        form=form,
        problem=problem,
        variables=MappingProxyType(variables),
        constraints=named,
        expressions=_expressions(data, variable, utilization, waiting_time(_SECONDS)),
        filling=filling,
    )


def _expressions(
    data: Mapping[str, Any],
    variable: cp.Variable,
    utilization: cp.Expression,
    mean_waiting_time: cp.Expression,
) -> Expressions:
    mean_service_time = data["mean_base"] + data["mean_slope"] @ variable
    mean_system_time = mean_service_time + mean_waiting_time
    miss = cp.exp(-variable)
    return Expressions(
        tokens=cp.multiply(data["tokens_per_unit"], variable),
        accuracies=data["ceiling"] - cp.multiply(data["gain"], miss),
        mean_accuracy=data["mean_ceiling"] - data["mean_gain"] @ miss,
        mean_service_time=mean_service_time,
        mean_waiting_time=mean_waiting_time,
        mean_system_time=mean_system_time,
        utilization=utilization,
        objective=data["value_ceiling"] - data["value_gain"] @ miss - mean_system_time,
    )
