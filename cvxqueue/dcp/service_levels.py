"""The constraints of an instance, and further ones of their classes, on a formulation.

Each is convex, and stays true when a parametric form is refilled: what it takes of the instance is
held in the form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.atoms import lundberg_moment
from cvxqueue.dcp.class_forms import Forms
from cvxqueue.dcp.formulation import FixedData, Formulation, StatedConstraint
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

_Quantities = Mapping[str, cp.Expression]
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
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> form = cq.formulate(instance)
    >>> form.with_constraints(service_level(form, cq.MaxMeanWaitingTime(0.5))).is_dcp
    True
    """
    kind = _KINDS.of(constraint)
    constraint.require_allowed(form.instance)
    return kind.excess(form, vars(form), constraint, partial(getattr, constraint)) <= 0


def limited(
    name: str,
    objective: cp.Expression,
    variables: dict[str, cp.Variable],
    rows: dict[str, cp.Constraint],
    data: FixedData,
    expressions: dict[str, Any],
    quantities: _Quantities | None = None,
) -> Formulation:
    """Return a form under the coupling constraints of its instance, in their order, after its rows.

    Each is divided by its limit, but in a parametric form: there the levels are refilled with the
    rest; the kinds of the constraints and the decay of a tail stay. `quantities` stand for the
    expressions of the form, in its own variables. It is an `InvalidInputError` where a constraint
    is of a class that has no form here.
    """
    form = Formulation(
        form=name,
        problem=cp.Problem(cp.Maximize(objective), list(rows.values())),
        variables=MappingProxyType(variables),
        constraints=MappingProxyType(rows),
        data=data,
        **expressions,
    )
    constraints, stated = dict(rows), []
    for place, coupling in enumerate(form.instance.model.couplings):
        kind = _KINDS.of(coupling)
        level = partial(_level, form, place)
        excess = kind.excess(form, quantities or vars(form), coupling, level)
        # The rules for parameters leave no room for one more factor.
        unit = 1.0 if form.form == "parametric" else kind.limit(coupling, form.instance)
        row = constraints[f"constraint {place + 1}"] = excess / unit <= 0
        stated.append(StatedConstraint(row, partial(kind.multiplier, coupling), unit))
    return replace(
        form,
        problem=cp.Problem(form.problem.objective, list(constraints.values())),
        constraints=MappingProxyType(constraints),
        stated=tuple(stated),
    )


def _level(form: Formulation, place: int, name: str) -> FloatArray | cp.Parameter:
    """A field of one of the couplings, refilled with the form."""

    def of(instance: Instance) -> FloatArray:
        return np.asarray(getattr(instance.model.couplings[place], name), dtype=np.float64)

    return form.hold(of)


class _Kind(NamedTuple):
    """What a class of constraints demands, as the rules take it."""

    excess: Callable[[Formulation, _Quantities, Any, _Level], cp.Expression]
    """Convex, and ≤ 0 where the constraint holds."""
    limit: Callable[[Any, Instance], float]
    """What a row of order one is divided by."""
    multiplier: Callable[[Any, Instance], float] = lambda constraint, instance: 1.0
    """How often the excess of the model goes into that of the form."""


def _cap(name: str, field: str) -> _Kind:
    return _Kind(
        excess=lambda form, quantities, cap, level: quantities[name] - level(field),
        limit=lambda cap, instance: float(getattr(cap, field)),
    )


def _room(floor: MinMeanAccuracy, instance: Instance) -> float:
    """What the mean accuracy may miss of its ceiling."""
    room = float(instance.probabilities @ instance.accuracy.ceiling) - floor.accuracy
    return room if room > 0.0 else 1.0


def _tail_excess(
    form: Formulation, quantities: _Quantities, tail: WaitingTimeTail, _: _Level
) -> cp.Expression:
    log_weights = form.hold(partial(_tail_weights, tail))
    return lundberg_moment(quantities["service_times"], log_weights, tail.decay) - 1


def _tail_weights(tail: WaitingTimeTail, instance: Instance) -> FloatArray:
    """Ln π − ln(1 + θ/λ), shape (N,)."""
    tail.require_allowed(instance)
    limit = np.log1p(tail.decay / instance.arrival_rate)
    return np.log(instance.probabilities) - limit


_KINDS: Forms[_Kind] = Forms(
    "constraints",
    {
        MaxMeanSystemTime: _cap("mean_system_time", "seconds"),
        MaxMeanWaitingTime: _cap("mean_waiting_time", "seconds"),
        # The model counts the tokens of a query, and not of a second.
        MaxTokenRate: _cap("token_rate", "tokens_per_second")._replace(
            multiplier=lambda cap, instance: instance.arrival_rate
        ),
        MinMeanAccuracy: _Kind(
            excess=lambda form, quantities, floor, level: (
                level("accuracy") - quantities["mean_accuracy"]
            ),
            limit=_room,
        ),
        # The model's is Σ π (exp(θ t) − 1) λ/θ − 1.
        WaitingTimeTail: _Kind(
            excess=_tail_excess,
            limit=lambda tail, instance: 1.0,
            multiplier=lambda tail, instance: 1.0 / (1.0 + instance.arrival_rate / tail.decay),
        ),
    },
)
