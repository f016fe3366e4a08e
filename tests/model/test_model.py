"""The closed forms of the model, against exact arithmetic and by hand."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from mpmath import mpf, workdps

import cvxqueue as cq
from cvxqueue.model import require_feasible
from cvxqueue.numerics.arrays import FloatArray
from tests.instances import CATALOGUE, allocations
from tests.oracle import Problem
from tests.tolerances import CLOSED_FORM, EPSILON, ROUNDING

SEED = 20260110


def small_instance(**changes: Any) -> cq.Instance:
    return cq.Instance(
        **{
            "arrival_rate": 0.2,
            "accuracy_weight": 60.0,
            "max_tokens": [4096.0, 512.0],
            "probabilities": [0.25, 0.75],
            "service": cq.AffineService(base=0.5, per_token=[0.002, 0.004]),
            "accuracy": cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=0.001),
            "names": ["hard", "easy"],
            "sources": ["ours"],
            **changes,
        }
    )


def test_types_have_names() -> None:
    assert [small_instance().type_name(k) for k in (0, 1)] == ["hard", "easy"]
    assert small_instance(names=None).type_name(1) == "type 2"


# What an operator would measure.
METRICS = (
    *("objective", "mean_accuracy", "accuracies", "utilization", "mean_service_time"),
    *("service_time_second_moment", "mean_waiting_time", "mean_system_time"),
)


@pytest.mark.parametrize("name", CATALOGUE)
def test_evaluations_agree_with_exact_arithmetic(name: str) -> None:
    instance, parameters = CATALOGUE[name].instance, CATALOGUE[name].parameters
    problem = Problem.of(parameters)
    for tokens in allocations(instance, np.random.default_rng(SEED), 4):
        found = instance.evaluate(tokens)
        with workdps(40):
            exact = [mpf(value) for value in tokens.tolist()]
            times = problem.service_times(exact)
            accuracies = [k.accuracy(v) for k, v in zip(problem.types, exact, strict=True)]
            mean, second = problem.mean(times), problem.mean([t**2 for t in times])
            idle = problem.idle(times)
            system = problem.mean_system_time(times)
            objective = problem.objective(exact)
            relative = float(4 * EPSILON / idle)
            expected: dict[str, float | list[float]] = {
                "accuracies": [float(value) for value in accuracies],
                "mean_accuracy": float(problem.mean(accuracies)),
                "mean_service_time": float(mean),
                "service_time_second_moment": float(second),
                "utilization": float(1 - idle),
            }
            near_saturation = {
                "mean_waiting_time": float(system - mean),
                "mean_system_time": float(system),
            }
        for field, value in expected.items():
            CLOSED_FORM.check(getattr(found, field), value, field)
        for field, number in near_saturation.items():
            CLOSED_FORM._replace(rtol=CLOSED_FORM.rtol + relative).check(
                getattr(found, field), number, field
            )
        allowance = 4 * EPSILON * float(instance.evaluate(tokens).benefit + float(system / idle))
        assert abs(float(mpf(float(found.objective)) - objective)) <= allowance


def test_importance_enters_the_objective_only() -> None:
    instance = small_instance()
    weighted = instance.replace(importance=[0.0, 3.0])
    tokens = np.array([100.0, 200.0])
    before, after = instance.evaluate(tokens), weighted.evaluate(tokens)
    for field in set(METRICS) - {"objective"}:
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field))
    worth = instance.accuracy.value(tokens) * instance.probabilities * instance.accuracy_weight
    ROUNDING.check(after.objective - before.objective, worth @ np.array([-1.0, 2.0]))


UNSTABLE = [[4096.0, 512.0], [1e9, 0.0], [0.0, 1e100]]


@pytest.mark.parametrize("tokens", UNSTABLE, ids=["at the caps", "beyond one cap", "far beyond"])
def test_outside_stability(tokens: list[float]) -> None:
    instance = small_instance(arrival_rate=0.9)
    assert instance.objective(tokens) == -np.inf
    point = instance.evaluate(tokens)
    assert point.mean_waiting_time == np.inf
    assert point.mean_system_time == np.inf
    assert point.utilization > 1
    assert 0 <= point.mean_accuracy <= 1
    for call in (
        instance.gradient,
        instance.response,
        lambda point: instance.hessian_product(point, [1.0, 1.0]),
    ):
        with pytest.raises(cq.InvalidInputError, match=r"unstable \(utilization .*below 1"):
            call(tokens)


@pytest.mark.parametrize("tokens", [[1.0, np.nan], [-np.inf, 1.0], [np.inf, -np.inf]])
def test_what_is_no_number_of_tokens_has_no_derivatives(tokens: list[float]) -> None:
    message = rf"tokens\[0, {[it > -np.inf for it in tokens].index(False)}\] = .* must be a number"
    for call in (small_instance().gradient, small_instance().response):
        with pytest.raises(cq.InvalidInputError, match=message):
            call([tokens, [1.0, 1.0]])


def test_exactly_at_saturation() -> None:
    # 0.25 (1 + 3) = 1 in exact arithmetic and in float64.
    instance = small_instance(
        arrival_rate=0.25,
        probabilities=[1.0],
        max_tokens=10.0,
        names=None,
        service=cq.AffineService(base=1.0, per_token=1.0),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=1.0, rate=1.0),
    )
    assert instance.objective([3.0]) == -np.inf
    assert np.isfinite(instance.objective([3.0 - 1e-12]))
    with pytest.raises(cq.InvalidInputError, match="unstable"):
        instance.gradient([3.0])


def test_stable_and_unstable_rows_side_by_side() -> None:
    instance = small_instance(arrival_rate=0.9)
    found = instance.objective([[10.0, 10.0], [4096.0, 512.0]])
    assert found[0] == instance.objective([10.0, 10.0])
    assert found[1] == -np.inf


def test_feasibility_is_decided_in_closed_form() -> None:
    instance = small_instance(min_tokens=[1000.0, 100.0])
    CLOSED_FORM.check(instance.least_utilization, 0.2 * (0.25 * 2.5 + 0.75 * 0.9))
    CLOSED_FORM.check(instance.max_arrival_rate, 1 / 1.3)
    assert instance.is_feasible
    require_feasible(instance)
    heavier = instance.replace(arrival_rate=instance.max_arrival_rate * (1 + 1e-12))
    assert not heavier.is_feasible
    with pytest.raises(cq.UnstableQueueError) as caught:
        require_feasible(heavier)
    assert caught.value.utilization >= 1
    assert caught.value.max_arrival_rate == heavier.max_arrival_rate
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert instance.replace(arrival_rate=instance.max_arrival_rate * (1 - 1e-12)).is_feasible


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,)])
def test_leading_axes(shape: tuple[int, ...]) -> None:
    instance = CATALOGUE["bounds-mixed"].instance
    size = math.prod(shape)
    rows = allocations(instance, np.random.default_rng(SEED), size)
    directions = np.random.default_rng(SEED).standard_normal((size, instance.size))
    grid = rows.reshape((*shape, instance.size))
    along = directions.reshape((*shape, instance.size))
    pairs: list[tuple[FloatArray, list[FloatArray]]] = [
        (instance.objective(grid), [instance.objective(row) for row in rows]),
        (instance.gradient(grid), [instance.gradient(row) for row in rows]),
        (instance.response(grid), [instance.response(row) for row in rows]),
        (
            instance.hessian_product(grid, along),
            [
                instance.hessian_product(row, step)
                for row, step in zip(rows, directions, strict=True)
            ],
        ),
        *(
            (
                getattr(instance.evaluate(grid), field),
                [getattr(instance.evaluate(row), field) for row in rows],
            )
            for field in METRICS
        ),
    ]
    for together, one_by_one in pairs:
        assert together.shape[: len(shape)] == shape
        if not size:
            assert together.size == 0
            continue
        flat = np.array(one_by_one).reshape(together.shape)
        ROUNDING._replace(atol=1e-13 * np.max(np.abs(flat), initial=0.0)).check(together, flat)


def test_one_direction_for_many_allocations() -> None:
    instance = CATALOGUE["qwen3-8b-h100"].instance
    grid = allocations(instance, np.random.default_rng(SEED), 3)
    step = np.arange(1.0, 6.0)
    expected = [instance.hessian_product(row, step) for row in grid]
    ROUNDING.check(instance.hessian_product(grid, step), expected)


@pytest.mark.parametrize("shape", [(), (4,), (6,), (5, 1), (5, 4)])
def test_a_wrong_last_axis_is_refused(shape: tuple[int, ...]) -> None:
    instance = CATALOGUE["qwen3-8b-h100"].instance
    for call in (instance.objective, instance.gradient, instance.evaluate, instance.response):
        with pytest.raises(cq.InvalidInputError, match=r"tokens must have shape \(\.\.\., 5\)"):
            call(np.zeros(shape))


def test_a_million_types() -> None:
    rng = np.random.default_rng(SEED)
    count = 1_000_000
    mix = rng.random(count) ** 4 + 1e-9
    mix /= math.fsum(mix)
    base, rate = rng.random(count), rng.random(count) * 1e-3 + 1e-5
    instance = cq.Instance(
        arrival_rate=0.9,
        accuracy_weight=300.0,
        max_tokens=32768,
        probabilities=mix,
        service=cq.AffineService(base=base, per_token=1e-3),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=rate),
    )
    tokens = rng.random(count) * 1000.0
    times = base + 1e-3 * tokens
    mean, second = math.fsum(mix * times), math.fsum(mix * times**2)
    idle = math.fsum([1.0, *(-0.9 * mix * times)])
    point = instance.evaluate(tokens)
    CLOSED_FORM.check(point.mean_service_time, mean)
    CLOSED_FORM.check(point.service_time_second_moment, second)
    CLOSED_FORM._replace(rtol=CLOSED_FORM.rtol / idle).check(
        point.mean_waiting_time, 0.9 * second / (2 * idle)
    )
    accuracy = math.fsum(mix * (0.1 - 0.5 * np.expm1(-rate * tokens)))
    CLOSED_FORM.check(point.mean_accuracy, accuracy)
    assert instance.gradient(tokens).shape == (count,)
    assert instance.hessian_product(tokens, tokens).shape == (count,)
    assert instance.objective(tokens).shape == ()
