"""The oracle against slower and simpler searches and the library, and the generator against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from mpmath import diff, exp, mp, mpf, sqrt, workdps
from numpy.typing import NDArray

from tests.instances import CATALOGUE
from tests.oracle import TYPE_FIELDS, Problem, optimum, prove, search
from tests.strategies import parameter_sets, planted_instances

SMALL = [name for name, reference in CATALOGUE.items() if reference.instance.size <= 5]
# Sums of very different terms, and of many.
SLOW = ("wide-spread", "types-100")
SINGLE = [name for name in SMALL if CATALOGUE[name].instance.size == 1]

# Relative: a number printed with thirty digits is off by at most five in the thirty-first.
PRINTED = mpf("1e-29")
# Relative to the marginal price: the gradient at tokens of a record. They have so many digits that
# what is left is the error of the difference quotients.
STATIONARY = mpf("1e-24")
# Relative to the larger of the tokens and one: planted tokens against the optimum. The parameters
# are rounded to 1e-16, and a type whose worth and price are both flat magnifies that.
PLANTED = 1e-9


def objective(parameters: Mapping[str, Any], tokens: Sequence[mpf]) -> mpf:
    """The objective as its definition reads, in the precision of the context."""
    accuracy = mean = second = mpf(0)
    columns = (map(mpf, parameters[name]) for name in TYPE_FIELDS)
    for count, (pi, _, _, w, base, per_token, floor, gain, rate) in zip(
        tokens, zip(*columns, strict=True), strict=True
    ):
        time = base + per_token * count
        accuracy += pi * w * (floor + gain * (1 - exp(-rate * count)))
        mean += pi * time
        second += pi * time**2
    idle = 1 - mpf(parameters["arrival_rate"]) * mean
    if idle <= 0:
        return -mp.inf
    waiting = mpf(parameters["arrival_rate"]) * second / (2 * idle)
    return mpf(parameters["accuracy_weight"]) * accuracy - mean - waiting


def ternary_search(function: Callable[[mpf], mpf], lower: mpf, upper: mpf) -> mpf:
    """The maximiser of a concave function, to almost half the digits of the context."""
    accuracy = 10 * sqrt(mp.eps) * (upper - lower)
    while upper - lower > accuracy:
        left, right = (2 * lower + upper) / 3, (lower + 2 * upper) / 3
        if function(left) < function(right):
            lower = left
        else:
            upper = right
    return (lower + upper) / 2


def exact_tokens(name: str) -> list[mpf]:
    """The tokens of a record, in the precision of the context."""
    return [mpf(it.numerator) / it.denominator for it in CATALOGUE[name].tokens]


def box(parameters: Mapping[str, Any], index: int) -> tuple[mpf, mpf]:
    return mpf(parameters["min_tokens"][index]), mpf(parameters["max_tokens"][index])


@pytest.mark.parametrize("name", SINGLE)
def test_one_type_by_ternary_search(name: str) -> None:
    parameters = CATALOGUE[name].parameters
    with workdps(80):
        found = ternary_search(lambda v: objective(parameters, [v]), *box(parameters, 0))
        (expected,) = exact_tokens(name)
        assert abs(found - expected) <= PRINTED * max(found, 1)


def test_two_types_by_nested_ternary_search() -> None:
    name = "two-types-one-at-zero"
    parameters = CATALOGUE[name].parameters

    def best_second(first: mpf) -> mpf:
        return ternary_search(lambda v: objective(parameters, [first, v]), *box(parameters, 1))

    def best(first: mpf) -> mpf:
        return objective(parameters, [first, best_second(first)])

    # The error of the inner search enters the outer one squared, so that both are equally accurate.
    with workdps(16):
        first = ternary_search(best, *box(parameters, 0))
        for value, count in zip([first, best_second(first)], exact_tokens(name), strict=True):
            assert abs(value - count) <= 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_optimality_conditions_by_difference_quotients(name: str) -> None:
    parameters = CATALOGUE[name].parameters
    costs = {**parameters, "accuracy_weight": 0.0}
    with workdps(60):
        tokens = exact_tokens(name)
        for k, kind in enumerate(Problem.of(parameters).types):
            active = kind.position(tokens[k])
            if active == "fixed":
                continue

            def slope(of: Mapping[str, Any], k: int = k) -> mpf:
                return diff(lambda v: objective(of, [*tokens[:k], v, *tokens[k + 1 :]]), tokens[k])

            gain = slope(parameters)
            allowance = STATIONARY * abs(slope(costs))
            if active == "free":
                assert abs(gain) <= allowance
            else:
                assert (gain if active == "lower" else -gain) <= allowance


@pytest.mark.parametrize(
    "name", [pytest.param(it, marks=pytest.mark.slow) if it in SLOW else it for it in CATALOGUE]
)
def test_the_library_agrees_to_thirty_digits(name: str) -> None:
    found = optimum(CATALOGUE[name].parameters)
    with workdps(60):
        for value, count in zip(map(mpf, found["tokens"]), exact_tokens(name), strict=True):
            assert abs(value - count) <= PRINTED * max(value, 1)
        expected = mpf(CATALOGUE[name].objective.numerator) / CATALOGUE[name].objective.denominator
        scale = abs(expected) + 2 * mpf(found["mean_system_time"])
        assert abs(mpf(found["objective"]) - expected) <= PRINTED * scale


def test_split_types_answer_as_one() -> None:
    first, second, third = optimum(CATALOGUE["fifo-affine-exponential"].parameters)["tokens"]
    split = optimum(CATALOGUE["split-type"].parameters)["tokens"]
    assert split == [first, second, third, first]


@pytest.mark.parametrize("name", ["three-types-one-at-cap", "heavy-traffic-2"])
def test_the_unit_of_time_does_not_matter(name: str) -> None:
    # A power of two, so that the rescaled parameters are exact.
    unit = 1024.0
    parameters = dict(CATALOGUE[name].parameters)
    parameters["arrival_rate"] /= unit
    parameters["accuracy_weight"] *= unit
    for field in ("base", "per_token"):
        parameters[field] = [unit * value for value in parameters[field]]
    rescaled, found = optimum(parameters), optimum(CATALOGUE[name].parameters)
    for field in ("tokens", "utilization", "active"):
        assert rescaled[field] == found[field]


@pytest.mark.parametrize(
    "name", ["types-1", "three-types-one-at-cap", "lower-bounds", "qwen3-8b-h100"]
)
def test_what_is_not_the_optimum_is_refused(name: str) -> None:
    problem = Problem.of(CATALOGUE[name].parameters)
    with workdps(60):
        tokens = search(problem)
        prove(problem, tokens, 30)
        for k, task in enumerate(problem.types):
            center = (task.min_tokens + task.max_tokens) / 2
            nudged = tokens[k] + mpf("1e-12") * (center - tokens[k])
            for value in {nudged, task.min_tokens, task.max_tokens} - {tokens[k]}:
                with pytest.raises(ArithmeticError, match=r"not stationary|unstable"):
                    prove(problem, [*tokens[:k], value, *tokens[k + 1 :]], 30)


@pytest.mark.parametrize("arrival_rate", [1.0, 3.0])
def test_what_cannot_be_stable_is_refused(arrival_rate: float) -> None:
    parameters = dict(CATALOGUE["one-type"].parameters) | {
        "base": [1.0],
        "arrival_rate": arrival_rate,
    }
    with pytest.raises(ValueError, match="no stable point"):
        optimum(parameters)


def is_valid(parameters: Mapping[str, Any]) -> bool:
    """Whether the parameters are those of an instance that is stable at its lower bounds."""
    lightest = parameters["base"] + parameters["per_token"] * parameters["min_tokens"]
    n = parameters["probabilities"].size
    return bool(
        all(parameters[field].shape == (n,) for field in TYPE_FIELDS)
        and abs(parameters["probabilities"].sum() - 1.0) <= 1e-9
        and (parameters["probabilities"] > 0).all()
        and (parameters["min_tokens"] >= 0).all()
        and (parameters["min_tokens"] <= parameters["max_tokens"]).all()
        and (parameters["importance"] >= 0).all()
        and (parameters["base"] >= 0).all()
        and (parameters["per_token"] > 0).all()
        and (parameters["floor"] >= 0).all()
        and (parameters["gain"] >= 0).all()
        and (parameters["floor"] + parameters["gain"] <= 1).all()
        and (parameters["rate"] > 0).all()
        and parameters["arrival_rate"] > 0
        and parameters["accuracy_weight"] >= 0
        and parameters["arrival_rate"] * (parameters["probabilities"] @ lightest) < 1
    )


@given(planted_instances())
@settings(max_examples=100)
def test_planted_instances_are_valid(instance: tuple[dict[str, Any], NDArray[np.float64]]) -> None:
    parameters, tokens = instance
    assert is_valid(parameters)
    assert np.all((parameters["min_tokens"] <= tokens) & (tokens <= parameters["max_tokens"]))


@given(planted_instances(largest_n=6))
@settings(max_examples=25)
def test_planted_tokens_are_optimal(instance: tuple[dict[str, Any], NDArray[np.float64]]) -> None:
    parameters, tokens = instance
    expected = optimum(parameters)
    found = np.array([float(value) for value in expected["tokens"]])
    np.testing.assert_array_less(np.abs(found - tokens), PLANTED * np.maximum(tokens, 1.0))
    at_bound = np.array(expected["active"]) != "free"
    assert np.array_equal(found[at_bound], tokens[at_bound])
    assert not np.any(
        (found == tokens)[~at_bound] & (parameters["min_tokens"] == tokens)[~at_bound]
    )


@pytest.mark.slow
@given(parameter_sets(largest_n=10))
@settings(max_examples=20)
def test_random_parameters_are_valid_and_solved(parameters: dict[str, Any]) -> None:
    assert is_valid(parameters)
    assert 0 <= float(optimum(parameters)["utilization"]) < 1
