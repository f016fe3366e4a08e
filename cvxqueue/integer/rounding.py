"""Rounding a continuous optimum to the choices next to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvxqueue.errors import InfeasibleError, InvalidInputError, slow_down
from cvxqueue.formatting import shown
from cvxqueue.integer.choices import Choices
from cvxqueue.model import Evaluation, Instance, require_instance
from cvxqueue.model.domains import Domain, Domains
from cvxqueue.numerics.arrays import FloatArray

# Types that a message names.
_TYPES_NAMED = 3


def uncoupled_domains(
    caller: str, instance: Instance, domains: Domains | Domain | Sequence[Domain] | None
) -> Domains:
    """Check that no constraint is left out; return the domains, by default the instance's own."""
    require_instance(instance)
    if instance.model.couplings:
        raise InvalidInputError(
            f"{caller} cannot keep {instance.model.couplings[0].label}: it takes no constraints "
            "on all types together"
        )
    allowed = Domains.of(instance.domains if domains is None else domains, instance.size)
    if allowed.has_levels and instance.constraints:
        raise InvalidInputError(
            f"{caller} cannot keep {instance.constraints[0].label} where types have levels of "
            "effort: it takes no constraints then"
        )
    return allowed


def require_stable(choices: Choices) -> None:
    """Raise `InfeasibleError` unless some choice is stable; name the types that take most."""
    least = choices.evaluate(choices.lowest)
    if least.is_stable:
        return
    loads = choices.instance.arrival_rate * choices.instance.probabilities * least.times
    heaviest = np.argsort(-loads, kind="stable")[:_TYPES_NAMED].tolist()
    names = ", ".join(
        f"{shown(choices.instance.type_name(k))} takes {float(loads[k]):.6g}" for k in heaviest
    )
    limit = choices.instance.arrival_rate / float(least.utilization)
    raise InfeasibleError(
        "no allocation in whole tokens is stable: with the least choice of every type the "
        f"utilization is {float(least.utilization):.6g}, and must be below 1 ({names}); "
        f"{slow_down(limit)}, or allow these types less"
    )


def rounded(choices: Choices, relaxed: FloatArray, *, down: bool) -> tuple[Evaluation, bool]:
    """Round stable tokens down, or to the nearest choices, and down where these are unstable.

    Rounded down, they are stable. Return whether that took the place of the nearest as well.
    """
    lower, upper = choices.around(relaxed)
    if down:
        return choices.evaluate(lower), False
    point = choices.evaluate(np.where(relaxed - lower >= upper - relaxed, upper, lower))
    return (point, False) if point.is_stable else (choices.evaluate(lower), True)
