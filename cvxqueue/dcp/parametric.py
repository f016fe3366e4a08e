"""The disciplined form to be refilled: canonicalised once, solved again with other data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.accuracy_forms import curve_groups
from cvxqueue.dcp.disciplined import coefficients, natural_scale, program
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_feasible, require_instance
from cvxqueue.numerics.arrays import FloatArray

__all__ = ["parametric"]

# Any other coefficient is ≥ 0, and the rules must know: it may multiply a convex function.
_SIGNED = ("log_gain", "log_mean_gain", "log_value_gain", "log_scaled_gain", "scaled_constant")


def parametric(instance: Instance) -> Formulation:
    """Return the disciplined form with all data in parameters.

    The parameters are products of the data, because the rules let a parameter multiply a variable
    but not another parameter. Every type keeps its cone, so that a gain or an importance may come
    and go.
    """
    scale = natural_scale(instance)
    data = coefficients(instance, scale)
    parameters = {
        name: cp.Parameter(value.shape, name=name, value=value, nonneg=not name.endswith(_SIGNED))
        for name, value in data.items()
    }
    held = _ParameterData(instance, scale, parameters)
    every = np.ones(instance.size, dtype=np.bool_)
    return program("parametric", instance, parameters, every, held, cp.Variable(name="idle"))


@dataclass
class _ParameterData(FixedData):
    """Data held in the parameters of a program."""

    parameters: Mapping[str, cp.Parameter]
    held: list[tuple[cp.Parameter, Callable[[Instance], FloatArray]]] = field(default_factory=list)

    def hold(self, function: Callable[[Instance], FloatArray]) -> cp.Parameter:
        value = function(self.instance)
        parameter = cp.Parameter(value.shape, value=value)
        self.held.append((parameter, function))
        return parameter

    def refill(self, instance: Instance) -> None:
        require_instance(instance)
        if instance.size != self.instance.size:
            raise InvalidInputError(
                f"instance has {instance.size} types and the form has {self.instance.size}; "
                "formulate the new instance"
            )
        for part in ("queue", "service", "accuracy"):
            new, held = type(getattr(instance, part)), type(getattr(self.instance, part))
            if new is not held:
                raise InvalidInputError(
                    f"{part} is {new.__name__} and the form has {held.__name__}; formulate the "
                    "new instance"
                )
        if _classes(instance) != _classes(self.instance):
            raise InvalidInputError(
                "accuracy has curves of other classes, or for other types, than the form; "
                "formulate the new instance"
            )
        if _limits(instance) != _limits(self.instance):
            raise InvalidInputError(
                "constraints are of other kinds than those of the form, or bound a tail of another "
                "decay; formulate the new instance"
            )
        require_feasible(instance)
        scale = natural_scale(instance)
        data = coefficients(instance, scale)
        if data.keys() != self.parameters.keys():
            raise InvalidInputError(
                f"queue = {shown(instance.queue)} weighs other moments than the form; formulate "
                "the new instance"
            )
        values = [_fitted(data[name], held.shape) for name, held in self.parameters.items()]
        values += [function(instance) for _, function in self.held]
        parameters = [*self.parameters.values(), *(parameter for parameter, _ in self.held)]
        for parameter, value in zip(parameters, values, strict=True):
            parameter.value = value
        self.instance, self.scale = instance, scale


def _limits(instance: Instance) -> list[tuple[type, float]]:
    """What of each constraint is written into the form."""
    return [(type(limit), getattr(limit, "decay", 0.0)) for limit in instance.model.couplings]


def _classes(instance: Instance) -> list[tuple[type, list[int]]]:
    return [(type(group.curve), group.types.tolist()) for group in curve_groups(instance)]


def _fitted(value: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The value with its last line repeated until it has the shape of its parameter."""
    if value.shape == shape:
        return value
    if value.shape[0] > shape[0]:
        raise InvalidInputError(
            f"accuracy has {value.shape[0]} segments and the form has {shape[0]}; formulate the "
            "new instance"
        )
    return np.pad(value, ((0, shape[0] - value.shape[0]), (0, 0)), mode="edge")
