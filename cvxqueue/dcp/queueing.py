"""Queueing in the rules of disciplined convex programming: one entry for each class of the model.

Each class of queue, service law and accuracy curve that a disciplined form knows has one entry in
one of the three tables below. Waiting times enter as convex atoms that carry the stability region
as their domain, and everything that is known beforehand as a coefficient, so that a program can be
refilled with other coefficients without being rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import cvxpy as cp
import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.model import FIFO, AffineService, Instance, SaturatingExponential
from cvxqueue.model.arrays import FloatArray

__all__ = ["Affine", "Exponential", "Waiting", "affine_service", "exponential_accuracy", "waiting"]

_Entry = TypeVar("_Entry")


class Affine(NamedTuple):
    """Service times base + slope · tokens."""

    base: FloatArray
    """Seconds, shape (N,)."""
    slope: FloatArray
    """Seconds per token, shape (N,)."""


class Exponential(NamedTuple):
    """Accuracies ceiling − gain · exp(−rate · tokens)."""

    ceiling: FloatArray
    """Shape (N,)."""
    gain: FloatArray
    """Shape (N,), ≥ 0."""
    rate: FloatArray
    """Per token, shape (N,), > 0."""


class Waiting(NamedTuple):
    """Mean waiting time of one class of queue, in a multiple of seconds."""

    coefficients: Callable[[Instance, Affine, float], dict[str, FloatArray]]
    """From the instance, the service times as functions of some variable, and the seconds in one
    unit of the result."""
    expression: Callable[[Mapping[str, Any], cp.Variable, cp.Expression], cp.Expression]
    """From these coefficients, or parameters of their names, the variable and 1 − ρ."""
    formula: Callable[[float, cp.Expression, cp.Expression], cp.Expression]
    """From the arrival rate and the two moments of the service time, as a textbook has it."""


def _fifo_coefficients(instance: Instance, times: Affine, unit: float) -> dict[str, FloatArray]:
    root = np.sqrt(instance.arrival_rate * instance.probabilities / (2.0 * unit))
    return {"root_base": root * times.base, "root_slope": root * times.slope}


def _fifo_expression(
    coefficients: Mapping[str, Any], variable: cp.Variable, idle: cp.Expression
) -> cp.Expression:
    # λ m2 / (2 (1 − ρ)) = ‖√(λ π / 2) ∘ t‖² / (1 − ρ), which is jointly convex in the two.
    root = coefficients["root_base"] + cp.multiply(coefficients["root_slope"], variable)
    return cp.quad_over_lin(root, idle)


def _fifo_formula(
    arrival_rate: float, mean: cp.Expression, second_moment: cp.Expression
) -> cp.Expression:
    waiting_time: cp.Expression = arrival_rate * second_moment / (2 * (1 - arrival_rate * mean))
    return waiting_time


_WAITING: dict[type, Waiting] = {
    FIFO: Waiting(_fifo_coefficients, _fifo_expression, _fifo_formula),
}

_SERVICE: dict[type, Callable[[Any], Affine]] = {
    AffineService: lambda service: Affine(service.base, service.per_token),
}

_ACCURACY: dict[type, Callable[[Any], Exponential]] = {
    SaturatingExponential: lambda curve: Exponential(
        curve.floor + curve.gain, curve.gain, curve.rate
    ),
}


def waiting(instance: Instance) -> Waiting:
    """Return the mean waiting time of the instance's queue.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know the class of queue.
    """
    return _entry("queue", instance.queue, _WAITING)


def affine_service(instance: Instance) -> Affine:
    """Return the service times of the instance.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know the class of service law.
    """
    return _entry("service", instance.service, _SERVICE)(instance.service)


def exponential_accuracy(instance: Instance) -> Exponential:
    """Return the accuracies of the instance.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know the class of accuracy curve.
    """
    return _entry("accuracy", instance.accuracy, _ACCURACY)(instance.accuracy)


def _entry(field: str, held: object, table: Mapping[type, _Entry]) -> _Entry:
    if type(held) not in table:
        raise InvalidInputError(
            f"{field} = {held!r:.80} has no cvxpy form; those that do: "
            f"{', '.join(sorted(kind.__name__ for kind in table))}"
        )
    return table[type(held)]
