"""The disciplined form to be refilled: canonicalised once, solved again with other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.disciplined import coefficients, natural_scale, program
from cvxqueue.dcp.formulation import Formulation
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.model.arrays import FloatArray

__all__ = ["parametric"]

# exp(−40) = 4e-18: what stands in for a zero coefficient of the objective is below its rounding.
_LOG_NOTHING = -40.0
# They multiply convex functions, and a product is convex only if the sign is known.
_NONNEGATIVE = frozenset({"gain", "mean_gain", "value_gain"})


def parametric(instance: Instance) -> Formulation:
    """Return the disciplined form with all data in parameters.

    The parameters are products of the data, because the rules let a parameter multiply a variable
    but not another parameter. Every type keeps its cone, so that a gain or an importance may come
    and go.
    """
    scale = natural_scale(instance)
    data = _finite_coefficients(instance, scale)
    parameters = {
        name: cp.Parameter(value.shape, name=name, value=value, nonneg=name in _NONNEGATIVE)
        for name, value in data.items()
    }
    filling = _Parameters(instance, scale, parameters)
    every = np.ones(instance.size, dtype=np.bool_)
    return program("parametric", instance, parameters, every, filling, cp.Variable(name="idle"))


@dataclass
class _Parameters:
    """Data held in the parameters of a program."""

    instance: Instance
    scale: float
    parameters: Mapping[str, cp.Parameter]

    def refill(self, instance: Instance) -> None:
        if not isinstance(instance, Instance):
            raise InvalidInputError(f"instance must be an Instance, got {instance!r:.80}")
        if instance.size != self.instance.size:
            raise InvalidInputError(
                f"instance has {instance.size} types and the form has {self.instance.size}; "
                "formulate the new instance"
            )
        for field in ("queue", "service", "accuracy"):
            new, held = type(getattr(instance, field)), type(getattr(self.instance, field))
            if new is not held:
                raise InvalidInputError(
                    f"{field} is {new.__name__} and the form has {held.__name__}; formulate the "
                    "new instance"
                )
        instance.require_feasible()
        scale = natural_scale(instance)
        data = _finite_coefficients(instance, scale)
        for name, parameter in self.parameters.items():
            parameter.value = data[name]
        self.instance, self.scale = instance, scale


def _finite_coefficients(instance: Instance, scale: float) -> dict[str, FloatArray]:
    data = coefficients(instance, scale)
    # The exponent log_gain − u is at most this wherever u ≥ lower.
    nothing = data["lower"] + _LOG_NOTHING
    log_gain = data["log_gain"]
    return data | {"log_gain": np.where(np.isfinite(log_gain), log_gain, nothing)}
