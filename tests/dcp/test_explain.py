"""Explanations against CVXPY: its curvatures, its errors, and the composition rule read anew."""

from __future__ import annotations

import itertools
import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from cvxpy.atoms.atom import Atom
from cvxpy.transforms.indicator import indicator
from cvxpy.transforms.partial_optimize import partial_optimize
from cvxpy.utilities.debug_tools import build_non_disciplined_error_msg
from cvxpy.utilities.scopes import dpp_scope
from scipy import sparse

import cvxqueue as cq
from cvxqueue.dcp.explain import Explanation, Node, Rule
from cvxqueue.dcp.ways_out import way_out
from tests.dcp.test_dcp_families import FAMILIES
from tests.dcp.test_dcp_families import instance as instance_of
from tests.paths import EXAMPLES

SCALAR = cp.Variable(name="x")
POSITIVE = cp.Variable(name="u", nonneg=True)
VECTOR = cp.Variable(3, name="v")
SQUARE = cp.Variable((3, 3), name="X", symmetric=True)
NUMBER, NUMBERS = cp.Constant(2.0), cp.Constant([1.0, -2.0, 3.0])
POOL = (
    *(SCALAR, POSITIVE, VECTOR, SQUARE, NUMBER, NUMBERS),
    *(cp.square(SCALAR), -cp.square(VECTOR), cp.log(POSITIVE), cp.exp(VECTOR), 1 + cp.abs(VECTOR)),
)


def curvature_from(words: str) -> str:
    """What follows from the words of a rule: the composition theorem, written anew.

    A function f of g is convex if f is convex, and g is convex where f rises or concave where it
    falls; concave, if −f is so.
    """
    function, *arguments = re.split(r"; ", words)
    can = {"affine": [True, True], "convex": [True, False], "concave": [False, True]}.get(
        function.split()[0], [False, False]
    )
    for argument in arguments:
        found = re.fullmatch(r"(.+) in arguments? [\d, ]+ \((convex|concave)\).*", argument)
        assert found, argument
        verb, bend = found.groups()
        if verb == "constant":
            continue
        is_convex = {"rises": bend == "convex", "falls": bend == "concave"}.get(verb)
        can[0] &= is_convex is True
        can[1] &= is_convex is False
    return {(1, 1): "affine", (1, 0): "convex", (0, 1): "concave"}.get(
        (int(can[0]), int(can[1])), "unknown"
    )


def require_rules(explanation: Explanation) -> list[Node]:
    """Check every node; return those with a rule of composition."""
    found = []
    for node in explanation.tree.walk():
        if isinstance(node.rule, Rule) and "refused" not in str(node.rule):
            implied = curvature_from(str(node.rule))
            assert implied == node.rule.curvature == node.curvature, (node.label, node.rule)
            found.append(node)
        elif isinstance(node.rule, Rule):
            assert node.curvature == node.rule.curvature == "unknown"
            assert any(it.curvature == "unknown" for it in node.arguments)
    return found


def of_atoms() -> Iterator[cp.Expression]:
    """Every atom that some one, two or three of the pool are arguments of."""
    kinds = [
        kind for kind in vars(cp).values() if isinstance(kind, type) and issubclass(kind, Atom)
    ]
    calls: list[Any] = [*kinds, cp.power, cp.norm, cp.geo_mean, cp.pnorm, cp.sqrt, cp.square]
    calls += [cp.inv_pos, cp.sum_squares, cp.mixed_norm, cp.tv, cp.norm2, cp.sum_smallest]
    calls += [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a @ b, lambda a, b: a / b]
    calls += [lambda a: a[:1], lambda a: a.T, lambda a: -a, lambda a: cp.sum_largest(a, 2)]
    for call, count in itertools.product(calls, (1, 2, 3)):
        for arguments in itertools.product(POOL if count < 3 else POOL[::3], repeat=count):
            try:
                made = call(*arguments)
                # Taken for an argument, and not for an axis or a shape.
                real = len(made.args) >= count and made.is_real()
            except Exception:  # noqa: BLE001 (what an atom does not take)
                continue
            if real:
                yield made


