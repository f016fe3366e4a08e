"""How many iterations newton needs, and whether it ever fails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import cvxqueue as cq
from tests.families import planted_instance
from tests.instances import instance_of
from tests.performance.reporting import Row, Target
from tests.performance.timing import Spread

COUNT = 4000
LIGHTEST, HEAVIEST = 0.001, 0.9995
EPSILON = float(np.finfo(np.float64).eps)


def suite(rng: np.random.Generator, count: int) -> Iterator[cq.Instance]:
    """Draw planted instances of 1 to 50 types and all loads.

    Half of the loads are log-uniform in the utilization and half in the idle fraction, because an
    instance changes its nature at either end by factors and not by differences.
    """
    for _ in range(count):
        if rng.random() < 0.5:
            utilization = float(np.exp(rng.uniform(np.log(LIGHTEST), np.log(0.5))))
        else:
            utilization = 1.0 - float(np.exp(rng.uniform(np.log(1.0 - HEAVIEST), np.log(0.5))))
        yield instance_of(planted_instance(rng, utilization=utilization)[0])


def iterations(repeats: int, count: int = COUNT) -> list[Row]:
    """Count on the whole suite; the counts are the same in every repeat, so there is only one."""
    del repeats
    needed, excess, failures = [], [], 0
    has_free: list[bool] = []
    for instance in suite(np.random.default_rng(6), count):
        solution = cq.solve(instance, on_failure="return")
        needed.append(solution.iterations)
        tokens = solution.tokens
        is_free = (instance.min_tokens < tokens) & (tokens < instance.max_tokens)
        has_free.append(bool(np.any(is_free)))
        failures += not solution.is_optimal
        tolerance = max(1e-12, 16.0 * EPSILON / (1.0 - solution.utilization))
        excess.append(solution.relative_gap / tolerance)
    what = f"{count:,} planted instances"
    return [
        Row(f"{what}: iterations", Spread.of(needed), "", Target("≤", 10.0)),
        Row(
            f"{what}: iterations where a type is between its bounds",
            Spread.of(np.array(needed)[has_free]) if any(has_free) else None,
            "",
            None,
            # Where all are at a bound, the bracket alone can find the optimum.
            f"{100 * np.mean(has_free):.0f} % of the instances",
        ),
        Row(f"{what}: most iterations", Spread(float(max(needed))), "", Target("≤", 60.0)),
        Row(f"{what}: without a certificate", Spread(float(failures)), "", Target("≤", 0.0)),
        Row(
            f"{what}: largest relative gap",
            Spread(max(excess)),
            "tolerances",
            Target("≤", 1.0),
            "the tolerance is max(1e-12, 16 ε/(1 − ρ))",
        ),
    ]
