"""What happens when a method fails: the certificate decides, and the next solve is clean."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.families import planted_instance
from tests.instances import CATALOGUE, instance_of

SERVER = CATALOGUE["qwen3-8b-h100"].instance
OPTIMUM = cq.solve(SERVER).tokens


def at(tokens: FloatArray) -> cq.Answer:
    return cq.Answer(tokens, backend_status="fake: optimal")


def raises(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield at(np.full(5, 100.0))
    raise cq.BackendError("broke down") from OSError("disk on fire")


def raises_at_once(instance: cq.Instance) -> Iterator[cq.Answer]:
    raise cq.BackendError("broke down")
    yield


def returns_nan(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield at(np.array([1.0, 2.0, np.nan, 3.0, 4.0]))


def returns_infinity(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield at(np.array([1.0, 2.0, np.inf, 3.0, 4.0]))


def leaves_the_stability_region(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield at(np.full(5, 100.0))
    yield at(np.full(5, 30_000.0))


def claims_optimal_for_a_wrong_point(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield at(np.full(5, 100.0))


def says_nothing(instance: cq.Instance) -> Iterator[cq.Answer]:
    return iter(())


def never_ends(instance: cq.Instance) -> Iterator[cq.Answer]:
    while True:
        yield at(np.full(5, 100.0))


def gets_worse(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield at(OPTIMUM + 1.0)
    yield at(OPTIMUM + 100.0)


def claims_tokens_above_the_cap(instance: cq.Instance) -> Iterator[cq.Answer]:
    yield cq.Answer(instance.max_tokens * 1.5)


@pytest.mark.parametrize(
    ("function", "status"),
    [
        (raises, cq.Status.NUMERICAL_ERROR),
        (raises_at_once, cq.Status.NUMERICAL_ERROR),
        (returns_nan, cq.Status.NUMERICAL_ERROR),
        (returns_infinity, cq.Status.NUMERICAL_ERROR),
        (leaves_the_stability_region, cq.Status.DIVERGED),
        (claims_optimal_for_a_wrong_point, cq.Status.STALLED),
        (says_nothing, cq.Status.STALLED),
        (never_ends, cq.Status.ITERATION_LIMIT),
        (gets_worse, cq.Status.STALLED),
    ],
)
def test_a_bad_method_is_caught(
    function: Callable[..., Iterator[cq.Answer]], status: cq.Status
) -> None:
    solution = cq.solve(SERVER, function, max_iterations=1000, on_failure="return")
    assert solution.status is status
    assert not solution.is_optimal
    assert solution.relative_gap > solution.tolerance
    # Whatever went wrong, the tokens are feasible and the certificate holds.
    assert cq.certify(SERVER, solution.tokens).is_feasible
    assert solution.objective <= CATALOGUE["qwen3-8b-h100"].objective <= solution.upper_bound
    bounds = solution.token_bounds
    assert (bounds[:, 0] <= OPTIMUM).all()
    assert (bounds[:, 1] >= OPTIMUM).all()
    with pytest.raises(cq.ConvergenceError, match=status.value) as caught:
        cq.solve(SERVER, function, max_iterations=1000)
    assert caught.value.solution.status is status
    # Mend it, solve again: nothing of the failure is left.
    assert cq.solve(SERVER).is_optimal


def test_tokens_outside_the_box_are_not_believed() -> None:
    instance = SERVER.replace(max_tokens=100.0)
    solution = cq.solve(instance, claims_tokens_above_the_cap, on_failure="return")
    assert (solution.tokens <= instance.max_tokens).all()
    assert solution.objective <= cq.solve(instance).upper_bound


def test_the_words_of_the_cause_are_kept() -> None:
    solution = cq.solve(SERVER, raises, on_failure="return")
    assert solution.backend_status == "OSError: broke down"
    np.testing.assert_array_equal(solution.tokens, np.full(5, 100.0))


def test_the_best_proposal_is_kept() -> None:
    solution = cq.solve(SERVER, gets_worse, on_failure="return")
    np.testing.assert_array_equal(solution.tokens, OPTIMUM + 1.0)
    assert len(solution.history) == 2


def test_limits() -> None:
    few = cq.solve(SERVER, never_ends, max_iterations=7, on_failure="return")
    assert (few.status, few.iterations) == (cq.Status.ITERATION_LIMIT, 7)
    short = cq.solve(SERVER, "projected-gradient", time_limit=1e-9, on_failure="return")
    assert (short.status, short.iterations) == (cq.Status.TIME_LIMIT, 1)


def test_errors_survive_pickling() -> None:
    with pytest.raises(cq.UnstableQueueError) as unstable:
        cq.solve(SERVER.replace(arrival_rate=9.0))
    again = pickle.loads(pickle.dumps(unstable.value))
    assert (again.utilization, str(again)) == (unstable.value.utilization, str(unstable.value))
    with pytest.raises(cq.ConvergenceError) as failed:
        cq.solve(SERVER, max_iterations=1)
    kept = copy.deepcopy(failed.value).solution
    np.testing.assert_array_equal(kept.tokens, failed.value.solution.tokens)
    assert not kept.tokens.flags.writeable


def test_fix_the_data_and_solve_again() -> None:
    broken = SERVER.replace(arrival_rate=9.0)
    with pytest.raises(cq.UnstableQueueError) as caught:
        cq.solve(broken)
    assert caught.value.max_arrival_rate == pytest.approx(1.0 / (SERVER.probabilities @ base()))
    mended = broken.replace(arrival_rate=0.99 * caught.value.max_arrival_rate)
    assert cq.solve(mended).is_optimal


def base() -> FloatArray:
    times: FloatArray = SERVER.service.mean(np.zeros(5))
    return times


@pytest.mark.parametrize("margin", [1e-3, 1e-6, 1e-9, 1e-12])
def test_next_to_saturation_the_answer_is_certified_or_refused(margin: float) -> None:
    rate = SERVER.max_arrival_rate
    with pytest.raises(cq.UnstableQueueError):
        cq.solve(SERVER.replace(arrival_rate=rate * (1.0 + margin)))
    solution = cq.solve(SERVER.replace(arrival_rate=rate * (1.0 - margin)), on_failure="return")
    assert solution.is_optimal == (solution.relative_gap <= solution.tolerance)
    assert solution.utilization < 1.0
    assert math.isfinite(solution.objective)


def test_a_callback_cannot_touch_the_answer() -> None:
    def meddle(iterate: cq.Iterate) -> bool:
        assert iterate.tokens is not None
        with pytest.raises(ValueError, match="read-only"):
            iterate.tokens[:] = -5000.0
        return False

    for method in cq.methods():
        assert cq.solve(SERVER, method.name, callback=meddle).is_optimal


def test_results_cannot_be_falsified_in_place() -> None:
    solution = cq.solve(SERVER)
    arrays = (
        solution.tokens,
        solution.accuracies,
        solution.token_bounds,
        solution.lower_multipliers,
        solution.upper_multipliers,
        solution.certificate.evaluation.times,
        solution.certificate.evaluation.response,
        SERVER.probabilities,
    )
    assert not any(array.flags.writeable for array in arrays)


def test_a_load_within_rounding_of_one_is_not_called_stable() -> None:
    for margin in (0.0, 1e-16, 2e-16, 5e-16):
        rate = SERVER.max_arrival_rate * (1.0 - margin)
        with pytest.raises(cq.UnstableQueueError):
            cq.solve(SERVER.replace(arrival_rate=rate))


def test_the_gap_covers_its_own_rounding_where_everything_else_vanishes() -> None:
    # At zero tokens this instance has T = 0 and p = 0, so that the allowance of the objective is
    # zero; the exact optimum, at 2.5e-15 tokens, is worth 4.6e-32 s.
    instance = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=280.31973111511553,
        max_tokens=1000.0,
        probabilities=1.0,
        service=cq.AffineService(base=0.0, per_token=0.37256500281025484),
        accuracy=cq.SaturatingExponential(
            floor=0.0, gain=0.8702782177955612, rate=0.0015271801659243742
        ),
    )
    assert cq.certify(instance, [0.0]).upper_bound > 4.6e-32


def test_newton_settles_the_active_set_of_a_saturated_box() -> None:
    # The primal-dual active set method cycles on this instance.
    rng = np.random.default_rng(64)
    parameters, _ = planted_instance(rng, n=int(rng.integers(1, 9)))
    instance = instance_of(parameters)
    whole = instance.replace(
        min_tokens=np.ceil(instance.min_tokens), max_tokens=np.floor(instance.max_tokens)
    )
    assert cq.solve(whole).iterations <= 30
