"""The three forms: what the rules say of them, and that they state the same problem."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.dcp.natural_units import natural_scale
from tests.instances import CATALOGUE

FORMS = ("textbook", "dcp", "parametric")
NAMES = (
    *("three-types-one-at-cap", "bounds-mixed", "nothing-to-gain", "lower-bounds"),
    "qwen3-8b-h100",
)
TIGHT = {
    "tol_gap_abs": 1e-12,
    "tol_gap_rel": 1e-12,
    "tol_feas": 1e-12,
    "accept_unknown": True,
    "warm_start": False,
}
# Expressions evaluate the model's formulas in another order: rounding only.
SAME_FORMULA = 1e-11
# A conic solver held to 1e-12 stops short of it; the objective is flat, so this is loose.
CONIC_OBJECTIVE = 1e-8


def instance(name: str = "qwen3-8b-h100") -> cq.Instance:
    return CATALOGUE[name].instance


def value(expression: cp.Expression) -> Any:
    """Value of an expression, as an array."""
    return np.asarray(expression.value)


def solve(form: cq.Formulation) -> None:
    with warnings.catch_warnings():
        # Held to more than it can reach, Clarabel warns; the tests look at the point.
        warnings.simplefilter("ignore", UserWarning)
        form.problem.solve(solver="CLARABEL", **TIGHT)


@pytest.mark.parametrize("name", NAMES)
def test_rules(name: str) -> None:
    forms = {form: cq.formulate(instance(name), form) for form in FORMS}
    assert {form: made.is_dcp for form, made in forms.items()} == {
        "textbook": False,
        "dcp": True,
        "parametric": True,
    }
    assert forms["parametric"].is_dpp
    assert forms["parametric"].problem.parameters()
    assert not forms["dcp"].problem.parameters()


def test_the_textbook_form_is_refused_and_the_nonlinear_grammar_takes_it() -> None:
    form = cq.formulate(instance(), "textbook")
    assert not form.mean_waiting_time.is_dcp()
    with pytest.raises(cp.DCPError, match="DCP"):
        form.problem.solve(solver="CLARABEL")
    assert form.problem.is_dnlp()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_expressions_are_the_model(form: str, name: str) -> None:
    made, given = cq.formulate(instance(name), form), instance(name)
    bracket = cq.certificates.order_bracket(given)
    tokens = 0.5 * (bracket.lower + np.minimum(bracket.upper, bracket.lower + 10.0))
    point = given.evaluate(tokens)
    values = {
        "tokens": tokens,
        "scaled_tokens": tokens * given.accuracy.rate,  # type: ignore[attr-defined]
        "idle": 1.0 - point.utilization,
    }
    for variable_name, variable in made.variables.items():
        variable.value = values[variable_name]
    np.testing.assert_allclose(value(made.tokens), tokens, rtol=SAME_FORMULA)
    for field in (
        "accuracies",
        "mean_accuracy",
        "mean_service_time",
        "mean_waiting_time",
        "mean_system_time",
        "utilization",
        "objective",
    ):
        np.testing.assert_allclose(
            value(getattr(made, field)),
            getattr(point, field),
            rtol=SAME_FORMULA,
            atol=SAME_FORMULA * float(point.scale),
            err_msg=field,
        )
    assert made.problem.objective.value * made.scale == pytest.approx(
        float(point.objective), abs=SAME_FORMULA * float(point.scale)
    )


@pytest.mark.parametrize(
    ("expression", "curvature"),
    [
        ("tokens", "AFFINE"),
        ("accuracies", "CONCAVE"),
        ("mean_accuracy", "CONCAVE"),
        ("mean_service_time", "AFFINE"),
        ("mean_waiting_time", "CONVEX"),
        ("mean_system_time", "CONVEX"),
        ("utilization", "AFFINE"),
        ("objective", "CONCAVE"),
    ],
)
@pytest.mark.parametrize("form", ["dcp", "parametric"])
def test_curvature(form: str, expression: str, curvature: str) -> None:
    assert getattr(cq.formulate(instance(), form), expression).curvature == curvature


def test_the_optimum_is_that_of_newton() -> None:
    given = instance()
    optimum = cq.solve(given)
    for form in ("dcp", "parametric"):
        made = cq.formulate(given, form)
        solve(made)
        assert value(made.objective) == pytest.approx(optimum.objective, rel=CONIC_OBJECTIVE)
        assert made.problem.value * made.scale == pytest.approx(
            optimum.objective, rel=CONIC_OBJECTIVE
        )


def changed(given: cq.Instance) -> list[cq.Instance]:
    mix = np.roll(given.probabilities, 1)
    curves = cq.SaturatingExponential(floor=0.1, gain=[0.5, 0.6, 0.4, 0.7, 0.3], rate=0.001)
    return [
        given.replace(arrival_rate=0.08),
        given.replace(accuracy_weight=50.0),
        given.replace(probabilities=mix),
        given.replace(service=cq.AffineService(base=0.1, per_token=0.01)),
        given.replace(accuracy=curves),
        given.replace(importance=[1.0, 0.0, 2.0, 1.0, 1.0]),
        given.replace(min_tokens=50.0, max_tokens=900.0),
        given.replace(accuracy_weight=0.0),
    ]


def test_a_refilled_form_is_the_new_problem_and_is_not_canonicalised_again() -> None:
    given = instance()
    form = cq.formulate(given, "parametric")
    solve(form)
    compiled = form.problem._cache.param_prog
    assert compiled is not None
    for other in [*changed(given), given]:
        form.update(other)
        assert form.instance == other
        solve(form)
        assert form.problem._cache.param_prog is compiled
        tokens = np.clip(value(form.tokens), other.min_tokens, other.max_tokens)
        certificate = cq.certify(other, tokens)
        assert certificate.relative_gap < CONIC_OBJECTIVE
        assert value(form.objective) == pytest.approx(
            cq.solve(other).objective, abs=CONIC_OBJECTIVE * certificate.scale
        )


def test_a_refill_that_is_refused_changes_nothing() -> None:
    given = instance()
    form = cq.formulate(given, "parametric")
    with pytest.raises(cq.InvalidInputError, match="8 types and the form has 5"):
        form.update(instance("bounds-mixed"))
    with pytest.raises(cq.UnstableQueueError):
        form.update(given.replace(arrival_rate=10.0))
    assert form.instance == given
    with pytest.raises(cq.InvalidInputError, match="only the parametric form can be updated"):
        cq.formulate(given).update(given)


@pytest.mark.parametrize("kind", ["dcp", "parametric"])
def test_further_constraints(kind: str) -> None:
    given = instance()
    form = cq.formulate(given, kind)
    capped = form.with_constraints(form.mean_waiting_time <= 2.0, form.tokens[0] == form.tokens[1])
    solve(capped)
    assert value(capped.mean_waiting_time) == pytest.approx(2.0, abs=1e-6)
    assert value(capped.tokens)[0] == pytest.approx(value(capped.tokens)[1], abs=1e-4)
    assert value(capped.objective) < cq.solve(given).objective
    own = ["min_tokens", "max_tokens", *(["idle"] if kind == "parametric" else [])]
    assert list(capped.constraints) == [*own, "added 1", "added 2"]
    assert list(form.constraints) == own
    twice = capped.with_constraints(form.mean_accuracy >= 0.5)
    assert list(twice.constraints)[-1] == "added 3"
    with pytest.raises(cq.InvalidInputError, match="constraint 1 must be a cvxpy constraint"):
        form.with_constraints(True)  # type: ignore[arg-type]


def test_a_type_without_gain_can_still_be_constrained() -> None:
    given = instance("nothing-to-gain")
    idle_type = int(np.argmin(given.accuracy.gain))  # type: ignore[attr-defined]
    form = cq.formulate(given)
    forced = form.with_constraints(form.tokens[idle_type] >= 1.0 + given.min_tokens[idle_type])
    solve(forced)
    assert value(forced.tokens)[idle_type] == pytest.approx(
        1.0 + given.min_tokens[idle_type], abs=1e-4
    )


def test_unknown_form() -> None:
    with pytest.raises(cq.InvalidInputError, match="did you mean 'parametric'"):
        cq.formulate(instance(), "parametrc")


def test_an_unstable_instance_has_no_form() -> None:
    with pytest.raises(cq.UnstableQueueError):
        cq.formulate(instance().replace(arrival_rate=10.0))


def test_the_scale_changes_with_the_unit_of_time() -> None:
    given = instance()
    scaled = given.replace(
        arrival_rate=given.arrival_rate / 1000.0,
        accuracy_weight=given.accuracy_weight * 1000.0,
        service=cq.AffineService(
            base=given.service.base * 1000.0,  # type: ignore[attr-defined]
            per_token=given.service.per_token * 1000.0,  # type: ignore[attr-defined]
        ),
    )
    assert natural_scale(scaled) == pytest.approx(1000.0 * natural_scale(given))
