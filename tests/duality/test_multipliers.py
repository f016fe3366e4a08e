"""Multipliers at kinks, where the bound is piecewise linear in them: against a linear program."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

import cvxqueue as cq
from cvxqueue.duality import estimated_multipliers
from cvxqueue.model.couplings import excesses
from cvxqueue.model.differences import separable_gains
from cvxqueue.numerics.arrays import FloatArray
from tests.families import planted


def least_bound(instance: cq.Instance, tokens: FloatArray) -> float:
    """The best bound that any multipliers prove: types answer at a corner or at an end."""
    point, model = instance.evaluate(tokens), instance.model
    gradients = np.stack([coupling.gradient(point) for coupling in model.couplings])
    answers = [model.lower, model.upper, *map(model.boxed, model.accuracy.breakpoints)]
    rows, sides = [], []
    for answer in answers:
        # A share of the bound of at least what the answer gains, less what the constraints charge.
        rows.append(np.hstack([-(gradients * (answer - tokens)).T, -np.eye(instance.size)]))
        sides.append(-separable_gains(point, answer))
    costs = np.concatenate([-excesses(point), np.ones(instance.size)])
    found = linprog(costs, A_ub=np.vstack(rows), b_ub=np.concatenate(sides), bounds=(0.0, None))
    assert found.fun is not None
    return float(found.fun)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("queue", ["FIFO", "ProcessorSharing"])
def test_no_multipliers_prove_much_more_at_kinks(queue: str, seed: int) -> None:
    rng = np.random.default_rng([13, seed])
    instance = planted(
        rng, queue, "affine", "points", n=5, utilization=0.7, pattern="free"
    ).family.instance()
    here = instance.evaluate(instance.lower + 0.5 * (cq.solve(instance).tokens - instance.lower))
    caps = [
        cq.MaxMeanSystemTime(1.001 * float(here.mean_system_time)),
        cq.MaxMeanWaitingTime(1.01 * float(here.mean_waiting_time)),
        cq.MaxTokenRate(float(instance.arrival_rate * (instance.probabilities @ here.tokens))),
    ]
    capped = instance.replace(constraints=caps)
    found = estimated_multipliers(capped.evaluate(here.tokens))
    gap = cq.certify(capped, here.tokens, multipliers=found).gap
    least = least_bound(capped, here.tokens)
    # Not those of no constraints, nor nothing left to gain.
    assert found.any()
    assert least * (1.0 - 1e-9) <= gap <= 1.02 * least + 1e-9 * float(here.scale)
