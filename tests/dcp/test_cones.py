"""The cone data: the same program as the disciplined form, and solved at any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clarabel
import numpy as np
import pytest
from scipy import sparse

import cvxqueue as cq
from cvxqueue.certificates import order_bracket
from cvxqueue.dcp.cones import (
    TYPES_PER_CONE,
    ConeProgram,
    cone_program,
    cone_unit,
    has_cone_program,
)
from cvxqueue.dcp.disciplined import disciplined
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers import direct
from cvxqueue.solvers.back_ends import Answer
from tests.generator import planted_instance, random_parameters
from tests.instances import CATALOGUE, allocations, instance_of, rates
from tests.large import GRID, large_instance
from tests.tolerances import CONE_DATA, CONE_OPTIMUM

pytestmark = pytest.mark.usefixtures("inside")

SERVER = CATALOGUE["qwen3-8b-h100"].instance


def planted(seed: int, **given: Any) -> cq.Instance:
    return instance_of(planted_instance(np.random.default_rng(seed), **given)[0])


def permuted(instance: cq.Instance) -> cq.Instance:
    order = np.random.default_rng(0).permutation(instance.size)
    curve, service = instance.accuracy, instance.service
    assert isinstance(curve, cq.SaturatingExponential)
    assert isinstance(service, cq.AffineService)
    return instance.replace(
        probabilities=instance.probabilities[order],
        min_tokens=instance.min_tokens[order],
        max_tokens=instance.max_tokens[order],
        importance=instance.importance[order],
        service=cq.AffineService(base=service.base[order], per_token=service.per_token[order]),
        accuracy=cq.SaturatingExponential(
            floor=curve.floor[order], gain=curve.gain[order], rate=curve.rate[order]
        ),
    )


INSTANCES = {
    **{name: reference.instance for name, reference in CATALOGUE.items()},
    **{f"planted {seed}": planted(seed) for seed in range(12)},
    **{
        f"random {seed}": instance_of(random_parameters(np.random.default_rng(seed)))
        for seed in range(12)
    },
    "permuted": permuted(planted(1, n=20)),
    "one type": planted(2, n=1),
    "no gain": planted(3, n=9, zero_gain=True),
    "nothing to gain": SERVER.replace(importance=0.0),
    "one point": planted(4, n=9, single_point=True),
    "nothing to decide": SERVER.replace(min_tokens=100.0, max_tokens=100.0),
    "load near one": planted(5, n=9, utilization=0.9995),
    "several blocks": planted(6, n=2 * TYPES_PER_CONE + 7),
    "full blocks": planted(7, n=2 * TYPES_PER_CONE),
}


@pytest.fixture(params=INSTANCES, ids=str)
def instance(request: pytest.FixtureRequest) -> cq.Instance:
    return INSTANCES[request.param]


def cones_of(program: ConeProgram) -> Iterator[tuple[str, slice]]:
    """Kind and rows of each cone."""
    start = 0
    for cones in program.cones:
        for size in cones.sizes.tolist():
            yield cones.kind, slice(start, start + size)
            start += size
    assert start == program.right.size


def distance(kind: str, slack: FloatArray) -> float:
    """How deep a slack is inside its cone: zero on the boundary, negative outside."""
    if kind == "zero":
        return -float(np.abs(slack).max())
    if kind == "nonnegative":
        return float(slack.min())
    if kind == "second-order":
        return float(slack[0] - np.linalg.norm(slack[1:]))
    return float(slack[2] - slack[1] * np.exp(slack[0] / slack[1]))


def epigraph_point(program: ConeProgram, tokens: FloatArray) -> FloatArray:
    """The variables at an allocation, each bound at its least: the curved cones on the boundary."""
    x = np.zeros(program.cost.size)
    x[: program.free.size] = tokens[program.free] / program.tokens_per_unit
    rest = program.right - program.matrix @ x
    x[-1] = rest[0] / program.matrix[0, x.size - 1]
    curved = [(kind, rest[rows]) for kind, rows in cones_of(program)]
    exponents = [slack[0] for kind, slack in curved if kind == "exponential"]
    roots = [slack[2:] / 2 for kind, slack in curved if kind == "second-order"]
    misses, waits = np.exp(exponents), [root @ root / x[-1] for root in roots]
    x[program.free.size : -1] = np.concatenate((misses, waits))
    return x


def test_it_is_the_same_program(instance: cq.Instance) -> None:
    assert has_cone_program(instance)
    program = cone_program(instance, cone_unit(instance))
    form = disciplined(instance)
    for tokens in allocations(instance, np.random.default_rng(0), 5):
        tokens = np.where(np.isin(np.arange(instance.size), program.free), tokens, program.settled)
        x = epigraph_point(program, tokens)
        np.testing.assert_allclose(program.tokens(x), tokens, rtol=1e-14)
        objective = program.constant - program.unit * float(program.cost @ x)
        point = instance.evaluate(tokens)
        scale = float(point.scale / point.idle)
        CONE_DATA.check(objective / scale, float(point.objective) / scale)
        form.variables["scaled_tokens"].value = rates(instance) * tokens
        CONE_DATA.check(objective / scale, form.scale * form.problem.objective.value / scale)


def test_its_cones_are_tight(instance: cq.Instance) -> None:
    # Every bound holds at the point, and no curved one with less of the variable that it bounds.
    program = cone_program(instance, cone_unit(instance))
    tokens = allocations(instance, np.random.default_rng(1), 1)[0]
    x = epigraph_point(program, tokens)
    slack = program.right - program.matrix @ x
    less = x.copy()
    less[program.free.size : -1] *= 0.9
    short = program.right - program.matrix @ less
    for kind, rows in cones_of(program):
        size = float(np.abs(slack[rows]).max())
        assert distance(kind, slack[rows]) >= -1e-12 * max(size, 1.0)
        if kind in ("second-order", "exponential") and size > 1e-100:
            assert distance(kind, short[rows]) < 0 or slack[rows][2:].max() < 1e-12 * size


def test_the_blocks_do_not_change_it(instance: cq.Instance) -> None:
    tokens = allocations(instance, np.random.default_rng(2), 1)[0]
    found = []
    for block in (1, 2, 7, TYPES_PER_CONE, 10**6):
        program = cone_program(instance, 3.0, block=block)
        sizes = next(cones.sizes for cones in program.cones if cones.kind == "second-order")
        assert sizes.max() <= block + 2
        assert np.sum(sizes - 2) == instance.size
        found.append(program.constant - 3.0 * program.cost @ epigraph_point(program, tokens))
    np.testing.assert_allclose(found, found[0], rtol=1e-9)


@pytest.mark.parametrize("name", INSTANCES)
def test_it_has_the_same_optimum(name: str) -> None:
    instance = INSTANCES[name]
    solution = cq.solve(instance, "conic", on_failure="return")
    assert "cone data" in solution.backend_status
    exact = cq.solve(instance)
    scale = float(instance.evaluate(exact.tokens).scale)
    assert solution.objective <= exact.upper_bound
    CONE_OPTIMUM.check(solution.objective / scale, exact.objective / scale)


def test_its_own_value_is_the_optimum() -> None:
    bracket = order_bracket(SERVER)
    boxed = SERVER.replace(min_tokens=bracket.lower, max_tokens=bracket.upper)
    program = cone_program(boxed, cone_unit(boxed))
    exact = float(CATALOGUE["qwen3-8b-h100"].objective)
    CONE_OPTIMUM.check(clarabel_optimum(program) / exact, 1.0)


def clarabel_optimum(program: ConeProgram) -> float:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    size = program.cost.size
    cones = [cone for cones in program.cones for cone in direct._expanded(cones)]
    found = clarabel.DefaultSolver(
        sparse.csc_array((size, size)), program.cost, program.matrix, program.right, cones, settings
    ).solve()
    return program.constant - program.unit * float(found.obj_val)


def test_a_settled_type_is_no_variable() -> None:
    instance = SERVER.replace(min_tokens=[0, 5, 0, 7, 0], max_tokens=[100, 5, 100, 7, 100])
    program = cone_program(instance, 1.0)
    np.testing.assert_array_equal(program.free, [0, 2, 4])
    np.testing.assert_array_equal(program.tokens(np.zeros(8)), [0, 5, 0, 7, 0])


def test_the_unit_does_not_depend_on_the_order_of_types() -> None:
    instance = INSTANCES["planted 1"]
    CONE_DATA.check(cone_unit(permuted(instance)), cone_unit(instance))


def test_a_direction_is_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    # No allocation in the box leaves an idle fraction.
    program = cone_program(SERVER, cone_unit(SERVER))
    right = program.right.copy()
    right[0] = -1.0
    answer: Answer = direct.solve_cones(program._replace(right=right), "CLARABEL", {})
    assert answer.words.startswith("CLARABEL: PrimalInfeasible")
    assert answer.tokens is None


@pytest.mark.parametrize(("kind", "mix", "utilization"), GRID)
def test_two_thousand_types(kind: str, mix: str, utilization: float) -> None:
    instance = large_instance(2000, kind, mix, utilization)
    solution = cq.solve(instance, "conic")
    assert solution.is_optimal
    assert "32 second-order" in solution.backend_status


@pytest.mark.slow
@pytest.mark.parametrize(
    ("types", "kind"),
    [(15_000, "planted"), pytest.param(100_000, "server", marks=pytest.mark.huge)],
)
def test_very_many_types(types: int, kind: str) -> None:
    instance = large_instance(types, kind, "uniform", 0.9)
    solution = cq.solve(instance, "conic", tolerance=1e-8)
    assert solution.relative_gap <= 1e-8
