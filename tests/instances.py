"""Instances from the parameters of the generators, and allocations to try on them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests import make_optima


class Reference(NamedTuple):
    """An instance and what the thirty-digit arithmetic says of its optimum, as exact rationals."""

    instance: cq.Instance
    parameters: Mapping[str, Any]
    tokens: tuple[Fraction, ...]
    objective: Fraction
    utilization: float


def instance_of(parameters: Mapping[str, Any], **changes: Any) -> cq.Instance:
    """Return the instance that `tests.generator` and ``optima.json`` describe."""
    values = {**parameters, **changes}
    return cq.Instance(
        arrival_rate=values["arrival_rate"],
        accuracy_weight=values["accuracy_weight"],
        probabilities=values["probabilities"],
        min_tokens=values["min_tokens"],
        max_tokens=values["max_tokens"],
        importance=values["importance"],
        service=cq.AffineService(base=values["base"], per_token=values["per_token"]),
        accuracy=cq.SaturatingExponential(
            floor=values["floor"], gain=values["gain"], rate=values["rate"]
        ),
    )


def _reference(row: Mapping[str, Any]) -> Reference:
    instance, optimum = instance_of(row["parameters"]), row["optimum"]
    # Thirty digits do not hold all of a float64, and at a bound the tokens are the bound itself.
    exact = {
        "lower": instance.min_tokens.tolist(),
        "fixed": instance.min_tokens.tolist(),
        "upper": instance.max_tokens.tolist(),
        "free": optimum["tokens"],
    }
    return Reference(
        instance=instance,
        parameters=row["parameters"],
        tokens=tuple(Fraction(exact[active][k]) for k, active in enumerate(optimum["active"])),
        objective=Fraction(optimum["objective"]),
        utilization=float(optimum["utilization"]),
    )


CATALOGUE = {row["name"]: _reference(row) for row in make_optima.load()}


def rates(instance: cq.Instance) -> FloatArray:
    """Return the rates of the accuracy curves, per token, shape (N,)."""
    assert isinstance(instance.accuracy, cq.SaturatingExponential)
    return instance.accuracy.rate


def allocations(instance: cq.Instance, rng: np.random.Generator, count: int) -> FloatArray:
    """Draw stable allocations of all loads, shape (count, N), half of them with types at a bound.

    A point of the box is drawn, and pulled towards the lower end until its load is one of those
    that are possible, up to 1 − 1e-4 of the idle fraction at the lower end.
    """
    lower, upper = instance.min_tokens, instance.max_tokens
    shape = (count, instance.size)
    share = rng.random(shape) ** rng.choice([1.0, 4.0, 16.0], (count, 1))
    pinned = (rng.random(shape) < 0.3) & (rng.random((count, 1)) < 0.5)
    share = np.where(pinned, rng.integers(0, 2, shape), share)
    step = share * (upper - lower)
    idle = 1.0 - instance.least_utilization
    slopes = instance.probabilities * instance.service.mean_slope(lower)
    load = instance.arrival_rate * step @ slopes
    allowed = idle * np.minimum(1.0 - 10.0 ** rng.uniform(-4.0, 0.0, count), 1.0 - 1e-4)
    shrink = np.where(load > allowed, allowed / np.where(load > 0, load, 1.0), 1.0)
    points: FloatArray = np.clip(lower + shrink[:, np.newaxis] * step, lower, upper)
    return points
