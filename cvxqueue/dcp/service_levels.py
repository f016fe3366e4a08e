"""Service levels as constraints on a formulation, to be handed to `Formulation.with_constraints`.

Each is convex, and stays true when a parametric form is refilled: what it takes of the instance is
held in the form. The levels themselves are numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.atoms import lundberg_moment
from cvxqueue.dcp.formulation import Formulation
from cvxqueue.dcp.queueing import table_entry
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import (
    Instance,
    MaxMeanSystemTime,
    MaxMeanWaitingTime,
    MaxTokenRate,
    MinMeanAccuracy,
    WaitingTimeTail,
)
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import nonnegative_number
from cvxqueue.shown import shown

__all__ = [
    "accuracy_floor",
    "limited",
    "system_time_cap",
    "token_rate_cap",
    "waiting_tail_cap",
    "waiting_time_cap",
]


def waiting_time_cap(form: Formulation, seconds: float) -> cp.Constraint:
    """PriceResponse a mean waiting time of at most so many seconds.

    Parameters
    ----------
    form : Formulation
        The problem.
    seconds : float
        ≥ 0.

    Returns
    -------
    cvxpy.Constraint

    Raises
    ------
    InvalidInputError
        If `seconds` is not a finite number ≥ 0.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> from cvxqueue.dcp.service_levels import waiting_time_cap
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[1.0],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001))
    >>> form = cq.formulate(instance)
    >>> form.with_constraints(waiting_time_cap(form, 0.5)).is_dcp
    True
    """
    cap: cp.Constraint = form.mean_waiting_time <= nonnegative_number("seconds", seconds)
    return cap


def system_time_cap(form: Formulation, seconds: float) -> cp.Constraint:
    """PriceResponse a mean system time of at most so many seconds.

    Parameters
    ----------
    form : Formulation
        The problem.
    seconds : float
        ≥ 0.

    Returns
    -------
    cvxpy.Constraint

    Raises
    ------
    InvalidInputError
        If `seconds` is not a finite number ≥ 0.
    """
    cap: cp.Constraint = form.mean_system_time <= nonnegative_number("seconds", seconds)
    return cap


def accuracy_floor(form: Formulation, level: float) -> cp.Constraint:
    """Demand a plain mean accuracy Σ π p of at least `level`.

    Parameters
    ----------
    form : Formulation
        The problem.
    level : float
        In [0, 1].

    Returns
    -------
    cvxpy.Constraint

    Raises
    ------
    InvalidInputError
        If `level` is not a number from 0 to 1.
    """
    if nonnegative_number("level", level) > 1.0:
        raise InvalidInputError(f"level = {float(level)!r} must be ≤ 1 (a probability)")
    least: cp.Constraint = form.mean_accuracy >= float(level)
    return least


def token_rate_cap(form: Formulation, tokens_per_second: float) -> cp.Constraint:
    """Demand that the server makes at most so many thinking tokens per second, λ Σ π l.

    Parameters
    ----------
    form : Formulation
        The problem.
    tokens_per_second : float
        ≥ 0.

    Returns
    -------
    cvxpy.Constraint

    Raises
    ------
    InvalidInputError
        If `tokens_per_second` is not a finite number ≥ 0.
    """
    most = nonnegative_number("tokens_per_second", tokens_per_second)
    # Relative to the cap, the row is of order one whatever the unit.
    unit = most if most > 0.0 else 1.0
    cap: cp.Constraint = form.token_rate / unit <= most / unit
    return cap


def waiting_tail_cap(form: Formulation, decay: float) -> cp.Constraint:
    """Demand that the probability of waiting longer than x seconds is at most exp(−decay · x).

    Parameters
    ----------
    form : Formulation
        Of an instance with a FIFO queue, whose service times do not vary within a type.
    decay : float
        θ > 0, per second.

    Returns
    -------
    cvxpy.Constraint
        Σ exp(θ t + ln π − ln(1 + θ/λ)) ≤ 1, which is Σ π exp(θ t) ≤ 1 + θ/λ.

    Raises
    ------
    InvalidInputError
        If the decay is not a finite number > 0; or if the queue is not FIFO or the use of tokens
        random, for which the Lundberg bound is another one.

    Notes
    -----
    The bound is sufficient, for every x at once; and necessary if it is to hold for arbitrarily
    long waits, because the decay of the tail is the root θ > 0 of Σ π exp(θ t) = 1 + θ/λ.
    """
    theta = nonnegative_number("decay", decay)
    if theta == 0.0:
        raise InvalidInputError("decay = 0.0 must be > 0 (per second)")
    _require_one_time_per_type(form.instance)
    log_weights = form.hold(partial(_tail_weights, theta))
    cap: cp.Constraint = lundberg_moment(form.service_times, log_weights, theta) <= 1.0
    return cap


def limited(form: Formulation) -> Formulation:
    """Return the form under the coupling constraints of its instance, in their order.

    In a parametric form the levels are refilled with the rest; the kinds of the constraints and the
    decay of a tail stay.

    Raises
    ------
    InvalidInputError
        If a constraint is of a class that has no form here.
    """
    couplings = form.instance.model.couplings
    if not couplings:
        return form
    return form.with_constraints(
        *(
            table_entry("constraints", coupling, _LIMITS)(form, place)
            for place, coupling in enumerate(couplings)
        )
    )


def _level(form: Formulation, place: int, name: str) -> FloatArray | cp.Parameter:
    """A field of one of the couplings, refilled with the form."""

    def of(instance: Instance) -> FloatArray:
        return np.asarray(getattr(instance.model.couplings[place], name), dtype=np.float64)

    return form.hold(of)


def _tail_of(form: Formulation, place: int) -> cp.Constraint:
    tail = form.instance.model.couplings[place]
    if not isinstance(tail, WaitingTimeTail):
        raise InvalidInputError(f"constraints: {tail.label} is no bound on a tail")
    return waiting_tail_cap(form, tail.decay)


_LIMITS: dict[type, Callable[[Formulation, int], cp.Constraint]] = {
    MaxMeanSystemTime: lambda form, place: form.mean_system_time <= _level(form, place, "seconds"),
    MaxMeanWaitingTime: lambda form, place: (
        form.mean_waiting_time <= _level(form, place, "seconds")
    ),
    MaxTokenRate: lambda form, place: form.token_rate <= _level(form, place, "tokens_per_second"),
    MinMeanAccuracy: lambda form, place: form.mean_accuracy >= _level(form, place, "accuracy"),
    WaitingTimeTail: _tail_of,
}


def _tail_weights(decay: float, instance: Instance) -> FloatArray:
    """Ln π − ln(1 + θ/λ), shape (N,)."""
    _require_one_time_per_type(instance)
    weights: FloatArray = np.log(instance.probabilities) - np.log1p(decay / instance.arrival_rate)
    return weights


def _require_one_time_per_type(instance: Instance) -> None:
    if not instance.queue.has_lundberg_bound:
        raise InvalidInputError(
            f"queue = {shown(instance.queue)} has another tail; this bound on it needs FIFO()"
        )
    if instance.service.is_random:
        raise InvalidInputError(
            "service.token_scv must be 0 for a bound on the tail of the waiting time: two moments "
            "of a random use of tokens do not say how long its tail is"
        )
