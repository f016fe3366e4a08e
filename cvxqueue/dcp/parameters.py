"""Data of an instance held in the parameters of a program, to be refilled by another instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.formulation import FixedData
from cvxqueue.dcp.natural_units import natural_scale
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance, require_feasible, require_instance
from cvxqueue.numerics.arrays import FloatArray

OfInstance = Callable[[Instance, float], Any]
"""A function of an instance, and of the seconds in one unit of the objective."""


@dataclass
class ParameterData(FixedData):
    """Data held in the parameters of a program."""

    held: list[tuple[cp.Parameter, OfInstance]] = field(default_factory=list)

    @property
    def parameters(self) -> list[cp.Parameter]:
        """The parameters that hold the data; those of further constraints come last."""
        return [parameter for parameter, _ in self.held]

    def parameter(self, function: OfInstance, *, nonneg: bool = True) -> cp.Parameter:
        """Return a parameter that `refill` gives the function's value.

        It is ≥ 0 by default: the rules must know it of what multiplies a convex function.
        """
        value = np.asarray(function(self.instance, self.scale))
        parameter = cp.Parameter(value.shape, value=value, nonneg=nonneg)
        self.held.append((parameter, function))
        return parameter

    def hold(self, function: Callable[[Instance], FloatArray]) -> cp.Parameter:
        """Return a function of the instance as a parameter."""
        self.further.append(function)
        return self.parameter(lambda instance, _: function(instance), nonneg=False)

    def refill(self, instance: Instance) -> None:
        """Put another instance in its place, or change nothing; see `Formulation.update`."""
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
        values = [
            _fitted(np.asarray(function(instance, scale)), parameter.shape)
            for parameter, function in self.held
        ]
        for (parameter, _), value in zip(self.held, values, strict=True):
            parameter.value = value
        self.instance, self.scale = instance, scale


def _limits(instance: Instance) -> list[tuple[type, float]]:
    """What of each constraint is written into the form."""
    return [(type(limit), getattr(limit, "decay", 0.0)) for limit in instance.model.couplings]


def _classes(instance: Instance) -> list[tuple[type, list[int]]]:
    """The class of each group of curves, and the types in it."""
    every = np.arange(instance.size)
    return [(type(curve), every[place].tolist()) for place, curve in instance.accuracy.groups]


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
