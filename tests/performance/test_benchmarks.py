"""The benchmarks run: every case at a tiny size, with no word on how long anything takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.instances import allocations
from tests.performance.__main__ import main
from tests.performance.baselines import baselines
from tests.performance.batch import batch
from tests.performance.cases import CASES
from tests.performance.contraction import contraction
from tests.performance.evaluations import evaluations
from tests.performance.families import families
from tests.performance.frames import frames
from tests.performance.growth import growth
from tests.performance.instances import plain_objective, random_servers
from tests.performance.integers import integers
from tests.performance.iterations import HEAVIEST, LIGHTEST, iterations, suite
from tests.performance.lessons import lessons
from tests.performance.memory import memory
from tests.performance.proofs import proofs
from tests.performance.quasi_newton import QuasiNewton
from tests.performance.reporting import Case, Row, Target
from tests.performance.sensitivities import sensitivities
from tests.performance.simulation import simulation
from tests.performance.startup import startup
from tests.performance.sweeps import sweeps
from tests.performance.timing import Spread, Subject, interleave
from tests.test_lessons import LESSONS
from tests.tolerances import CLOSED_FORM, DIFFERENCE_QUOTIENT, ROUNDING


def best_responses(instance: cq.Instance, damping: float = 0.1) -> Iterator[FloatArray]:
    """A method that is not the package's."""
    tokens = instance.lower
    for _ in range(3):
        yield tokens
        tokens = tokens + damping * (instance.evaluate(tokens).response - tokens)


def once(instance: cq.Instance) -> cq.Answer:
    return cq.Answer(instance.lower, iterations=0)


TINY: dict[str, Callable[[int], Sequence[Row]]] = {
    "evaluations": partial(evaluations, sizes=((6, 1, 60.0), (50, 2, 25.0))),
    "lessons": partial(lessons, paths=LESSONS[:1]),
    "memory": partial(memory, types=1000),
    "baselines": partial(
        baselines,
        quasi_newton_types=20,
        method_types=20,
        small_count=2,
        methods=("conic", best_responses),
    ),
    "batch": partial(batch, count=10, resolved=3),
    "frames": partial(frames, rows=50),
    "growth": partial(growth, sizes=(10, 30)),
    "families": partial(families, types=20),
    "iterations": partial(iterations, count=5),
    "integers": partial(integers, sizes=((4, 20.0),), largest=50),
    "contraction": partial(
        contraction, count=3, limit=5, methods=("fixed-point", best_responses, once)
    ),
    "proofs": partial(proofs, sizes=(3,), names=("one-type",)),
    "sensitivities": partial(sensitivities, types=20),
    "simulation": partial(simulation, queries=2000, ciw_queries=200),
    "startup": startup,
    "sweeps": partial(sweeps, rows=400),
}
# The price ratio of the planted servers settles to 1e-9, and conditions magnify that a little.
PLANTED_LOAD = 1e-6


@pytest.fixture
def server() -> cq.Instance:
    return random_servers(np.random.default_rng(0), 1, 6, (0.9, 0.99)).instance()


def test_every_case_is_tried() -> None:
    assert set(TINY) == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_case(name: str) -> None:
    rows = TINY[name](2)
    assert rows
    assert len({row.measure for row in rows}) == len(rows)
    for row in rows:
        if row.spread is None:
            assert name in ("batch", "simulation")
            assert name != "batch" or not hasattr(cq, "solve_batch")
            assert name != "simulation" or row.details == "Ciw is not installed"
            continue
        assert np.isfinite(row.spread.median), row
        assert row.spread.median >= 0.0 or row.measure.startswith("exponent"), row


@pytest.mark.slow
def test_a_method_of_ones_own_has_rows_like_any_other() -> None:
    for name in ("baselines", "contraction"):
        assert any("best_responses" in row.measure for row in TINY[name](2))


