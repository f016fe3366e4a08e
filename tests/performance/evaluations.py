"""What a solve costs, in evaluations of the plain objective of the same instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.instances import allocations
from tests.paths import SERVER
from tests.performance.instances import plain_objective, random_servers
from tests.performance.reporting import Row, Target
from tests.performance.timing import Spread, Subject, format_seconds, interleave

# Types, random instances of that size, and the target.
SIZES = ((6, 20, 60.0), (10_000, 5, 25.0), (1_000_000, 3, 12.0))
# The least size at which a few points, and not a few bytes, are what an evaluation reads.
_POINTS = 8
_FEW_POINTS = 2
_LARGE = 10_000


def evaluations(repeats: int, sizes: Sequence[tuple[int, int, float]] = SIZES) -> list[Row]:
    """Measure the ratio at several sizes."""
    rows: list[Row] = []
    for types, count, bound in sizes:
        rng = np.random.default_rng((1, types))
        found = [_measure(instance, rng, repeats) for instance in _random(rng, types, count)]
        what = f"N = {types:,}: median over {count} random instances"
        if types == sizes[0][0]:
            server = _measure(cq.load(SERVER), rng, repeats)
            rows.append(_row("the server of the README", [server], None))
            found.append(server)
            what += " and it"
        rows.append(_row(what, found, Target("≤", bound)))
    return rows


def _random(rng: np.random.Generator, types: int, count: int) -> Iterator[cq.Instance]:
    """Draw instances one by one: a large one is not kept while the next is measured."""
    for _ in range(count):
        yield random_servers(rng, 1, types).instance()


def solve_and_read(instance: cq.Instance) -> tuple[float, float, float]:
    """Solve, and read what is proven of the answer: all of it may be computed when asked for."""
    solution = cq.solve(instance)
    return solution.gap, solution.objective, solution.upper_bound


def _measure(
    instance: cq.Instance, rng: np.random.Generator, repeats: int
) -> dict[str, FloatArray]:
    count = _POINTS if instance.size < _LARGE else _FEW_POINTS
    points = cycle(list(allocations(instance, rng, count)))
    return interleave(
        {
            "solve": Subject(solve_and_read, instance.replace),
            "objective": Subject(plain_objective(instance), points.__next__),
        },
        repeats,
    )


def _row(what: str, found: Sequence[dict[str, FloatArray]], target: Target | None) -> Row:
    ratios = [seconds["solve"] / seconds["objective"] for seconds in found]
    # Of one instance the rounds are shown, of several the instances.
    samples = ratios[0] if len(ratios) == 1 else np.median(ratios, axis=1)
    solve, objective = (
        format_seconds(float(np.median([seconds[name] for seconds in found])))
        for name in ("solve", "objective")
    )
    return Row(
        what, Spread.of(samples), "evaluations", target, f"{solve}, one evaluation {objective}"
    )
