"""Copies and pickles of a formulation: the same program, in variables of its own."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.dcp.service_levels import service_level
from tests.paths import ROOT

FORMS = ("dcp", "scaled", "parametric", "textbook")
SHARED: dict[str, Any] = {"arrival_rate": 0.2, "accuracy_weight": 60.0, "probabilities": [0.3, 0.7]}
EXPONENTIAL = cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.004, 0.001])
AFFINE = cq.AffineService(base=0.5, per_token=[0.002, 0.001])
INSTANCES = {
    "exponential": cq.Instance(
        **SHARED,
        max_tokens=4096,
        service=AFFINE,
        accuracy=EXPONENTIAL,
        constraints=[cq.MaxMeanWaitingTime(0.3), cq.MinMeanAccuracy(0.3)],
    ),
    "kinks": cq.Instance(
        **SHARED,
        max_tokens=4096,
        service=cq.QuadraticService(base=0.5, per_token=0.002, per_squared_token=1e-7),
        accuracy=cq.PiecewiseLinear(
            tokens=[[0, 1000, 2000, 4096]] * 2,
            accuracy=[[0.2, 0.6, 0.7, 0.7], [0.2, 0.5, 0.7, 0.8]],
        ),
        queue=cq.ProcessorSharing(),
    ),
}
Copy = Callable[[cq.Formulation], cq.Formulation]
COPIES: dict[str, Copy] = {
    "pickle": lambda form: pickle.loads(pickle.dumps(form)),
    "deepcopy": copy.deepcopy,
    "twice": lambda form: copy.deepcopy(copy.deepcopy(form)),
}
# The same program in the same order, compiled again: the solver takes the same steps.
SAME_PROGRAM = 1e-9


def value(expression: cp.Expression) -> Any:
    return expression.value


def solved(form: cq.Formulation) -> float:
    form.problem.solve(solver="CLARABEL", warm_start=False)
    return float(value(form.objective))


def bounded(form: cq.Formulation) -> cq.Formulation:
    """The form under constraints of every kind: on somebody's own variables and parameters too."""
    own = cp.Variable((2,), name="own", bounds=[0.0, 5000.0])
    limit = cp.Parameter(name="limit", value=1500.0, nonneg=True)
    return form.with_constraints(
        form.tokens <= own,
        (cp.sum(own) <= limit).set_label("both"),
        cp.norm(form.tokens[np.array([1, 0])], 2) <= 2000.0,
        service_level(form, cq.MaxTokenRate(250.0)),
    )


def numbers(form: cq.Formulation) -> set[int]:
    """What cvxpy tells the parts of a problem apart by."""
    rows = form.problem.constraints
    leaves = [*form.problem.variables(), *form.problem.parameters()]
    return {part.id for part in [*rows, *leaves, *(d for row in rows for d in row.dual_variables)]}


