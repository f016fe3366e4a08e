"""A solver of one's own in a comparison, from nothing to the report.

    python examples/own_solver.py                  # the page is own_solver.html
    python examples/own_solver.py types-10         # on one reference alone

The solver averages best responses and stops when they no longer move it. It takes that for
optimality; the referee does not.
"""

from __future__ import annotations

import sys

import numpy as np

import cvxqueue as cq

INSTANCES = ("heavy-traffic-1", "heavy-traffic-3", "light-traffic", "types-10", "types-100")
OTHERS = ("newton", "cvxpy-clarabel", "scipy-slsqp")


def averaging(instance: cq.Instance, tolerance: float = 1e-6) -> cq.Answer:
    """Move a tenth of the way to the best responses, until that is next to nothing."""
    tokens, moved, iterations = instance.min_tokens, np.inf, 0
    while moved > tolerance and iterations < 5000:
        step = (instance.response(tokens) - tokens) / 10.0
        while not instance.evaluate(tokens + step).is_stable:
            step /= 2.0
        tokens, iterations = tokens + step, iterations + 1
        moved = float(np.max(np.abs(step) / instance.max_tokens))
    return cq.Answer(tokens, iterations=iterations, claims_optimal=moved <= tolerance)


def main() -> None:
    references = [cq.references.load(name) for name in sys.argv[1:] or INSTANCES]
    found = cq.run_benchmark(references, [averaging, *OTHERS], output="own_solver.jsonl")
    print(found)
    found.report("own_solver.html")


if __name__ == "__main__":
    main()
