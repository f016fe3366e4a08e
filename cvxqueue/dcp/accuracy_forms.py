"""Accuracy curves in the rules of disciplined convex programming: one entry for each class.

Every curve is p = ceiling − gain · miss(u), with u = tokens / tokens_per_unit and a convex miss
that falls from one at u = 0. What is missed enters with several weights: the gain, π gain,
α π w gain, and this last in the unit of the objective. Those of the objective are of many decades,
and an interior point method wants numbers of order one, so each class says how they go inside its
cones.

The curves of a mixture are taken group by group: a group has a name, that starts the names of its
coefficients, and a place among the types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cvxqueue.dcp.system_time_forms import table_entry
from cvxqueue.model import (
    AccuracyCurve,
    Instance,
    MichaelisMenten,
    PiecewiseLinear,
    PowerLaw,
    SaturatingExponential,
)
from cvxqueue.numerics.arrays import FloatArray

# Names of the weights of what is missed.
GAIN, MEAN, VALUE, OBJECTIVE = "gain", "mean_gain", "value_gain", "scaled_gain"

# exp(−40) = 4e-18: what stands in for a zero coefficient of the objective is below its rounding.
_LOG_NOTHING = -40.0


def _no_cone(data: Mapping[str, Any], variable: cp.Expression, missed: cp.Variable) -> None:
    """What a curve misses goes into the objective as the expression that it is."""


class CurveForm(NamedTuple):
    """What a disciplined form needs of one class of accuracy curve."""

    tokens_per_unit: Callable[[Any], FloatArray]
    gain: Callable[[Any], FloatArray]
    """The ceiling less the value at zero."""
    coefficients: Callable[[Any, Mapping[str, FloatArray], FloatArray], dict[str, FloatArray]]
    """From the curve, the weights by name and the lower end of u: all that is not a weight."""
    missed: Callable[[Mapping[str, Any], str, cp.Expression], cp.Expression]
    """The weight of that name times miss(u), convex, shape (n,); coefficients hold the weights."""
    cone: Callable[[Mapping[str, Any], cp.Expression, cp.Variable], cp.Constraint | None] = _no_cone
    """The cone that a variable above the same, for the weight of the objective, has to be in."""


class Group(NamedTuple):
    """The types of an instance whose curves are of one class."""

    name: str
    types: NDArray[np.intp]
    curve: AccuracyCurve
    form: CurveForm


def _logarithm(weight: FloatArray, exponent: FloatArray) -> FloatArray:
    """Return ln of a weight, where `exponent` is the least that is taken from it."""
    # Zero has no logarithm; this one is of a number too small to be seen.
    return np.where(weight > 0.0, np.log(weight), exponent + _LOG_NOTHING)


def _exponential_missed(
    data: Mapping[str, Any], weight: str, variable: cp.Expression
) -> cp.Expression:
    if weight == OBJECTIVE:
        return cp.exp(data["log_gain"] - variable)
    return cp.multiply(data[weight], cp.exp(-variable))


_EXPONENTIAL = CurveForm(
    tokens_per_unit=lambda curve: 1.0 / curve.rate,
    gain=lambda curve: curve.gain,
    coefficients=lambda curve, weights, lower: {"log_gain": _logarithm(weights[OBJECTIVE], lower)},
    missed=_exponential_missed,
)


def _power_law_coefficients(
    curve: Any, weights: Mapping[str, FloatArray], lower: FloatArray
) -> dict[str, FloatArray]:
    share = 1.0 / (1.0 + curve.exponent)
    fall = curve.exponent * np.log1p(lower)
    logarithms = {"log_" + name: _logarithm(weight, fall) for name, weight in weights.items()}
    return logarithms | {
        "exponent": curve.exponent,
        "share": share,
        "root": weights[OBJECTIVE] ** share,
    }


def _power_law_missed(
    data: Mapping[str, Any], weight: str, variable: cp.Expression
) -> cp.Expression:
    # Accepted with the exponent as a parameter, as long as no other multiplies it.
    fall = cp.multiply(data["exponent"], cp.log(1 + variable))
    missed: cp.Expression = cp.exp(data["log_" + weight] - fall)
    return missed


def _power_law_cone(
    data: Mapping[str, Any], variable: cp.Expression, missed: cp.Variable
) -> cp.Constraint | None:
    # The exponents of a cone cannot be parameters.
    if isinstance(data["exponent"], cp.Parameter):
        return None
    # g (1 + u)^−β ≤ e is e^a (1 + u)^(1−a) ≥ g^a with a = 1/(1 + β): one cone for each type, where
    # the atom `power` takes one exponent for all.
    return cp.PowCone3D(missed, 1 + variable, data["root"], data["share"])


_POWER_LAW = CurveForm(
    tokens_per_unit=lambda curve: curve.scale,
    gain=lambda curve: curve.gain,
    coefficients=_power_law_coefficients,
    missed=_power_law_missed,
    cone=_power_law_cone,
)


def _michaelis_menten_cone(
    data: Mapping[str, Any], variable: cp.Expression, missed: cp.Variable
) -> cp.Constraint:
    # g/(1 + u) ≤ e is a hyperbola, e (1 + u) ≥ √g², and so a second-order cone.
    rest = 1 + variable
    return cp.SOC(missed + rest, cp.vstack([2 * data["root"], missed - rest]), axis=0)


_MICHAELIS_MENTEN = CurveForm(
    tokens_per_unit=lambda curve: curve.half_saturation,
    gain=lambda curve: curve.gain,
    coefficients=lambda curve, weights, lower: {"root": np.sqrt(weights[OBJECTIVE])},
    missed=lambda data, weight, variable: cp.multiply(data[weight], cp.inv_pos(1 + variable)),
    cone=_michaelis_menten_cone,
)


def _piecewise_linear_gain(curve: Any) -> FloatArray:
    gain: FloatArray = curve.ceiling - curve.value(0.0)
    return gain


def _piecewise_linear_unit(curve: Any) -> FloatArray:
    last = curve.breakpoints[-1]
    return np.where(last > 0.0, last, 1.0)


def _piecewise_linear_coefficients(
    curve: Any, weights: Mapping[str, FloatArray], lower: FloatArray
) -> dict[str, FloatArray]:
    # A concave curve is the least of its lines, and what it misses of its ceiling the greatest.
    gain, slopes = _piecewise_linear_gain(curve), curve.segment_slopes
    share = 1.0 / np.where(gain > 0.0, gain, np.inf)
    base = share * (curve.ceiling - curve.breakpoint_values + slopes * curve.breakpoints)
    fall = share * slopes * _piecewise_linear_unit(curve)
    return {
        f"{name}_{part}": weight * line
        for name, weight in weights.items()
        for part, line in (("lines", base), ("slopes", fall))
    }


def _piecewise_linear_missed(
    data: Mapping[str, Any], weight: str, variable: cp.Expression
) -> cp.Expression:
    base, fall = data[weight + "_lines"], data[weight + "_slopes"]
    every = cp.vstack([variable] * base.shape[0])
    greatest: cp.Expression = cp.max(base - cp.multiply(fall, every), axis=0)
    return greatest


_PIECEWISE_LINEAR = CurveForm(
    tokens_per_unit=_piecewise_linear_unit,
    gain=_piecewise_linear_gain,
    coefficients=_piecewise_linear_coefficients,
    missed=_piecewise_linear_missed,
)

_CURVE_FORMS: dict[type, CurveForm] = {
    MichaelisMenten: _MICHAELIS_MENTEN,
    PiecewiseLinear: _PIECEWISE_LINEAR,
    PowerLaw: _POWER_LAW,
    SaturatingExponential: _EXPONENTIAL,
}


def curve_groups(instance: Instance) -> list[Group]:
    """Return the curves of the instance, by class.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know a class of accuracy curve.
    """
    places = np.arange(instance.size)
    return [
        Group(
            f"curve {number} ", places[where], curve, table_entry("accuracy", curve, _CURVE_FORMS)
        )
        for number, (where, curve) in enumerate(instance.accuracy.groups, start=1)
    ]


def gathered(groups: Sequence[Group], part: Callable[[Group], FloatArray], size: int) -> FloatArray:
    """Return an array by type from one for each group."""
    whole = np.empty(size)
    for group in groups:
        whole[group.types] = part(group)
    return whole


def group_coefficients(data: Mapping[str, Any], group: Group) -> dict[str, Any]:
    """Return the coefficients of a group, by their own names."""
    return {
        name.removeprefix(group.name): part
        for name, part in data.items()
        if name.startswith(group.name)
    }


def missed_accuracies(
    groups: Sequence[Group], data: Mapping[str, Any], weight: str, variable: cp.Expression
) -> list[cp.Expression]:
    """Return the weight of that name times miss(u), one expression for each group."""
    return [
        group.form.missed(
            group_coefficients(data, group),
            weight,
            variable if len(groups) == 1 else variable[group.types],
        )
        for group in groups
    ]


def in_place(groups: Sequence[Group], parts: Sequence[cp.Expression], size: int) -> cp.Expression:
    """Return an expression by type, shape (N,), from one for each group."""
    if len(groups) == 1:
        return parts[0]
    placed = []
    for group, part in zip(groups, parts, strict=True):
        places = (np.ones(group.types.size), (group.types, np.arange(group.types.size)))
        matrix = sparse.csr_array(places, shape=(size, group.types.size))
        placed.append(cp.Constant(matrix) @ part)
    whole: cp.Expression = sum(placed[1:], placed[0])
    return whole
