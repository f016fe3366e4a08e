"""The conic method: its answers, its options, and back ends that are not to be believed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.solvers import back_ends, driver
from cvxqueue.solvers import conic as adapter
from cvxqueue.solvers.back_ends import Outcome
from tests.instances import CATALOGUE

# Its own limit: up to this utilization `conic` certifies every instance.
CERTAIN_UP_TO = 0.99
# Tokens after polishing, for types with a share of at least a thousandth.
POLISHED_TOKENS = 0.01


def server() -> cq.Instance:
    return CATALOGUE["qwen3-8b-h100"].instance


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_certifies_the_catalogue_or_says_how_far_it_got(name: str) -> None:
    solution = cq.solve(CATALOGUE[name].instance, "conic", on_failure="return")
    if CATALOGUE[name].utilization <= CERTAIN_UP_TO:
        assert solution.is_optimal
    assert solution.is_optimal == (solution.relative_gap <= 1e-9)
    assert solution.backend_status.startswith("CLARABEL: ")


@pytest.mark.parametrize("name", CATALOGUE)
def test_polished_tokens(name: str) -> None:
    instance = CATALOGUE[name].instance
    solution = cq.solve(instance, "conic", polish=True, on_failure="return")
    exact = np.array([float(tokens) for tokens in CATALOGUE[name].tokens])
    shared = instance.probabilities >= 1e-3
    np.testing.assert_allclose(solution.tokens[shared], exact[shared], rtol=0, atol=POLISHED_TOKENS)
    assert "polished" in solution.backend_status
    assert "passes of newton" in solution.backend_status


def test_unpolished_is_the_default() -> None:
    assert "polished" not in cq.solve(server(), "conic").backend_status


def test_another_solver_by_name() -> None:
    solution = cq.solve(server(), "conic", solver="SCS", tolerance=1e-6)
    assert solution.is_optimal
    assert solution.backend_status.startswith("SCS: ")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"solver": "CLARABLE"}, cq.InvalidInputError, "did you mean 'CLARABEL'"),
        ({"solver": "clarabel"}, cq.InvalidInputError, "did you mean 'CLARABEL'"),
        ({"solver": "OSQP"}, cq.InvalidInputError, "unknown conic solver 'OSQP'"),
        ({"solver": "ECOS"}, cq.MissingDependencyError, "'ECOS' is not installed; installed: "),
        ({"solver_options": {"tol_gap": 1}}, cq.InvalidInputError, "did you mean 'tol_gap_"),
        (
            {"solver": "SCS", "solver_options": {"eps": 1}},
            cq.InvalidInputError,
            "SCS has no option 'eps'",
        ),
        (
            {"solver_options": {"max_iter": "many"}},
            cq.InvalidInputError,
            "takes no max_iter = 'many'; its default is 200",
        ),
        ({"solver_options": {"max_iter": -3}}, cq.InvalidInputError, "takes no max_iter = -3"),
        ({"solver_options": {"accept_unknown": 1}}, cq.InvalidInputError, "must be True or False"),
        ({"solver_options": [1]}, cq.InvalidInputError, "solver_options must be a mapping"),
        ({"solver": ["SCS"]}, cq.InvalidInputError, "did you mean 'SCS'"),
        ({"polish": "yes"}, cq.InvalidInputError, "polish must be True or False, got 'yes'"),
        ({"polsh": True}, cq.InvalidInputError, "did you mean 'polish'"),
        ({"start": np.zeros(5)}, cq.InvalidInputError, "takes no start"),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cq.solve(server(), "conic", **options)


def test_a_solver_without_exponential_cones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_ends, "_has_cones", lambda solver: solver != "SCS")
    with pytest.raises(cq.InvalidInputError, match="does not know exponential"):
        cq.solve(server(), "conic", solver="SCS")


def test_a_solver_whose_options_are_not_known_passes_them_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(back_ends, "_BACK_ENDS", {})
    assert cq.solve(server(), "conic", solver="SCS", tolerance=1e-3).is_optimal


class Recorder:
    """Stands in for the back end: notes the options, and answers as it is told."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.options: list[dict[str, Any]] = []
        self.forms: list[cq.Formulation] = []

    def __call__(self, form: cq.Formulation, solver: str, options: Mapping[str, Any]) -> Outcome:
        self.options.append(dict(options))
        self.forms.append(form)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Outcome):
            return answer
        return Outcome(answer, None, f"{solver}: optimal", 7)