def test_the_table_and_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Row("fast enough", Spread.of([1.0, 2.0, 3.0]), "evaluations", Target("≤", 2.0)),
        Row("too slow", Spread(1e6), "evaluations", Target("≤", 60.0)),
        Row("too few", Spread(2.0), "", Target("≥", 3.0), "by one"),
        Row("unbounded", Spread(np.inf)),
        Row("not there", None, "", Target("≥", 3.0), "for a reason"),
    ]

    def fail(repeats: int) -> Sequence[Row]:
        raise cq.InvalidInputError(f"no {repeats} repeats")

    cases = {
        "rows": Case("rows", "what a row can be", lambda repeats: rows),
        "failing": Case("failing", "what fails", fail),
    }
    assert main(["--repeats", "2"], cases) == 0
    shown = capsys.readouterr().out
    for text in ("1,000,000", "not available", "by one", "InvalidInputError: no 2 repeats", "BLAS"):
        assert text in shown
    assert main(["rows", "--json"], cases) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["host"]["numpy"] == np.__version__
    (case,) = data["cases"]
    assert [row["is_met"] for row in case["rows"]] == [True, False, False, None, None]
    assert [row["median"] for row in case["rows"]] == [2.0, 1e6, 2.0, None, None]
    assert [row["is_available"] for row in case["rows"]] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["memry"], "no case 'memry'"), (["--repeats", "0"], "whole number ≥ 1")],
)
def test_a_wrong_argument_is_an_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_rounds_have_everything_once_and_alternate() -> None:
    calls: list[str] = []
    subjects = {name: Subject(calls.append, partial(str, name), is_slow=True) for name in "ab"}
    seconds = interleave(subjects, 3)
    assert "".join(calls) == "abbaab"
    assert all(times.shape == (3,) and np.all(times > 0) for times in seconds.values())


@pytest.mark.parametrize("types", [1, 6, 300])
def test_servers_have_the_load_that_was_wished(types: int) -> None:
    servers = random_servers(np.random.default_rng(types), 4, types, (0.95, 0.95))
    for row in range(4):
        solution = cq.solve(servers.instance(row))
        assert solution.utilization == pytest.approx(0.95, abs=PLANTED_LOAD)
        assert np.any(solution.tokens > 0.0)


def test_the_suite_has_all_loads() -> None:
    loads = [cq.solve(instance).utilization for instance in suite(np.random.default_rng(6), 60)]
    assert min(loads) > 0.99 * LIGHTEST
    assert max(loads) < 1.0 - 0.99 * (1.0 - HEAVIEST)
    assert np.min(loads) < 0.01 < 0.99 < np.max(loads)


def test_the_plain_objective_is_the_objective(server: cq.Instance) -> None:
    objective = plain_objective(server)
    for tokens in allocations(server, np.random.default_rng(0), 5):
        # Two sums are formed in another order, and 1/(1 − ρ) magnifies what that does.
        point = server.evaluate(tokens)
        allowed = CLOSED_FORM.rtol * float(point.scale) / float(point.idle)
        assert objective(tokens) == pytest.approx(float(point.objective), abs=allowed)


@pytest.mark.parametrize("metric", ["rate", "curvature"])
def test_the_rival_is_given_the_same_problem(server: cq.Instance, metric: str) -> None:
    problem = QuasiNewton(server, metric)
    tokens = 0.5 * cq.solve(server).tokens
    value, gradient = problem(tokens * problem.factors)
    ROUNDING.check(value * problem.unit, -float(server.objective(tokens)))
    ROUNDING.check(gradient * problem.factors * problem.unit, -server.gradient(tokens))
    answer = problem.solve()
    assert cq.certify(server, answer.tokens).relative_gap < 1e-9


def test_the_rival_never_meets_infinity(server: cq.Instance) -> None:
    problem = QuasiNewton(server, "rate")
    tokens = server.max_tokens
    assert not server.evaluate(tokens).is_stable
    variables = tokens * problem.factors
    _, gradient = problem(variables)
    step = np.cbrt(np.finfo(np.float64).eps) * variables
    quotients: FloatArray = np.array(
        [
            (problem(variables + move)[0] - problem(variables - move)[0]) / (2.0 * move.max())
            for move in np.diag(step)
        ]
    )
    scale = np.max(np.abs(gradient))
    DIFFERENCE_QUOTIENT.check(quotients / scale, gradient / scale)
