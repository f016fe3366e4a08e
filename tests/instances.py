"""The references of the model that the oracle knows, and allocations to try on instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray


class Reference(NamedTuple):
    """An instance and what its record proves of the optimum, to thirty digits and more."""

    instance: cq.Instance
    parameters: Mapping[str, Any]
    tokens: tuple[Fraction, ...]
    objective: Fraction
    utilization: float


def instance_of(parameters: Mapping[str, Any], **changes: Any) -> cq.Instance:
    """Return the instance that parameters of `tests.oracle` describe."""
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


def parameters_of(instance: cq.Instance) -> dict[str, Any] | None:
    """Return the numbers of an instance as `tests.oracle` reads them, unless it is of others."""
    law, curve = instance.service, instance.accuracy
    if (
        not isinstance(instance.queue, cq.FIFO)
        or not isinstance(law, cq.AffineService)
        or not isinstance(curve, cq.SaturatingExponential)
        or np.any(law.token_scv)
        or instance.constraints
    ):
        return None
    columns = {
        "probabilities": instance.probabilities,
        "min_tokens": instance.min_tokens,
        "max_tokens": instance.max_tokens,
        "importance": instance.importance,
        "base": law.base,
        "per_token": law.per_token,
        "floor": curve.floor,
        "gain": curve.gain,
        "rate": curve.rate,
    }
    return {
        "arrival_rate": instance.arrival_rate,
        "accuracy_weight": instance.accuracy_weight,
        **{name: np.broadcast_to(it, instance.size).tolist() for name, it in columns.items()},
    }


# More types take the slow methods too long.
_MOST_TYPES = 100


def _references() -> Iterator[tuple[str, Reference]]:
    for name in cq.references.names():
        instance, record = cq.references.load(name).instance, cq.references.load(name).record
        parameters = parameters_of(instance)
        if parameters is None or instance.domains or instance.size > _MOST_TYPES:
            continue
        tokens = tuple(map(Fraction, record["tokens"]))
        columns = (parameters[key] for key in ("probabilities", "base", "per_token"))
        rows = zip(*(map(Fraction, column) for column in columns), tokens, strict=True)
        mean = sum(share * (base + slope * count) for share, base, slope, count in rows)
        load = float(Fraction(instance.arrival_rate) * mean)
        objective = Fraction(record["objective"])
        yield name, Reference(instance, parameters, tokens, objective, load)


CATALOGUE = dict(_references())


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
