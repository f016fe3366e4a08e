"""Grids of variants, of any shape and under constraints: the answers of single solves."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cvxqueue as cq
from tests.tolerances import EPSILON

SERVER = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096.0,
    probabilities=[0.2, 0.3, 0.5],
    service=cq.AffineService(base=[0.5, 0.4, 0.2], per_token=[0.002, 0.002, 0.001]),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5, 0.4], rate=[0.001, 0.004, 0.002]),
    names=["hard", "medium", "easy"],
)
# The fourth rate leaves no allocation stable.
RATES = np.array([0.1, 0.5, 0.8, 9.0, 0.2])[:, np.newaxis, np.newaxis]
WEIGHTS = np.array([0.0, 20.0, 60.0, 300.0])[:, np.newaxis]
CAPS = np.array([[100.0] * 3, [900.0, 500.0, 700.0], [4096.0] * 3])
GRID: dict[str, Any] = {"arrival_rate": RATES, "accuracy_weight": WEIGHTS, "max_tokens": CAPS}
CONSTRAINTS: dict[str, Sequence[Any]] = {
    "none": (),
    "a floor": [cq.MinAccuracy(0.5, type="medium")],
    "floors and a cap": [cq.MinAccuracy([0.3, 0.3, 0.4]), cq.MaxMeanSystemTime(2.0)],
    "a floor of the mix and two caps": [
        cq.MinMeanAccuracy(0.45),
        cq.MaxTokenRate(100.0),
        cq.MaxMeanWaitingTime(1.0),
    ],
    "a tail": [cq.WaitingTimeTail(seconds=20.0, probability=0.05)],
}
METRICS = (
    *("accuracies", "mean_accuracy", "utilization"),
    *("mean_service_time", "mean_waiting_time", "mean_system_time"),
    *("lower_multipliers", "upper_multipliers", "constraint_multipliers"),
)


def variant(instance: cq.Instance, place: tuple[int, ...]) -> cq.Instance:
    """The instance at a place of the grid, made without the batch."""
    return instance.replace(
        arrival_rate=RATES[place[0], 0, 0],
        accuracy_weight=WEIGHTS[place[1], 0],
        max_tokens=CAPS[place[2]],
    )


def require_nothing(batch: cq.BatchSolution, place: tuple[int, ...]) -> None:
    """Check that nothing is claimed where there is no allocation."""
    assert np.isnan(batch.tokens[place]).all()
    assert batch.objective[place] == -np.inf
    assert batch.gap[place] == batch.relative_gap[place] == np.inf
    assert not batch.is_optimal[place]
    assert not batch.is_feasible[place]
    assert np.isnan(batch.tolerance[place])
    for name in METRICS:
        found = getattr(batch, name)[place]
        if name == "utilization":
            assert np.isfinite(found)
        else:
            assert not np.isfinite(found).any(), name


@pytest.mark.parametrize("constraints", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_a_grid_of_three_parameters_answers_as_single_solves_do(constraints: Sequence[Any]) -> None:
    instance = SERVER.replace(constraints=constraints)
    batch = cq.solve_batch(instance, **GRID)
    assert batch.shape == batch.gap.shape == (5, 4, 3)
    assert batch.tokens.shape == batch.accuracies.shape == (5, 4, 3, 3)
    assert batch.constraint_multipliers.shape == (5, 4, 3, len(instance.model.couplings))
    solved = 0
    for place in np.ndindex(batch.shape):
        own = variant(instance, place)
        if not batch.is_feasible[place]:
            require_nothing(batch, place)
            with pytest.raises(cq.InfeasibleError) as found:
                cq.solve(own)
            with pytest.raises(type(found.value)) as again:
                batch[place]
            assert str(again.value) == str(found.value)
            # A floor that is out of reach is found before an unstable queue.
            is_unstable = found.type is cq.UnstableQueueError or place[0] == 3
            assert batch.is_stable[place] == (not is_unstable)
            continue
        solved += 1
        alone, answer = cq.solve(own), batch[place]
        scale = alone.certificate.scale
        assert answer.instance == own
        assert answer.tokens.tobytes() == batch.tokens[place].tobytes()
        assert answer.certificate.violation == 0.0
        assert answer.is_optimal
        assert batch.is_optimal[place]
        assert batch.is_feasible[place]
        assert (answer.method, answer.ended) == ("newton", cq.Ended.CONVERGED)
        assert answer.iterations == alone.iterations
        assert answer.tolerance == pytest.approx(alone.tolerance, rel=1e-12)
        # Sums in another order, magnified by the idle fraction.
        noise = 64 * EPSILON * scale / (1.0 - alone.utilization)
        for objective in (answer.objective, alone.objective):
            assert batch.objective[place] == pytest.approx(objective, rel=0, abs=noise)
        assert batch.gap[place] == pytest.approx(answer.gap, rel=0, abs=noise)
        assert batch.upper_bound[place] == batch.objective[place] + batch.gap[place]
        assert (batch.tokens[place] >= alone.token_bounds[:, 0]).all()
        assert (batch.tokens[place] <= alone.token_bounds[:, 1]).all()
        for name in METRICS:
            expected = np.asarray(getattr(answer, name))
            np.testing.assert_allclose(
                getattr(batch, name)[place], expected, rtol=1e-12, atol=1e-15, err_msg=name
            )
    assert solved >= 10
    assert not batch.is_stable[3].any()
    assert (batch.upper_bound[3] == -np.inf).all()


def test_variants_that_no_tokens_serve_are_told_from_unstable_ones() -> None:
    floored = SERVER.replace(constraints=[cq.MinAccuracy(0.6, type="hard")])
    batch = cq.solve_batch(floored, arrival_rate=[[0.1], [0.5], [9.0]], max_tokens=CAPS)
    # 1,099 tokens at least: too slow for the second rate, out of reach for the first two caps.
    assert batch.is_feasible.tolist() == [[False, False, True]] * 2 + [[False] * 3]
    assert batch.is_stable.tolist() == [[True] * 3] * 2 + [[False] * 3]
    assert (batch.upper_bound[:, :2] == -np.inf).all()
    assert repr(batch) == (
        "BatchSolution(9 variants of arrival_rate, max_tokens in a grid of shape (3, 3), "
        "2 optimal, 3 without a stable allocation, 4 with constraints not kept)"
    )
    # Nobody's tokens prove anything of a floor that is out of reach.
    capped = floored.replace(constraints=[*floored.constraints, cq.MaxTokenRate(1e4)])
    coupled = cq.solve_batch(capped, arrival_rate=[[0.1], [0.5], [9.0]], max_tokens=CAPS)
    for each in (batch, coupled):
        assert each.is_feasible.sum() == 2
        moved = dataclasses.replace(each, tokens=np.full((3, 3, 3), 100.0))
        assert (moved.objective == -np.inf).all()
        assert (moved.upper_bound[:, :2] == -np.inf).all()
        with pytest.raises(cq.InfeasibleError, match="lower the floor"):
            moved[0, 0]


def test_constraints_that_only_together_leave_nothing() -> None:
    limits = [cq.MinMeanAccuracy(0.6), cq.MaxMeanSystemTime(1.2)]
    batch = cq.solve_batch(SERVER.replace(constraints=limits), arrival_rate=[0.01, 0.4])
    assert batch.is_stable.all()
    assert not batch.is_feasible[1]
    with pytest.raises(cq.InfeasibleError, match=r"mean accuracy ≥ 0\.6 together with") as found:
        batch[1]
    assert found.value.bound is not None


def test_tokens_that_break_a_constraint_prove_nothing() -> None:
    batch = cq.solve_batch(
        SERVER.replace(constraints=[cq.MaxMeanSystemTime(1.0)]), arrival_rate=[0.1, 0.2]
    )
    free = cq.solve_batch(SERVER, arrival_rate=[0.1, 0.2])
    moved = dataclasses.replace(batch, tokens=np.stack([batch.tokens[0], free.tokens[1]]))
    assert moved.is_optimal.tolist() == moved.is_feasible.tolist() == [True, False]
    assert moved.gap[1] == moved.upper_bound[1] == np.inf
    # Any multipliers are valid, and good ones make the gap small.
    assert batch.multipliers is not None
    plain = dataclasses.replace(batch, multipliers=np.zeros_like(batch.multipliers))
    assert (plain.gap > 1e3 * batch.gap).all()
    assert (plain.upper_bound >= batch.objective).all()
    estimated = dataclasses.replace(batch, multipliers=None)
    np.testing.assert_allclose(estimated.upper_bound, batch.upper_bound, rtol=1e-9)
    with pytest.raises(cq.InvalidInputError, match="must be ≥ 0"):
        _ = dataclasses.replace(batch, multipliers=-batch.multipliers).gap
    with pytest.raises(cq.InvalidInputError, match=r"multipliers must have shape \(2, 1\)"):
        dataclasses.replace(batch, multipliers=np.zeros(2))


@pytest.mark.parametrize("constraints", [(), [cq.MaxMeanSystemTime(2.0)]], ids=["free", "capped"])
@pytest.mark.parametrize("axes", [(1, 0, 2), (1, 2, 0)])
def test_permuted_axes_permute_the_answers(
    constraints: Sequence[Any], axes: tuple[int, ...]
) -> None:
    instance = SERVER.replace(constraints=constraints)
    plain = cq.solve_batch(instance, **GRID)
    turned = cq.solve_batch(
        instance,
        arrival_rate=RATES.transpose(axes),
        accuracy_weight=WEIGHTS[np.newaxis].transpose(axes),
        max_tokens=CAPS[np.newaxis, np.newaxis].transpose(*axes, 3),
    )
    for name in ("objective", "mean_accuracy", "is_optimal", "is_feasible", "iterations"):
        expected = getattr(plain, name).transpose(axes)
        np.testing.assert_allclose(getattr(turned, name), expected, rtol=1e-13, err_msg=name)
    expected = plain.tokens.transpose(*axes, 3)
    np.testing.assert_allclose(turned.tokens, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(
    shapes=st.lists(st.lists(st.sampled_from([1, 1, 2]), max_size=3), min_size=3, max_size=3),
    count=st.integers(1, 3),
    is_capped=st.booleans(),
)
def test_any_shapes_that_broadcast_make_a_grid(
    shapes: list[list[int]], count: int, is_capped: bool
) -> None:
    rng = np.random.default_rng(0)
    types = slice(0, count)
    instance = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=50.0,
        max_tokens=3000.0,
        probabilities=np.full(count, 1.0 / count),
        service=cq.AffineService(base=SERVER.service.mean(0.0)[types], per_token=0.002),
        accuracy=SERVER.accuracy.mapped(lambda array: array[types]),
        constraints=[cq.MaxMeanSystemTime(3.0)] if is_capped else [],
    )
    parameters: dict[str, Any] = {
        "arrival_rate": rng.uniform(0.05, 0.2, shapes[0]),
        "min_tokens": rng.uniform(0.0, 100.0, (*shapes[1], count)),
        "service": cq.AffineService(
            base=rng.uniform(0.1, 0.5, (*shapes[2], count)), per_token=0.002
        ),
    }
    batch = cq.solve_batch(instance, **parameters)
    assert batch.shape == np.broadcast_shapes(*map(tuple, shapes))
    assert batch.tokens.shape == (*batch.shape, count)
    assert len(batch) == batch.gap.size
    places = np.ndindex(batch.shape)
    for place, answer in zip(places, batch, strict=True):
        rates = np.broadcast_to(parameters["arrival_rate"], batch.shape)
        assert answer.instance.arrival_rate == batch.parameters["arrival_rate"][place]
        assert answer.instance.arrival_rate == rates[place]
        alone = cq.solve(answer.instance)
        np.testing.assert_allclose(answer.tokens, alone.tokens, rtol=1e-6, atol=1e-6)
        assert answer.is_optimal
        np.testing.assert_array_equal(answer.tokens, batch.tokens[place])


CURVES: dict[str, tuple[cq.AccuracyCurve, Any]] = {
    "points": (
        cq.PiecewiseLinear(tokens=[0, 500, 2000], accuracy=[0.1, 0.4, 0.6]),
        cq.PiecewiseLinear(
            tokens=[0, 500, 2000], accuracy=np.linspace(0.1, 0.9, 18).reshape(2, 1, 3, 3)
        ),
    ),
    "mixed": (
        cq.MixedAccuracy(
            curves=[SERVER.accuracy, cq.PowerLaw(floor=0.1, gain=0.5, scale=100.0, exponent=0.7)],
            which=[0, 1, 0],
        ),
        cq.MixedAccuracy(
            curves=[
                cq.SaturatingExponential(floor=0.2, gain=0.5, rate=np.full((3, 2), 0.002)),
                cq.PowerLaw(floor=0.1, gain=[[[0.3]], [[0.6]]], scale=100.0, exponent=0.7),
            ],
            which=[0, 1, 0],
        ),
    ),
}


@pytest.mark.parametrize(("curve", "curves"), CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("is_floored", [False, True])
def test_curves_on_a_grid(curve: cq.AccuracyCurve, curves: Any, is_floored: bool) -> None:
    floors = [cq.MinAccuracy([0.2, 0.15, 0.1])] if is_floored else []
    instance = SERVER.replace(accuracy=curve, constraints=floors)
    batch = cq.solve_batch(instance, accuracy=curves, arrival_rate=[0.1, 0.2, 0.3])
    places = [place for place in np.ndindex(batch.shape) if batch.is_feasible[place]]
    assert len(places) >= 3
    for place in places:
        answer = batch[place]
        assert answer.is_optimal
        assert answer.certificate.violation == 0.0
        assert batch.objective[place] == pytest.approx(
            cq.solve(answer.instance).objective, rel=1e-11
        )
        np.testing.assert_allclose(batch.accuracies[place], answer.accuracies, rtol=1e-13)
        own = batch.parameters["accuracy"].value(answer.tokens)[place]
        np.testing.assert_allclose(own, answer.accuracies, rtol=1e-13)
    # A curve of two corners for all variants of two.
    line: Any = cq.PiecewiseLinear(tokens=[0, 1000], accuracy=[0.1, 0.7])
    points = cq.solve_batch(SERVER.replace(accuracy=line), accuracy=line, arrival_rate=[0.1, 0.2])
    assert [it.instance.accuracy for it in points] == [line.broadcast(3)] * 2
    assert points.parameters["accuracy"].shape == (2, 3)


@pytest.mark.parametrize("constraints", [(), [cq.MaxMeanSystemTime(2.0)]], ids=["free", "capped"])
def test_grids_without_axes_and_without_variants(constraints: Sequence[Any]) -> None:
    instance = SERVER.replace(constraints=constraints)
    one = cq.solve_batch(instance)
    assert one.shape == one.objective.shape == one.upper_bound.shape == ()
    assert len(one) == 1
    assert dict(one.parameters) == {}
    np.testing.assert_allclose(one[()].tokens, cq.solve(instance).tokens, rtol=1e-9)
    (alone,) = one
    assert alone.is_optimal
    for shape in ((0,), (0, 3), (2, 0, 1)):
        none = cq.solve_batch(instance, arrival_rate=np.zeros(shape))
        assert none.tokens.shape == none.accuracies.shape == (*shape, 3)
        for name in ("objective", "gap", "upper_bound", "is_stable", "is_optimal", "is_feasible"):
            assert getattr(none, name).shape == shape
        assert len(none) == len(list(none)) == 0
        copied = pickle.loads(pickle.dumps(none))
        assert copied == none
        assert copied.mean_accuracy.shape == copied.is_stable.shape == shape
    assert cq.solve_batch(instance, max_tokens=np.zeros((0, 1, 3))).shape == (0, 1)


def test_an_index_is_a_whole_number_for_each_axis() -> None:
    flat = cq.solve_batch(SERVER, arrival_rate=[0.1, 0.2, 0.3])
    assert flat[-1].certificate == flat[2].certificate == flat[np.int64(2)].certificate
    assert flat[(1,)].instance.arrival_rate == 0.2
    assert [answer.instance.arrival_rate for answer in flat] == [0.1, 0.2, 0.3]
    grid = cq.solve_batch(SERVER, arrival_rate=[[0.1], [0.2]], accuracy_weight=[1.0, 2.0, 3.0])
    assert grid[-1, 0].instance.arrival_rate == 0.2
    weights = [answer.instance.accuracy_weight for answer in grid]
    assert weights == [1.0, 2.0, 3.0] * 2
    for batch, place in ((flat, 3), (flat, -4), (flat, (0, 0)), (grid, 0), (grid, (0, 3))):
        with pytest.raises(IndexError, match="is not in the grid of variants, shape"):
            batch[place]
    for wrong in (0.0, slice(1), "hard", None):
        with pytest.raises(cq.InvalidInputError, match="must be a whole number for each axis"):
            flat[wrong]  # type: ignore[index]


def test_iteration_ends_with_an_error_where_there_is_no_allocation() -> None:
    batch = cq.solve_batch(SERVER, arrival_rate=[0.1, 9.0, 0.2])
    answers = iter(batch)
    assert next(answers).is_optimal
    with pytest.raises(cq.UnstableQueueError, match="utilization"):
        next(answers)
    kept = [batch[place] for place in np.flatnonzero(batch.is_feasible)]
    assert [answer.instance.arrival_rate for answer in kept] == [0.1, 0.2]


def test_what_is_not_optimal_says_why_it_ended() -> None:
    capped = SERVER.replace(constraints=[cq.MaxMeanSystemTime(1.0)])
    for instance in (SERVER, capped):
        batch = cq.solve_batch(instance, arrival_rate=[0.1, 0.5], max_iterations=1)
        assert not batch.is_optimal.any()
        for answer in batch:
            assert answer.status is cq.Status.ITERATION_LIMIT
            assert answer.iterations == 1
    stalled = dataclasses.replace(
        cq.solve_batch(SERVER, arrival_rate=[0.1]), tolerance=np.array([1e-18])
    )
    assert stalled[0].status is cq.Status.STALLED
    assert sum(it.solve_time for it in batch) == pytest.approx(batch.solve_time)


def test_what_was_varied_is_kept() -> None:
    service = cq.AffineService(base=0.5, per_token=np.full((3, 3), 0.002))
    batch = cq.solve_batch(SERVER, arrival_rate=[[0.1], [0.2]], max_tokens=900.0, service=service)
    assert list(batch.parameters) == ["arrival_rate", "service", "max_tokens"]
    assert batch.parameters["arrival_rate"].tolist() == [[0.1] * 3, [0.2] * 3]
    assert batch.parameters["max_tokens"].shape == (2, 3, 3)
    assert batch.parameters["service"].per_token.shape == (2, 3, 3)
    assert batch.instance is SERVER
    assert batch.names == ("hard", "medium", "easy")
    assert cq.solve_batch(SERVER.replace(names=None)).names == ("type 1", "type 2", "type 3")
    with pytest.raises(ValueError, match="read-only"):
        batch.parameters["arrival_rate"][0] = 1.0
    with pytest.raises(TypeError, match="does not support item assignment"):
        batch.parameters["arrival_rate"] = np.ones(3)  # type: ignore[index]


@pytest.mark.parametrize("constraints", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_a_copy_claims_what_the_batch_does(constraints: Sequence[Any]) -> None:
    batch = cq.solve_batch(SERVER.replace(constraints=constraints), **GRID)
    for again in (pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):
        assert again == batch
        assert hash(again) == hash(batch)
        for name in ("objective", "upper_bound", "utilization", "mean_waiting_time"):
            np.testing.assert_allclose(getattr(again, name), getattr(batch, name), rtol=1e-12)
        for name in ("is_stable", "is_feasible", "is_optimal"):
            np.testing.assert_array_equal(getattr(again, name), getattr(batch, name))
    assert dataclasses.replace(batch, tokens=0.5 * batch.tokens) != batch
