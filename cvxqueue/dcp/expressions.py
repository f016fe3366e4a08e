"""The quantities of the model as cvxpy expressions of the tokens, each line a formula of the docs.

Three depend on the class of what an instance holds: the service times on its law, the accuracies on
its curve, and the waiting time on its queue. A class of one's own joins by ``register``, as below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cvxqueue.dcp.atoms import congestion_time
from cvxqueue.dcp.class_forms import Forms
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import (
    AffineService,
    Instance,
    MichaelisMenten,
    MixedAccuracy,
    PiecewiseLinear,
    PowerLaw,
    QuadraticService,
    SaturatingExponential,
    ServiceLaw,
)
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.numerics.arrays import FloatArray


def disciplined_waiting_time(
    instance: Instance, mean: cp.Expression, times: cp.Expression, tokens: cp.Expression
) -> cp.Expression:
    """Mean waiting time by the rules, from m1 and the service times."""
    root = second_moment_root(instance, times, tokens)
    return waiting_time(instance.queue, instance.arrival_rate, mean, root)


def expressions(
    instance: Instance,
    tokens: cp.Expression,
    waiting: Callable[..., cp.Expression] = disciplined_waiting_time,
) -> dict[str, Any]:
    """Return the named expressions of a `Formulation`, in seconds and by the rules.

    The tokens are affine, and known to be ≥ 0 where the service times are not affine; `waiting` is
    the mean waiting time from the instance, m1, the service times and the tokens.
    """
    rate, mix = instance.arrival_rate, instance.probabilities
    times = service_times(instance.service, tokens)
    mean_service_time = mix @ times
    mean_waiting_time = waiting(instance, mean_service_time, times, tokens)
    mean_system_time = mean_service_time + mean_waiting_time
    accuracy = accuracies(instance.accuracy, tokens)
    worth = instance.accuracy_weight * (np.multiply(mix, instance.importance) @ accuracy)
    return {
        "tokens": tokens,
        "accuracies": accuracy,
        "mean_accuracy": mix @ accuracy,
        "service_times": times,
        "token_rate": rate * mix @ tokens,
        "mean_service_time": mean_service_time,
        "mean_waiting_time": mean_waiting_time,
        "mean_system_time": mean_system_time,
        "utilization": rate * mean_service_time,
        "objective": worth - mean_system_time,
    }


service_times: Forms[Callable[..., cp.Expression]] = Forms("service")
"""Mean service times of a law at tokens, in seconds: convex in them, shape (N,)."""


@service_times.register(AffineService)
def _(law: AffineService, tokens: cp.Expression) -> cp.Expression:
    return law.base + cp.multiply(law.per_token, tokens)


@service_times.register(QuadraticService)
def _(law: QuadraticService, tokens: cp.Expression) -> cp.Expression:
    # The coefficient inside: the cones of the atom shall not see squares of tokens.
    bend = cp.square(cp.multiply(np.sqrt(law.per_squared_token), tokens))
    return law.base + cp.multiply(law.per_token, tokens) + bend


accuracies: Forms[Callable[..., cp.Expression]] = Forms("accuracy")
"""Probabilities of a correct answer of a curve at tokens: concave in them, of their shape."""


@accuracies.register(SaturatingExponential)
def _(curve: SaturatingExponential, tokens: cp.Expression) -> cp.Expression:
    return curve.floor + cp.multiply(curve.gain, 1 - cp.exp(-cp.multiply(curve.rate, tokens)))


@accuracies.register(PowerLaw)
def _(curve: PowerLaw, tokens: cp.Expression) -> cp.Expression:
    # The atom `power` takes one exponent for all.
    falling = cp.exp(-cp.multiply(curve.exponent, cp.log(1 + cp.multiply(1 / curve.scale, tokens))))
    return curve.floor + cp.multiply(curve.gain, 1 - falling)


@accuracies.register(MichaelisMenten)
def _(curve: MichaelisMenten, tokens: cp.Expression) -> cp.Expression:
    # l/(l + h) has no rule.
    falling = cp.inv_pos(1 + cp.multiply(1 / curve.half_saturation, tokens))
    return curve.floor + cp.multiply(curve.gain, 1 - falling)


@accuracies.register(PiecewiseLinear)
def _(curve: PiecewiseLinear, tokens: cp.Expression) -> cp.Expression:
    # A concave curve is the least of its lines.
    heights, slopes = curve.breakpoint_values, curve.segment_slopes
    every = cp.vstack([tokens] * len(slopes))
    lines = heights - slopes * curve.breakpoints + cp.multiply(slopes, every)
    return cp.min(lines, axis=0)


@accuracies.register(MixedAccuracy)
def _(curve: MixedAccuracy, tokens: cp.Expression) -> cp.Expression:
    every = np.arange(tokens.size)
    places = [every[place] for place, _ in curve.groups]
    parts = [accuracies(own, tokens[place]) for place, own in curve.groups]
    return in_place(parts, places)


def in_place(parts: Sequence[cp.Expression], places: Sequence[NDArray[np.intp]]) -> cp.Expression:
    """Return an expression by type, shape (N,), from those of groups of the types."""
    # Each group's rows of the identity put its entries where they belong.
    eye = sparse.eye_array(sum(place.size for place in places), format="csc")
    return sum(cp.Constant(eye[:, place]) @ part for place, part in zip(places, parts, strict=True))


def second_moment_root(
    instance: Instance, times: cp.Expression, tokens: cp.Expression
) -> cp.Expression:
    """Return r with ‖r‖² = Σ π E[t²], the second moment of the service time: convex and ≥ 0."""
    shares, variance = np.sqrt(instance.probabilities), token_variance(instance.service)
    root: cp.Expression = cp.multiply(shares, times)
    if variance is None:
        return root
    return cp.hstack([root, cp.multiply(shares * np.sqrt(variance), tokens)])


def completed_square(
    times: Sequence[FloatArray], scv: FloatArray | float
) -> tuple[tuple[FloatArray, ...], FloatArray]:
    """Return polynomials of service times and a rest whose squares add up to E[t²].

    With v for `scv`, t² + v (c u)² = (√(1+v) c u + t0/√(1+v))² + t0² v/(1+v): so the random part
    takes one more row of a cone, not N. The coefficients t0, c, ... of the mean service times are
    of shape (N,) each; there are none beyond c where v, a squared coefficient of variation, is not
    zero.
    """
    base, *slopes = times
    root = np.sqrt(1.0 + scv)
    return (base / root, *(slope * root for slope in slopes)), base * np.sqrt(scv) / root


def token_variance(law: ServiceLaw) -> FloatArray | None:
    """Variance of the service time over the square of the tokens, if it is random, shape (N,)."""
    if not law.is_random:
        return None
    if type(law) is not AffineService:
        raise InvalidInputError(
            f"service = {shown(law)} is random, and only AffineService has a cvxpy form then"
        )
    return law.token_scv * np.square(law.per_token)


waiting_time: Forms[Callable[..., cp.Expression]] = Forms("queue")
"""Mean waiting time of a queue at λ, for the mean m1 and the root r of m2 of the times: convex."""


@waiting_time.register(LinearFractionalQueue)
def _(
    queue: LinearFractionalQueue, arrival_rate: float, mean: cp.Expression, root: cp.Expression
) -> cp.Expression:
    # (β m1 + δ ρ m1)/y = β m1 + λ (β + δ) m1²/y with y = 1 − ρ, so that both squares go into one
    # ‖·‖²/y, which is jointly convex and has the stability region as its domain.
    by_mean, by_load, by_second = queue.weights
    rows = [np.sqrt(arrival_rate * by_second / 2) * root] if by_second else []
    if by_mean + by_load or not rows:
        rows.append(np.sqrt(arrival_rate * (by_mean + by_load)) * mean)
    quotient = congestion_time(cp.hstack(rows), 1 - arrival_rate * mean)
    return by_mean * mean + quotient + queue.constant(arrival_rate)
