"""The problem in the rules of disciplined convex programming, with coefficients or parameters.

The decision is u = tokens / tokens_per_unit, by the scale of each accuracy curve: of order one for
every type where tokens range over many decades. The objective is counted in units of `scale`
seconds, and its coefficients stand inside the cones of the curves, as in
exp(ln(α π w gain / scale) − u), so that these see numbers of order one.

Where the service time is convex in the tokens, the objective sees a variable above it, which falls
onto it at the optimum: the mean system time increases in every service time, and no other part of
the problem has the variable. The named expressions do without it. They are convex functions of the
decision, so that the rules refuse a constraint that would hold the variable up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import order_bracket
from cvxqueue.dcp.accuracy_forms import (
    GAIN,
    MEAN,
    OBJECTIVE,
    VALUE,
    Group,
    curve_groups,
    gathered,
    group_coefficients,
    in_place,
    missed_accuracies,
)
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.dcp.system_time_forms import (
    SCALED,
    by_type,
    in_total,
    quotient_time,
    time_coefficients,
)
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray


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
    # A type whose accuracy is worth nothing only costs time, and needs no cone.
    is_curved = data["value_gain"] > 0.0
    return program("dcp", instance, data, is_curved, FixedData(instance, scale))


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
    groups, size, mix = curve_groups(instance), instance.size, instance.probabilities
    tokens_per_unit = gathered(groups, lambda group: group.form.tokens_per_unit(group.curve), size)
    gain = gathered(groups, lambda group: group.form.gain(group.curve), size)
    ceiling = instance.accuracy.ceiling
    times = time_coefficients(instance, tokens_per_unit, scale)
    value = instance.model.accuracy_value * mix
    weights = {GAIN: gain, MEAN: mix * gain, VALUE: value * gain, OBJECTIVE: value * gain / scale}
    data = times | {
        "tokens_per_unit": tokens_per_unit,
        "token_rate_slope": instance.arrival_rate * mix * tokens_per_unit,
        "lower": instance.lower / tokens_per_unit,
        "upper": instance.upper / tokens_per_unit,
        "ceiling": ceiling,
        "mean_ceiling": np.asarray(mix @ ceiling),
        "value_ceiling": np.asarray(value @ ceiling),
        "value_gain": weights[VALUE],
        "scaled_gain": weights[OBJECTIVE],
        "scaled_constant": value @ ceiling / scale - times[SCALED + "time_base"],
    }
    for group in groups:
        own = {name: weight[group.types] for name, weight in weights.items()}
        own |= group.form.coefficients(group.curve, own, data["lower"][group.types])
        data |= {group.name + name: part for name, part in own.items()}
    return data


def program(
    form: str,
    instance: Instance,
    data: Mapping[str, Any],
    is_curved: NDArray[np.bool_],
    held: FixedData,
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
    held : FixedData
        The data behind it.
    idle : cvxpy.Variable, optional
        Stands for 1 − ρ where this may not be written out: the rules for parameters keep them out
        of a denominator.
    """
    is_convex = "time_bound_square" in data
    # A convex time that is not known to be positive has no convex square.
    variable = cp.Variable(instance.size, name="scaled_tokens", nonneg=is_convex)
    variables = {"scaled_tokens": variable}
    constraints = {
        "min_tokens": variable >= data["lower"],
        "max_tokens": variable <= data["upper"],
    }
    time: cp.Expression = variable
    if is_convex:
        time = variables["scaled_times"] = cp.Variable(instance.size, name="scaled_times")
        constraints["service_times"] = time >= by_type(data, "time_bound", variable)
    if idle is not None:
        variables["idle"] = idle
        constraints["idle"] = idle == 1 - in_total(data, SCALED + "load", time)

    missed = _missed(curve_groups(instance), data, variable, is_curved, variables, constraints)
    seen_idle = 1 - in_total(data, SCALED + "load", time) if idle is None else idle
    quotient = quotient_time(data, time, seen_idle, SCALED)
    scaled_time = data[SCALED + "time_slope"] @ time + quotient
    objective = cp.Maximize(data["scaled_constant"] - scaled_time - missed)
    return Formulation(
        form=form,
        problem=cp.Problem(objective, list(constraints.values())),
        variables=MappingProxyType(variables),
        constraints=MappingProxyType(constraints),
        data=held,
        **_expressions(instance, data, variable, idle),
    )


def _missed(
    groups: Sequence[Group],
    data: Mapping[str, Any],
    variable: cp.Variable,
    is_curved: NDArray[np.bool_],
    variables: dict[str, cp.Variable],
    constraints: dict[str, cp.Constraint],
) -> cp.Expression:
    """Σ g miss(u) over the types that have something to gain; what it needs goes to the others."""
    total: cp.Expression = cp.Constant(0.0)
    for group in groups:
        is_kept = is_curved[group.types]
        if not is_kept.any():
            continue
        parts = group_coefficients(data, group)
        if not is_kept.all():
            parts = {name: part[..., is_kept] for name, part in parts.items()}
        chosen = group.types[is_kept]
        own = variable if chosen.size == variable.size else variable[chosen]
        above = cp.Variable(chosen.size, name="missed")
        cone = group.form.cone(parts, own, above)
        if cone is None:
            total = total + cp.sum(group.form.missed(parts, OBJECTIVE, own))
        else:
            name = f"{group.name if len(groups) > 1 else ''}missed"
            variables[name], constraints[name] = above, cone
            total = total + cp.sum(above)
    return total


def _expressions(
    instance: Instance,
    data: Mapping[str, Any],
    variable: cp.Variable,
    idle: cp.Variable | None,
) -> dict[str, cp.Expression]:
    """The named expressions, in seconds."""
    utilization = in_total(data, "load", variable)
    quotient = quotient_time(data, variable, 1 - utilization if idle is None else idle)
    mean_service_time = in_total(data, "mean", variable)
    mean_waiting_time = in_total(data, "waiting", variable) + quotient
    mean_system_time = mean_service_time + mean_waiting_time
    groups = curve_groups(instance)

    def missed(weight: str) -> list[cp.Expression]:
        return missed_accuracies(groups, data, weight, variable)

    worth = data["value_ceiling"] - sum(cp.sum(part) for part in missed(VALUE))
    return {
        "tokens": cp.multiply(data["tokens_per_unit"], variable),
        "accuracies": data["ceiling"] - in_place(groups, missed(GAIN), instance.size),
        "mean_accuracy": data["mean_ceiling"] - sum(cp.sum(part) for part in missed(MEAN)),
        "service_times": by_type(data, "service", variable),
        "token_rate": data["token_rate_slope"] @ variable,
        "mean_service_time": mean_service_time,
        "mean_waiting_time": mean_waiting_time,
        "mean_system_time": mean_system_time,
        "utilization": utilization,
        "objective": worth - mean_system_time,
    }
