"""The exact integer method, beside conic reference solves of the same instance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import cvxqueue as cq
from cvxqueue.integer import solve_integer
from tests.large import large_instance
from tests.performance.instances import random_servers
from tests.performance.reporting import Row, Target
from tests.performance.timing import (
    FEW,
    Spread,
    Subject,
    format_seconds,
    interleave,
    without_warnings,
)

# Number of types, and the most conic reference solves that a proof may cost.
SIZES = ((6, 20.0), (1000, 200.0))
_LARGEST = 100_000
_TOLERANCE = 1e-9


def integers(
    repeats: int, sizes: Sequence[tuple[int, float]] = SIZES, largest: int = _LARGEST
) -> list[Row]:
    """Measure the time of a proof in conic solves, and the gap where there are many types."""
    rows: list[Row] = []
    for types, most in sizes:
        instance = random_servers(np.random.default_rng(types), 1, types, (0.3, 0.9)).instance()
        answer = solve_integer(instance)
        with without_warnings():
            seconds = interleave(
                {
                    "integer": Subject(solve_integer, instance.replace, is_slow=types > 100),
                    "conic": Subject(_conic, instance.replace, is_slow=types > 100),
                },
                min(repeats, FEW) if types > 100 else repeats,
            )
        ratio = seconds["integer"] / seconds["conic"]
        rows.append(
            Row(
                f"N = {types:,}: beside one conic reference solve",
                Spread.of(ratio),
                "times as long",
                Target("≤", most),
                f"{format_seconds(float(np.median(seconds['integer'])))} for a certified relative "
                f"gap of {answer.relative_gap:.1e}",
            )
        )
    instance = large_instance(largest, "server", "log-uniform", 0.9)
    answer = solve_integer(instance)
    rows.append(
        Row(
            f"N = {largest:,}, mix down to 1e-9 of the largest: certified relative gap",
            Spread(answer.relative_gap),
            "",
            Target("≤", _TOLERANCE),
            f"in {format_seconds(answer.solve_time)}",
        )
    )
    return rows


def _conic(instance: cq.Instance) -> cq.Solution:
    return cq.solve(instance, "conic", on_failure="return")
