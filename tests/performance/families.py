"""What a solve costs with another queue, curve or service law, in solves of the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.performance.evaluations import solve_and_read
from tests.performance.instances import random_servers
from tests.performance.reporting import Row, Target
from tests.performance.timing import FEW, Spread, Subject, format_seconds, interleave

TYPES = 1_000_000
_BOUND = 5.0
# Corners of the straight pieces, in tokens times the rate of the curve that they follow.
_CORNERS = (0.0, 0.5, 1.0, 2.0, 4.0)
_ORIGINAL = "the original"


def families(repeats: int, types: int = TYPES) -> list[Row]:
    """Measure one instance, and the same with one thing replaced."""
    original = random_servers(np.random.default_rng((6, types)), 1, types).instance()
    instances = {_ORIGINAL: original}
    for name, changes in _changes(original).items():
        instances[name] = original.replace(**changes)
    iterations = {name: cq.solve(it.replace()).iterations for name, it in instances.items()}
    found = interleave(
        {name: Subject(solve_and_read, it.replace) for name, it in instances.items()},
        min(repeats, FEW),
    )
    return [
        Row(
            f"N = {types:,}: {name}",
            Spread.of(found[name] / found[_ORIGINAL]),
            "times as long",
            None if name == _ORIGINAL else Target("≤", _BOUND),
            f"{format_seconds(float(np.median(found[name])))}, {iterations[name]} iterations",
        )
        for name in instances
    ]


def _changes(instance: cq.Instance) -> Mapping[str, dict[str, Any]]:
    """What is replaced, by the name of it; curves and times stay of the size that they have."""
    curve: Any = instance.accuracy
    law: Any = instance.service
    floor, gain, rate = curve.floor, curve.gain, curve.rate
    hyperbola = cq.MichaelisMenten(floor=floor, gain=gain, half_saturation=1.0 / rate)
    corners = np.multiply.outer(1.0 / rate, _CORNERS)
    heights = floor[:, np.newaxis] - gain[:, np.newaxis] * np.expm1(-np.array(_CORNERS))
    times = {"base": law.base, "per_token": law.per_token}
    return {
        "processor sharing": {"queue": cq.ProcessorSharing()},
        "batch arrivals": {"queue": cq.BatchArrivals(mean_size=2.0, size_second_moment=6.0)},
        "vacations": {"queue": cq.Vacations(mean=1.0, second_moment=2.0)},
        "setups": {"queue": cq.Setups(mean=1.0, second_moment=2.0)},
        "power laws": {
            "accuracy": cq.PowerLaw(floor=floor, gain=gain, scale=1.0 / rate, exponent=1.5)
        },
        "Michaelis-Menten curves": {"accuracy": hyperbola},
        "straight pieces": {"accuracy": cq.PiecewiseLinear(tokens=corners, accuracy=heights)},
        "curves of two classes": {
            "accuracy": cq.MixedAccuracy(
                curves=[curve, hyperbola], which=np.arange(instance.size) % 2
            )
        },
        "a random use of tokens": {"service": cq.AffineService(**times, token_scv=0.5)},
        "quadratic times": {
            "service": cq.QuadraticService(**times, per_squared_token=1e-5 * law.per_token)
        },
    }
