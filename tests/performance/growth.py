"""How the time of a solve grows with the number of types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.performance.evaluations import solve_and_read
from tests.performance.instances import random_servers
from tests.performance.reporting import Row, Target
from tests.performance.timing import Spread, Subject, format_seconds, interleave

SIZES = (10_000, 100_000, 1_000_000)
_BOUND = 1.1
# One load and one level of thinking, so that the sizes differ in nothing but the size: of many
# types drawn from one law, every draw is alike.
_UTILIZATION = (0.7, 0.7)
_EXPONENT = (1.0, 1.0)


def growth(repeats: int, sizes: Sequence[int] = SIZES) -> list[Row]:
    """Measure the exponent: the slope of the logarithm of the time by that of the size."""
    subjects, iterations = {}, {}
    for types in sizes:
        rng = np.random.default_rng((5, types))
        instance = random_servers(rng, 1, types, _UTILIZATION, _EXPONENT).instance()
        iterations[types] = cq.solve(instance.replace()).iterations
        subjects[f"{types}"] = Subject(solve_and_read, instance.replace)
    found = interleave(subjects, repeats)
    seconds = np.stack([found[f"{types}"] for types in sizes])
    medians = np.median(seconds, axis=1)
    by_round = Spread.of([_slope(sizes, column) for column in seconds.T])
    rows = [
        Row(
            f"exponent from N = {sizes[0]:,} to {sizes[-1]:,}",
            Spread(_slope(sizes, medians), by_round.lower, by_round.upper),
            "",
            Target("≤", _BOUND),
            "slope of the medians; quartiles over the rounds",
        )
    ]
    rows += [
        Row(
            f"N = {types:,}",
            Spread.of(seconds[position] / types * 1e9),
            "ns for each type",
            None,
            f"{format_seconds(medians[position])}, {iterations[types]} iterations",
        )
        for position, types in enumerate(sizes)
    ]
    return rows


def _slope(sizes: Sequence[int], seconds: FloatArray) -> float:
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
