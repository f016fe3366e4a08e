"""The kinds of queues, service laws and curves in instance files: all come back, and by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.files.schema import json_schema

AFFINE = cq.AffineService(base=0.1, per_token=1e-3)
EXPONENTIAL = cq.SaturatingExponential(floor=0.2, gain=[0.5, 0.4], rate=[1e-3, 2e-3])
POINTS = cq.PiecewiseLinear(
    tokens=[[0, 10, 1 / 3 + 20], [0, 5]], accuracy=[[0.1, 0.3, 0.25], [0.2, 0.6]]
)
POWER = cq.PowerLaw(floor=0.1, gain=0.4, scale=100.0, exponent=0.5)
MANY = 60
RAGGED = [[0, 3, 9 + position][: 2 + position % 2] for position in range(MANY)]
HALF = cq.MichaelisMenten(floor=0.0, gain=0.5, half_saturation=np.arange(1.0, MANY))


def instance(size: int, accuracy: Any = POWER, **fields: Any) -> cq.Instance:
    return cq.Instance(
        **{
            "arrival_rate": 0.1,
            "accuracy_weight": 10.0,
            "max_tokens": 1000,
            "probabilities": np.full(size, 1 / size),
            "service": AFFINE,
            "accuracy": accuracy,
            **fields,
        }
    )


QUEUES = (
    cq.FIFO(),
    cq.ProcessorSharing(),
    cq.BatchArrivals(mean_size=2.0, size_second_moment=5.1),
    cq.Vacations(mean=0.1, second_moment=1 / 30),
    cq.Setups(mean=0.1, second_moment=1 / 30),
)
INSTANCES = {
    **{f"{queue} of {size}": instance(size, queue=queue) for queue in QUEUES for size in (2, MANY)},
    "random use": instance(
        2, service=cq.AffineService(base=0.1, per_token=1e-3, token_scv=[0.5, 0.0])
    ),
    "random use of many": instance(
        MANY, service=cq.AffineService(base=0.1, per_token=1e-3, token_scv=1 / 3)
    ),
    "quadratic": instance(
        2, service=cq.QuadraticService(base=0.1, per_token=1e-3, per_squared_token=[0.0, 1e-7])
    ),
    "power law": instance(2, POWER),
    "power law of many": instance(MANY, POWER),
    "Michaelis-Menten": instance(2, cq.MichaelisMenten(floor=0, gain=1, half_saturation=[3, 1])),
    "points": instance(2, POINTS),
    "one list of points": instance(3, cq.PiecewiseLinear(tokens=[0, 3], accuracy=[0.1, 0.2])),
    "one point": instance(1, cq.PiecewiseLinear(tokens=[3], accuracy=[0.1])),
    "one list of points for many": instance(
        MANY, cq.PiecewiseLinear(tokens=[0, 3], accuracy=[0.1, 0.2])
    ),
    "points of many": instance(
        MANY,
        cq.PiecewiseLinear(
            tokens=RAGGED, accuracy=[[0.1, 0.2, 0.15][: len(row)] for row in RAGGED]
        ),
    ),
    "mixed": instance(
        5, cq.MixedAccuracy(curves=[EXPONENTIAL, POINTS, POWER], which=[0, 1, 0, 2, 1])
    ),
    "mixed in another order": instance(
        5, cq.MixedAccuracy(curves=[POINTS, EXPONENTIAL, POWER], which=[1, 0, 0, 2, 1])
    ),
    "mixed of one class": instance(
        4, cq.MixedAccuracy(curves=[EXPONENTIAL, EXPONENTIAL], which=[0, 1, 0, 1])
    ),
    "mixed of one curve": instance(2, cq.MixedAccuracy(curves=[EXPONENTIAL], which=[0, 0])),
    "mixed of many": instance(
        MANY, cq.MixedAccuracy(curves=[HALF, POWER], which=[0] * (MANY - 1) + [1])
    ),
    "mixed points of many": instance(
        MANY,
        cq.MixedAccuracy(
            curves=[
                cq.PiecewiseLinear(
                    tokens=RAGGED, accuracy=[[0.1, 0.2, 0.15][: len(row)] for row in RAGGED]
                ),
                POWER,
            ],
            which=[position % 2 for position in range(MANY)],
        ),
    ),
}


@pytest.mark.parametrize("saved", INSTANCES.values(), ids=INSTANCES)
@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_every_kind_comes_back(saved: cq.Instance, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"instance.{suffix}"
    cq.save(saved, file)
    assert cq.load(file) == saved
    assert cq.from_dict(cq.to_dict(saved)) == saved


def test_no_random_use_is_not_written() -> None:
    for size in (2, MANY):
        assert "token_scv" not in str(cq.to_dict(instance(size)))
    first, second = cq.to_dict(INSTANCES["random use"])["task"]
    assert first["service"]["token_scv"] == 0.5
    assert "token_scv" not in second["service"]


def test_tasks_may_have_curves_of_several_kinds(tmp_path: Path) -> None:
    file = tmp_path / "instance.toml"
    cq.save(INSTANCES["mixed"], file)
    lines = file.read_text().splitlines()
    assert (
        'accuracy = { kind = "piecewise-linear", tokens = [0.0, 5.0], accuracy = [0.2, 0.6] }'
        in lines
    )
    cq.save(INSTANCES["mixed of one class"], file)
    assert file.read_text().count("[[accuracy.curves]]") == 2


def test_the_schema_knows_every_kind() -> None:
    text = str(json_schema())
    for kind in (
        "processor-sharing",
        "batch-arrivals",
        "vacations",
        "setups",
        "quadratic",
        "power-law",
        "michaelis-menten",
        "piecewise-linear",
        "mixed",
    ):
        assert f"'{kind}'" in text


HEAD = {
    "format": "cvxqueue-instance",
    "version": 1,
    "arrival_rate": 0.1,
    "accuracy_weight": 10,
    "max_tokens": 100,
}
SERVICE = {"kind": "affine", "base": 0.1, "per_token": 0.001}
CURVE = {"kind": "saturating-exponential", "floor": 0.1, "gain": 0.2, "rate": 0.1}
LINES = {"kind": "piecewise-linear", "tokens": [0, 10], "accuracy": [0.1, 0.2]}


def tasks(*curves: dict[str, Any], **more: Any) -> dict[str, Any]:
    share = 1 / len(curves)
    return {
        **HEAD,
        "task": [{"probability": share, "service": SERVICE, "accuracy": c} for c in curves],
        **more,
    }


def arrays(accuracy: dict[str, Any]) -> dict[str, Any]:
    return {**HEAD, "probabilities": [0.5, 0.5], "service": SERVICE, "accuracy": accuracy}


def mixed(*curves: dict[str, Any], which: Any = (0, 1)) -> dict[str, Any]:
    return arrays({"kind": "mixed", "which": list(which), "curves": list(curves)})


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unequal points": (
        tasks(CURVE, {**LINES, "tokens": [0, 10, 5]}),
        ("task[1].accuracy.tokens has length 3", "task[1].accuracy.accuracy has length 2"),
    ),
    "a point": (
        tasks(CURVE, {**LINES, "accuracy": [0.1, 1.2]}),
        ("task[1].accuracy.accuracy[1] = 1.2", "between 0 and 1"),
    ),
    "negative at zero": (
        tasks(CURVE, {**LINES, "tokens": [5, 10], "accuracy": [0.1, 0.9]}),
        ("task[1].accuracy.accuracy", "-0.7 at 0 tokens"),
    ),
    "a number of points": (
        tasks({**LINES, "tokens": 3}),
        ("task[0].accuracy.tokens = 3", "must be a list"),
    ),
    "no points": (
        tasks({**LINES, "tokens": []}),
        ("task[0].accuracy.tokens = []", "at least one entry"),
    ),
    "a word among points": (
        tasks({**LINES, "tokens": [0, "a"]}),
        ("task[0].accuracy.tokens[1] = 'a'", "number"),
    ),
    "a later task of a kind": (
        tasks(CURVE, LINES, {**CURVE, "rate": -1}),
        ("task[2].accuracy.rate = -1.0", "> 0"),
    ),
    "a mixture of one task": (
        tasks({"kind": "mixed"}),
        ("task[0].accuracy.kind = 'mixed'", "unknown", "piecewise-linear"),
    ),
    "a curve of a mixture": (
        mixed(CURVE, {**CURVE, "rate": -1}),
        ("accuracy.curves[1].rate = -1.0", "> 0"),
    ),
    "a key of a mixture": (
        mixed(CURVE, {**CURVE, "rat": 1}),
        ("accuracy.curves[1].rat is no known key", "'rate'"),
    ),
    "a kind in a mixture": (
        mixed(CURVE, {"kind": "exp"}),
        ("accuracy.curves[1].kind = 'exp'", "saturating-exponential"),
    ),
    "no kind in a mixture": (mixed(CURVE, {}), ("accuracy.curves[1].kind is missing",)),
    "a mixture in a mixture": (
        mixed({"kind": "mixed"}, CURVE),
        ("accuracy.curves[0].kind = 'mixed'", "unknown"),
    ),
    "half a position": (
        mixed(CURVE, LINES, which=[0, 1.5]),
        ("accuracy.which[1] = 1.5", "whole number"),
    ),
    "no position": (mixed(CURVE, LINES, which=[0, 2]), ("accuracy.which[1] = 2.0", "0 to 1")),
    "positions missing": (
        arrays({"kind": "mixed", "curves": [CURVE]}),
        ("accuracy.which is missing",),
    ),
    "a nearby kind": (arrays({"kind": "mixd"}), ("accuracy.kind = 'mixd'", "'mixed'")),
    "a word among lists": (
        arrays({**LINES, "tokens": [[0, 1], [0, "x"]]}),
        ("accuracy.tokens[1][1] = 'x'", "number"),
    ),
    "three lists for two types": (
        arrays({**LINES, "tokens": [[0, 1]] * 3}),
        ("for each of the 2 types", "3 lists"),
    ),
    "no list": (
        arrays({**LINES, "tokens": "x"}),
        ("accuracy.tokens = 'x'", "list of numbers, or one for each type"),
    ),
    "a moment missing": (
        tasks(CURVE, queue={"kind": "setups", "mean": 1}),
        ("queue.second_moment is missing",),
    ),
    "moments that do not fit": (
        tasks(CURVE, queue={"kind": "setups", "mean": 1, "second_moment": 0.5}),
        ("queue.second_moment = 0.5", "square"),
    ),
}


@pytest.mark.parametrize(("data", "says"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_by_its_key(data: dict[str, Any], says: tuple[str, ...]) -> None:
    with pytest.raises(cq.InvalidInputError) as caught:
        cq.from_dict(data)
    for part in says:
        assert part in str(caught.value)


def test_service_laws_of_two_kinds_are_refused() -> None:
    data = tasks(CURVE, CURVE)
    data["task"][1]["service"] = {
        "kind": "quadratic",
        "base": 0.1,
        "per_token": 0.1,
        "per_squared_token": 0.0,
    }
    with pytest.raises(cq.InvalidInputError, match=r"task\[1\]\.service\.kind = 'quadratic'"):
        cq.from_dict(data)


HOSTILE = [
    "probabilities[0]",
    "'service.base[1]' = max_tokens[0]",
    'accuracy.floor[0], "importance[1]',
]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_people_write_is_not_taken_for_an_entry(name: str) -> None:
    document = tasks(CURVE, CURVE, LINES)
    for task in document["task"]:
        task["name"] = name
    message = error_of(document)
    assert message == f"names must be distinct, got {name!r} more than once"
    document["task"][0]["name"], document["task"][1]["name"] = "a", "b"
    floor = {"kind": "min-accuracy", "accuracy": 0.1, "type": name + "!"}
    message = error_of({**document, "constraint": [floor]})
    assert f"type = {name + '!'!r} is not the name of a type" in message
    assert message.endswith(name)


def test_names_and_curves_are_entries() -> None:
    document = tasks(CURVE, CURVE)
    for task, name in zip(document["task"], ["a", ""], strict=True):
        task["name"] = name
    assert error_of(document) == "task[1].name must not be empty"
    message = error_of(mixed(CURVE, {**CURVE, "rate": [0.1, 0.1], "gain": [0.2, 0.2, 0.2]}))
    assert "accuracy.curves[1].gain has 3" in message
    assert "accuracy.curves[1].rate has 2" in message


def test_an_error_keeps_what_it_names_in_a_pickle() -> None:
    with pytest.raises(cq.InvalidInputError) as caught:
        cq.AffineService(base=[0.1, -0.1], per_token=1.0)
    duplicate = pickle.loads(pickle.dumps(caught.value))
    assert str(duplicate) == str(caught.value)
    assert duplicate.parts == caught.value.parts


def error_of(document: dict[str, Any]) -> str:
    with pytest.raises(cq.InvalidInputError) as caught:
        cq.from_dict(document)
    return str(caught.value)
