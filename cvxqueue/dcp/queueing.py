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
from cvxqueue.model import AffineService, Instance, QuadraticService
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.disciplines import LinearFractionalQueue

__all__ = [
    "SCALED",
    "Times",
    "linear_fractional_queue",
    "queue_coefficients",
    "service_law",
    "table_entry",
    "textbook_waiting_time",
    "time_variable",
    "waiting_time",
    "without_empty_rows",
]

_Entry = TypeVar("_Entry")

# Prefix of the rows in the problem's unit; those without are in seconds.
SCALED = "scaled_"


class Times(NamedTuple):
    """Service times base + slope ∘ z, where z is u, or ≥ a convex quadratic of u."""

    base: FloatArray
    """Seconds, shape (N,), ≥ 0."""
    slope: FloatArray
    """Seconds in one unit of z, shape (N,), ≥ 0."""
    root_base: FloatArray
    """The second moment is (root_base + root_slope ∘ z)² + excess; seconds, shape (N,)."""
    root_slope: FloatArray
    excess: FloatArray
    """Seconds squared, shape (N,), ≥ 0."""
    bow: dict[str, FloatArray]
    """Coefficients of z = bow_constant + bow_linear ∘ u + bow_square ∘ u², or none where z is u."""


def _affine_times(law: AffineService, tokens_per_unit: FloatArray) -> Times:
    # t² + v (c l)² = (√(1+v) c l + t0/√(1+v))² + t0² v/(1+v).
    spread = 1.0 + law.token_scv
    root, slope = np.sqrt(spread), law.per_token * tokens_per_unit
    excess = np.square(law.base) * law.token_scv / spread
    return Times(law.base, slope, law.base / root, slope * root, excess, {})


def _quadratic_times(law: QuadraticService, tokens_per_unit: FloatArray) -> Times:
    # In units of the time at u = 1, so that z is of order one and its coefficients sum to one.
    unit = law.mean(tokens_per_unit)
    zero = np.zeros_like(unit)
    bow = {
        "bow_constant": law.base / unit,
        "bow_linear": law.per_token * tokens_per_unit / unit,
        "bow_square": law.per_squared_token * np.square(tokens_per_unit) / unit,
    }
    return Times(zero, unit, zero, unit, zero, bow)


_SERVICE: dict[type, Callable[[Any, FloatArray], Times]] = {
    AffineService: _affine_times,
    QuadraticService: _quadratic_times,
}


def service_law(instance: Instance, tokens_per_unit: FloatArray) -> Times:
    """Return the service times of the instance as functions of u = tokens / tokens_per_unit.

    Raises
    ------
    InvalidInputError
        If the disciplined forms do not know the class of service law.
    """
    return table_entry("service", instance.service, _SERVICE)(instance.service, tokens_per_unit)


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
            f"queue = {queue!r:.80} has no cvxpy form; those that do are the queues whose mean "
            "system time is a linear fraction of the two moments, such as FIFO()"
        )
    return queue


def queue_coefficients(instance: Instance, times: Times, scale: float) -> dict[str, FloatArray]:
    """Return what the mean times multiply and add.

    Parameters
    ----------
    instance : Instance
        The instance.
    times : Times
        Its service times.
    scale : float
        Seconds in one unit of the objective.
    """
    queue, rate, mix = (
        linear_fractional_queue(instance),
        instance.arrival_rate,
        instance.probabilities,
    )
    weights = queue.weights
    mean_base, mean_slope = np.asarray(mix @ times.base), mix * times.slope
    constant = weights.mean * mean_base + queue.constant(rate)
    by_second = 0.5 * weights.second * rate
    root = np.sqrt(by_second * mix)
    congestion = np.sqrt(rate * (weights.mean + weights.load))
    rows = {
        "root_base": root * times.root_base,
        "root_slope": root * times.root_slope,
        "spread": np.sqrt(by_second * np.asarray(mix @ times.excess)),
        "congestion_base": congestion * mean_base,
        "congestion_slope": congestion * mean_slope,
    }
    if weights.second == 0.0:
        rows = {name: row for name, row in rows.items() if name.startswith("congestion")}
    scaled = {SCALED + name: row / np.sqrt(scale) for name, row in rows.items()}
    return (
        rows
        | scaled
        | times.bow
        | {
            "service_base": times.base,
            "service_slope": times.slope,
            "mean_base": mean_base,
            "mean_slope": mean_slope,
            "load_base": rate * mean_base,
            "load_slope": rate * mean_slope,
            "waiting_base": np.asarray(constant),
            "waiting_slope": weights.mean * mean_slope,
            "scaled_time_base": (mean_base + constant) / scale,
            "scaled_time_slope": (1.0 + weights.mean) * mean_slope / scale,
        }
    )


