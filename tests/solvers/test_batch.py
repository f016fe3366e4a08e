"""Batches of instances: the answers of single solves, and each row on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.families import planted_instance
from tests.generator import UTILIZATIONS
from tests.instances import CATALOGUE, instance_of
from tests.tolerances import EPSILON

SERVER = CATALOGUE["qwen3-8b-h100"].instance


def planted_batch(count: int, size: int) -> tuple[list[cq.Instance], dict[str, Any]]:
    """Random instances of one size, and what `solve_batch` takes for all of them."""
    rows = [
        planted_instance(
            np.random.default_rng(1000 * size + seed),
            n=size,
            utilization=UTILIZATIONS[seed % len(UTILIZATIONS)],
        )[0]
        for seed in range(count)
    ]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    service = cq.AffineService(base=columns.pop("base"), per_token=columns.pop("per_token"))
    accuracy = cq.SaturatingExponential(
        floor=columns.pop("floor"), gain=columns.pop("gain"), rate=columns.pop("rate")
    )
    return [instance_of(row) for row in rows], {**columns, "service": service, "accuracy": accuracy}


@pytest.mark.parametrize("size", [1, 2, 6, 50])
def test_a_batch_answers_as_single_solves_do(size: int) -> None:
    instances, variants = planted_batch(66, size)
    batch = cq.solve_batch(instances[0], **variants)
    assert len(batch) == len(instances)
    assert batch.is_optimal.all()
    assert batch.is_stable.all()
    for row, instance in enumerate(instances):
        single = cq.solve(instance)
        assert batch.iterations[row] == single.iterations
        # Sums in another order, magnified next to saturation.
        noise = 64 * EPSILON / (1.0 - single.utilization)
        scale = single.certificate.scale
        assert batch.objective[row] == pytest.approx(single.objective, rel=0, abs=noise * scale)
        assert batch.utilization[row] == pytest.approx(single.utilization, rel=noise)
        bounds = single.token_bounds
        assert np.all(batch.tokens[row] >= bounds[:, 0])
        assert np.all(batch.tokens[row] <= bounds[:, 1])


def test_every_row_carries_its_own_certificate() -> None:
    instances, variants = planted_batch(44, 5)
    batch = cq.solve_batch(instances[0], **variants)
    for row, instance in enumerate(instances):
        referee = cq.certify(instance, batch.tokens[row])
        assert referee.is_feasible
        assert batch.gap[row] == pytest.approx(referee.gap, rel=0.5)
        assert batch.relative_gap[row] <= batch.tolerance[row]
        assert batch.upper_bound[row] == batch.objective[row] + batch.gap[row]
        assert batch.mean_system_time[row] == pytest.approx(
            float(instance.evaluate(batch.tokens[row]).mean_system_time), rel=1e-9
        )


def test_a_row_does_not_depend_on_the_others() -> None:
    instances, variants = planted_batch(33, 6)
    whole = cq.solve_batch(instances[0], **variants)
    order = np.random.default_rng(0).permutation(33)
    shuffled: dict[str, Any] = {
        key: value[order]
        if isinstance(value, np.ndarray)
        else value.mapped(lambda array: array[order])
        for key, value in variants.items()
    }
    mixed = cq.solve_batch(instances[0], **shuffled)
    np.testing.assert_array_equal(mixed.iterations, whole.iterations[order])
    np.testing.assert_allclose(mixed.tokens, whole.tokens[order], rtol=1e-9, atol=1e-9)


def test_rows_that_nothing_makes_stable_are_marked_and_the_others_solved() -> None:
    largest = SERVER.max_arrival_rate
    rates = np.array([0.05, 2.0 * largest, 0.02, largest, 0.9 * largest])
    batch = cq.solve_batch(SERVER, arrival_rate=rates)
    assert batch.is_stable.tolist() == [True, False, True, False, True]
    assert batch.is_optimal.tolist() == batch.is_stable.tolist()
    assert np.isnan(batch.tokens[1]).all()
    assert batch.objective[3] == batch.upper_bound[3] == -np.inf
    assert batch.gap[3] == batch.relative_gap[3] == np.inf
    assert batch.utilization[1] == pytest.approx(2.0)
    assert batch.iterations[1] == 0
    alone = cq.solve(SERVER.replace(arrival_rate=0.02))
    np.testing.assert_allclose(batch.tokens[2], alone.tokens, rtol=1e-9)
    assert repr(batch) == (
        "BatchSolution(5 variants of arrival_rate, 3 optimal, 2 without a stable allocation)"
    )
    one = cq.solve_batch(SERVER)
    assert repr(one) == "BatchSolution(1 variant, 1 optimal, 0 without a stable allocation)"


def test_a_batch_of_none_stable() -> None:
    batch = cq.solve_batch(SERVER, arrival_rate=[5.0, 6.0])
    assert not batch.is_stable.any()


def row_taker(row: int) -> Callable[[FloatArray], FloatArray]:
    """Return what takes one row of an array by type."""

    def take(array: FloatArray) -> FloatArray:
        rows: FloatArray = np.broadcast_to(array, (2, SERVER.size))
        return rows[row, :]

    return take


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("arrival_rate", [0.01, 0.05]),
        ("accuracy_weight", [10.0, 300.0]),
        ("probabilities", [[0.2] * 5, [0.1, 0.1, 0.1, 0.1, 0.6]]),
        ("max_tokens", [[500.0] * 5, [32768.0] * 5]),
        ("min_tokens", [[0.0] * 5, [10.0] * 5]),
        ("importance", [[1.0] * 5, [0.0, 1.0, 2.0, 1.0, 1.0]]),
        ("service", cq.AffineService(base=0.5, per_token=[[0.001] * 5, [0.01] * 5])),
        ("accuracy", cq.SaturatingExponential(floor=0.0, gain=0.5, rate=[[1e-3] * 5, [1e-2] * 5])),
    ],
)
def test_anything_may_vary(name: str, values: Any) -> None:
    variants: dict[str, Any] = {name: values}
    batch = cq.solve_batch(SERVER, **variants)
    for row in range(2):
        own = values[row] if isinstance(values, list) else values.mapped(row_taker(row))
        alone = cq.solve(SERVER.replace(**{name: own}))
        np.testing.assert_allclose(batch.tokens[row], alone.tokens, rtol=1e-9, atol=1e-9)
    # Without a leading axis there is one variant, on a grid without axes.
    single: dict[str, Any] = {name: own}
    assert cq.solve_batch(SERVER, **single).tokens.shape == (5,)


def test_many_types_in_a_batch() -> None:
    rng = np.random.default_rng(5)
    size = 20_000  # more than are worked on at a time
    instance = cq.Instance(
        arrival_rate=0.05,
        accuracy_weight=300.0,
        max_tokens=32768.0,
        probabilities=rng.dirichlet(np.ones(size)),
        service=cq.AffineService(base=rng.uniform(0.1, 1.0, size), per_token=0.005),
        accuracy=cq.SaturatingExponential(
            floor=0.1, gain=rng.uniform(0.1, 0.6, size), rate=10 ** rng.uniform(-4, -2, size)
        ),
    )
    batch = cq.solve_batch(instance, arrival_rate=[0.01, 0.05])
    assert batch.is_optimal.all()
    alone = cq.solve(instance)
    np.testing.assert_allclose(batch.tokens[1], alone.tokens, rtol=1e-6, atol=1e-4)


def test_limits_of_a_batch() -> None:
    batch = cq.solve_batch(SERVER, arrival_rate=[0.01, 0.05], max_iterations=1)
    assert batch.iterations.tolist() == [1, 1]
    assert not batch.is_optimal.any()
    assert np.all(batch.utilization < 1.0)
    for row, rate in enumerate((0.01, 0.05)):
        best = cq.solve(SERVER.replace(arrival_rate=rate)).objective
        assert batch.objective[row] <= best <= batch.upper_bound[row]
    assert cq.solve_batch(SERVER, arrival_rate=[0.01], tolerance=1e-3).is_optimal.all()


def test_the_answers_of_a_batch_are_read_only() -> None:
    batch = cq.solve_batch(SERVER, arrival_rate=[0.01, 0.05])
    for value in (batch.tokens, batch.gap, batch.iterations):
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrival_rate": [0.1, -0.1]}, r"arrival_rate\[1\] = -0\.1 must be > 0"),
        ({"arrival_rate": ["0.1"]}, "arrival_rate must be a number or an array of numbers"),
        ({"arrival_rate": [[0.1], [-0.1]]}, r"arrival_rate\[1, 0\] = -0\.1 must be > 0"),
        ({"max_tokens": np.ones((3, 0))}, "max_tokens must have at least one entry"),
        ({"accuracy_weight": [1.0, -1.0]}, r"accuracy_weight\[1\] = -1\.0 must be ≥ 0"),
        ({"probabilities": [[0.2] * 5, [0.3] * 5]}, r"probabilities\[1\] sum to 1\.5"),
        ({"probabilities": [[0.5, 0.5]]}, "probabilities must .* 5 types, got 2"),
        ({"max_tokens": [[1.0] * 5, [-1.0] * 5]}, r"max_tokens\[1, 0\] = -1\.0 must be ≥ 0"),
        ({"min_tokens": [[0.0] * 5, [40000.0] * 5]}, r"min_tokens\[1, 0\] = 40000\.0 must be ≤"),
        ({"importance": [[np.nan] * 5]}, r"importance\[0, 0\] = nan must be finite"),
        (
            {"arrival_rate": [0.1, 0.2], "accuracy_weight": [1.0, 2.0, 3.0]},
            r"leading axes must broadcast .* arrival_rate has \(2,\), accuracy_weight has \(3,\)",
        ),
        (
            {"arrival_rate": np.full((4, 2, 1), 0.1), "max_tokens": np.ones((3, 1, 5))},
            r"arrival_rate has \(4, 2, 1\), max_tokens has \(3, 1\)",
        ),
        ({"service": 0.5}, "service must be AffineService"),
        ({"max_iterations": 0}, "max_iterations = 0 must be a whole number"),
        ({"tolerance": 0.0}, "tolerance = 0.0 must be > 0"),
    ],
    ids=str,
)
def test_what_a_batch_does_not_take(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.solve_batch(SERVER, **arguments)


def test_a_batch_wants_an_instance() -> None:
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance"):
        cq.solve_batch([SERVER])  # type: ignore[arg-type]


def test_laws_of_a_batch_make_no_instance() -> None:
    laws: FloatArray = np.full((2, 5), 0.01)
    with pytest.raises(cq.InvalidInputError, match="service has data for a batch of 2"):
        SERVER.replace(service=cq.AffineService(base=0.5, per_token=laws))
    with pytest.raises(cq.InvalidInputError, match=r"all instances: .* has \(2,\), .* has \(3,\)"):
        cq.AffineService(base=np.ones((2, 5)), per_token=np.ones((3, 5)))
