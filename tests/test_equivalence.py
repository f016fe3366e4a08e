"""One optimum by unrelated ways: every method on the catalogue, against thirty digits."""

from __future__ import annotations

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.solvers.registry import METHODS
from tests.instances import CATALOGUE

# Beyond these utilizations at the optimum a method may run out of iterations, and says so.
CERTAIN_UP_TO = {"newton": 1.0, "conic": 0.99, "fixed-point": 0.8, "projected-gradient": 0.8}
# The gap is quadratic in the distance, so that a relative gap of 1e-12 settles six digits of the
# tokens, and fewer where the objective is much larger than the mean system time.
UTILIZATION = 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_method_proves_the_same_optimum(name: str, method: str) -> None:
    reference = CATALOGUE[name]
    solution = cq.solve(reference.instance, method, max_iterations=1000, on_failure="return")
    if reference.utilization <= CERTAIN_UP_TO[method] + 1e-9:
        assert solution.is_optimal
    assert solution.is_optimal == (solution.relative_gap <= solution.tolerance)
    assert solution.objective <= reference.objective <= solution.upper_bound
    bounds = solution.token_bounds
    assert all(
        low <= exact <= high for (low, high), exact in zip(bounds, reference.tokens, strict=True)
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_newton_matches_the_tokens(name: str) -> None:
    reference = CATALOGUE[name]
    solution = cq.solve(reference.instance)
    exact = np.array([float(tokens) for tokens in reference.tokens])
    width = solution.token_bounds[:, 1] - solution.token_bounds[:, 0]
    # The certified interval is the tolerance: no type is farther off than its own width.
    assert (np.abs(solution.tokens - exact) <= width + 1e-12 * exact).all()
    assert solution.utilization == pytest.approx(reference.utilization, rel=UTILIZATION)