def waiting_time(
    data: Mapping[str, Any], time: cp.Expression, idle: cp.Expression, prefix: str = ""
) -> cp.Expression:
    """Return the part ‖r‖²/(1 − ρ) of the mean waiting time.

    Parameters
    ----------
    data : mapping
        What `queue_coefficients` returns, or parameters in its place; rows may be left out.
    time : cvxpy.Expression, shape (N,)
        z.
    idle : cvxpy.Expression
        1 − ρ.
    prefix : str
        ``SCALED`` for the problem's unit; seconds by default.
    """
    rows = []
    if prefix + "root_slope" in data:
        root = cp.multiply(data[prefix + "root_slope"], time)
        rows.append(data[prefix + "root_base"] + root)
    if prefix + "spread" in data:
        rows.append(data[prefix + "spread"])
    if prefix + "congestion_slope" in data:
        mean = data[prefix + "congestion_slope"] @ time
        rows.append(data[prefix + "congestion_base"] + mean)
    return congestion_time(rows[0] if len(rows) == 1 else cp.hstack(rows), idle)


def without_empty_rows(data: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the coefficients less the rows of ‖r‖² that are zero.

    One is always kept, as it has the stability region for its domain.
    """
    empty = set()
    if "root_slope" in data:
        for name in ("spread", "congestion_slope"):
            if not np.any(data[name]):
                empty |= {name, name.replace("slope", "base")}
    return {name: part for name, part in data.items() if name.removeprefix(SCALED) not in empty}


def time_variable(data: Mapping[str, Any], variable: cp.Variable) -> cp.Expression:
    """Return z as a function of u: u itself, or a convex quadratic."""
    if "bow_square" not in data:
        return variable
    bow = cp.multiply(data["bow_square"], cp.square(variable))
    above: cp.Expression = data["bow_constant"] + cp.multiply(data["bow_linear"], variable) + bow
    return above


def textbook_waiting_time(
    instance: Instance, mean: cp.Expression, second_moment: cp.Expression
) -> cp.Expression:
    """Return the mean waiting time as a quotient of the two moments."""
    queue, rate = linear_fractional_queue(instance), instance.arrival_rate
    by_mean, by_load, by_second = queue.weights
    work = cp.Constant(0.0)
    if by_mean:
        work = work + by_mean * mean
    if by_load:
        work = work + by_load * rate * cp.square(mean)
    if by_second:
        work = work + by_second * rate * second_moment / 2
    waiting: cp.Expression = work / (1 - rate * mean) + queue.constant(rate)
    return waiting


def table_entry(field: str, held: object, table: Mapping[type, _Entry]) -> _Entry:
    """Return what a table has for the class of `held`.

    Raises
    ------
    InvalidInputError
        If it has nothing.
    """
    if type(held) not in table:
        raise InvalidInputError(
            f"{field} = {held!r:.80} has no cvxpy form; those that do: "
            f"{', '.join(sorted(kind.__name__ for kind in table))}"
        )
    return table[type(held)]
