"""The strong concavity certificate: how sharply the objective falls away from its maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxqueue.model import Instance, assumed, require_feasible
from cvxqueue.numerics.arithmetic import quiet

# A curvature has the rounding of its exponent, which is at most 745, and half a dozen others.
_ROUNDED_DOWN = 1.0 - 1e-12


@dataclass(frozen=True, kw_only=True)
class StrongConcavity:
    """Lower bounds on the curvature of −J over the whole stable part of the box.

    Parameters
    ----------
    value : float
        μ_D with −∇²J ≽ μ_D diag(π (dt/dl)²), per second; zero under `ProcessorSharing` where the
        accuracy of a type does not bend or has no weight.
    plain : float
        μ with −∇²J ≽ μ I, in seconds per token²: often tiny, zero where a type gains nothing.
    assumes : tuple of str, default ()
        What is taken for granted of classes that are not the package's.
    """

    value: float
    plain: float
    assumes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the bound is positive, so that the optimum is unique."""
        return self.value > 0.0

    @property
    def region(self) -> str:
        """Where the bounds hold."""
        return "every stable allocation in the box"


@quiet
def strong_concavity(instance: Instance) -> StrongConcavity:
    """Return lower bounds on the curvature of −J.

    In the metric diag(π (dt/dl)²) the waiting time alone is strongly convex for FIFO, whatever the
    accuracy curves.

    Parameters
    ----------
    instance : Instance
        Feasible.

    Raises
    ------
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or none satisfies the constraints.
    """
    require_feasible(instance)
    service, mix = instance.service, instance.probabilities
    least, most = instance.evaluate(instance.lower), instance.evaluate(instance.upper)
    bend = instance.accuracy.curvature_range(instance.lower, instance.upper)[0]
    benefit = _ROUNDED_DOWN * instance.model.accuracy_value * bend
    slopes = [np.square(service.mean_slope(point.tokens)) for point in (least, most)]
    # Inside the stability region m2 ≤ max (E[t²]/E[t]) m1 < max (E[t²]/E[t]) / λ, which a huge cap
    # cannot spoil; the ratio rises with the tokens, and is t itself where that is not random.
    mean, second, *_ = service.moments(most.tokens)
    longest = float(np.max(second / np.where(mean > 0.0, mean, np.inf)))
    second_moment = min(float(most.service_time_second_moment), longest / instance.arrival_rate)
    # The bound holds for a mix that sums to one; an instance's does within 1e-9.
    second_moment *= 1.0 + 1e-8
    bounds = instance.queue.curvature(instance.arrival_rate, second_moment, float(least.idle))
    congestion = bounds.least * _ROUNDED_DOWN
    return StrongConcavity(
        assumes=assumed(instance),
        value=float(np.min(benefit / np.maximum(*slopes)) + congestion),
        plain=float(np.min(mix * (benefit + congestion * np.minimum(*slopes)))),
    )
