"""What a message advises is done here, to the letter, and works."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from tests.generator import random_parameters
from tests.instances import CATALOGUE, instance_of

SERVER = CATALOGUE["qwen3-8b-h100"].instance


def number_after(words: str, message: object) -> float:
    """The number that follows some words of a message."""
    found = re.search(rf"{words} ([\d.e+-]+)", str(message))
    assert found is not None, message
    return float(found[1])


@pytest.mark.parametrize("seed", range(40))
def test_an_unstable_queue_is_stable_at_the_rate_that_the_error_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = instance_of(random_parameters(rng))
    crowded = instance.replace(arrival_rate=instance.max_arrival_rate * (1.0 + rng.random()))
    with pytest.raises(cq.UnstableQueueError) as unstable:
        cq.solve(crowded)
    advised = crowded.replace(arrival_rate=number_after("lower arrival_rate to", unstable.value))
    assert cq.solve(advised).is_optimal


@pytest.mark.parametrize("seed", range(20))
def test_whole_tokens_are_stable_at_the_rate_that_the_error_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = instance_of(random_parameters(rng)).replace(domains=cq.Menu([700, 900]))
    instance = instance.replace(min_tokens=0.0, max_tokens=1000.0)
    busy = float(instance.evaluate(np.full(instance.size, 700.0)).mean_service_time)
    crowded = instance.replace(arrival_rate=(1.0 + rng.random()) / busy)
    if not crowded.is_feasible:
        pytest.fail("the generator makes no such instance")
    with pytest.raises(cq.InfeasibleError, match="in whole tokens") as unstable:
        cq.solve_integer(crowded)
    advised = crowded.replace(arrival_rate=number_after("lower arrival_rate to", unstable.value))
    assert cq.solve_integer(advised).is_exact


def test_times_that_may_be_milliseconds_are_asked_about() -> None:
    line = SERVER.service
    assert isinstance(line, cq.AffineService)
    milliseconds = cq.AffineService(base=1e3 * line.base, per_token=1e3 * line.per_token)
    with pytest.raises(cq.UnstableQueueError, match="are these milliseconds"):
        cq.solve(SERVER.replace(service=milliseconds))
    # A thousandth of these would still be too much.
    with pytest.raises(cq.UnstableQueueError, match=r"at min_tokens$"):
        cq.solve(SERVER.replace(arrival_rate=1e4))


@pytest.mark.parametrize(
    ("constraint", "words", "field"),
    [
        (cq.MaxMeanSystemTime(0.01), "raise seconds to", "seconds"),
        (cq.MaxMeanWaitingTime(0.01), "raise seconds to", "seconds"),
        (cq.MaxTokenRate(0.01), "raise tokens_per_second to", "tokens_per_second"),
        (cq.WaitingTimeTail(0.1, 0.01), "raise seconds to", "seconds"),
        (cq.WaitingTimeTail(0.1, 0.01), "or probability to", "probability"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_constraint_can_be_kept_at_the_limit_that_the_error_names(
    constraint: Any, words: str, field: str
) -> None:
    instance = SERVER.replace(min_tokens=100.0)
    with pytest.raises(cq.InfeasibleError) as infeasible:
        cq.solve(instance.replace(constraints=[constraint]))
    fields = {**vars(constraint), field: number_after(words, infeasible.value)}
    assert cq.solve(instance.replace(constraints=[type(constraint)(**fields)])).is_optimal


def test_floors_on_types_can_be_kept_where_the_errors_say() -> None:
    floors = np.full(SERVER.size, 0.9999)
    for k in range(SERVER.size):
        with pytest.raises(cq.InfeasibleError, match=rf"accuracy\[{k}\]") as infeasible:
            cq.solve(SERVER.replace(constraints=[cq.MinAccuracy(floors)]))
        floors[k] = number_after("lower the floor to", infeasible.value)
    lightly = SERVER.replace(arrival_rate=1e-3, constraints=[cq.MinAccuracy(floors)])
    assert cq.solve(lightly).is_optimal


def test_a_tolerance_loosened_to_the_gap_that_the_error_names_is_met() -> None:
    with pytest.raises(cq.ConvergenceError, match="loosen the tolerance") as stalled:
        cq.solve(SERVER, tolerance=1e-18)
    reached = number_after("best certified relative gap", stalled.value)
    assert cq.solve(SERVER, tolerance=reached).is_optimal


@pytest.mark.parametrize("method", ["fixed-point", "projected-gradient", "conic"])
def test_the_other_method_that_the_error_names_is_certified(method: str) -> None:
    with pytest.raises(cq.ConvergenceError, match="raise max_iterations") as limited:
        cq.solve(SERVER, method, max_iterations=1)
    other = re.search(r"use method '([\w-]+)'", str(limited.value))
    assert other is not None
    assert cq.solve(SERVER, other[1]).is_optimal
    assert cq.solve(SERVER, method, max_iterations=100_000).is_optimal


LEVELS = cq.LevelMenu(accuracy=[0.5, 0.7], mean_service_time=[1.0, 9.0])


@pytest.mark.parametrize(
    ("refused", "words", "advised"),
    [
        (
            lambda: cq.solve(SERVER, start=np.full(SERVER.size, 9000.0)),
            r"use instance\.lower",
            lambda: cq.solve(SERVER, start=SERVER.lower),
        ),
        (
            lambda: cq.solve(SERVER, "conic", start=SERVER.lower),
            "leave it out",
            lambda: cq.solve(SERVER, "conic"),
        ),
        (
            lambda: cq.formulate(SERVER).update(SERVER),
            r"use formulate\(instance, 'parametric'\)",
            lambda: cq.formulate(SERVER, "parametric").update(SERVER),
        ),
        (
            lambda: cq.PiecewiseLinear(tokens=[1000, 2000], accuracy=[0.1, 0.9]),
            "give a point at 0 tokens",
            lambda: cq.PiecewiseLinear(tokens=[0, 1000, 2000], accuracy=[0.0, 0.1, 0.9]),
        ),
        (
            lambda: cq.solve_integer(SERVER.replace(domains=LEVELS), "nearest"),
            "use method 'exact' or 'descent'",
            lambda: cq.solve_integer(SERVER.replace(domains=LEVELS), "descent"),
        ),
    ],
    ids=["start", "no start", "update", "points", "levels"],
)
def test_what_is_advised_is_taken(
    refused: Callable[[], object], words: str, advised: Callable[[], object]
) -> None:
    with pytest.raises(cq.InvalidInputError, match=words):
        refused()
    advised()
