"""The referee of whole tokens: by what a record proves of them, or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

import cvxqueue as cq
from cvxqueue.cli import main
from tests.exact_model import DIGITS, ExactModel
from tests.paths import SERVER

INSTANCE: cq.Instance = cq.load(SERVER)
RECORD = cq.prove(INSTANCE, integer=True)
BEST = [1048, 2147, 847, 1328, 947]
SOLUTION = cq.solve_integer(INSTANCE)
LIBRARY = [name for name in cq.references.names() if "integer" in cq.references.load(name).record]
TWINS = cq.Instance(
    arrival_rate=0.3,
    accuracy_weight=30.0,
    probabilities=[0.5, 0.5],
    max_tokens=3000,
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.1, gain=0.6, rate=1e-3),
    domains=cq.Multiples(300),
)
TWIN_RECORD = cq.prove(TWINS, integer=True)


def wrong(found: cq.Grade) -> dict[str, str]:
    return {each.subject: each.sentence for each in found.findings if each.holds is False}


@pytest.mark.parametrize("name", LIBRARY)
def test_what_the_package_claims_of_whole_tokens_is_true(name: str) -> None:
    reference = cq.references.load(name)
    best = reference.record["integer"]["tokens"]
    found = cq.grade(reference.record, {"tokens": best, "is_exact": np.True_})
    assert found.is_right
    assert found.token_errors is not None
    assert not found.token_errors.any()
    if not reference.instance.model.couplings:
        solution = cq.solve_integer(reference.instance)
        for given in (solution, json.loads(json.dumps(solution.to_dict()))):
            found = cq.grade(reference.record, given)
            assert found.is_right
            subjects = [each.subject for each in found.findings if each.subject != "best tokens"]
            assert subjects == [
                *("instance", "interval", "feasibility", "objective", "gap", "status")
            ]


def exact_error(tokens: list[int]) -> mpf:
    """Of the objective, from the parameters, in arithmetic of its own."""
    with mp.workdps(DIGITS):
        model = ExactModel(INSTANCE)
        return model.objective(list(map(mpf, BEST))) - model.objective(list(map(mpf, tokens)))


@settings(max_examples=10)
@given(st.lists(st.integers(-2, 2), min_size=5, max_size=5))
def test_the_error_is_true_and_decides_every_claim(steps: list[int]) -> None:
    tokens = [count + step for count, step in zip(BEST, steps, strict=True)]
    error = exact_error(tokens)
    assert error >= 0
    found = cq.grade(RECORD, {"tokens": tokens, "domain": {"kind": "integers"}, "gap": 1.0})
    assert found.is_right
    assert found.objective_error is not None
    with mp.workdps(DIGITS):
        assert all(abs(mpf(str(end)) - error) <= mpf("1e-27") for end in found.objective_error)
    np.testing.assert_array_equal(found.token_errors, np.abs(steps))
    assert ("best tokens" in [each.subject for each in found.findings]) is (error == 0)
    if error > 0:
        exact = cq.grade(RECORD, {"tokens": tokens, "is_exact": True, "tolerance": 0.01})
        assert wrong(exact).keys() == {"best tokens"}
        for factor, subjects in ((1.001, set()), (0.999, {"gap"})):
            claimed = {"tokens": tokens, "gap": factor * float(error)}
            assert wrong(cq.grade(RECORD, claimed, integer=True)).keys() == subjects
        share = float(error) / float(INSTANCE.evaluate(np.array(tokens, dtype=float)).scale)
        if share < 0.009:
            for factor, is_right in ((1.001, True), (0.999, False)):
                claim = {"tokens": tokens, "tolerance": factor * share}
                assert cq.grade(RECORD, claim, integer=True).is_right is is_right


LIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "status": (
        {"tokens": [1000, 2147, 847, 1328, 947], "tolerance": 1e-6},
        *("status", "fall short by 1e-06 of the scale of 232 s; it does by 1.53e-06 "),
    ),
    "exact": (
        {"tokens": [1047, 2147, 847, 1328, 947], "is_exact": True},
        *(
            "best tokens",
            r"AIME24 has 1047 tokens; others are proven to be better by .* s, with 10",
        ),
    ),
    "infeasible": ({"tokens": None, "status": "infeasible"}, "status", "was found has 204.92"),
    "gap": ({"tokens": [1047, 2147, 847, 1328, 947], "gap": 1e-12}, "gap", "at most 1e-12 s is"),
    "relative gap": (
        {"tokens": [1047, 2147, 847, 1328, 947], "gap": None, "relative_gap": 1e-15},
        *("gap", "at most 2.32e-13 s is claimed"),
    ),
    "interval above": (
        {"objective": 204.9257595, "upper_bound": 204.926},
        *("interval", r"is 204.925759429583 s, and claimed to lie in \[204\.9257595, "),
    ),
    "interval below": ({"upper_bound": 204.92575942}, "interval", "204.92575942]"),
    "objective": ({"objective": 204.92}, "objective", "is 204.925759430 s, and 204.92"),
    "real tokens": (
        {"tokens": [1047.6, 2147, 847, 1328, 947]},
        *("feasibility", r"AIME24 has 1047\.6 tokens, which is no whole number\."),
    ),
    "NaN": ({"tokens": [1048, None, 847, 1328, 947]}, "feasibility", "tokens of AIME25 are nan"),
    "wrong length": ({"tokens": BEST[:4]}, "feasibility", r"shape \(4,\), and the instance 5"),
    "outside the box": (
        {"tokens": [1048, 2147, 847, 1328, 32769]},
        *("feasibility", "HMMT25 has 32769 tokens, 1 outside of"),
    ),
    "unstable": ({"tokens": [32768] * 5}, "feasibility", "The queue is unstable"),
    "another instance": ({"instance_digest": "0" * 64}, "instance", "about another instance"),
}


@pytest.mark.parametrize("name", LIES)
def test_each_lie_of_whole_tokens_has_a_sentence_of_its_own(name: str) -> None:
    changes, subject, sentence = LIES[name]
    found = cq.grade(RECORD, SOLUTION.to_dict() | changes)
    assert found.is_right is False
    assert re.search(sentence, wrong(found)[subject])
    json.dumps(found.to_dict(), allow_nan=False)


def test_ties_count_as_equal() -> None:
    assert sorted(TWIN_RECORD["integer"]["tokens"]) == [600, 900]
    for tokens, word in (
        (TWIN_RECORD["integer"]["tokens"], "are the proven ones"),
        (TWIN_RECORD["integer"]["tokens"][::-1], "tie with the proven ones, to 30 digits"),
    ):
        found = cq.grade(TWIN_RECORD, {"tokens": tokens, "is_exact": True})
        assert found.is_right
        assert word in found.findings[1].sentence
    # Nothing is proven of other optima.
    bounds = {"tokens": tokens, "token_bounds": [[600, 600], [900, 900]]}
    assert cq.grade(TWIN_RECORD, bounds, integer=True).is_right is None


def test_a_domain_may_be_given_for_each_type() -> None:
    domains = [{"kind": "multiples", "step": 300}] * 2
    assert cq.grade(TWIN_RECORD, {"tokens": [600, 900], "domains": domains}).is_right


def test_tokens_that_the_domain_does_not_allow() -> None:
    found = cq.grade(TWIN_RECORD, [600, 800], integer=True)
    assert wrong(found) == {"feasibility": "In exact arithmetic, tokens[1] = 800 are not allowed."}


def test_whole_numbers_of_a_solver_are_whole_to_the_tolerance() -> None:
    near = np.array(BEST) + np.array([1e-7, -1e-7, 0.0, 0.0, 0.0])
    found = cq.grade(RECORD, near, integer=True)
    assert found.is_right
    assert found.findings[0].sentence.startswith("One that is allowed is 1.1e-07 tokens away")
    assert cq.grade(RECORD, near, integer=True, feasibility_tolerance=0.0).is_right is False


def test_whole_tokens_keep_the_constraints_themselves() -> None:
    capped = TWINS.replace(domains=None, constraints=[cq.MaxMeanSystemTime(2.5)])
    record = cq.prove(capped, integer=True)
    best = record["integer"]["tokens"]
    assert cq.grade(record, best, integer=True).is_right
    found = cq.grade(record, [best[0] + 1, best[1]], integer=True)
    assert "does not keep mean system time ≤ 2.5 s" in wrong(found)["feasibility"]


@pytest.mark.parametrize(
    ("reference", "given", "message"),
    [
        (INSTANCE, SOLUTION, "whole tokens, of which an instance alone proves nothing; give a"),
        (cq.prove(INSTANCE, digits=5), SOLUTION, "of which record proves nothing"),
        (
            RECORD,
            cq.solve_integer(INSTANCE, domains=cq.Multiples(64)),
            r"domains = .*'multiples', 'step': 64.* must be those that record proves, .*'integers'",
        ),
        (TWIN_RECORD, cq.solve_integer(TWINS.replace(domains=None)), "proves, .*'multiples'"),
        (
            TWIN_RECORD,
            {"tokens": [600, 900], "domain": "multiples"},
            r"\['multiples', 'multiples'\]",
        ),
    ],
)
def test_what_cannot_be_graded_is_said_by_name(reference: Any, given: Any, message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.grade(reference, given)


def test_options_are_checked() -> None:
    for name, value in (("feasibility_tolerance", "x"), ("feasibility_tolerance", -1.0)):
        with pytest.raises(cq.InvalidInputError, match=name):
            cq.grade(RECORD, BEST, integer=True, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(cq.InvalidInputError, match="integer must be True or False, got 'no'"):
        cq.grade(RECORD, BEST, integer="no")  # type: ignore[arg-type]


def test_real_tokens_are_graded_by_the_real_optimum_of_the_same_record() -> None:
    assert cq.grade(RECORD, cq.solve(INSTANCE)).is_right
    found = cq.grade(RECORD, BEST)
    assert found.objective_error is not None
    assert float(found.objective_error[0]) == pytest.approx(2.198575e-7, rel=1e-6)


Capture = pytest.CaptureFixture[str]


def test_the_command_grades_whole_tokens(tmp_path: Path, capsys: Capture) -> None:
    name = "qwen3-8b-h100"
    listed = ",".join(map(str, BEST))
    assert main(["certify", name, "--tokens", listed, "--integer"]) == 0
    assert main(["certify", name, "--tokens", "1047.6,2147,847,1328,947", "--integer"]) == 1
    assert main(["certify", SERVER, "--tokens", listed, "--integer"]) == 2
    for form in ("--json", "--csv"):
        capsys.readouterr()
        main(["solve", SERVER, "--method", "newton", form])
        printed = tmp_path / f"answer{form}"
        printed.write_text(capsys.readouterr().out)
        assert main(["certify", name, str(printed), "--integer"]) == 0
        assert "The tokens are the proven ones." in capsys.readouterr().out
        assert main(["certify", name, str(printed)]) == 0
        assert "proven ones" not in capsys.readouterr().out


@pytest.mark.parametrize(("floor", "is_right"), [(0.66, True), (0.45, True), (0.17, False)])
def test_whole_tokens_at_a_floor_are_graded_by_exact_arithmetic(
    floor: float, is_right: bool
) -> None:
    instance = cq.Instance(
        arrival_rate=0.01,
        accuracy_weight=0.0,
        probabilities=[1.0],
        max_tokens=2000,
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.PiecewiseLinear(tokens=[0, 1000], accuracy=[0.1, 0.8]),
        constraints=[cq.MinAccuracy(floor)],
    )
    # In decimals each floor is met at a whole number; of 0.17 that misses it in binary64.
    answer = cq.solve_integer(instance)
    assert answer.assumes
    assert cq.grade(cq.prove(instance, integer=True), answer).is_right is is_right
