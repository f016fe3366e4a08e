"""Properties of every instance: certified optima, and instances that are the same in disguise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import cvxqueue as cq
from tests.instances import CATALOGUE, instance_of
from tests.strategies import SEEDS, parameter_sets, planted_instances
from tests.tolerances import EPSILON, PLANTED, SAME_INSTANCE

Parameters = dict[str, Any]
Planted = tuple[Parameters, NDArray[np.float64]]
PER_TYPE = (
    "probabilities",
    "min_tokens",
    "max_tokens",
    "importance",
    "base",
    "per_token",
    "floor",
    "gain",
    "rate",
)


def check_certified(solution: cq.Solution) -> None:
    assert solution.is_optimal
    allowed = max(1e-12, 16.0 * EPSILON / (1.0 - solution.utilization))
    assert solution.relative_gap <= allowed
    assert solution.iterations <= 60


@given(planted_instances())
@settings(max_examples=200)
def test_newton_certifies_the_planted_optimum(planted: Planted) -> None:
    parameters, tokens = planted
    solution = cq.solve(instance_of(parameters))
    check_certified(solution)
    margin = PLANTED.atol * np.maximum(tokens, 1.0)
    assert (solution.token_bounds[:, 0] <= tokens + margin).all()
    assert (solution.token_bounds[:, 1] >= tokens - margin).all()


@given(parameter_sets())
@settings(max_examples=100)
def test_newton_certifies_unstructured_instances(parameters: Parameters) -> None:
    check_certified(cq.solve(instance_of(parameters)))


def same(first: cq.Solution, second: cq.Solution, factor: float = 1.0) -> None:
    """The objectives agree relative to `scale`, up to a unit of time."""
    scale = first.certificate.scale
    SAME_INSTANCE.check(second.objective / factor / scale, first.objective / scale)


@given(planted_instances(largest_n=20), SEEDS)
@settings(max_examples=40)
def test_permuted_types(planted: Planted, seed: int) -> None:
    parameters, tokens = planted
    order = np.random.default_rng(seed).permutation(tokens.size)
    permuted = parameters | {key: np.asarray(parameters[key])[order] for key in PER_TYPE}
    plain, other = cq.solve(instance_of(parameters)), cq.solve(instance_of(permuted))
    same(plain, other)
    low, high = plain.token_bounds[order].T
    assert (other.token_bounds[:, 0] <= high).all()
    assert (other.token_bounds[:, 1] >= low).all()


@given(planted_instances(largest_n=20), st.sampled_from([1e-3, 1e3, 60.0]))
@settings(max_examples=40)
def test_another_unit_of_time(planted: Planted, factor: float) -> None:
    parameters, _ = planted
    rescaled = parameters | {
        "arrival_rate": parameters["arrival_rate"] / factor,
        "accuracy_weight": parameters["accuracy_weight"] * factor,
        "base": np.asarray(parameters["base"]) * factor,
        "per_token": np.asarray(parameters["per_token"]) * factor,
    }
    plain, other = cq.solve(instance_of(parameters)), cq.solve(instance_of(rescaled))
    same(plain, other, factor)
    assert (other.token_bounds[:, 0] <= plain.token_bounds[:, 1] + 1e-9).all()
    assert (other.token_bounds[:, 1] >= plain.token_bounds[:, 0] - 1e-9).all()


@given(planted_instances(largest_n=20))
@settings(max_examples=40)
def test_another_unit_of_tokens(planted: Planted) -> None:
    parameters, _ = planted
    rescaled = parameters | {
        "per_token": np.asarray(parameters["per_token"]) * 1024.0,
        "rate": np.asarray(parameters["rate"]) * 1024.0,
        "min_tokens": np.asarray(parameters["min_tokens"]) / 1024.0,
        "max_tokens": np.asarray(parameters["max_tokens"]) / 1024.0,
    }
    # A power of two: every number of the model is the same to the last bit.
    plain, other = cq.solve(instance_of(parameters)), cq.solve(instance_of(rescaled))
    np.testing.assert_allclose(other.tokens * 1024.0, plain.tokens, rtol=1e-9)
    same(plain, other)


@given(planted_instances(largest_n=20, patterns=["all-lower", "mixed", "free"]))
@settings(max_examples=40)
def test_shifted_tokens(planted: Planted) -> None:
    parameters, _ = planted
    shift = np.asarray(parameters["min_tokens"])
    rate, gain = np.asarray(parameters["rate"]), np.asarray(parameters["gain"])
    shifted = parameters | {
        "min_tokens": np.zeros_like(shift),
        "max_tokens": np.asarray(parameters["max_tokens"]) - shift,
        "base": np.asarray(parameters["base"]) + np.asarray(parameters["per_token"]) * shift,
        "gain": gain * np.exp(-rate * shift),
        "floor": np.asarray(parameters["floor"]) - gain * np.expm1(-rate * shift),
    }
    same(cq.solve(instance_of(parameters)), cq.solve(instance_of(shifted)))


@given(planted_instances(largest_n=20), st.floats(0.01, 0.99))
@settings(max_examples=40)
def test_a_type_split_in_two(planted: Planted, share: float) -> None:
    parameters, _ = planted
    split = {key: np.append(parameters[key], np.asarray(parameters[key])[0]) for key in PER_TYPE}
    split["probabilities"][0] *= share
    split["probabilities"][-1] *= 1.0 - share
    plain, other = cq.solve(instance_of(parameters)), cq.solve(instance_of(parameters | split))
    same(plain, other)
    assert other.token_bounds[-1, 0] <= plain.token_bounds[0, 1] * (1 + 1e-9) + 1e-9
    assert other.token_bounds[-1, 1] >= plain.token_bounds[0, 0] * (1 - 1e-9) - 1e-9


@given(planted_instances(largest_n=20))
@settings(max_examples=40)
def test_importance_is_a_factor_of_the_curve(planted: Planted) -> None:
    parameters, _ = planted
    importance = np.asarray(parameters["importance"])
    largest = max(1.0, float(importance.max()))
    folded = parameters | {
        "importance": np.ones_like(importance),
        "accuracy_weight": parameters["accuracy_weight"] * largest,
        "floor": np.asarray(parameters["floor"]) * importance / largest,
        "gain": np.asarray(parameters["gain"]) * importance / largest,
    }
    same(cq.solve(instance_of(parameters)), cq.solve(instance_of(folded)))


@given(planted_instances(largest_n=20), SEEDS)
@settings(max_examples=40)
def test_no_allocation_beats_the_upper_bound(planted: Planted, seed: int) -> None:
    parameters, _ = planted
    instance = instance_of(parameters)
    solution = cq.solve(instance)
    rng = np.random.default_rng(seed)
    share = rng.random((50, instance.size)) ** rng.choice([1.0, 8.0, 40.0], (50, 1))
    span = instance.max_tokens - instance.min_tokens
    near = solution.tokens + rng.normal(size=(50, instance.size)) * 1e-3 * (solution.tokens + 1.0)
    anywhere = instance.min_tokens + share * span
    for tokens in (anywhere, np.clip(near, instance.min_tokens, instance.max_tokens)):
        assert (instance.objective(tokens) <= solution.upper_bound).all()


@pytest.mark.parametrize("margin", [1e-3, 1e-6, 1e-9])
def test_one_type_next_to_saturation(margin: float) -> None:
    instance = CATALOGUE["types-1"].instance
    rate = instance.max_arrival_rate * (1.0 - margin)
    solution = cq.solve(instance.replace(arrival_rate=rate))
    check_certified(solution)
    assert 1.0 - margin <= solution.utilization * (1 + 1e-12)
    assert solution.utilization < 1.0
