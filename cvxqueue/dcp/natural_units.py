"""Units in which the numbers of a program are of order one: of tokens, and of the objective."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from cvxqueue.certificates import order_bracket
from cvxqueue.dcp.class_forms import Forms
from cvxqueue.model import (
    AccuracyCurve,
    AffineService,
    Instance,
    MichaelisMenten,
    PowerLaw,
    SaturatingExponential,
)
from cvxqueue.numerics.arrays import FloatArray


def tokens_per_unit(instance: Instance) -> FloatArray:
    """Tokens on whose scale the curve of each type rises, shape (N,)."""
    unit = np.empty(instance.size)
    for place, curve in instance.accuracy.groups:
        unit[place] = _SCALES(curve)
    return np.where((unit > 0.0) & np.isfinite(unit), unit, np.maximum(instance.upper, 1.0))


def _by_tangent(curve: AccuracyCurve) -> FloatArray:
    """Tokens at which the tangent at zero reaches the ceiling; zero where nothing rises."""
    none = np.zeros(curve.shape)
    gain, slope = curve.ceiling - curve.value(none), curve.slope(none)
    return np.divide(gain, slope, out=none, where=slope > 0.0)


_SCALES = Forms(
    "accuracy",
    {
        SaturatingExponential: lambda curve: 1.0 / curve.rate,
        PowerLaw: lambda curve: curve.scale,
        MichaelisMenten: lambda curve: curve.half_saturation,
    },
    otherwise=_by_tangent,
)


def scaled_tokens(instance: Instance) -> cp.Variable:
    """Return the decision u = tokens / tokens_per_unit.

    The rules accept the square of a service time only if it is affine, or known to be positive.
    """
    is_affine = type(instance.service) is AffineService
    return cp.Variable(instance.size, name="scaled_tokens", nonneg=not is_affine)


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


def cost_unit(instance: Instance) -> float:
    """Seconds in one unit of the cost with which an interior point method gets furthest.

    The cost is F = α Σ π w (ceiling − p) + T, less the constant of the queue. It is between its
    least terms and its value at `min_tokens`; the geometric mean stands for its size at the
    optimum. It is a sum of N terms. Counted so that the sum is one, each term is 1/N, and the
    rounding of the whole hides it; counted so that each term is one, the sum is N, and the path
    from the solver's first point, where all is of order one, is long. The unit is halfway between:
    the sum is √N.
    """
    curve, value = instance.accuracy, instance.model.accuracy_value * instance.probabilities
    missed = [
        float(value @ (curve.ceiling - curve.value(end)))
        for end in (instance.lower, instance.upper)
    ]
    least = instance.evaluate(instance.lower)
    # Where there is nothing to serve, what a queue takes is its constant.
    constant = instance.queue.delay(instance.arrival_rate, np.zeros(()), np.ones(())).value
    time = float(least.mean_system_time - constant)
    size = np.sqrt(missed[0] + time) * np.sqrt(missed[1] + time)
    return float(size / np.sqrt(instance.size)) if size > 0 else 1.0
