"""Backtracking: every way in which a step can be too long, and in which there is none."""

from __future__ import annotations

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import improvement
from cvxqueue.solvers.fixed_point import backtrack
from tests.instances import CATALOGUE, allocations, rates


def single(weight: float, *, arrival_rate: float = 1e-3, rate: float = 0.01) -> cq.Instance:
    """One type of 1 ms per token; the load reaches one at 1/(arrival_rate · 1 ms) tokens."""
    return cq.Instance(
        arrival_rate=arrival_rate,
        accuracy_weight=weight,
        max_tokens=1e9,
        probabilities=[1.0],
        service=cq.AffineService(base=0.0, per_token=1e-3),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=1.0, rate=rate),
    )


def step_from_zero(instance: cq.Instance, target: float) -> tuple[Evaluation, Evaluation]:
    start = instance.evaluate(np.zeros(1))
    moved = backtrack(start, np.array([target]))
    assert moved is not None
    assert improvement(start, moved) > 0
    return start, moved


def test_a_good_step_is_taken_whole() -> None:
    _, moved = step_from_zero(single(1.0), 200.0)
    assert moved.tokens.tolist() == [200.0]


def test_a_step_that_would_lose_is_shortened() -> None:
    # Worth 10 s per token at the start and 3 s never again: at ten times the length of the curve
    # the slope is a third of that at the start, and all that was gained is lost.
    instance = single(1.0, rate=1.0 / 300.0)
    assert instance.objective([3000.0]) < instance.objective([0.0])
    start, moved = step_from_zero(instance, 3000.0)
    slope = float(instance.gradient([3000.0])[0])
    assert slope > -0.5 * float(start.gradient[0])
    assert moved.tokens[0] < 1000.0


def test_a_step_far_behind_the_maximum_is_shortened() -> None:
    # J is still above its start, but steep: next to saturation many steps would be needed back.
    instance = single(100.0, arrival_rate=1.0)
    target = 985.0
    assert instance.objective([target]) > instance.objective([0.0])
    start, moved = step_from_zero(instance, target)
    assert float(moved.gradient[0]) >= -0.5 * float(start.gradient[0])
    assert moved.tokens[0] < target


@pytest.mark.parametrize("target", [999.9999, 1999.99, 1e6])
def test_a_step_leaves_a_part_of_the_idle_fraction(target: float) -> None:
    # Worth so much that J and its slope would allow any stable point, 1 − ρ = 5e-6 included.
    instance = single(1e15, arrival_rate=1.0, rate=1e-3)
    start, moved = step_from_zero(instance, target)
    assert float(moved.idle) >= 0.01 * float(start.idle) * (1 - 1e-9)
    assert float(moved.idle) == pytest.approx(0.01)


@pytest.mark.parametrize("target", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_no_point_is_refused(target: float) -> None:
    start = single(1.0).evaluate(np.array([10.0]))
    assert backtrack(start, np.array([target])) is None


def test_a_direction_that_descends_is_refused() -> None:
    start = single(1.0).evaluate(np.array([10.0]))
    assert float(start.gradient[0]) > 0
    assert backtrack(start, np.array([5.0])) is None
    assert backtrack(start, start.tokens) is None


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_response_always_ascends(name: str) -> None:
    instance = CATALOGUE[name].instance
    for tokens in allocations(instance, np.random.default_rng(3), 10):
        point = instance.evaluate(tokens)
        certificate = cq.certify(instance, tokens)
        moved = backtrack(point, point.response)
        if moved is None:
            # Only where nothing is left to gain.
            assert certificate.gap <= 1e-9 * certificate.scale
            continue
        assert moved.is_stable
        assert improvement(point, moved) > 0
        assert np.all(moved.tokens >= np.minimum(tokens, point.response) - 1e-12 / rates(instance))
        assert np.all(moved.tokens <= np.maximum(tokens, point.response) + 1e-12 * moved.tokens)
