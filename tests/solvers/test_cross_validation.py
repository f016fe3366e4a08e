"""Several methods on one instance, and the outcome that follows from what they prove."""

from __future__ import annotations

import dataclasses
from typing import Any

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
    assert comparison.outcome == "agree"
    assert comparison.best.method == "newton"
    rows = {row["method"]: row for row in comparison.rows()}
    assert rows["newton"]["token_difference"] == 0.0
    assert 0.0 < rows["projected-gradient"]["token_difference"] < 10.0
    assert all(row["relative_gap"] <= 1e-9 for row in rows.values())
    assert "\nagree: every method" in str(comparison)


def test_a_method_that_fails_leaves_it_undecided() -> None:
    failed = cq.solve(SERVER, "fixed-point", damping=1.0, on_failure="return")
    assert CrossValidation((cq.solve(SERVER), failed)).outcome == "undecided"


def test_contradicting_proofs_disagree() -> None:
    optimum = cq.solve(SERVER)
    other = cq.solve(SERVER.replace(accuracy_weight=299.0))
    assert CrossValidation((optimum, other)).outcome == "disagree"


def test_contradicting_objectives_disagree() -> None:
    # A lower floor moves the objective and not the tokens.
    accuracy = SERVER.accuracy
    assert isinstance(accuracy, cq.SaturatingExponential)
    lower = SERVER.replace(accuracy=accuracy.replace(floor=0.5 * accuracy.floor))
    optimum, other = cq.solve(SERVER), cq.solve(lower)
    np.testing.assert_allclose(other.tokens, optimum.tokens, rtol=1e-6)
    assert CrossValidation((optimum, other)).outcome == "disagree"


def test_contradicting_tokens_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    optimum = cq.solve(SERVER)
    shifted = dataclasses.replace(optimum, certificate=cq.certify(SERVER, optimum.tokens))
    assert CrossValidation((optimum, shifted)).outcome == "agree"
    bounds = optimum.token_bounds
    monkeypatch.setattr(
        Certificate, "token_bounds", property(lambda self: bounds + (self is shifted.certificate))
    )
    assert CrossValidation((optimum, shifted)).outcome == "disagree"


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
    assert comparison.outcome == "undecided"


def test_the_methods_after_the_first_have_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def solved(*arguments: Any, time_limit: float, **options: Any) -> cq.Solution:
        limits.append(time_limit)
        return cq.solve(*arguments, time_limit=time_limit, **options)

    monkeypatch.setattr("cvxqueue.solvers.cross_validation.solve", solved)
    names = ["newton", "fixed-point", "projected-gradient"]
    cq.cross_validate(SERVER, names)
    cq.cross_validate(SERVER, names, time_limit=60.0)
    assert limits == [np.inf, 10.0, 10.0, 60.0, 60.0, 60.0]


def test_a_tolerance_and_a_callback_are_for_each_method() -> None:
    seen: list[cq.Iterate] = []

    def stop_at_once(iterate: cq.Iterate) -> bool:
        seen.append(iterate)
        return True

    names = ["newton", "fixed-point", "projected-gradient"]
    loose = cq.cross_validate(SERVER, names, tolerance=1e-3)
    assert {solution.tolerance for solution in loose.solutions} == {1e-3}
    stopped = cq.cross_validate(SERVER, names, tolerance=1e-12, callback=stop_at_once)
    assert [row._replace(tokens=None) for row in seen] == [
        row for solution in stopped.solutions for row in solution.history
    ]
    assert {solution.ended for solution in stopped.solutions} == {cq.Ended.STOPPED}


def test_one_method_alone_agrees_with_none() -> None:
    alone = cq.cross_validate(SERVER, ["newton"])
    assert "agree" not in str(alone)
    assert alone.to_dict() == {"methods": alone.rows(), "outcome": "agree", "assumes": []}


def test_no_stable_allocation_is_an_error() -> None:
    with pytest.raises(cq.UnstableQueueError):
        cq.cross_validate(SERVER.replace(arrival_rate=9.0))


def test_the_best_is_the_least_gap() -> None:
    rough = cq.solve(SERVER, max_iterations=3, on_failure="return")
    fine = cq.solve(SERVER, "fixed-point")
    comparison = CrossValidation((rough, fine))
    assert comparison.best is fine
    assert comparison.token_difference(rough) == np.max(np.abs(rough.tokens - fine.tokens))