@pytest.mark.parametrize("go", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("given", INSTANCES.values(), ids=INSTANCES)
@pytest.mark.parametrize("name", FORMS)
def test_a_copy_is_the_same_program(name: str, given: cq.Instance, go: Copy) -> None:
    form = bounded(cq.formulate(given, name))
    if form.is_dcp:
        solved(form)
    copied = go(form)
    assert (copied.form, copied.instance, copied.scale) == (form.form, given, form.scale)
    assert (copied.is_dcp, copied.is_dpp) == (form.is_dcp, form.is_dpp)
    assert list(copied.constraints) == list(form.constraints)
    assert [row.label for row in copied.constraints.values()] == [
        row.label for row in form.constraints.values()
    ]
    assert not numbers(copied) & numbers(form)
    assert {v.name() for v in copied.problem.variables()} == {
        v.name() for v in form.problem.variables()
    }
    if not form.is_dcp:
        return
    # What was found is copied too.
    np.testing.assert_array_equal(copied.tokens.value, form.tokens.value)
    np.testing.assert_array_equal(copied.multipliers, form.multipliers)
    assert (copied.problem.status, copied.problem.value) == ("optimal", form.problem.value)
    (before, tokens), found = (solved(form), form.tokens.value), solved(copied)
    assert found == pytest.approx(before, rel=SAME_PROGRAM)
    # Its further constraints are on its own variables, and so are those that it is given now.
    (limit,) = [it for it in copied.problem.parameters() if it.name() == "limit"]
    limit.value = 600.0
    assert solved(copied) < before - 0.1
    assert np.sum(value(copied.tokens)) <= 600.0 + 1e-3
    assert solved(copied.with_constraints(copied.tokens[0] == 100.0)) < before - 0.1
    np.testing.assert_array_equal(form.tokens.value, tokens)
    assert solved(form) == pytest.approx(before, rel=SAME_PROGRAM)


@pytest.mark.parametrize("go", COPIES.values(), ids=COPIES)
def test_a_copy_is_refilled_by_itself(go: Copy) -> None:
    given = INSTANCES["kinks"]
    straight = cq.PiecewiseLinear(tokens=[[0, 4096]] * 2, accuracy=[[0.2, 0.7], [0.2, 0.8]])
    form = cq.formulate(given, "parametric")
    held = form.hold(lambda_of)
    form = form.with_constraints(form.mean_service_time <= 5.0 * held)
    # Fewer segments than the parameters have room for.
    form.update(given.replace(accuracy=straight))
    copied = go(form)
    assert copied.instance.accuracy == straight
    before = solved(form)
    assert solved(copied) == pytest.approx(before, rel=SAME_PROGRAM)
    copied.update(given.replace(arrival_rate=0.3))
    fresh = cq.formulate(given.replace(arrival_rate=0.3), "parametric")
    fresh = fresh.with_constraints(fresh.mean_service_time <= 1.5)
    assert solved(copied) == pytest.approx(solved(fresh), rel=1e-6)
    assert form.instance.arrival_rate == 0.2
    assert solved(form) == pytest.approx(before, rel=SAME_PROGRAM)


def lambda_of(instance: cq.Instance) -> np.ndarray:
    return np.asarray(instance.arrival_rate)


def test_a_shallow_copy_shares_its_variables() -> None:
    form = cq.formulate(INSTANCES["exponential"], "parametric")
    copied = copy.copy(form)
    assert copied.problem is form.problem
    copied.update(INSTANCES["exponential"].replace(arrival_rate=0.1))
    assert form.instance.arrival_rate == 0.1


def test_a_pickle_loads_where_others_have_its_numbers(tmp_path: Path) -> None:
    forms = [bounded(cq.formulate(INSTANCES["exponential"], it)) for it in ("dcp", "parametric")]
    best = [solved(form) for form in forms]
    path = tmp_path / "forms.pickle"
    # One after the other: neither knows of the other's variables.
    path.write_bytes(b"".join(map(pickle.dumps, forms)))
    code = f"""
import pickle, sys
import cvxpy as cp
others = [cp.Variable(var_id=number) for number in {sorted(set().union(*map(numbers, forms)))}]
with open(sys.argv[1], "rb") as stream:
    forms = [pickle.load(stream), pickle.load(stream)]
for form in forms:
    mine = {{leaf.id for leaf in [*form.problem.variables(), *form.problem.parameters()]}}
    assert not mine & {{other.id for other in others}}
    total = cp.sum(cp.hstack(others))
    together = form.with_constraints(*(other >= 1 for other in others), total <= 2 * len(others))
    together.problem.solve(solver="CLARABEL", warm_start=False)
    print(repr(float(form.objective.value)))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert list(map(float, run.stdout.split())) == pytest.approx(best, rel=1e-6)


def test_functions_that_no_pickle_takes_are_said_to_be_so() -> None:
    form = cq.formulate(INSTANCES["exponential"], "parametric")
    held = form.hold(lambda instance: np.asarray(instance.arrival_rate))
    limited = form.with_constraints(form.mean_service_time <= 5.0 * held)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(limited)
    assert solved(copy.deepcopy(limited)) == pytest.approx(solved(limited), rel=SAME_PROGRAM)


def test_parameters_in_another_order_are_refused() -> None:
    form = cq.formulate(INSTANCES["exponential"], "parametric")
    call, (*rest, leaves, further, added, duals, found) = form.__reduce__()
    with pytest.raises(cq.InvalidInputError, match="another version"):
        call(*rest, leaves[::-1], further, added, duals, found)


@pytest.mark.parametrize("go", COPIES.values(), ids=COPIES)
def test_a_copy_says_that_nothing_was_found(go: Copy) -> None:
    form = cq.formulate(INSTANCES["exponential"])
    assert go(form).problem.status is go(form).problem.value is None
    none = form.with_constraints(form.mean_system_time <= 0.1)
    none.problem.solve(solver="CLARABEL")
    copied = go(none)
    assert (copied.problem.status, copied.problem.value) == ("infeasible", -np.inf)
    assert copied.tokens.value is None
    np.testing.assert_array_equal(copied.multipliers, none.multipliers)
