"""The contraction certificate: when best responses converge by themselves.

The slope of the response map, |∂F_k/∂l_j|, has a majorant over a box that is nonnegative and
diagonal plus rank two. A Perron root below one proves that F contracts in a weighted maximum norm;
the largest row sum below one is the simple sufficient condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates.bracket import Bracket, order_bracket
from cvxqueue.model import Evaluation, Instance, assumed
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

_POWER_ITERATIONS = 200
# Rounds after which the order bracket has stopped shrinking, or the certificate holds anyway.
_CONTRACTION_ROUNDS = 50
# Three factors of 1/(1−ρ) and some dozen others reach the slope, each with a few roundings of ρ.
_MAJORANT_ROUNDINGS = 32.0 * EPSILON


@dataclass(frozen=True, eq=False, kw_only=True)
class Contraction(ArrayData):
    """Bounds on the slope of the response map over a box that contains the optimum.

    Parameters
    ----------
    value : float
        Upper bound on the Perron root of the majorant, by Collatz and Wielandt: the plain fixed
        point contracts by this factor in the norm ``max |l_k| / weights_k``.
    row_sum : float
        Largest row sum of the majorant: the factor in the maximum norm itself.
    weights : ndarray, shape (N,)
        Positive weights of the norm; the Perron vector, approximately.
    lower, upper : ndarray, shape (N,)
        The box. The response map takes it into itself.
    reason : str, default ""
        Why there is no bound, where `value` is infinite.
    assumes : tuple of str, default ()
        What is taken for granted of classes that are not the package's.
    """

    value: float
    row_sum: float
    weights: FloatArray
    lower: FloatArray
    upper: FloatArray
    reason: str = ""
    assumes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the plain fixed point provably converges from anywhere in the box."""
        return self.value < 1.0

    @property
    def region(self) -> str:
        """Where the bound holds."""
        return "the order bracket, in which the optimum lies"


@quiet
def contraction(instance: Instance, bracket: Bracket | None = None) -> Contraction:
    """Return bounds on the slope of the response map.

    Parameters
    ----------
    instance : Instance
        Feasible.
    bracket : Bracket, optional
        A box that the response map takes into itself; by default the order bracket, shrunk until
        it stands still.

    Returns
    -------
    Contraction
        With an infinite value where the upper end of the box is unstable, where the response of a
        type jumps inside it from one kink of its curve to another, or where constraints couple the
        types: nothing is known then.

    Raises
    ------
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or none satisfies the constraints.
    """
    if bracket is None:
        bracket = order_bracket(instance, rounds=_CONTRACTION_ROUNDS)
    (lower, upper), service = bracket, instance.service
    low, high = instance.evaluate(lower), instance.evaluate(upper)
    weights = np.ones(instance.size)
    value = row_sum = np.inf
    # Types that F pins to one value over the whole box do not move with the others.
    is_moving = upper > lower
    moves = instance.accuracy.inverse_slope_sensitivity(lower, upper)
    sensitivity = np.where(is_moving, moves, 0.0)
    reason = _obstacle(instance, high, sensitivity)
    if not reason:
        slopes = instance.queue.relative_slopes(
            instance.arrival_rate,
            (float(low.service_time_second_moment), float(high.service_time_second_moment)),
            (float(low.idle), float(high.idle)),
            (service.marginal_time(lower), service.marginal_time(upper)),
        )
        # A marginal cost is m1′ (P1 + 2 P2 τ), with the marginal time τ.
        bend = service.mean_curvature(upper) / service.mean_slope(lower)
        own = sensitivity * (bend + slopes.time * service.marginal_time_slope(upper))
        columns = sensitivity * np.stack([slopes.mean, slopes.second_moment])
        rows = np.where(is_moving, np.stack(high.moment_slopes), 0.0)
        upward = 1.0 + _MAJORANT_ROUNDINGS / float(high.idle)

        def apply(vector: FloatArray) -> FloatArray:
            return np.asarray(upward * (own * vector + (rows @ vector) @ columns))

        row_sum = float(np.max(apply(weights)))
        value, weights = _perron_bound(apply, weights, is_moving)
    return Contraction(
        value=value,
        row_sum=row_sum,
        weights=weights,
        lower=lower,
        upper=upper,
        reason=reason,
        assumes=assumed(instance),
    )


def _obstacle(instance: Instance, high: Evaluation, sensitivity: FloatArray) -> str:
    """Say why there is no bound on the slope of the response map, if there is none."""
    if instance.model.couplings:
        label = instance.model.couplings[0].label
        return f"with {label} the optimum is no fixed point of the response map"
    if not high.is_stable:
        return "the queue is unstable at the upper end"
    is_jumping = np.isinf(sensitivity)
    if is_jumping.any():
        name = instance.type_name(int(np.argmax(is_jumping)))
        if instance.accuracy.is_smooth:
            return f"how far the response of {name} moves is not known (inverse_slope_sensitivity)"
        return (
            f"the response of {name} jumps inside the bracket from one kink of its curve to another"
        )
    return ""


def _perron_bound(
    apply: Callable[[FloatArray], FloatArray], weights: FloatArray, is_moving: NDArray[np.bool_]
) -> tuple[float, FloatArray]:
    """Least Collatz–Wielandt bound max (M w)_k / w_k along a power iteration, and its weights."""
    if not is_moving.any():
        return 0.0, weights
    best, best_weights = np.inf, weights
    for _ in range(_POWER_ITERATIONS):
        image = apply(weights)
        if not image.any():
            return 0.0, weights
        bound = float(np.max(image[is_moving] / weights[is_moving]))
        if bound < best:
            best, best_weights = bound, weights
        # Averaging with the weights themselves keeps them positive where a row is nearly zero.
        weights = np.where(is_moving, weights + image / np.max(image), 1.0)
        weights = weights / np.max(weights[is_moving])
    # One part in 10¹² covers the rounding of the last product.
    return best * (1.0 + 1e-12), best_weights
