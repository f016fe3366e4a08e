"""Accuracy curves in the rules of disciplined convex programming: one entry for each class.

Every curve is p = ceiling − gain · miss(u), with u = tokens / tokens_per_unit and a convex miss
that falls from one at u = 0. What all types miss together enters the objective as a sum of
g miss(u) with g = α π w gain, over many decades. An interior point method wants numbers of order
one, so each class says as well how g goes inside its cone.

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

from cvxqueue.dcp.queueing import table_entry
from cvxqueue.model import AccuracyCurve, Instance, SaturatingExponential
from cvxqueue.model.arrays import FloatArray

__all__ = [
    "CurveForm",
    "Group",
    "Loss",
    "curve_groups",
    "gathered",
    "group_coefficients",
    "missed_shares",
]

# exp(−40) = 4e-18: what stands in for a zero coefficient of the objective is below its rounding.
_LOG_NOTHING = -40.0


class Loss(NamedTuple):
    """Σ g miss(u), with the variables and constraints that it needs."""

    total: cp.Expression
    variables: dict[str, cp.Variable]
    constraints: dict[str, cp.Constraint]


class CurveForm(NamedTuple):
    """What a disciplined form needs of one class of accuracy curve."""

    tokens_per_unit: Callable[[Any], FloatArray]
    ceiling_and_gain: Callable[[Any], tuple[FloatArray, FloatArray]]
    coefficients: Callable[[Any, FloatArray, FloatArray], dict[str, FloatArray]]
    """From the curve, g in the problem's unit and the lower end of u."""
    miss: Callable[[Mapping[str, Any], cp.Expression], cp.Expression]
    """Convex in u, shape (n,)."""
    loss: Callable[[Mapping[str, Any], cp.Expression], Loss]


class Group(NamedTuple):
    """The types of an instance whose curves are of one class."""

    name: str
    types: NDArray[np.intp]
    curve: AccuracyCurve
    form: CurveForm


def _log_gain(gain: FloatArray, exponent: FloatArray) -> FloatArray:
    """Return ln g, where `exponent` is the least that is taken from it."""
    with np.errstate(divide="ignore"):
        # A gain of zero has no logarithm; this one is too small to be seen.
        return np.where(gain > 0.0, np.log(gain), exponent + _LOG_NOTHING)


def _exponential_loss(data: Mapping[str, Any], variable: cp.Expression) -> Loss:
    return Loss(cp.sum(cp.exp(data["log_gain"] - variable)), {}, {})


_EXPONENTIAL = CurveForm(
    tokens_per_unit=lambda curve: 1.0 / curve.rate,
    ceiling_and_gain=lambda curve: (curve.floor + curve.gain, curve.gain),
    coefficients=lambda curve, gain, lower: {"log_gain": _log_gain(gain, lower)},
    miss=lambda data, variable: cp.exp(-variable),
    loss=_exponential_loss,
)


def _power_law_coefficients(
    curve: Any, gain: FloatArray, lower: FloatArray
) -> dict[str, FloatArray]:
    log_gain = _log_gain(gain, curve.exponent * np.log1p(lower))
    share = 1.0 / (1.0 + curve.exponent)
    return {
        "exponent": curve.exponent,
        "share": share,
        "root_gain": gain**share,
        "log_gain": log_gain,
    }


def _power_law_loss(data: Mapping[str, Any], variable: cp.Expression) -> Loss:
    if isinstance(data["exponent"], cp.Parameter):
        # The exponents of a cone cannot be parameters; those of this expression can.
        falling = cp.multiply(data["exponent"], cp.log(1 + variable))
        return Loss(cp.sum(cp.exp(data["log_gain"] - falling)), {}, {})
    # g (1 + u)^−β ≤ e is e^a (1 + u)^(1−a) ≥ g^a with a = 1/(1 + β): one cone for each type, where
    # the atom `power` takes one exponent for all.
    missed = cp.Variable(data["share"].size, name="missed")
    cone = cp.PowCone3D(missed, 1 + variable, data["root_gain"], data["share"])
    return Loss(cp.sum(missed), {"missed": missed}, {"missed": cone})


