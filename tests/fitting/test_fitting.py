"""From measurements to an instance, in Python: parts that fit together, and provenance."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.fitting import fit_curve, read_answers, read_requests

SERVICE = {"tokens": [128, 512, 1024, 2048], "seconds": [1.888, 4.522, 8.034, 15.058]}
ANSWERS: dict[str, Any] = {
    "tokens": [0, 250, 500, 1000, 2000] * 2,
    "correct": [200, 288, 357, 453, 546, 100, 269, 367, 456, 495],
    "total": 1000,
    "types": ["math"] * 5 + ["code"] * 5,
}


def trace(count: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(9)
    return {
        "arrivals": np.cumsum(rng.exponential(20.0, count)),
        "types": rng.choice(["math", "code"], count, p=[0.3, 0.7]).tolist(),
    }


@pytest.fixture(scope="module")
def fitted() -> cq.Fit:
    return cq.fit(service=SERVICE, accuracy=ANSWERS, trace=trace())


def test_a_whole_instance(fitted: cq.Fit) -> None:
    instance = fitted.instance(accuracy_weight=100.0, max_tokens=4096, name="mine")
    assert instance.names == ("math", "code")
    assert instance.arrival_rate == pytest.approx(0.05, rel=0.15)
    assert fitted.arrivals is not None
    assert instance.probabilities.tolist() == [
        fitted.arrivals.mix["math"].value,
        fitted.arrivals.mix["code"].value,
    ]
    service = instance.service
    assert isinstance(service, cq.AffineService)
    np.testing.assert_allclose(service.per_token, 0.00686, rtol=1e-3)
    np.testing.assert_allclose(service.base, 1.01, rtol=1e-2)
    curve = instance.accuracy
    assert isinstance(curve, cq.SaturatingExponential)
    np.testing.assert_allclose(curve.rate, [0.001, 0.0022], rtol=0.1)
    assert cq.solve(instance).status is cq.Status.OPTIMAL
    assert fitted.warnings == ()


def test_the_sources_say_where_each_number_comes_from(fitted: cq.Fit) -> None:
    sources = fitted.instance(accuracy_weight=100.0, max_tokens=4096).sources
    assert sources[0].startswith("service: data in memory (service, 4 rows); least squares")
    assert sources[1].startswith("accuracy: data in memory (accuracy, 10 rows); binomial maximum")
    assert sources[2] == "trace: data in memory (trace, 400 rows); with the mix of its types"
    assert "arrival_rate: that of the trace" in sources
    assert "probabilities: the mix of the trace" in sources
    given = fitted.instance(
        accuracy_weight=1.0, max_tokens=9, arrival_rate=0.1, mix={"code": 0.5, "math": 0.5}
    ).sources
    assert {"arrival_rate: given", "probabilities: given"} <= set(given)
    assert not any(source.startswith("trace:") for source in given)
    half = fitted.instance(accuracy_weight=1.0, max_tokens=9, arrival_rate=0.1).sources
    assert any(source.startswith("trace:") for source in half)


def test_the_instance_survives_a_file(fitted: cq.Fit, tmp_path: Path) -> None:
    instance = fitted.instance(accuracy_weight=100.0, max_tokens=4096)
    cq.save(instance, tmp_path / "fitted.toml")
    assert cq.load(tmp_path / "fitted.toml") == instance


def test_answer_tokens_and_token_scv_reach_the_service_law(fitted: cq.Fit) -> None:
    plain = fitted.instance(accuracy_weight=1.0, max_tokens=9).service
    more = fitted.instance(
        accuracy_weight=1.0, max_tokens=9, answer_tokens=[100.0, 0.0], token_scv=0.3
    )
    assert isinstance(plain, cq.AffineService)
    assert isinstance(more.service, cq.AffineService)
    np.testing.assert_allclose(
        more.service.base - plain.base, [100.0 * plain.per_token[0], 0.0], atol=1e-12
    )
    assert more.service.token_scv.tolist() == [0.3, 0.3]
    assert any("includes the answer's tokens" in source for source in more.sources)


def test_one_type_without_a_name_needs_no_mix() -> None:
    answers = {"tokens": [0, 500, 1000, 4000], "correct": [20, 60, 80, 95], "total": 100}
    found = cq.fit(service=SERVICE, accuracy=answers)
    instance = found.instance(accuracy_weight=1.0, max_tokens=99, arrival_rate=0.01)
    assert instance.names is None
    assert instance.probabilities.tolist() == [1.0]
    assert found.arrivals is None
    assert found.to_dict()["arrivals"] is None
    assert found.service_line is found.service[""]
    with pytest.raises(cq.InvalidInputError, match="no service line: fit with service="):
        _ = cq.fit(accuracy=answers).service_line


def test_service_times_by_type() -> None:
    service = {
        "tokens": [100, 200, 300, 400] * 2,
        "seconds": [1.0, 2.0, 3.0, 4.0, 3.0, 5.0, 7.0, 9.0],
        "types": ["math"] * 4 + ["code"] * 4,
    }
    found = cq.fit(service=service, accuracy=ANSWERS)
    with pytest.raises(cq.InvalidInputError, match=r"a service line of its own.*\(math, code\)"):
        _ = found.service_line
    assert found.service["code"].per_token.value == pytest.approx(0.02)
    law = found.instance(
        accuracy_weight=1.0, max_tokens=9, arrival_rate=0.01, mix={"math": 0.5, "code": 0.5}
    ).service
    assert isinstance(law, cq.AffineService)
    np.testing.assert_allclose(law.per_token, [0.01, 0.02])


def test_files_and_records_give_the_same(tmp_path: Path) -> None:
    service, answers = tmp_path / "times.csv", tmp_path / "answers.csv"
    service.write_text("tokens,seconds\n128,1.888\n512,4.522\n1024,8.034\n2048,15.058\n")
    answers.write_text("tokens,correct,total\n0,20,100\n500,60,100\n1000,80,100\n4000,95,100\n")
    files = cq.fit(service=service, accuracy=str(answers))
    records = cq.fit(service=read_requests(service), accuracy=read_answers(answers))
    assert files.to_dict() == records.to_dict()
    memory = cq.fit(service=SERVICE)
    assert memory.service_line.per_token == files.service[""].per_token


def test_the_result_is_frozen_and_warnings_say_what_they_are_about(tmp_path: Path) -> None:
    flat = {**ANSWERS, "correct": [200, 288, 357, 453, 546, 500, 501, 499, 500, 500]}
    bursts = np.repeat(np.arange(60.0) ** 1.3, 3) + np.tile([0.0, 1e-3, 2e-3], 60)
    found = cq.fit(
        service={**SERVICE, "concurrency": [1, 1, 2, 4]}, accuracy=flat, trace={"arrivals": bursts}
    )
    assert any("concurrency above 1" in warning for warning in found.warnings)
    assert any(warning.startswith("accuracy of code: flat") for warning in found.warnings)
    assert any(warning.startswith("trace: Poisson") for warning in found.warnings)
    assert repr(found) == (
        f"Fit(1 service line, 2 accuracy curves, 180 arrivals, {len(found.warnings)} warnings)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.warnings = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"service": None}, {}, "needs service times: fit with service="),
        ({"accuracy": None}, {}, "needs accuracy curves: fit with accuracy="),
        ({"trace": None}, {}, "needs an arrival rate.*give arrival_rate"),
        ({"trace": None}, {"arrival_rate": 1e-3}, r"2 types needs their mix.*math, code"),
        ({}, {"mix": {"math": 1.0}}, "type 'code' is not in the mix"),
        (
            {},
            {"mix": {"math": 0.5, "cod": 0.5}},
            "type 'cod' of the mix has no accuracies: did you mean 'code'",
        ),
        ({}, {"mix": {"math": 0.5, "code": 0.6}}, "probabilities"),
        (
            {},
            {"mix": [0.5, 0.5]},
            r"mix must be a mapping of type to probability, got \[0.5, 0.5\]",
        ),
        ({}, {"answer_tokens": -1.0}, "answer_tokens.*≥ 0"),
        ({}, {"max_tokens": -1.0}, "max_tokens"),
        (
            {"service": {**SERVICE, "types": ["maths"] * 4}},
            {},
            "type 'math' has accuracies but no service times: did you mean 'maths'",
        ),
        (
            {
                "service": {**SERVICE, "types": ["math"] * 4},
                "accuracy": {"tokens": [0, 1, 2], "correct": [0, 3, 4], "total": 9},
            },
            {},
            "the service times name types and the answers do not",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    changes: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    parts = {"service": SERVICE, "accuracy": ANSWERS, "trace": trace(), **changes}
    found = cq.fit(**{name: part for name, part in parts.items() if part is not None})
    with pytest.raises(cq.InvalidInputError, match=message):
        found.instance(**{"accuracy_weight": 1.0, "max_tokens": 99, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to fit: give service, accuracy or trace"),
        ({"service": SERVICE, "confidence": 95}, r"confidence = 95 must be in \(0, 1\)"),
        ({"service": {"tokens": [1, 2, 3]}}, "service: seconds is missing; given: tokens"),
        ({"service": {**SERVICE, "second": [1]}}, "'second' is no field: did you mean 'seconds'"),
        (
            {"service": {"tokens": [1, 2, 3], "seconds": [1, 2]}},
            "one length: tokens has 3, seconds has 2",
        ),
        ({"service": {"tokens": [1, 2, 3], "seconds": [1, 2, 0]}}, "service: seconds.*> 0"),
        ({"service": {**SERVICE, "types": "math"}}, "types must be a list of strings"),
        (
            {"service": {**SERVICE, "types": ["a", "", "b", "c"]}},
            r"types\[1\] must be a name, and is empty",
        ),
        ({"service": {"tokens": [5, 5, 5], "seconds": [1, 2, 3]}}, r"service \(data in memory\)"),
        ({"accuracy": {"correct": [1]}}, "accuracy: tokens is missing"),
        ({"accuracy": {"tokens": [1, 2, 3]}}, "give correct .* or accuracy .*, and not both"),
        (
            {"accuracy": {"tokens": [1, 2, 3], "correct": [1, 2, 1]}},
            "accuracy: correct needs total",
        ),
        ({"accuracy": {"tokens": [1, 2, 3], "correct": [[1], 2, 1]}}, "got a ragged list"),
        ({"accuracy": {**ANSWERS, "total": 10}}, "correct.*must be at most total"),
        (
            {"accuracy": {**ANSWERS, "types": ["a"] * 8 + ["b"] * 2}},
            r"accuracy of b \(data in memory\): tokens have 2 different values",
        ),
        ({"trace": {"arrivals": [1.0, 2.0]}}, r"trace \(data in memory\): 2 arrivals are too few"),
        ({"trace": "nowhere.csv"}, "cannot read nowhere.csv"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.fit(**arguments)


@pytest.mark.parametrize("kind", [float, int, bool, np.array])
def test_one_answer_a_row_is_counted_in_memory_as_in_a_file(tmp_path: Path, kind: Any) -> None:
    rng = np.random.default_rng(7)
    tokens = np.repeat([0.0, 500.0, 1000.0, 4000.0], 50)
    right = rng.random(200) < np.repeat([0.2, 0.5, 0.7, 0.9], 50)
    path = tmp_path / "answers.csv"
    rows = [f"{at:.0f},{str(is_right).lower()}" for at, is_right in zip(tokens, right, strict=True)]
    path.write_text("\n".join(["tokens,is_correct", *rows]))
    read = cq.fit(accuracy=path).curves[""]
    marks = right if kind is np.array else [kind(is_right) for is_right in right]
    assert read.answers == 200
    for found in (
        cq.fit(accuracy={"tokens": tokens, "correct": marks}).curves[""],
        fit_curve(tokens, marks),
        fit_curve(tokens, marks, [1] * 200),
    ):
        assert found.to_dict() == read.to_dict()


def test_what_is_not_finite_is_none_in_plain_values() -> None:
    found = cq.fit(
        # No bend can be seen in three rows, and no rate in answers that are all alike.
        service={"tokens": [128, 1024, 2048], "seconds": [0.89, 7.04, 14.07]},
        accuracy={"tokens": [0, 500, 1000, 4000], "accuracy": [0.5, 0.5, 0.5, 0.5]},
        trace={"arrivals": np.arange(30.0) ** 1.1},
    )
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["service"][""]["linearity"]["p_value"] is None
    curve = data["accuracy"][""]
    assert curve["goodness"]["p_value"] is None
    assert curve["answers"] is None
    assert curve["rate"]["interval"][1] is None


def test_records_without_what_is_needed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival,tokens\n" + "".join(f"{k**1.1},{k}\n" for k in range(20)))
    requests = read_requests(path, needs=("arrivals",))
    with pytest.raises(cq.InvalidInputError, match=r"service: the requests of trace.csv have no"):
        cq.fit(service=requests)
    assert cq.fit(trace=requests).arrivals is not None
