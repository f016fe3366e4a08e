"""The step size certificate: how far a gradient step may go, from closed-form curvature bounds.

On the level set {J ≥ J(l⁰)} of a start l⁰ the mean system time cannot exceed what accuracy could be
worth at most, K = α Σ π w p(L) − J(l⁰). That bounds the idle fraction away from zero and the second
moment from above, without assuming that the whole box is stable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates.bracket import order_bracket
from cvxqueue.certificates.gap import certified_objective, rounding_allowance
from cvxqueue.formatting import at_most
from cvxqueue.model import Instance, assumed, require_feasible
from cvxqueue.model.feasibility import stable_start
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum

# Mixes sum to one within 1e-9; more than enough for roundings too.
_SUM_SLACK = 1.0 + 1e-8


@dataclass(frozen=True, eq=False, kw_only=True)
class StepSize(ArrayData):
    """Curvature bounds on a level set of the objective, and the steps that they allow.

    Parameters
    ----------
    value : float
        Λ ≥ ‖∇²J‖ in the plain metric, in seconds per token². The step l + ∇J(l)/Λ, clipped to the
        box, increases J and stays in the level set.
    diagonal : float
        Λ_D, the same in the metric diag(π E[(dt/dl)²]) at `max_tokens`, per second; dimensionally
        free of the tokens.
    metric : ndarray, shape (N,)
        A diagonal M with −∇²J ≼ M, in seconds per token²: the sharpest of the three.
    level : float
        J(l⁰), in seconds, rounded down: the bounds hold wherever J ≥ `level` in the box.
    least_idle : float
        Lower bound on 1 − ρ there.
    reason : str, default ""
        Why no step is known, where the bounds are infinite.
    assumes : tuple of str, default ()
        What is taken for granted of classes that are not the package's.
    """

    value: float
    diagonal: float
    metric: FloatArray
    level: float
    least_idle: float
    reason: str = ""
    assumes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the bounds are finite, so that the step is usable."""
        return bool(np.isfinite(self.value) and self.value > 0)

    @property
    def region(self) -> str:
        """Where the bounds hold."""
        return f"allocations in the box with objective ≥ {at_most(self.level, 9)} s"


@quiet
def step_size(instance: Instance, start: ArrayLike | None = None) -> StepSize:
    """Return curvature bounds on the level set of a start.

    Parameters
    ----------
    instance : Instance
        Feasible.
    start : array_like, shape (N,), optional
        Stable tokens in the box that set the level; by default the lower end of the order bracket.

    Raises
    ------
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or none satisfies the constraints.
    InvalidInputError
        If `start` is unstable or of the wrong shape.
    """
    require_feasible(instance)
    point = stable_start(instance, order_bracket(instance).lower if start is None else start)
    least, most = instance.evaluate(instance.lower), instance.evaluate(instance.upper)
    level = float(certified_objective(point))
    rate, queue, mix = instance.arrival_rate, instance.queue, instance.probabilities
    value = instance.model.accuracy_value
    # α Σ π w p(L) − level without cancellation, and rounded up: J(start) exceeds the level by two
    # allowances at most.
    spread = accurate_sum(mix * value * instance.accuracy.difference(point.tokens, instance.upper))
    longest = point.mean_system_time + spread + 2.0 * rounding_allowance(point)
    system_time = float(longest) * _SUM_SLACK
    shortest, second = float(least.mean_service_time), float(least.service_time_second_moment)
    idle = float(queue.least_idle(rate, system_time, shortest, second))
    # At a given idle fraction the level set bounds the second moment, and the curvature that
    # follows falls as the idle fraction grows: its least value is the worst case.
    second_moment = min(
        float(most.service_time_second_moment),
        float(queue.greatest_second_moment(rate, system_time, shortest, idle)),
    )
    # The bounds hold for a mix that sums to one; an instance's does within 1e-9.
    idle /= _SUM_SLACK
    second_moment *= _SUM_SLACK
    congestion = queue.curvature(rate, second_moment, idle).greatest * _SUM_SLACK
    prices = queue.prices(
        rate, np.asarray((1.0 - idle) / rate), np.asarray(second_moment), np.asarray(idle)
    )
    bent = instance.accuracy.curvature_range(instance.lower, instance.upper)[1]
    # A kink in what is worth nothing does no harm.
    benefit = _SUM_SLACK * value * np.where(value > 0.0, bent, 0.0)
    reason, is_kinked = "", np.isinf(benefit)
    if is_kinked.any():
        reason = (
            f"the accuracy curve of {instance.type_name(int(np.argmax(is_kinked)))} has a kink or "
            "unbounded curvature between min_tokens and max_tokens"
        )
    unit = instance.service.mean_square_slope(most.tokens)
    # What the price of a squared second makes of the slopes is in the curvature of T already.
    rise = instance.service.marginal_cost(most.tokens, *prices)[1]
    bend = _SUM_SLACK * np.maximum(rise - 2.0 * prices.second_moment * unit, 0.0)
    return StepSize(
        value=float(np.max(mix * (benefit + bend)) + congestion * np.max(mix * unit)),
        diagonal=float(np.max((benefit + bend) / unit) + congestion),
        metric=mix * (benefit + bend + congestion * unit),
        level=level,
        least_idle=idle,
        assumes=assumed(instance),
        reason=reason,
    )
