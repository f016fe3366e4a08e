"""The memory that a solve needs at its peak, in arrays of one number for each type."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np

from tests.performance.evaluations import solve_and_read
from tests.performance.instances import plain_objective, random_servers
from tests.performance.reporting import Row, Target
from tests.performance.timing import FEW, Spread

TYPES = 1_000_000
_BOUND = 12.0


def memory(repeats: int, types: int = TYPES) -> list[Row]:
    """Measure the peak above what the instance itself holds."""
    rng = np.random.default_rng(2)
    solves, objectives = [], []
    # What is loaded at the first call stays, and is nobody's peak.
    solve_and_read(random_servers(rng, 1, 6).instance())
    for _ in range(min(repeats, FEW)):
        instance = random_servers(rng, 1, types).instance()
        evaluate = partial(plain_objective(instance), instance.min_tokens)
        objectives.append(peak(evaluate) / (8 * types))
        solves.append(peak(partial(solve_and_read, instance)) / (8 * types))
    return [
        Row(
            f"N = {types:,}: a solve with its certificate",
            Spread.of(solves),
            "arrays of N",
            Target("≤", _BOUND),
        ),
        Row("one evaluation of the plain objective", Spread.of(objectives), "arrays of N"),
    ]


def peak(run: Callable[[], object]) -> float:
    """Return the bytes held at the worst moment of a call, beyond those held before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return float(peak - before)
