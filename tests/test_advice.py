"""What a message advises is done here, to the letter, and works."""

from __future__ import annotations

import re
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


def test_times_that_may_be_milliseconds_are_asked_about() -> None:
    milliseconds = cq.AffineService(
        base=1e3 * SERVER.service.base, per_token=1e3 * SERVER.service.per_token
    )
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