@pytest.mark.parametrize("form", ["textbook", "dcp", "scaled", "parametric"])
@pytest.mark.parametrize(("queue", "service", "curve"), FAMILIES)
def test_every_form(queue: str, service: str, curve: str, form: str) -> None:
    """At each node the stated rule implies what CVXPY says of it; the verdict is CVXPY's."""
    made = cq.formulate(instance_of(queue, service, curve), form)
    for with_parameters in (False, True):
        found = made.explain(with_parameters=with_parameters)
        assert require_rules(found)
        assert found.is_accepted == (made.is_dpp if with_parameters else made.is_dcp)
        assert found.is_accepted == (not found.refused)
    if form == "textbook":
        lines = build_non_disciplined_error_msg(made.problem, "DCP").splitlines()
        assert {node.text for node in made.explain().refused} == set(lines[1:])


def test_every_atom() -> None:
    """The same of each real atom of CVXPY, in whatever it takes of ten kinds of argument."""
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for made in of_atoms():
            require_rules(cq.explain(made))
            seen.add(type(made).__name__)
    assert seen >= {
        *("quad_over_lin", "log_sum_exp", "kl_div", "rel_entr", "lambda_max", "PnormApprox"),
        *("MulExpression", "DivExpression", "multiply", "max", "maximum", "huber", "log_det"),
        *("MatrixFrac", "entr", "logistic", "xexp", "sum_largest", "dotsort", "GeoMeanApprox"),
    }


