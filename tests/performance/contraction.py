"""How often best responses provably converge, and what the first-order methods need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import cycle

import numpy as np

import cvxqueue as cq
from cvxqueue.certificates import Bracket, order_bracket
from cvxqueue.certificates import contraction as certify_contraction
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


def contraction(repeats: int, count: int = COUNT, limit: int = LIMIT) -> list[Row]:
    """Measure shares of the suite, and iterations on it."""
    instances = list(suite(np.random.default_rng(7), count))
    del repeats
    return [*_shares(instances), *_first_order(instances, limit)]


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


def _first_order(instances: Sequence[cq.Instance], limit: int) -> list[Row]:
    solutions: dict[str, list[cq.Solution]] = {method: [] for method in METHODS}
    costs: dict[str, list[float]] = {method: [] for method in METHODS}
    rng = np.random.default_rng(7)

    def solve(method: str, instance: cq.Instance) -> None:
        solutions[method].append(
            cq.solve(instance, method, max_iterations=limit, on_failure="return")
        )

    for instance in instances:
        points = cycle(list(allocations(instance, rng, 8)))
        subjects: dict[str, Subject[cq.Instance]] = {
            method: Subject(partial(solve, method), instance.replace, is_slow=True)
            for method in METHODS
        }
        seconds = interleave(
            {**subjects, "objective": Subject(plain_objective(instance), points.__next__)},
            # The instances are many, so that one round for each will do.
            repeats=1,
        )
        for method in METHODS:
            ratio = float(seconds[method][0] / seconds["objective"][0])
            costs[method].append(ratio / solutions[method][-1].iterations)
    rows = []
    for method in METHODS:
        share = 100.0 * float(np.mean([it.is_optimal for it in solutions[method]]))
        rows += [
            Row(
                f"{method}: iterations",
                Spread.of([it.iterations for it in solutions[method]]),
                "",
                None,
                f"{share:.3g} % certified to 1e-9 within {limit:,}; quartiles over the instances",
            ),
            Row(
                f"{method}: time of an iteration",
                Spread.of(costs[method]),
                "evaluations",
                None,
                "its share of the whole solve, certificates included",
            ),
        ]
    return rows
