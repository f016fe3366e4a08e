"""The form for solvers: the same program as the one for people, in other units and cones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.dcp.natural_units import cost_unit, tokens_per_unit
from cvxqueue.dcp.scaled import missed_accuracy, scaled
from tests.families import pairwise, planted
from tests.instances import CATALOGUE
from tests.large import GRID, large_instance

SERVER = CATALOGUE["qwen3-8b-h100"].instance
CAPS: dict[str, cq.model.CouplingConstraint] = {
    "waiting": cq.MaxMeanWaitingTime(2.0),
    "system": cq.MaxMeanSystemTime(8.0),
    "tokens": cq.MaxTokenRate(60.0),
    "tail": cq.WaitingTimeTail(seconds=10.0, probability=0.1),
    "accuracy": cq.MinMeanAccuracy(0.75),
}
# An interior point method leaves dual values less sharp than the objective.
SAME_OPTIMUM, SAME_DUAL = 1e-8, 1e-4


def solved(instance: cq.Instance, kind: str) -> cq.Formulation:
    form = cq.formulate(instance, kind)
    with warnings.catch_warnings():
        # Held to more than it can reach, Clarabel warns; the tests look at the point.
        warnings.simplefilter("ignore", UserWarning)
        tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
        form.problem.solve(solver="CLARABEL", warm_start=False, accept_unknown=True, **tight)
    return form


def number(expression: cp.Expression) -> float:
    """Value of a scalar expression."""
    return float(np.asarray(expression.value))


def prices(form: cq.Formulation, name: str) -> Any:
    """Dual values in seconds of the objective."""
    return form.scale * np.asarray(form.constraints[name].dual_value)


@pytest.mark.parametrize("names", list(pairwise()), ids=" ".join)
def test_it_is_the_program_that_people_read(names: tuple[str, str, str]) -> None:
    for seed, utilization in ((1, 0.4), (2, 0.9)):
        rng = np.random.default_rng([31, seed])
        case = planted(rng, *names, n=5, utilization=utilization, pattern="mixed", plain=True)
        given = case.family.instance()
        readable, made = solved(given, "dcp"), solved(given, "scaled")
        assert made.is_dcp
        size = float(given.evaluate(case.tokens).scale)
        for form in (readable, made):
            assert number(form.objective) == pytest.approx(
                float(given.evaluate(case.tokens).objective), abs=SAME_OPTIMUM * size
            )
            assert form.problem.value * form.scale == pytest.approx(
                number(form.objective), abs=SAME_OPTIMUM * size
            )
        # A type at a bound that is a corner, too, has more than one dual value.
        for name in () if case.family.has_kinks else ("min_tokens", "max_tokens"):
            np.testing.assert_allclose(
                prices(made, name), prices(readable, name), rtol=SAME_DUAL, atol=SAME_DUAL * size
            )


@pytest.mark.parametrize("name", CAPS)
def test_multipliers_are_those_of_the_instance(name: str) -> None:
    given = SERVER.replace(constraints=[CAPS[name]])
    exact = cq.solve(given).certificate.multipliers
    assert exact is not None
    assert exact[0] > 0.0
    for kind in ("dcp", "scaled", "parametric"):
        np.testing.assert_allclose(solved(given, kind).multipliers, exact, rtol=SAME_DUAL)


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e6, 1e9])
def test_a_limit_is_kept_at_its_price_in_any_unit_of_time(unit: float) -> None:
    law: Any = SERVER.service
    given = SERVER.replace(
        arrival_rate=SERVER.arrival_rate / unit,
        accuracy_weight=SERVER.accuracy_weight * unit,
        service=cq.AffineService(base=law.base * unit, per_token=law.per_token * unit),
    )
    longest = 0.9 * cq.solve(given).mean_system_time
    limited = given.replace(constraints=[cq.MaxMeanSystemTime(longest)])
    form = solved(limited, "scaled")
    assert number(form.mean_system_time) == pytest.approx(longest, rel=1e-6)
    exact = cq.solve(limited).certificate.multipliers
    assert exact is not None
    np.testing.assert_allclose(form.multipliers, exact, rtol=SAME_DUAL)


def test_multipliers_before_a_solve() -> None:
    form = cq.formulate(SERVER.replace(constraints=list(CAPS.values())[:3]), "scaled")
    assert np.isnan(form.multipliers).all()
    assert form.multipliers.shape == (3,)
    assert cq.formulate(SERVER).multipliers.shape == (0,)


def test_added_constraints_have_the_same_prices() -> None:
    found = []
    for kind in ("dcp", "scaled"):
        form = cq.formulate(SERVER, kind)
        capped = form.with_constraints(form.mean_waiting_time <= 2.0, form.tokens[0] <= 100.0)
        capped.problem.solve(solver="CLARABEL", warm_start=False)
        found.append([float(np.sum(prices(capped, f"added {k}"))) for k in (1, 2)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)


@pytest.mark.parametrize("kind", ["dcp", "scaled"])
def test_what_only_the_whole_box_allows(kind: str) -> None:
    """The order bracket would be infeasible here."""
    bracket = cq.certificates.order_bracket(SERVER)
    assert bracket.upper[0] < 9861.0 < SERVER.max_tokens[0]
    # So many tokens need a light load.
    given = SERVER.replace(arrival_rate=0.01)
    form = cq.formulate(given, kind)
    least = float(cq.certificates.order_bracket(given).upper[0]) + 100.0
    forced = form.with_constraints(form.tokens[0] >= least)
    forced.problem.solve(solver="CLARABEL", warm_start=False)
    assert forced.problem.status == "optimal"
    assert number(forced.tokens[0]) == pytest.approx(least, rel=1e-6)


def cones(instance: cq.Instance) -> Any:
    return cq.formulate(instance, "scaled").problem.get_problem_data("CLARABEL")[0]["dims"]


def test_its_cone_data_are_those_of_cvxpy() -> None:
    dims = cones(SERVER)
    assert (dims.exp, dims.soc, dims.p3d) == (5, [7], [])
    many = cones(large_instance(200, "server", "uniform", 0.9))
    assert (many.exp, many.soc) == (200, [66] * 4)


def classes() -> Iterator[tuple[str, cq.Instance]]:
    law: Any = SERVER.service
    curve: Any = SERVER.accuracy
    shape = {"floor": curve.floor, "gain": curve.gain}
    times = {"base": law.base, "per_token": law.per_token}
    yield "power", SERVER.replace(accuracy=cq.PowerLaw(**shape, scale=1e3, exponent=0.7))
    yield "hyperbola", SERVER.replace(accuracy=cq.MichaelisMenten(**shape, half_saturation=1e3))
    yield "quadratic", SERVER.replace(service=cq.QuadraticService(**times, per_squared_token=1e-7))
    yield "sharing", SERVER.replace(queue=cq.ProcessorSharing())
    yield "random", SERVER.replace(service=cq.AffineService(**times, token_scv=0.5))


@pytest.mark.parametrize("name", dict(classes()))
def test_each_class_has_cones_of_its_own(name: str) -> None:
    dims = cones(dict(classes())[name])
    assert dims.exp == (0 if name in ("power", "hyperbola") else 5)
    assert len(dims.p3d) == (5 if name == "power" else 0)
    # One for the waiting time, and three rows for each hyperbola and each convex time.
    small = {"hyperbola": 5, "quadratic": 5}.get(name, 0)
    assert sorted(dims.soc) == sorted([3] * small + [{"sharing": 3, "random": 8}.get(name, 7)])


def test_a_type_without_value_has_no_cone_unless_a_floor_counts_it() -> None:
    given = SERVER.replace(importance=[1.0, 0.0, 1.0, 1.0, 0.0])
    assert cones(given).exp == 3
    floored = given.replace(constraints=[cq.MinMeanAccuracy(0.75)])
    assert cones(floored).exp == 5
    worthless = floored.replace(accuracy_weight=0.0)
    for instance in (floored, worthless):
        exact = cq.solve(instance)
        assert exact.certificate.evaluation.mean_accuracy == pytest.approx(0.75, abs=1e-8)
        conic = cq.solve(instance, "conic")
        assert conic.objective == pytest.approx(exact.objective, rel=1e-8)


def test_units_do_not_depend_on_the_order_of_types() -> None:
    rng = np.random.default_rng(5)
    case = planted(rng, "FIFO", "affine", "mixed", n=7, utilization=0.7)
    order = rng.permutation(7)
    given, other = case.family.instance(), case.family.permuted(order.tolist()).instance()
    assert cost_unit(other) == pytest.approx(cost_unit(given), rel=1e-12)
    np.testing.assert_allclose(tokens_per_unit(other), tokens_per_unit(given)[order], rtol=1e-12)


def test_a_curve_without_cones_of_its_own_is_held_by_its_accuracies() -> None:
    curve: Any = SERVER.accuracy
    tokens, above = cp.Variable(5, nonneg=True), cp.Variable(5)
    weight = np.arange(1.0, 6.0)
    amounts, cone = missed_accuracy.of(object())(curve, tokens, weight, above)
    problem = cp.Problem(cp.Minimize(cp.sum(amounts)), [cone, tokens == 700.0])
    problem.solve(solver="CLARABEL")
    expected = weight * (curve.ceiling - curve.value(700.0))
    np.testing.assert_allclose(np.asarray(amounts.value), expected, rtol=1e-6)


def test_the_scaling_of_the_objective_changes_nothing_else() -> None:
    for scaling in (0.01, 100.0):
        form = scaled(SERVER, scaling)
        assert form.scale == pytest.approx(scaling * cost_unit(SERVER))
        form.problem.solve(solver="CLARABEL", warm_start=False)
        assert number(form.objective) == pytest.approx(cq.solve(SERVER).objective, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mix", "utilization"), GRID)
def test_two_thousand_types(kind: str, mix: str, utilization: float) -> None:
    solution = cq.solve(large_instance(2000, kind, mix, utilization), "conic")
    assert solution.is_optimal


@pytest.mark.slow
@pytest.mark.parametrize(("types", "kind"), [(15_000, "planted"), (100_000, "server")])
def test_very_many_types(types: int, kind: str) -> None:
    instance = large_instance(types, kind, "uniform", 0.9)
    solution = cq.solve(instance, "conic", tolerance=1e-8)
    assert solution.relative_gap <= 1e-8