T = cp.Variable(nonneg=True)
COLUMN, P, Q = (
    cp.Variable((3, 1), name="c"),
    cp.Parameter(name="p"),
    cp.Parameter(nonneg=True, name="q"),
)
COMPLEX = cp.Variable(3, complex=True, name="z")
MATRIX = sparse.csr_array(np.diag([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    "refused",
    [
        1 / (POSITIVE - 2),
        3 / POSITIVE,
        -np.arange(1.0, 4.0) / (1 + POSITIVE),
        POSITIVE / (1 + POSITIVE),
        VECTOR[0] / (2 + VECTOR[0] + 1),
        cp.square(SCALAR) / (1 + POSITIVE),
        (3 * cp.sum_squares(VECTOR) + cp.square(SCALAR) / 2) / POSITIVE,
        (np.array([0.5, 1.0, 2.0]) @ cp.square(2 * VECTOR + 1)) / POSITIVE,
        cp.sum(cp.multiply([1.0, 4.0, 9.0], cp.square(VECTOR))) / POSITIVE,
        SCALAR * SCALAR,
        VECTOR @ VECTOR,
        cp.multiply(SQUARE, SQUARE),
        (MATRIX @ VECTOR) @ (MATRIX @ VECTOR),
        (2 * SCALAR + 1) * (2 * SCALAR + 1),
        cp.multiply(VECTOR, cp.log(VECTOR)),
        cp.sqrt(cp.sum_squares(VECTOR)),
        cp.sqrt(cp.sum_squares(VECTOR) + 4 * cp.square(SCALAR)),
        cp.log(cp.sum(cp.exp(VECTOR))),
        cp.log(cp.exp(SCALAR) + cp.exp(POSITIVE)),
    ],
    ids=str,
)
def test_a_way_out_has_the_same_value(refused: Any) -> None:
    """It is accepted, of the same shape, and equal at some points."""
    (node,) = cq.explain(refused).refused
    found = way_out(refused)
    assert found is not None
    assert node.remedy == found.words
    assert found.expression.is_dcp()
    rng = np.random.default_rng(5)
    for _ in range(5):
        SCALAR.value, POSITIVE.value = rng.normal(), 2.0 + rng.uniform(0.5, 2.0)
        VECTOR.value = rng.uniform(0.1, 2.0, 3)
        SQUARE.value = np.diag(rng.normal(size=3))
        np.testing.assert_allclose(
            np.asarray(found.expression.value), np.asarray(refused.value), rtol=1e-9
        )


@pytest.mark.parametrize(
    "refused",
    [
        SCALAR * POSITIVE,
        SCALAR / (1 + POSITIVE),
        (SCALAR + POSITIVE) / (SCALAR - POSITIVE + 1),
        SQUARE / POSITIVE,
        SQUARE @ SQUARE,
        COLUMN.T @ COLUMN,
        (2 * SCALAR + 1) * (2 * SCALAR + 1.000001),
        cp.Variable(name="x") * cp.Variable(name="x"),
        cp.multiply(
            cp.Variable(4000, name="b")[np.arange(2000)], VECTOR[np.r_[np.zeros(2000, int)]]
        ),
        cp.exp(SCALAR) / cp.exp(SCALAR),
        cp.sqrt(cp.exp(SCALAR)),
        np.array([1.0, -2.0, 3.0]) / (1 + POSITIVE),
        cp.square(VECTOR) / POSITIVE,
        (cp.square(SCALAR) - 1) / POSITIVE,
        cp.sqrt(cp.square(SCALAR) + SCALAR),
        cp.sqrt(cp.square(VECTOR)),
        cp.log(cp.exp(VECTOR)),
        cp.log(1 + cp.square(SCALAR)),
        cp.log(cp.norm(VECTOR)),
        cp.log(POSITIVE) * cp.log(POSITIVE),
        cp.quad_over_lin(SCALAR, cp.exp(SCALAR)),
        cp.inv_pos(cp.exp(SCALAR) - 1),
        P / POSITIVE,
        SCALAR * cp.log1p(SCALAR),
        cp.log1p(cp.sum(cp.exp(VECTOR))),
        1 / (-POSITIVE - 1),
        cp.square(SCALAR) / -POSITIVE,
        *(1 / COMPLEX[0], COMPLEX[0] * COMPLEX[0], COMPLEX[0] / (COMPLEX[0] + 1)),
        COMPLEX @ COMPLEX,
    ],
    ids=str,
)
def test_where_no_way_out_is_known_none_is_told(refused: Any) -> None:
    (node,) = cq.explain(refused).refused
    assert node.remedy == ""


def test_a_way_out_by_a_variable() -> None:
    """Where the argument is never below zero, the smallest value is the same."""
    refused: Any = cp.square(cp.exp(SCALAR) - 1)
    found: Any = way_out(refused)
    (bound,) = found.expression.variables()
    problem = cp.Problem(cp.Minimize(found.expression), [refused.args[0] <= bound, SCALAR >= 0.3])
    np.testing.assert_allclose(problem.solve(solver="CLARABEL"), (np.exp(0.3) - 1) ** 2, rtol=1e-6)
    assert way_out(cp.square(cp.square(SCALAR) - 1)) is not None


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (P * Q, "a parameter of its own for it"),
        (cp.square(P) * SCALAR, "a parameter of its own for the factor without variables"),
        (cp.exp(Q) * VECTOR, "a parameter of its own for the factor without variables"),
        (SCALAR / Q, "a parameter for one over the denominator"),
        (P * (Q * SCALAR), "a variable that is constrained to be equal"),
        (cp.multiply(P, Q + VECTOR), "a variable that is constrained to be equal"),
        (P * cp.exp(Q * SCALAR), None),
    ],
    ids=str,
)
def test_ways_out_for_parameters(refused: Any, words: str | None) -> None:
    (node,) = cq.explain(refused, with_parameters=True).refused
    with dpp_scope():
        found = way_out(refused)
        assert (found is None) == (words is None)
        assert found is None or found.expression.is_dcp()
    assert (words or "") in node.remedy
    assert bool(node.remedy) == (words is not None)


def test_what_is_no_atom_is_as_its_class_says() -> None:
    """Expressions of a problem's optimal value, and indicators, have no arguments to compose."""
    inner = cp.Problem(cp.Minimize(cp.square(SCALAR - POSITIVE)), [SCALAR >= 1])
    partial = partial_optimize(inner, [SCALAR], [POSITIVE])
    for made in (partial, indicator([SCALAR >= 1])):
        assert cq.explain(made).tree.curvature == made.curvature.lower()


