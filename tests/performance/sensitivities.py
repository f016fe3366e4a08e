"""Derivatives of an optimum by every number of its instance, beside solving it."""

from __future__ import annotations

import numpy as np

import cvxqueue as cq
from tests.performance.instances import random_servers
from tests.performance.reporting import Row
from tests.performance.timing import Spread, Subject, format_seconds, interleave

TYPES = 100_000


def sensitivities(repeats: int, types: int = TYPES) -> list[Row]:
    """Measure the value by all fields, tokens along a direction, and a gradient, in solves."""
    servers = random_servers(np.random.default_rng(3), 1, types)
    solution = cq.solve(servers.instance())
    found, weights = cq.sensitivity(solution), np.ones(types)
    measured = interleave(
        {
            "solve": Subject(cq.solve, servers.instance),
            "value by all fields": Subject(lambda _: cq.sensitivity(solution).value, lambda: None),
            "tokens": Subject(lambda _: found.tokens({"arrival_rate": 1.0}), lambda: None),
            "gradient": Subject(lambda _: found.gradient(weights), lambda: None),
        },
        repeats,
    )
    solve = measured.pop("solve")
    return [
        Row(
            f"{name}, N = {types:,}",
            Spread.of(seconds / solve),
            "solves",
            details=format_seconds(float(np.median(seconds))),
        )
        for name, seconds in measured.items()
    ]
