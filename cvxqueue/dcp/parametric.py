"""The disciplined form to be refilled: canonicalised once, solved again with other data.

The rules for parameters let one multiply a variable but not another parameter, and keep all of them
out of a denominator. So every product of data is a parameter of its own, written as the function of
the instance that it is, and the idle fraction is a variable.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from cvxqueue.dcp.atoms import congestion_time
from cvxqueue.dcp.class_forms import Forms
from cvxqueue.dcp.expressions import completed_square, in_place
from cvxqueue.dcp.formulation import Formulation
from cvxqueue.dcp.natural_units import natural_scale, scaled_tokens, tokens_per_unit
from cvxqueue.dcp.parameters import OfInstance, ParameterData
from cvxqueue.dcp.service_levels import limited
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import (
    AffineService,
    Instance,
    MichaelisMenten,
    PiecewiseLinear,
    PowerLaw,
    QuadraticService,
    SaturatingExponential,
)
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.numerics.arrays import FloatArray

# From a function of the data of a group of curves to its parameter.
_Hold = Callable[..., cp.Parameter]

# exp(−40) = 4e-18: what stands in for a zero coefficient of the objective is below its rounding.
_LOG_NOTHING = -40.0


def parametric(instance: Instance) -> Formulation:
    """Return the disciplined form with all data in parameters.

    Every type keeps its cone, so that a gain or an importance may come and go.
    """
    data = ParameterData(instance, natural_scale(instance), parametric)
    program = _Program(data)
    objective = program.objective(lambda _, scale: scale)
    variables, rows = {"scaled_tokens": program.decision, "idle": program.idle}, program.constraints
    form = limited("parametric", objective, variables, rows, data, program.expressions())
    data.further.clear()
    return form


class _Program:
    """The program, of products of a parameter and a function of the decision."""

    def __init__(self, data: ParameterData) -> None:
        instance = data.instance
        self.hold = data.parameter
        self.decision, self.idle = scaled_tokens(instance), cp.Variable(name="idle")
        # Of the service times, as polynomials of the decision.
        self.powers = [self.decision, cp.square(self.decision)][: len(_times(instance)) - 1]
        self.groups = [
            (_MISSED.of(curve), np.arange(instance.size)[place])
            for place, curve in instance.accuracy.groups
        ]
        self.constraints = {
            "min_tokens": self.decision >= self.hold(lambda it, _: it.lower / tokens_per_unit(it)),
            "max_tokens": self.decision <= self.hold(lambda it, _: it.upper / tokens_per_unit(it)),
        }
        rest = 1 - self.total(lambda it, _: it.arrival_rate * it.probabilities)
        # An equation must be affine; waiting times fall in the idle fraction, and push it up.
        self.constraints["idle"] = self.idle == rest if rest.is_affine() else self.idle <= rest

    def by_type(self, weight: OfInstance, polynomials: Callable[[Instance], Any]) -> cp.Expression:
        """Return weight ∘ (base + slope ∘ u + ...), with coefficients (base, slope, ...)."""
        base, *slopes = (
            self.hold(self._coefficient(weight, polynomials, degree))
            for degree in range(len(self.powers) + 1)
        )
        return base + sum(map(cp.multiply, slopes, self.powers))

    def _coefficient(
        self, weight: OfInstance, polynomials: Callable[[Instance], Any], degree: int
    ) -> OfInstance:
        return lambda it, scale: weight(it, scale) * polynomials(it)[degree]

    def total(self, weight: OfInstance) -> cp.Expression:
        """Return Σ weight ∘ t."""
        base = self.hold(lambda it, scale: np.sum(weight(it, scale) * _times(it)[0]))
        slopes = [
            self.hold(self._coefficient(weight, _times, degree))
            for degree in range(1, len(self.powers) + 1)
        ]
        return base + sum(map(operator.matmul, slopes, self.powers))

    def waiting(self, unit: OfInstance) -> cp.Expression:
        """Return the mean waiting time, in that unit."""

        def shares(it: Instance, scale: float) -> FloatArray:
            by_second = _queue(it).weights.second * it.arrival_rate
            return np.sqrt(by_second / (2.0 * unit(it, scale)) * it.probabilities)

        def congestion(it: Instance, scale: float) -> FloatArray:
            by_mean = (_queue(it).weights.mean + _queue(it).weights.load) * it.arrival_rate
            return np.sqrt(by_mean / unit(it, scale)) * it.probabilities

        rows = [
            self.by_type(shares, lambda it: _square(it)[0]),
            self.hold(lambda it, scale: np.linalg.norm(shares(it, scale) * _square(it)[1])),
            self.total(congestion),
        ]
        mean = self.total(
            lambda it, scale: _queue(it).weights.mean / unit(it, scale) * it.probabilities
        )
        constant = self.hold(
            lambda it, scale: _queue(it).constant(it.arrival_rate) / unit(it, scale)
        )
        return mean + congestion_time(cp.hstack(rows), self.idle) + constant

    def missed(self, weight: OfInstance) -> list[cp.Expression]:
        """Return weight ∘ (ceiling − accuracy) of the types of each group."""

        def of_group(number: int, types: NDArray[np.intp]) -> _Hold:
            def hold(function: Callable[..., Any], *, nonneg: bool = True) -> cp.Parameter:
                def of(it: Instance, scale: float) -> Any:
                    curve, unit = list(it.accuracy.groups)[number][1], tokens_per_unit(it)[types]
                    return function(curve, weight(it, scale)[types], it.lower[types] / unit, unit)

                return self.hold(of, nonneg=nonneg)

            return hold

        return [
            form(of_group(number, types), self.decision[types])
            for number, (form, types) in enumerate(self.groups)
        ]

    def objective(self, unit: OfInstance) -> cp.Expression:
        """Return the objective, in that unit."""

        def value(it: Instance, scale: float) -> FloatArray:
            return it.model.accuracy_value / unit(it, scale) * it.probabilities

        most = self.hold(lambda it, scale: value(it, scale) @ it.accuracy.ceiling)
        missed = sum(map(cp.sum, self.missed(value)))
        service = self.total(lambda it, scale: it.probabilities / unit(it, scale))
        return most - missed - service - self.waiting(unit)

    def expressions(self) -> dict[str, Any]:
        """Return the named expressions, in seconds."""
        parts = self.missed(lambda it, _: np.ones(it.size))
        missed = in_place(parts, [types for _, types in self.groups])
        mean_missed = sum(map(cp.sum, self.missed(lambda it, _: it.probabilities)))
        mean_ceiling = self.hold(lambda it, _: it.probabilities @ it.accuracy.ceiling)
        mean_service_time = self.total(lambda it, _: it.probabilities)
        mean_waiting_time = self.waiting(_seconds)
        token_rate = self.hold(
            lambda it, _: it.arrival_rate * it.probabilities * tokens_per_unit(it)
        )
        return {
            "tokens": cp.multiply(self.hold(lambda it, _: tokens_per_unit(it)), self.decision),
            "accuracies": self.hold(lambda it, _: it.accuracy.ceiling) - missed,
            "mean_accuracy": mean_ceiling - mean_missed,
            "service_times": self.by_type(_seconds, _times),
            "token_rate": token_rate @ self.decision,
            "mean_service_time": mean_service_time,
            "mean_waiting_time": mean_waiting_time,
            "mean_system_time": mean_service_time + mean_waiting_time,
            "utilization": self.total(lambda it, _: it.arrival_rate * it.probabilities),
            "objective": self.objective(_seconds),
        }


def _queue(instance: Instance) -> LinearFractionalQueue:
    if not isinstance(instance.queue, LinearFractionalQueue):
        raise InvalidInputError(f"queue = {shown(instance.queue)} has no parametric form")
    return instance.queue


def _seconds(instance: Instance, scale: float) -> float:
    return 1.0


def _times(instance: Instance) -> tuple[FloatArray, ...]:
    """Service times as polynomials of the decision: base, slope and, if any, square."""
    return _POLYNOMIALS(instance.service, tokens_per_unit(instance))


_POLYNOMIALS = Forms(
    "service",
    {
        AffineService: lambda law, unit: (law.base, law.per_token * unit),
        QuadraticService: lambda law, unit: (
            *(law.base, law.per_token * unit),
            law.per_squared_token * np.square(unit),
        ),
    },
)


def _square(instance: Instance) -> tuple[tuple[FloatArray, ...], FloatArray]:
    """Polynomials and a rest whose squares add up to the second moments of the times."""
    law = instance.service
    scv = law.token_scv if isinstance(law, AffineService) else 0.0
    return completed_square(_times(instance), scv)


def _logarithm(weight: FloatArray, fall: FloatArray | float) -> FloatArray:
    """Return ln of a weight, of which at least exp(−fall) is counted."""
    # Zero has no logarithm; this one is of a number too small to be seen.
    return np.log(np.where(weight > 0.0, weight, 1.0)) + np.where(
        weight > 0.0, 0.0, fall + _LOG_NOTHING
    )


def _exponential(hold: _Hold, decision: cp.Expression) -> cp.Expression:
    def logarithm(curve: Any, weight: FloatArray, lower: FloatArray, _: FloatArray) -> FloatArray:
        return _logarithm(weight * curve.gain, lower)

    return cp.exp(hold(logarithm, nonneg=False) - decision)


def _power_law(hold: _Hold, decision: cp.Expression) -> cp.Expression:
    def logarithm(curve: Any, weight: FloatArray, lower: FloatArray, _: FloatArray) -> FloatArray:
        return _logarithm(weight * curve.gain, curve.exponent * np.log1p(lower))

    # Accepted with the exponent as a parameter, as long as no other multiplies it.
    fall = cp.multiply(hold(lambda curve, *_: curve.exponent), cp.log(1 + decision))
    return cp.exp(hold(logarithm, nonneg=False) - fall)


def _michaelis_menten(hold: _Hold, decision: cp.Expression) -> cp.Expression:
    weight = hold(lambda curve, weight, *_: weight * curve.gain)
    return cp.multiply(weight, cp.inv_pos(1 + decision))


def _piecewise_linear(hold: _Hold, decision: cp.Expression) -> cp.Expression:
    def base(curve: Any, weight: FloatArray, *_: FloatArray) -> FloatArray:
        heights = curve.breakpoint_values - curve.segment_slopes * curve.breakpoints
        return weight * np.maximum(curve.ceiling - heights, 0.0)

    slopes = hold(lambda curve, weight, _, unit: weight * curve.segment_slopes * unit)
    every = cp.vstack([decision] * slopes.shape[0])
    return cp.max(hold(base) - cp.multiply(slopes, every), axis=0)


_MISSED = Forms(
    "accuracy",
    {
        SaturatingExponential: _exponential,
        PowerLaw: _power_law,
        MichaelisMenten: _michaelis_menten,
        PiecewiseLinear: _piecewise_linear,
    },
)