def test_an_explanation_can_be_pickled_once_its_problem_is_solved() -> None:
    form = cq.formulate(cq.load(EXAMPLES / "instances" / "one-type.toml"))
    form.problem.solve(solver="CLARABEL")
    found = form.explain()
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


def test_parameters() -> None:
    """A product of two of them keeps the rules, and not those for parameters."""
    p, q = cp.Parameter(name="p"), cp.Parameter(name="q", nonneg=True)
    assert cq.explain(p * q * SCALAR).is_accepted
    found = cq.explain(p * q * SCALAR, with_parameters=True)
    assert [node.text for node in found.refused] == ["p * q"]
    assert "a parameter of its own for it" in found.refused[0].remedy
    assert cq.explain(p * SCALAR, with_parameters=True).is_accepted


@pytest.mark.parametrize(
    "problem",
    [
        cp.Problem(cp.Minimize(1 / SCALAR + SCALAR * POSITIVE)),
        cp.Problem(cp.Maximize(cp.square(SCALAR)), [cp.square(SCALAR) >= 1]),
        cp.Problem(cp.Minimize(SCALAR), [cp.square(SCALAR) >= 1, cp.norm(VECTOR) == 1]),
        cp.Problem(cp.Minimize(SCALAR), [cp.sqrt(cp.exp(SCALAR)) <= SCALAR, cp.PSD(SQUARE)]),
        cp.Problem(cp.Minimize(SCALAR), [cp.SOC(cp.square(SCALAR), VECTOR)]),
    ],
    ids=str,
)
def test_the_refused_node_is_the_one_that_the_error_names(problem: cp.Problem) -> None:
    found = cq.explain(problem).refused
    error = build_non_disciplined_error_msg(problem, "DCP")
    if problem.objective.is_dcp():
        wanted = re.findall(r"^\|--  (.+)$", error, re.MULTILINE)
        assert sorted(node.text for node in found) == sorted(wanted)
    elif problem.objective.expr.is_dcp():
        assert found[0].text == str(problem.objective)
    else:
        named = error.splitlines()[1:]
        assert [node.text for node in found] == named


def test_names_and_what_stands_twice() -> None:
    """Parts have the names of the formulation, and are explained once."""
    form = cq.formulate(cq.load(EXAMPLES / "instances" / "qwen3-8b-h100.toml"), "textbook")
    found = form.explain()
    labels = [node.label for node in found.tree.walk()]
    assert "mean_waiting_time: /" in labels
    assert "stability: ≤" in labels
    assert [node.label for node in found.refused] == ["mean_waiting_time: /"]
    repeated = [node for node in found.tree.walk() if node.rule == "as above"]
    assert {node.label for node in repeated} >= {"service_times: +", "mean_service_time: @"}
    assert not any(node.arguments for node in repeated)


def test_a_part_that_stands_very_often() -> None:
    """An expression of 2^60 paths has sixty nodes to explain."""
    made: Any = cp.square(SCALAR)
    for _ in range(60):
        made = made + made
        made.args = [made.args[0], made.args[0]]
    nodes = list(cq.explain(made.args[0]).tree.walk())
    assert len(nodes) < 200


def test_forms_of_the_table() -> None:
    found = cq.explain(1 / (POSITIVE - 2))
    assert len(found.to_frame()) == len(list(found.tree.walk()))
    assert "Refused" in str(found)
    html = found._repr_html_()
    assert "white-space: pre" in html
    assert "<svg" in str(found.to_svg())
    assert repr(found) == "Explanation('/', refused at '/')"


def test_what_it_does_not_take() -> None:
    form = cq.formulate(cq.load(EXAMPLES / "instances" / "one-type.toml"))
    for wrong in (form, "x", 1.0, cp.Minimize(SCALAR)):
        with pytest.raises(cq.InvalidInputError, match=r"expression must be a cvxpy expression"):
            cq.explain(wrong)  # type: ignore[arg-type]
