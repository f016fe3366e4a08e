"""The referee: what is true of an answer passes, and each lie has a sentence of its own."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.files.provenance import instance_digest
from tests.paths import INSTANCES, SERVER

INSTANCE: cq.Instance = cq.load(SERVER)
RECORD = cq.prove(INSTANCE)
SOLUTION = cq.solve(INSTANCE)
CAPPED = INSTANCE.replace(constraints=[cq.MaxMeanWaitingTime(2.0)])


def answer() -> dict[str, Any]:
    return copy.deepcopy(SOLUTION.to_dict())


@pytest.mark.parametrize("reference", [RECORD, INSTANCE], ids=["record", "instance"])
@pytest.mark.parametrize("method", [method.name for method in cq.methods()])
def test_what_the_package_claims_is_true(reference: Any, method: str) -> None:
    found = cq.grade(reference, cq.solve(INSTANCE, method))
    assert found.is_right
    subjects = [finding.subject for finding in found.findings]
    assert subjects == [
        *("instance", "interval", "token intervals", "feasibility", "objective", "gap", "status")
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in INSTANCES.glob("*.toml")))
def test_every_example_is_graded_by_its_record(name: str) -> None:
    instance = cq.load(INSTANCES / name)
    found = cq.grade(cq.prove(instance), cq.solve(instance))
    assert found.is_right
    assert found.objective_error is not None
    assert max(map(abs, found.objective_error)) <= Decimal(cq.solve(instance).gap)


def test_the_true_error_has_all_the_digits_of_the_record() -> None:
    tokens = np.round(SOLUTION.tokens, 1)
    found = cq.grade(RECORD, {"tokens": tokens.tolist(), "gap": 1e-3})
    assert found.objective_error is not None
    low, high = found.objective_error
    # The same from the parameters, in arithmetic of its own.
    with localcontext() as context:
        context.prec = 80
        law: Any = INSTANCE.service
        curve: Any = INSTANCE.accuracy
        rate, weight = Decimal(INSTANCE.arrival_rate), Decimal(INSTANCE.accuracy_weight)
        m1 = m2 = worth = Decimal(0)
        for k, count in enumerate(map(Decimal, tokens.tolist())):
            mix = Decimal(INSTANCE.probabilities[k])
            time = Decimal(law.base[k]) + Decimal(law.per_token[k]) * count
            falling = (-Decimal(curve.rate[k]) * count).exp()
            m1, m2 = m1 + mix * time, m2 + mix * time * time
            worth += mix * (Decimal(curve.floor[k]) + Decimal(curve.gain[k]) * (1 - falling))
        objective = weight * worth - m1 - rate * m2 / (2 * (1 - rate * m1))
        error = Decimal(RECORD["objective"]) - objective
        assert abs(error - low) <= Decimal("1e-27")
        assert abs(error - high) <= Decimal("1e-27")
    assert found.token_errors is not None
    exact = np.array([float(count) for count in RECORD["tokens"]])
    np.testing.assert_allclose(found.token_errors, np.abs(tokens - exact), rtol=1e-9)


def changed(**changes: Any) -> Callable[[], Any]:
    return lambda: answer() | changes


def moved(place: int, to: float) -> Callable[[], Any]:
    def made() -> dict[str, Any]:
        lie = answer()
        lie["tokens"][place] = to
        return lie

    return made


def interval_elsewhere() -> dict[str, Any]:
    lie = answer()
    lie["token_bounds"][3] = [1.0, 2.0]
    return lie


BOUND, LEAST = SOLUTION.upper_bound, SOLUTION.objective
LIES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "status": (lambda: [1000.0] * 5, "status", r"does by 0\.013\d* to 0\.013\d* of it"),
    "status of a rough answer": (
        lambda: {"tokens": [1047, 2147, 846, 1330, 947], "status": "optimal", "tolerance": 1e-12},
        *("status", "fall short by 1e-12 of the scale"),
    ),
    "infeasible": (
        lambda: {"status": "infeasible"},
        "status",
        "The best allocation that was found has 204.92",
    ),
    "gap": (
        lambda: {"tokens": [1000.0] * 5, "gap": 1e-6},
        *("gap", r"by 2\.89 to 2\.9 s, and at most 1e-06 s is claimed"),
    ),
    "relative gap": (
        lambda: {"tokens": [1000.0] * 5, "relative_gap": 1e-9},
        *("gap", "at most 2.22e-07 s is claimed"),
    ),
    "gap that is no number": (changed(gap=float("nan")), "gap", "at most nan s"),
    "interval above": (
        changed(objective=LEAST + 1e-9, upper_bound=BOUND + 1e-9),
        *("interval", r"claimed to lie in \[204\.92575965044"),
    ),
    "interval below": (
        lambda: {"tokens": SOLUTION.tokens, "objective": 204.0, "upper_bound": 204.5},
        *("interval", r"claimed to lie in \[204\.0, 204\.5\]"),
    ),
    "interval of no width below": (
        changed(upper_bound=np.nextafter(LEAST, 0.0)),
        *("interval", "claimed to lie in"),
    ),
    "negative gap": (changed(gap=-1e-9), "gap", "at most -1e-09 s is claimed"),
    "bounds in reverse": (
        changed(token_bounds=SOLUTION.certificate.token_bounds[:, ::-1].tolist()),
        *("token intervals", "claimed to lie in"),
    ),
    "objective": (
        lambda: {"tokens": SOLUTION.tokens, "objective": 204.9},
        *("objective", "is 204.925759649 s, and 204.9.* s is claimed"),
    ),
    "token intervals": (interval_elsewhere, "token intervals", r"GSM8K are 1327\.97\d*, and claim"),
    "token intervals of another shape": (
        changed(token_bounds=[[0.0, 1e5]]),
        *("token intervals", r"shape \(1, 2\), not \(5, 2\)"),
    ),
    "another instance": (
        lambda: cq.solve(INSTANCE.replace(arrival_rate=0.1)),
        *("instance", "about another instance"),
    ),
    "tokens of another instance": (
        changed(tokens=cq.solve(INSTANCE.replace(arrival_rate=0.1)).tokens),
        *("objective", "The objective at the tokens is 20"),
    ),
    "NaN": (moved(1, float("nan")), "feasibility", "tokens of AIME25 are nan, no finite"),
    "None": (moved(1, None), "feasibility", "tokens of AIME25 are nan"),  # type: ignore[arg-type]
    "masked": (
        lambda: np.ma.masked_array(SOLUTION.tokens, mask=[False, True, False, False, False]),
        *("feasibility", "tokens of AIME25 are nan"),
    ),
    "infinity": (moved(1, float("inf")), "feasibility", "tokens of AIME25 are inf"),
    "wrong length": (changed(tokens=[1000.0] * 4), "feasibility", r"shape \(4,\), and the inst"),
    "above the box": (moved(2, 32769.0), "feasibility", "GPQA-Diamond has 32769 tokens, 1 outside"),
    "below the box": (moved(0, -0.5), "feasibility", r"AIME24 has -0\.5 tokens, 0\.5 outside of"),
    "unstable": (lambda: [32768.0] * 5, "feasibility", "The queue is unstable: the utilization is"),
}


@pytest.mark.parametrize("reference", [RECORD, INSTANCE], ids=["record", "instance"])
@pytest.mark.parametrize("name", LIES)
def test_each_lie_has_a_sentence_of_its_own(name: str, reference: Any) -> None:
    lie, subject, sentence = LIES[name]
    found = cq.grade(reference, lie())
    assert found.is_right is False
    wrong = {finding.subject: finding.sentence for finding in found.findings if not finding.holds}
    assert subject in wrong
    assert re.search(sentence, wrong[subject])
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_constraint_that_is_not_kept_is_named() -> None:
    for reference in (cq.prove(CAPPED), CAPPED):
        found = cq.grade(reference, SOLUTION.tokens)
        assert found.is_right is False
        assert "mean waiting time ≤ 2 s" in found.findings[0].sentence
        assert cq.grade(reference, cq.solve(CAPPED)).is_right


@settings(max_examples=15)
@given(st.integers(0, 4), st.floats(-0.5, 0.5))
def test_a_claimed_gap_is_right_where_it_is_no_less_than_the_error(k: int, step: float) -> None:
    tokens = SOLUTION.tokens.copy()
    tokens[k] += step
    gap = float(cq.certify(INSTANCE, tokens).gap)
    found = cq.grade(RECORD, {"tokens": tokens, "gap": gap})
    assert found.is_right
    assert found.objective_error is not None
    error = float(found.objective_error[0])
    if error > 1e-15:
        for factor, is_right in ((1.001, True), (0.999, False)):
            again = cq.grade(RECORD, {"tokens": tokens, "gap": factor * error})
            assert again.is_right is is_right


def test_tokens_within_the_tolerance_of_the_box_pass() -> None:
    one = cq.load(INSTANCES / "three-types-one-at-cap.toml")
    tokens = cq.solve(one).tokens + 1e-6
    assert cq.grade(one, tokens).is_right
    assert cq.grade(one, tokens, feasibility_tolerance=0.0).is_right is False


def test_an_instance_without_a_feasible_allocation() -> None:
    none = INSTANCE.replace(arrival_rate=1e3)
    assert cq.grade(none, {"status": "infeasible"}).is_right
    found = cq.grade(none, SOLUTION.tokens)
    assert found.is_right is False
    assert "no stable allocation" in found.findings[0].sentence.lower()
    for beside in ("tokens", "objective", "upper_bound", "gap", "token_bounds", "instance_digest"):
        claimed = {"status": "infeasible", beside: answer()[beside]}
        assert cq.grade(none, claimed).is_right is False, beside
    own = {"status": "infeasible", "instance_digest": instance_digest(none)}
    assert cq.grade(none, own).is_right


def test_what_rounding_makes_unstable_is_left_open() -> None:
    law = cq.AffineService(base=1.0, per_token=1e-3)
    edge = cq.Instance(
        arrival_rate=0.9,
        accuracy_weight=1.0,
        probabilities=[0.1] * 10,
        min_tokens=0.0,
        max_tokens=10.0,
        service=law,
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=1e-3),
    )
    near = edge.replace(arrival_rate=edge.max_arrival_rate - 3 * 2.0**-53)
    assert not near.is_feasible
    assert Fraction(near.arrival_rate) * sum(map(Fraction, near.probabilities.tolist())) < 1
    assert cq.grade(near, {"status": "infeasible"}).is_right is None
    assert cq.grade(near, [0.0] * 10).is_right is None
    assert cq.grade(edge.replace(arrival_rate=1.001), {"status": "infeasible"}).is_right


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["objective", "upper_bound", "gap", "low", "high", "low and high"]),
    st.integers(-40, 40),
    st.booleans(),
)
def test_an_instance_calls_nothing_right_that_a_record_calls_wrong(
    name: str, steps: int, alone: bool
) -> None:
    claimed = answer()
    if name in claimed:
        claimed[name] += steps * float(np.spacing(LEAST))
    for k, end in enumerate(["low", "high"]):
        if end in name:
            for pair in claimed["token_bounds"]:
                pair[k] = pair[1 - k] + steps * 1e-10
    if alone:
        kept = ["tokens", "upper_bound" if name == "upper_bound" else "token_bounds"]
        claimed = {key: claimed[key] for key in kept}
    if cq.grade(INSTANCE, claimed).is_right:
        assert cq.grade(RECORD, claimed).is_right is not False


def test_a_bound_that_rounding_cannot_decide_is_open() -> None:
    assert cq.grade(INSTANCE, {"tokens": SOLUTION.tokens, "upper_bound": LEAST}).is_right is None
    assert cq.grade(RECORD, {"tokens": SOLUTION.tokens, "upper_bound": LEAST}).is_right is False


def test_names_may_be_any_list() -> None:
    for names in (INSTANCE.names, np.array(INSTANCE.names)):
        assert cq.grade(INSTANCE, answer() | {"names": names}).is_right


def test_a_loose_gap_is_right() -> None:
    for reference in (RECORD, INSTANCE):
        assert cq.grade(reference, answer() | {"gap": 2.0 * SOLUTION.gap}).is_right


def test_a_record_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(RECORD), "utf-8-sig")
    assert cq.grade(path, SOLUTION).is_right


def test_other_statuses_claim_nothing() -> None:
    assert cq.grade(RECORD, answer() | {"status": "time_limit"}).is_right
    assert cq.grade(RECORD, answer() | {"status": "TIME_LIMIT"}).is_right


@pytest.mark.parametrize("word", ["Optimal", "OPTIMAL", "solved", "Solved"])
def test_a_status_is_read_in_any_case(word: str) -> None:
    assert cq.grade(RECORD, answer() | {"status": word}).is_right
    assert cq.grade(RECORD, {"tokens": [1000.0] * 5, "status": word}).is_right is False


def test_a_certificate_claims_its_gap_alone() -> None:
    assert cq.grade(RECORD, cq.certify(INSTANCE, [1000.0] * 5)).is_right


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"status": "optimal"}, "answer has no tokens"),
        ({"tokens": "many"}, "answer: tokens must be numbers, got 'many'"),
        ({"tokens": ["a"] * 5}, "tokens must be numbers"),
        ({"tokens": [True, *[1.0] * 4]}, "tokens must be numbers, got .True"),
        ({"tokens": [1.0] * 5, "token_bounds": [[1.0, True]] * 5}, "token_bounds must be numbers"),
        ({"tokens": [1.0] * 5, "is_exact": "no"}, "is_exact must be true or false, got 'no'"),
        ({"tokens": [1.0] * 5, "domains": np.array(["a", "b"])}, "of which record proves nothing"),
        ({"tokens": [1.0] * 5, "instance_digest": np.zeros(2)}, "instance_digest must be a string"),
        ({"tokens": [1.0] * 5, "gap": "small"}, "answer: gap must be a number, got 'small'"),
        ({"tokens": [1.0] * 5, "gap": 10**400}, "answer: gap must be a number, got 1"),
        ({"tokens": [1.0] * 5, "status": 3}, "status = 3 must be one of optimal, "),
        ({"tokens": [1.0] * 5, "tolerance": 0.0}, r"tolerance = 0\.0 must be > 0"),
        ({"tokens": [1.0] * 5, "tolerance": 0.9}, r"tolerance = 0\.9 must be at most 0\.01"),
        ({"tokens": [1.0] * 5, "status": ""}, "status = '' must be one of optimal, converged"),
        ({"tokens": [1.0] * 5, "status": "AlmostSolved"}, "status = 'AlmostSolved' must be one"),
        (
            answer() | {"names": answer()["names"][::-1]},
            r"names = .'HMMT25'.* must be those of the instance, in its order: .'AIME24'",
        ),
        (cq.solve_integer(INSTANCE).to_dict(), "whole tokens, of which record proves nothing"),
    ],
)
def test_what_is_no_answer_is_an_error(bad: Any, message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.grade(RECORD, bad)


def test_a_record_that_was_changed_grades_nothing() -> None:
    with pytest.raises(cq.RefusedError):
        cq.grade(RECORD | {"objective": "205"}, SOLUTION)


Capture = pytest.CaptureFixture[str]


def test_the_command_takes_what_solve_prints(tmp_path: Path, capsys: Capture) -> None:
    record = tmp_path / "record.json"
    record.write_text(json.dumps(RECORD))
    for form in ("--json", "--csv"):
        main(["solve", SERVER, "--method", "newton", form])
        printed = tmp_path / f"answer{form}"
        printed.write_text(capsys.readouterr().out)
        for reference in (SERVER, str(record)):
            assert main(["certify", reference, str(printed)]) == 0
            assert "right: 0 of" in capsys.readouterr().out
    lie = json.loads((tmp_path / "answer--json").read_text()) | {"gap": 1e-20}
    (tmp_path / "lie.json").write_text(json.dumps(lie))
    assert main(["certify", str(record), str(tmp_path / "lie.json"), "--json"]) == 1
    claims = json.loads(capsys.readouterr().out)["claims"]
    assert [name for name, claim in claims.items() if claim["holds"] is False] == ["gap"]


def test_the_command_takes_tokens_alone(tmp_path: Path, capsys: Capture) -> None:
    listed = ",".join(map(repr, SOLUTION.tokens.tolist()))
    assert main(["certify", SERVER, "--tokens", listed]) == 0
    assert main(["certify", SERVER, "--tokens", "1000,1000,1000,1000,1000"]) == 1
    assert main(["certify", SERVER, "--tokens", "1000,1000,1000,1000,1000", "--tolerance", "0.01"])
    for name, text, status in (
        ("x.json", f"[{listed}]", 0),
        ("x.csv", listed.replace(",", "\n"), 0),
        ("x.csv", f"k,tokens\n1,{listed.replace(',', chr(10) + '2,')}\n", 0),
        ("x.csv", "tokens\n1\n\n2\n3\n4\n5", 1),
        ("x.csv", "tokens\n1\n 2 \nmany\n4\n5", 2),
        ("x.csv", "k,count\n1,2", 2),
        ("x.csv", f"tokens\n{'1' * 200_000}", 2),
        ("x.json", "[NaN, 1, 1, 1, 1]", 2),
        ("x.json", "", 2),
        ("x.json", '{"tokens": [1], "tokens": [2]}', 2),
    ):
        (tmp_path / name).write_text(text)
        capsys.readouterr()
        assert main(["certify", SERVER, str(tmp_path / name)]) == status, text
    for wrong in (["certify", SERVER], ["certify", SERVER, "x", "--tokens", "1"]):
        assert main(wrong) == 2
    assert main(["certify", "-", "-"]) == 2
    assert "cannot both be stdin" in capsys.readouterr().err


def test_the_command_exports(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "x.npz"
    assert main(["export", SERVER, "--output", str(path), "--csv"]) == 0
    unit = [float(line.split(",")[-1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert unit == np.load(path)["tokens_per_unit"].tolist()
    assert main(["export", SERVER, "-o", str(path), "--integer"]) == 2
    assert "know no whole numbers" in capsys.readouterr().err
    assert main(["export", SERVER, "-o", str(tmp_path / "x.cbf"), "--integer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_per_unit"] == [1.0] * 5
