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
from tests.families import accuracy_of, planted


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


def test_no_multipliers_prove_much_more_where_all_types_are_at_bounds() -> None:
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=100.0,
        probabilities=[0.5, 0.3, 0.2],
        max_tokens=20_000.0,
        service=cq.AffineService(base=0.5, per_token=8e-4),
        accuracy=cq.SaturatingExponential(
            floor=[0.3, 0.2, 0.4], gain=[0.6, 0.7, 0.5], rate=[5e-4, 1e-3, 2e-4]
        ),
        constraints=[
            *(cq.MaxMeanSystemTime(1.1), cq.MaxMeanWaitingTime(0.1)),
            *(cq.WaitingTimeTail(2.0, 0.05), cq.MaxTokenRate(50.0)),
        ],
    )
    none = instance.min_tokens
    # The first step, of all multipliers at once, leads far beyond what one of them alone proves.
    alone = [size * row for row in np.eye(4) for size in np.geomspace(1e-3, 1e4, 71)]
    least = min(cq.certify(instance, none, multipliers=each).gap for each in alone)
    assert cq.certify(instance, none).gap <= least


def test_multipliers_that_magnify_rounding_are_no_larger_than_they_must_be() -> None:
    curve = cq.PiecewiseLinear(
        tokens=[[0.996, 1.247, 2.125, 2.22, 2.758]],
        accuracy=[[0.686, 0.703, 0.7435, 0.7467, 0.762]],
    )
    free = cq.Instance(
        arrival_rate=2.627e-9,
        accuracy_weight=120.7,
        probabilities=[1.0],
        min_tokens=2.488,
        max_tokens=69.55,
        service=cq.AffineService(base=136.6, per_token=1.574e-8, token_scv=6.049),
        accuracy=curve,
    )
    least = free.evaluate(free.lower)
    capped = free.replace(
        constraints=[
            cq.MaxMeanSystemTime(float(least.mean_system_time)),
            cq.MaxMeanWaitingTime(float(least.mean_waiting_time)),
        ]
    )
    alone = [[0.0, size] for size in np.geomspace(1e10, 1e20, 101)]
    best = min(cq.certify(capped, capped.lower, multipliers=each).gap for each in alone)
    assert cq.certify(capped, capped.lower).gap <= 2.0 * best


def test_multipliers_may_be_far_beyond_what_the_excess_of_one_type_suggests() -> None:
    steep = accuracy_of(
        [
            {
                "kind": "points",
                "tokens": [0.0, 15.0, 24.0, 28.0, 38.0],
                "accuracy": [0.3, 0.537, 0.679, 0.742, 0.9],
            },
            {"kind": "michaelis", "floor": 0.296, "gain": 9.08e-11, "half_saturation": 7.7e-4},
        ]
    )
    free = cq.Instance(
        arrival_rate=0.02836,
        accuracy_weight=3.037e10,
        importance=[0.2258, 0.01875],
        probabilities=[0.016, 0.984],
        max_tokens=[584.6, 10.9],
        queue=cq.ProcessorSharing(),
        service=cq.AffineService(
            base=[1.176e-9, 2.984e-7], per_token=[5.927e-8, 1.142e-3], token_scv=[0.1265, 6.755]
        ),
        accuracy=steep,
    )
    none = free.min_tokens
    least = float(free.evaluate(none).mean_waiting_time)
    capped = free.replace(constraints=[cq.MaxMeanWaitingTime(least)])
    sizes = np.geomspace(1e3, 1e25, 111)
    best = min(cq.certify(capped, none, multipliers=[size]).gap for size in sizes)
    assert cq.certify(capped, none).gap <= 10.0 * best
