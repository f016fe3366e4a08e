"""Queues and service laws in the rules of disciplined convex programming.

Every queue of the family has, with y = 1 − ρ,

    W = β m1 + (λ (β + δ) m1² + ω λ m2/2) / y + constant,

because m1/y = m1 + λ m1²/y. Both squares go into one ‖r‖²/y, which is jointly convex and has the
stability region as its domain. Its rows are

    √(ω λ π/2) ∘ root(t),   √(ω λ Σ π excess / 2),   √(λ (β + δ)) m1,

where E[t²] = root² + excess: the square is completed, so that a random use of tokens needs one more
row, and not one for each type. Everything that is known beforehand is a coefficient, so that a
program can be refilled with other coefficients without being rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.atoms import congestion_time
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import AffineService, Instance, QuadraticService
from cvxqueue.model.queue_formulas import LinearFractionalQueue
from cvxqueue.numerics.arrays import FloatArray

_Entry = TypeVar("_Entry")

# Prefix of the coefficients of the objective, in its unit.
SCALED = "scaled_"


class Times(NamedTuple):
    """Service times base + slope ∘ v + square ∘ v², of the decision or of another variable v."""

    base: FloatArray
    """Seconds, shape (N,), ≥ 0."""
    slope: FloatArray
    """Seconds in one unit of v, shape (N,), ≥ 0."""
    square: FloatArray | None = None
    """Of the same shape, ≥ 0; ``None`` where the times are affine."""
    scv: FloatArray | float = 0.0
    """The second moment is t² + scv ∘ (slope ∘ v)²; zero where they are not affine."""


_SERVICE_TIMES: dict[type, Callable[[Any, FloatArray], Times]] = {
    AffineService: lambda law, unit: Times(law.base, law.per_token * unit, None, law.token_scv),
    QuadraticService: lambda law, unit: Times(
        law.base, law.per_token * unit, law.per_squared_token * np.square(unit)
    ),
}


def service_times(instance: Instance, tokens_per_unit: FloatArray) -> Times:
    """Return the service times of the instance as functions of u = tokens / tokens_per_unit.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know the class of service law.
    """
    law = instance.service
    return table_entry("service", law, _SERVICE_TIMES)(law, tokens_per_unit)


def linear_fractional_queue(instance: Instance) -> LinearFractionalQueue:
    """Return the queue of the instance.

    Raises
    ------
    InvalidInputError
        If it is not of the family that the disciplined forms know.
    """
    queue = instance.queue
    if not isinstance(queue, LinearFractionalQueue):
        raise InvalidInputError(
            f"queue = {shown(queue)} has no cvxpy form; those that do are the queues whose mean "
            "system time is a linear fraction of the two moments, such as FIFO()"
        )
    return queue


def time_coefficients(
    instance: Instance, tokens_per_unit: FloatArray, scale: float
) -> dict[str, FloatArray]:
    """Return what the mean times multiply and add.

    Those of the named expressions are in seconds, and of the decision. Those of the objective start
    with ``SCALED``, and are of the variable that stands for the times, where these are not affine.

    Parameters
    ----------
    instance : Instance
        The instance.
    tokens_per_unit : ndarray, shape (N,)
        Tokens in one unit of the decision.
    scale : float
        Seconds in one unit of the objective.
    """
    queue, mix = linear_fractional_queue(instance), instance.probabilities
    share, constant = queue.weights.mean, queue.constant(instance.arrival_rate)
    exact = seen = service_times(instance, tokens_per_unit)
    if exact.square is not None:
        # In units of the time at u = 1: the variable is of order one, and the coefficients of its
        # bound add to one.
        unit = instance.service.mean(tokens_per_unit)
        seen = Times(np.zeros_like(unit), unit)
    data = (
        named_coefficients("service", exact)
        | _mixed("mean", _weighted(exact, mix))
        | _mixed("waiting", _weighted(exact, share * mix), constant)
        | _quotient_coefficients(instance, exact, 1.0)
    )
    scaled = _quotient_coefficients(instance, seen, scale) | _mixed(
        "time", _weighted(seen, (1.0 + share) / scale * mix), constant / scale
    )
    data |= {SCALED + name: part for name, part in scaled.items()}
    if exact.square is not None:
        data |= named_coefficients("time_bound", _weighted(exact, 1.0 / seen.slope))
    return data


def _quotient_coefficients(instance: Instance, times: Times, unit: float) -> dict[str, FloatArray]:
    """What ρ is made of, and the rows of r in ‖r‖²/(1 − ρ)."""
    rate, mix = instance.arrival_rate, instance.probabilities
    by_mean, by_load, by_second = linear_fractional_queue(instance).weights
    congestion = np.sqrt(rate * (by_mean + by_load) / unit)
    data = _mixed("load", _weighted(times, rate * mix))
    data |= _mixed("congestion", _weighted(times, congestion * mix))
    if by_second > 0.0:
        # t² + v (c u)² = (√(1+v) c u + t0/√(1+v))² + t0² v/(1+v).
        share, spread = by_second * rate * mix / (2.0 * unit), 1.0 + times.scv
        root = np.sqrt(share / spread)
        data |= named_coefficients(
            "root", _weighted(times._replace(slope=spread * times.slope), root)
        )
        excess = share @ (np.square(times.base) * times.scv / spread)
        data["spread"] = np.sqrt(np.asarray(excess))
    return data


def _weighted(times: Times, weight: FloatArray) -> Times:
    square = None if times.square is None else weight * times.square
    return Times(weight * times.base, weight * times.slope, square)


def named_coefficients(name: str, times: Times) -> dict[str, FloatArray]:
    """Return the coefficients of times by name, as `by_type` and `in_total` take them."""
    parts = {"base": times.base, "slope": times.slope, "square": times.square}
    return {f"{name}_{key}": part for key, part in parts.items() if part is not None}


def _mixed(name: str, times: Times, constant: float | FloatArray = 0.0) -> dict[str, FloatArray]:
    """A sum over the types, and a constant."""
    return named_coefficients(name, times) | {
        f"{name}_base": np.asarray(times.base.sum() + constant)
    }


def by_type(data: Mapping[str, Any], name: str, variable: cp.Expression) -> cp.Expression:
    """Return base + slope ∘ v + square ∘ v², shape (N,)."""
    value: cp.Expression = data[f"{name}_base"] + cp.multiply(data[f"{name}_slope"], variable)
    if f"{name}_square" in data:
        value = value + cp.multiply(data[f"{name}_square"], cp.square(variable))
    return value


def in_total(data: Mapping[str, Any], name: str, variable: cp.Expression) -> cp.Expression:
    """Return base + slope · v + square · v², a scalar."""
    value: cp.Expression = data[f"{name}_base"] + data[f"{name}_slope"] @ variable
    if f"{name}_square" in data:
        value = value + data[f"{name}_square"] @ cp.square(variable)
    return value


def quotient_time(
    data: Mapping[str, Any], variable: cp.Expression, idle: cp.Expression, prefix: str = ""
) -> cp.Expression:
    """Return the part ‖r‖²/(1 − ρ) of the mean waiting time.

    Parameters
    ----------
    data : mapping
        What `time_coefficients` returns, or parameters in its place.
    variable : cvxpy.Expression, shape (N,)
        What these are the coefficients of.
    idle : cvxpy.Expression
        1 − ρ.
    prefix : str
        ``SCALED`` for the objective's coefficients; seconds by default.
    """
    rows = [by_type(data, prefix + "root", variable)] if prefix + "root_slope" in data else []
    if _is_needed(data, prefix + "spread"):
        rows.append(data[prefix + "spread"])
    # One is always there, as it has the stability region for its domain.
    if not rows or _is_needed(data, prefix + "congestion"):
        rows.append(in_total(data, prefix + "congestion", variable))
    return congestion_time(rows[0] if len(rows) == 1 else cp.hstack(rows), idle)


def _is_needed(data: Mapping[str, Any], row: str) -> bool:
    """Whether a row of r is not zero, or may become so."""
    parts = [part for name, part in data.items() if name.startswith(row)]
    return any(isinstance(part, cp.Parameter) or np.any(part) for part in parts)


def table_entry(field: str, held: object, table: Mapping[type, _Entry]) -> _Entry:
    """Return what a table has for the class of `held`.

    Raises
    ------
    InvalidInputError
        If it has nothing.
    """
    if type(held) not in table:
        raise InvalidInputError(
            f"{field} = {shown(held)} has no cvxpy form; those that do: "
            f"{', '.join(sorted(kind.__name__ for kind in table))}"
        )
    return table[type(held)]
