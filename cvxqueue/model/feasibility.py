"""Whether any allocation is stable and keeps the constraints, before any method runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InfeasibleError, InvalidInputError, UnstableQueueError
from cvxqueue.model.constraints import BoxConstraint
from cvxqueue.model.instance import Instance
from cvxqueue.model.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import float_array


def least_tokens_name(instance: Instance) -> str:
    """What sets the fewest tokens, as a message says it."""
    is_cut = bool((instance.lower > instance.min_tokens).any())
    return "min_tokens and the accuracy floors" if is_cut else "min_tokens"


@quiet
def missed_floor(instance: Instance) -> str:
    """Say which floor of a type no tokens in the box reach; empty where there is none."""
    for constraint in instance.constraints:
        if isinstance(constraint, BoxConstraint):
            is_missed = constraint.least_tokens(instance) > instance.max_tokens
            if is_missed.any():
                return constraint.shortfall(instance, int(np.argmax(is_missed)))
    return ""


@quiet
def require_feasible(instance: Instance) -> None:
    """Raise an error where no allocation is stable, or none satisfies one of the constraints.

    Combinations of these that only together leave nothing are found by the methods.
    """
    model = instance.model
    if missed := missed_floor(instance):
        raise InfeasibleError(f"constraints: {missed}")
    if not instance.is_feasible:
        rate = instance.max_arrival_rate
        raise UnstableQueueError(instance.least_utilization, rate, least_tokens_name(instance))
    greatest = model.evaluate(model.upper)
    is_allocation = greatest.is_stable and all(
        coupling.excess(greatest) <= coupling.allowance(greatest)
        for coupling in model.couplings
        if not coupling.is_floor
    )
    for coupling in model.couplings:
        # More tokens help a floor and nothing else.
        best = greatest if coupling.is_floor else model.lowest
        if coupling.excess(best) > coupling.allowance(best):
            if coupling.is_floor and not is_allocation:
                # How much less would do is for a method to say.
                continue
            bound = "max_tokens" if coupling.is_floor else "the least tokens"
            # What unstable tokens reach is out of reach as well.
            more = "" if best.is_stable else ", and further, because these are unstable"
            raise InfeasibleError(
                f"constraints: no allocation has {coupling.label}, not even at {bound}; "
                f"{coupling.remedy(best)}{more}"
            )


def stable_start(instance: Instance, start: ArrayLike) -> Evaluation:
    """Return the closed forms at a start, shape (N,), that must be stable and lie in the box."""
    tokens = float_array("start", start, instance.size)
    outside = (tokens < instance.lower) | (tokens > instance.upper)
    if outside.any():
        position = int(outside.argmax())
        raise InvalidInputError(
            f"start[{position}] = {float(tokens[position])!r} must lie in "
            f"[{float(instance.lower[position])!r}, {float(instance.upper[position])!r}]"
        )
    point = instance.evaluate(tokens)
    if not point.is_stable:
        raise InvalidInputError(
            f"start makes the queue unstable (utilization {float(point.utilization):.6g}, must be "
            "below 1); use instance.lower"
        )
    return point
