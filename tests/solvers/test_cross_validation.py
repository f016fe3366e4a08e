"""Several methods on one instance, and the verdict that follows from what they prove."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.certificates import Certificate
from cvxqueue.solvers import CrossValidation
from tests.instances import CATALOGUE

SERVER = CATALOGUE["qwen3-8b-h100"].instance


def test_all_methods_agree_on_the_server() -> None:
    names: list[str] = []
    comparison = cq.cross_validate(SERVER, progress=names.append)
    assert names == [method.name for method in cq.methods()]
    assert comparison.verdict == "agree"
    assert comparison.best.method == "newton"
    rows = {row["method"]: row for row in comparison.rows()}
    assert rows["newton"]["token_difference"] == 0.0
    assert 0.0 < rows["projected-gradient"]["token_difference"] < 10.0
    assert all(row["relative_gap"] <= 1e-9 for row in rows.values())
    assert "verdict: agree" in str(comparison)


def test_a_method_that_fails_leaves_it_undecided() -> None:
    failed = cq.solve(SERVER, "fixed-point", damping=1.0, on_failure="return")
    assert CrossValidation((cq.solve(SERVER), failed)).verdict == "undecided"


def test_contradicting_proofs_disagree() -> None:
    optimum = cq.solve(SERVER)
    other = cq.solve(SERVER.replace(accuracy_weight=299.0))
    assert CrossValidation((optimum, other)).verdict == "disagree"


def test_contradicting_objectives_disagree() -> None:
    # A lower floor moves the objective and not the tokens.
    accuracy = SERVER.accuracy
    assert isinstance(accuracy, cq.SaturatingExponential)
    lower = SERVER.replace(accuracy=accuracy.replace(floor=0.5 * accuracy.floor))
    optimum, other = cq.solve(SERVER), cq.solve(lower)
    np.testing.assert_allclose(other.tokens, optimum.tokens, rtol=1e-6)
    assert CrossValidation((optimum, other)).verdict == "disagree"


def test_contradicting_tokens_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    optimum = cq.solve(SERVER)
    shifted = dataclasses.replace(optimum, certificate=cq.certify(SERVER, optimum.tokens))
    assert CrossValidation((optimum, shifted)).verdict == "agree"
    bounds = optimum.token_bounds
    monkeypatch.setattr(
        Certificate,
        "token_bounds",
        property(lambda self: bounds + (self is shifted.certificate)),
    )
    assert CrossValidation((optimum, shifted)).verdict == "disagree"


def test_methods_by_name() -> None:
    comparison = cq.cross_validate(SERVER, ["fixed-point", "newton"])
    assert [solution.method for solution in comparison.solutions] == ["fixed-point", "newton"]
    with pytest.raises(cq.InvalidInputError, match="did you mean 'conic'"):
        cq.cross_validate(SERVER, ["conics"])
    with pytest.raises(cq.InvalidInputError, match="methods must name at least one method"):
        cq.cross_validate(SERVER, [])


def test_a_time_limit_is_for_each_method() -> None:
    comparison = cq.cross_validate(SERVER, ["newton", "fixed-point"], time_limit=1e-9)
    assert [solution.status for solution in comparison.solutions] == [cq.Status.TIME_LIMIT] * 2
    assert comparison.verdict == "undecided"


def test_no_stable_allocation_is_an_error() -> None:
    with pytest.raises(cq.UnstableQueueError):
        cq.cross_validate(SERVER.replace(arrival_rate=9.0))


def test_the_best_is_the_least_gap() -> None:
    rough = cq.solve(SERVER, max_iterations=3, on_failure="return")
    fine = cq.solve(SERVER, "fixed-point")
    comparison = CrossValidation((rough, fine))
    assert comparison.best is fine
    assert comparison.token_difference(rough) == np.max(np.abs(rough.tokens - fine.tokens))
