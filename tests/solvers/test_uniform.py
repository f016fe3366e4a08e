"""The best uniform budget is the best of a line; its gap bounds what budgets by type gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import cvxqueue as cq
from tests.families import FAMILIES, planted
from tests.strategies import SEEDS


@settings(max_examples=20)
@given(SEEDS)
def test_no_other_uniform_budget_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = FAMILIES[seed % len(FAMILIES)]
    instance = planted(rng, *kinds, n=int(rng.integers(1, 6)), plain=True).family.instance()
    instance = instance.replace(min_tokens=0.0, max_tokens=2e4)
    best = cq.best_uniform(instance)
    assert np.ptp(best.tokens) == 0.0
    ways = np.concatenate(
        [np.linspace(0.0, 2e4, 300), best.tokens[0] * (1.0 + rng.normal(size=50))]
    )
    others = instance.objective(np.clip(ways, 0.0, 2e4)[:, np.newaxis] * np.ones(instance.size))
    assert best.objective >= others.max() - 1e-9 * float(best.evaluation.scale)
    gain = cq.solve(instance, on_failure="return").objective - best.objective
    assert -1e-9 * float(best.evaluation.scale) <= gain <= best.gap


def test_boxes_that_have_no_number_in_common_are_refused() -> None:
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=60.0,
        min_tokens=[0.0, 200.0],
        max_tokens=[100.0, 4096.0],
        probabilities=[0.3, 0.7],
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
    )
    with pytest.raises(cq.InfeasibleError, match=r"type 1 may have 100 .* type 2 needs 200"):
        cq.best_uniform(instance)
    near = instance.replace(min_tokens=[0.0, 100.0])
    assert cq.best_uniform(near).tokens.tolist() == [100.0, 100.0]
    assert cq.best_uniform(near.replace(accuracy_weight=0.0)).tokens.tolist() == [100.0, 100.0]
    # Stable at the least tokens of each, and not at the least that both may have.
    heavy = near.replace(probabilities=[0.99, 0.01], arrival_rate=1.8)
    with pytest.raises(cq.InfeasibleError, match="no uniform budget is stable"):
        cq.best_uniform(heavy)
    with pytest.raises(cq.UnstableQueueError):
        cq.best_uniform(instance.replace(arrival_rate=9.0))
    with pytest.raises(cq.InvalidInputError, match="mean system time"):
        cq.best_uniform(instance.replace(constraints=[cq.MaxMeanSystemTime(9.0)]))