_POWER_LAW = CurveForm(
    tokens_per_unit=lambda curve: curve.scale,
    ceiling_and_gain=lambda curve: (curve.floor + curve.gain, curve.gain),
    coefficients=_power_law_coefficients,
    miss=lambda data, variable: cp.exp(-cp.multiply(data["exponent"], cp.log(1 + variable))),
    loss=_power_law_loss,
)


def _michaelis_menten_loss(data: Mapping[str, Any], variable: cp.Expression) -> Loss:
    # g/(1 + u) ≤ e is a hyperbola, e (1 + u) ≥ √g², and so a second-order cone.
    missed = cp.Variable(variable.size, name="missed")
    rest = 1 + variable
    cone = cp.SOC(missed + rest, cp.vstack([2 * data["root_gain"], missed - rest]), axis=0)
    return Loss(cp.sum(missed), {"missed": missed}, {"missed": cone})


_MICHAELIS_MENTEN = CurveForm(
    tokens_per_unit=lambda curve: curve.half_saturation,
    ceiling_and_gain=lambda curve: (curve.floor + curve.gain, curve.gain),
    coefficients=lambda curve, gain, lower: {"root_gain": np.sqrt(gain)},
    miss=lambda data, variable: cp.inv_pos(1 + variable),
    loss=_michaelis_menten_loss,
)


def _piecewise_linear_ends(curve: Any) -> tuple[FloatArray, FloatArray]:
    top = curve.value(curve.breakpoints[-1])
    return top, top - curve.value(np.zeros_like(top))


def _piecewise_linear_unit(curve: Any) -> FloatArray:
    last = curve.breakpoints[-1]
    return np.where(last > 0.0, last, 1.0)


def _piecewise_linear_coefficients(
    curve: Any, gain: FloatArray, lower: FloatArray
) -> dict[str, FloatArray]:
    # A concave curve is the least of its lines, and what it misses of its top the greatest.
    top, rise = _piecewise_linear_ends(curve)
    share = 1.0 / np.where(rise > 0.0, rise, np.inf)
    slope = np.vstack([curve.segment_slopes, np.zeros_like(top)])
    points = np.vstack([curve.breakpoints, curve.breakpoints[-1]])
    line_base = share * (top - curve.value(points) + slope * points)
    line_slope = share * slope * _piecewise_linear_unit(curve)
    return {
        "line_base": line_base,
        "line_slope": line_slope,
        "scaled_line_base": gain * line_base,
        "scaled_line_slope": gain * line_slope,
    }


def _greatest_line(base: Any, slope: Any, variable: cp.Expression) -> cp.Expression:
    every = cp.vstack([variable] * base.shape[0])
    greatest: cp.Expression = cp.max(base - cp.multiply(slope, every), axis=0)
    return greatest


_PIECEWISE_LINEAR = CurveForm(
    tokens_per_unit=_piecewise_linear_unit,
    ceiling_and_gain=_piecewise_linear_ends,
    coefficients=_piecewise_linear_coefficients,
    miss=lambda data, variable: _greatest_line(data["line_base"], data["line_slope"], variable),
    loss=lambda data, variable: Loss(
        cp.sum(_greatest_line(data["scaled_line_base"], data["scaled_line_slope"], variable)),
        {},
        {},
    ),
)

_FORMS: dict[type, CurveForm] = {
    SaturatingExponential: _EXPONENTIAL,
}


def curve_groups(instance: Instance) -> list[Group]:
    """Return the curves of the instance, by class.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know a class of accuracy curve.
    """
    pairs = getattr(instance.accuracy, "groups", [(np.arange(instance.size), instance.accuracy)])
    return [
        Group(f"curve {number} ", types, curve, table_entry("accuracy", curve, _FORMS))
        for number, (types, curve) in enumerate(pairs, start=1)
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


def missed_shares(
    groups: Sequence[Group], data: Mapping[str, Any], variable: cp.Expression
) -> cp.Expression:
    """Return miss(u) of all types, convex, shape (N,)."""
    is_one = len(groups) == 1
    placed = []
    for group in groups:
        own = variable if is_one else variable[group.types]
        part = group.form.miss(group_coefficients(data, group), own)
        places = (np.ones(group.types.size), (group.types, np.arange(group.types.size)))
        shape = (variable.size, group.types.size)
        placed.append(part if is_one else cp.Constant(sparse.csr_array(places, shape=shape)) @ part)
    return sum(placed[1:], placed[0])