def fake(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> Recorder:
    recorder = Recorder(*answers)
    monkeypatch.setattr(adapter, "solve_form", recorder)
    return recorder


class Panic(BaseException):
    """As the bindings to Rust raise it: no subclass of Exception."""

    __module__ = "pyo3_runtime"


class Alarm(BaseException):
    """As a signal handler of the caller may raise it."""


def failing(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    def solve(*arguments: Any, **options: Any) -> None:
        raise raised

    monkeypatch.setattr(cp.Problem, "solve", solve)


@pytest.mark.parametrize(
    "raised",
    [
        cp.SolverError("broke down"),
        ZeroDivisionError("in the back end"),
        ValueError("x"),
        KeyError("missing"),
        OSError("licence"),
        AssertionError("inner"),
        ImportError("library"),
        type("LicenceError", (Exception,), {})("no licence found"),
        Panic("index out of bounds"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_a_back_end_that_raises(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    failing(monkeypatch, raised)
    solution = cq.solve(server(), "conic", on_failure="return")
    assert solution.status is cq.Status.NUMERICAL_ERROR
    assert str(raised) in solution.backend_status
    assert cq.certify(server(), solution.tokens).is_feasible
    with pytest.raises(cq.ConvergenceError):
        cq.solve(server(), "conic")


@pytest.mark.parametrize("asked", [KeyboardInterrupt, SystemExit, Alarm])
def test_to_be_stopped_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, asked: type[BaseException]
) -> None:
    failing(monkeypatch, asked())
    with pytest.raises(asked):
        cq.solve(server(), "conic")


def test_a_solve_waits_for_another_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = fake(monkeypatch, cq.solve(server()).tokens)
    with back_ends.alone(NEVER):
        solution = cq.solve(server(), "conic", time_limit=0.05, on_failure="return")
    assert recorder.options == []
    assert solution.status is cq.Status.TIME_LIMIT
    assert cq.solve(server(), "conic", time_limit=5.0).is_optimal


def test_a_turn_that_did_not_come_is_not_taken() -> None:
    stopped = Deadline(0.05, clock=lambda: 0.0)
    with back_ends.alone(NEVER), back_ends.alone(stopped) as has_turn:
        assert not has_turn
    with back_ends.alone(stopped) as has_turn:
        assert has_turn


@pytest.mark.parametrize("answer", [None, np.full(5, np.nan), np.full(5, np.inf), np.full(5, 32e3)])
def test_a_back_end_without_a_usable_point(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    fake(monkeypatch, answer)
    solution = cq.solve(server(), "conic", on_failure="return")
    assert solution.status is cq.Status.NUMERICAL_ERROR
    assert np.isfinite(solution.tokens).all()
    assert "no stable and finite point" in solution.backend_status


def test_a_back_end_that_claims_optimal_for_a_wrong_point(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, np.full(5, 100.0))
    solution = cq.solve(server(), "conic", on_failure="return")
    assert solution.status is cq.Status.STALLED
    assert solution.backend_status == "CLARABEL: optimal"
    assert solution.upper_bound > cq.solve(server()).objective > solution.objective


def test_a_failure_on_one_rung_keeps_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    optimum = cq.solve(server()).tokens
    wrong = np.full(5, 100.0)
    recorder = fake(monkeypatch, wrong, Outcome(None, None, "SolverError: x"), None, optimum)
    solution = cq.solve(server(), "conic")
    assert len(recorder.options) == 4
    assert solution.is_optimal
    np.testing.assert_array_equal(solution.tokens, optimum)


def test_options_of_one_solve_do_not_leak_into_the_next() -> None:
    clean = cq.solve(server(), "conic")
    options = {"max_iter": 3}
    hobbled = cq.solve(server(), "conic", solver_options=options, on_failure="return")
    assert not hobbled.is_optimal
    assert options == {"max_iter": 3}
    again = cq.solve(server(), "conic")
    np.testing.assert_array_equal(again.tokens, clean.tokens)
    assert again.iterations == clean.iterations


def test_an_option_of_the_adapter_changes_nothing() -> None:
    plain = cq.solve(server(), "conic")
    given = cq.solve(server(), "conic", solver_options={"accept_unknown": True})
    np.testing.assert_array_equal(given.tokens, plain.tokens)


def test_limits_reach_the_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = fake(monkeypatch, cq.solve(server()).tokens)
    cq.solve(server(), "conic", time_limit=5.0, max_iterations=33)
    assert recorder.options[0]["max_iter"] == 33
    assert 0 < recorder.options[0]["time_limit"] <= 5.0
    cq.solve(server(), "conic", solver_options={"time_limit": 1.0, "max_iter": 4}, time_limit=5.0)
    assert recorder.options[1]["time_limit"] == 1.0
    assert recorder.options[1]["max_iter"] == 4


def test_no_time_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, np.full(5, 100.0))
    solution = cq.solve(server(), "conic", time_limit=1e-9, on_failure="return")
    assert solution.status is cq.Status.TIME_LIMIT
    assert "out of time" in solution.backend_status


def test_the_box_is_cut_to_the_order_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = fake(monkeypatch, cq.solve(server()).tokens)
    cq.solve(server(), "conic")
    cap = recorder.forms[0].instance.max_tokens
    assert (cap < server().max_tokens).all()
    assert (cq.solve(server()).tokens <= cap).all()


def test_warnings_of_the_back_end_are_kept_and_do_not_escape() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = cq.solve(
            server(), "conic", solver="SCS", solver_options={"max_iters": 5}, on_failure="return"
        )
    assert "inaccurate" in solution.backend_status


def constrained() -> cq.Instance:
    limits = [cq.MaxMeanWaitingTime(2.0), cq.MaxTokenRate(60.0), cq.MinMeanAccuracy(0.5)]
    return server().replace(constraints=limits)


def test_dual_values_become_the_multipliers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is estimated where they prove enough."""
    monkeypatch.setattr(driver, "estimated_multipliers", None)
    solution = cq.solve(constrained(), "conic")
    assert solution.is_optimal
    assert len(solution.history) == 1
    exact = cq.solve(server().replace(constraints=[cq.MaxMeanWaitingTime(2.0)]))
    found, expected = solution.certificate.multipliers, exact.certificate.multipliers
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)


def test_where_they_do_not_prove_enough_others_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = cq.solve(constrained())
    for given in (None, np.array([1e3, 0.0, 0.0]), np.zeros(3)):
        fake(monkeypatch, Outcome(exact.tokens, given, "CLARABEL: optimal", 7))
        solution = cq.solve(constrained(), "conic")
        assert solution.is_optimal
        assert solution.iterations == 7


def test_options_are_added_to_every_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = fake(monkeypatch, np.full(5, 100.0))
    cq.solve(server(), "conic", on_failure="return")
    plain = list(recorder.options)
    recorder.options.clear()
    given = {"max_threads": 1, "tol_feas": 1e-7}
    cq.solve(server(), "conic", solver_options=given, on_failure="return")
    assert recorder.options == [options | given for options in plain]


def test_a_refuted_claim_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, Outcome(None, None, "CLARABEL: infeasible", 3), cq.solve(server()).tokens)
    solution = cq.solve(server(), "conic")
    assert solution.backend_status == "CLARABEL: infeasible; then CLARABEL: optimal"


def test_answers_are_cut_to_the_order_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    # Worth so little that no type thinks: the bracket is the lower bound and a few roundings.
    instance = server().replace(accuracy_weight=1e-6, min_tokens=1.0)
    fake(monkeypatch, np.full(5, 2.0))
    solution = cq.solve(instance, "conic")
    np.testing.assert_allclose(solution.tokens, instance.min_tokens, rtol=1e-14)


def test_polishing_counts_as_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, 1.01 * cq.solve(server()).tokens)
    solution = cq.solve(server(), "conic", polish=True)
    steps = int(solution.backend_status.split("polished, ")[1].split()[0])
    assert steps > 0
    assert solution.iterations == 7 + steps


def test_a_time_limit_of_the_solver_that_is_no_number_is_refused_by_name() -> None:
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=100.0,
        max_tokens=2000.0,
        probabilities=[1.0],
        service=cq.AffineService(base=[0.1], per_token=[0.0002]),
        accuracy=cq.SaturatingExponential(floor=[0.1], gain=[0.6], rate=[0.001]),
    )
    with pytest.raises(cq.InvalidInputError, match="time_limit_secs must be a number"):
        cq.solve(
            instance, "conic", solver="SCS", solver_options={"time_limit_secs": "x"}, time_limit=3.0
        )
