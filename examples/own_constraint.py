"""A constraint of one's own, and its shadow price: what one unit more of its limit is worth.

    python examples/own_constraint.py

Thinking is billed by the token, at a price that differs between types of task, and the bill per
query has a limit. The disciplined form takes any convex constraint; its dual value is the price.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import cvxqueue as cq

SERVER = Path(__file__).parent / "instances" / "qwen3-8b-h100.toml"
# Dollars per million thinking tokens of each type: competition mathematics runs on dearer hardware.
PRICES = 1e-6 * np.array([4.0, 4.0, 2.0, 1.0, 4.0])
# Dollars per query; without a limit the optimum spends 0.0020.
LIMIT = 1e-3


def shadow_price(limit: float = LIMIT) -> tuple[float, float]:
    """Return the optimal objective, in seconds, and what one dollar more per query gains."""
    server = cq.load(SERVER)
    form = cq.formulate(server)
    bill = (server.probabilities * PRICES) @ form.tokens
    # In units of the limit, as solvers like it.
    billed = bill / limit <= 1.0
    form = form.with_constraints(billed)
    form.problem.solve(solver="CLARABEL")
    # The problem counts the objective in units of `form.scale` seconds.
    price = form.scale * float(billed.dual_value) / limit
    return float(server.objective(form.tokens.value)), price


def compare() -> tuple[float, float]:
    """Return the shadow price, and the difference of two optima about it."""
    step = 0.01 * LIMIT
    more, less = (shadow_price(LIMIT + side * step)[0] for side in (1.0, -1.0))
    return shadow_price()[1], (more - less) / (2.0 * step)


def main() -> None:
    price, quotient = compare()
    print(f"at ${LIMIT:g} per query, one cent more per query gains {0.01 * price:.4g} s")
    print(f"two optima about it say {0.01 * quotient:.4g} s")


if __name__ == "__main__":
    main()
