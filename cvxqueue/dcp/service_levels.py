"""The constraints of an instance, and further ones of their classes, on a formulation.

Each is convex, and stays true when a parametric form is refilled: what it takes of the instance is
held in the form.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.atoms import lundberg_moment
from cvxqueue.dcp.formulation import Formulation
from cvxqueue.dcp.system_time_forms import table_entry
from cvxqueue.model import (
    CouplingConstraint,
    Instance,
    MaxMeanSystemTime,
    MaxMeanWaitingTime,
    MaxTokenRate,
    MinMeanAccuracy,
    WaitingTimeTail,
)
from cvxqueue.numerics.arrays import FloatArray

_Level = Callable[[str], float | FloatArray | cp.Parameter]


def service_level(form: Formulation, constraint: CouplingConstraint) -> cp.Constraint:
    """Return a service level as a cvxpy constraint, for `Formulation.with_constraints`.

    Parameters
    ----------
    form : Formulation
        The problem.
    constraint : CouplingConstraint
        ``MaxMeanSystemTime``, ``MaxMeanWaitingTime``, ``MaxTokenRate``, ``MinMeanAccuracy`` or
        ``WaitingTimeTail``. Its limit is a number, and stays when the form is refilled.

    Returns
    -------
    cvxpy.Constraint

    Raises
    ------
    InvalidInputError
        If the constraint is of a class that has no form here; or a bound on the tail of the waiting
        time, and the queue is not FIFO or the use of tokens random.

    Notes
    -----
    The bound on the tail is Σ exp(θ t + ln π − ln(1 + θ/λ)) ≤ 1, which is Σ π exp(θ t) ≤ 1 + θ/λ
    with the ``decay`` θ of the constraint. It is sufficient for P(waiting time > x) ≤ exp(−θ x) at
    every x at once; and necessary if that is to hold for arbitrarily long waits, because the decay
    of the tail is the root θ > 0 of Σ π exp(θ t) = 1 + θ/λ.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> from cvxqueue.dcp.service_levels import service_level
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[1.0],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001))
    >>> form = cq.formulate(instance)
    >>> form.with_constraints(service_level(form, cq.MaxMeanWaitingTime(0.5))).is_dcp
    True
    """
    return _stated(form, constraint, partial(getattr, constraint))


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
        *(_stated(form, each, partial(_level, form, place)) for place, each in enumerate(couplings))
    )


def _level(form: Formulation, place: int, name: str) -> FloatArray | cp.Parameter:
    """A field of one of the couplings, refilled with the form."""

    def of(instance: Instance) -> FloatArray:
        return np.asarray(getattr(instance.model.couplings[place], name), dtype=np.float64)

    return form.hold(of)


def _stated(form: Formulation, constraint: CouplingConstraint, level: _Level) -> cp.Constraint:
    stated = table_entry("constraints", constraint, _LIMITS)
    constraint.require_allowed(form.instance)
    return stated(form, constraint, level)


def _tail(form: Formulation, tail: WaitingTimeTail, _: _Level) -> cp.Constraint:
    log_weights = form.hold(partial(_tail_weights, tail))
    cap: cp.Constraint = lundberg_moment(form.service_times, log_weights, tail.decay) <= 1.0
    return cap


def _tail_weights(tail: WaitingTimeTail, instance: Instance) -> FloatArray:
    """Ln π − ln(1 + θ/λ), shape (N,)."""
    tail.require_allowed(instance)
    limit = np.log1p(tail.decay / instance.arrival_rate)
    weights: FloatArray = np.log(instance.probabilities) - limit
    return weights


_LIMITS: dict[type, Callable[[Formulation, Any, _Level], cp.Constraint]] = {
    MaxMeanSystemTime: lambda form, _, level: form.mean_system_time <= level("seconds"),
    MaxMeanWaitingTime: lambda form, _, level: form.mean_waiting_time <= level("seconds"),
    MaxTokenRate: lambda form, _, level: form.token_rate <= level("tokens_per_second"),
    MinMeanAccuracy: lambda form, _, level: form.mean_accuracy >= level("accuracy"),
    WaitingTimeTail: _tail,
}
