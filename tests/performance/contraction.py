"""How often best responses provably converge, and what the first-order methods need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle

import numpy as np

import cvxqueue as cq
from cvxqueue.certificates import Bracket, order_bracket
from cvxqueue.certificates import contraction as certify_contraction
from cvxqueue.solvers.open_method import OpenMethod
from cvxqueue.solvers.registry import find_method
from tests.instances import allocations
from tests.performance.instances import plain_objective
from tests.performance.iterations import suite
from tests.performance.reporting import Row
from tests.performance.timing import Spread, Subject, interleave

COUNT = 200
# Light instances need a few iterations and heavy ones can need a hundred thousand; a median does
# not ask how many.
LIMIT = 1000
METHODS = ("fixed-point", "projected-gradient")
# The condition of each box, from the plainest to the sharpest.
BOXES = ("whole box", "order bracket of one round", "order bracket until it stands still")


def contraction(
    repeats: int,
    count: int = COUNT,
    limit: int = LIMIT,
    methods: Sequence[str | OpenMethod] = METHODS,
) -> list[Row]:
    """Measure shares of the suite, and iterations on it of methods by name or of one's own."""
    instances = list(suite(np.random.default_rng(7), count))
    del repeats
    named = {find_method(method).name: method for method in methods}
    return [*_shares(instances), *_iterated(instances, limit, named)]


def _shares(instances: Sequence[cq.Instance]) -> list[Row]:
    row_sums, roots = [], []
    for instance in instances:
        found = [
            certify_contraction(instance, Bracket(instance.min_tokens, instance.max_tokens)),
            certify_contraction(instance, order_bracket(instance)),
            certify_contraction(instance),
        ]
        row_sums.append([bound.row_sum < 1.0 for bound in found])
        roots.append([bound.holds for bound in found])
    return [
        Row(f"{condition} below 1, {box}", Spread(100.0 * float(share)), "% of the suite")
        for condition, holds in (("largest row sum", row_sums), ("Perron root", roots))
        for box, share in zip(BOXES, np.mean(holds, axis=0), strict=True)
    ]


def _iterated(
    instances: Sequence[cq.Instance], limit: int, methods: Mapping[str, str | OpenMethod]
) -> list[Row]:
    solutions: dict[str, list[cq.Solution]] = {name: [] for name in methods}
    costs: dict[str, list[float]] = {name: [] for name in methods}
    rng = np.random.default_rng(7)

    def solve(name: str, instance: cq.Instance) -> None:
        solutions[name].append(
            cq.solve(instance, methods[name], max_iterations=limit, on_failure="return")
        )

    for instance in instances:
        points = cycle(list(allocations(instance, rng, 8)))
        subjects: dict[str, Subject[cq.Instance]] = {
            name: Subject(partial(solve, name), instance.replace, is_slow=True) for name in methods
        }
        seconds = interleave(
            {**subjects, "objective": Subject(plain_objective(instance), points.__next__)},
            # The instances are many, so that one round for each will do.
            repeats=1,
        )
        for name in methods:
            ratio = float(seconds[name][0] / seconds["objective"][0])
            costs[name].append(ratio / max(solutions[name][-1].iterations, 1))
    rows = []
    for name in methods:
        share = 100.0 * float(np.mean([it.is_optimal for it in solutions[name]]))
        rows += [
            Row(
                f"{name}: iterations",
                Spread.of([it.iterations for it in solutions[name]]),
                "",
                None,
                f"{share:.3g} % certified to 1e-9 within {limit:,}; quartiles over the instances",
            ),
            Row(
                f"{name}: time of an iteration",
                Spread.of(costs[name]),
                "evaluations",
                None,
                "its share of the whole solve, certificates included",
            ),
        ]
    return rows
