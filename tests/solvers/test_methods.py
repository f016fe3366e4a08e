"""The methods and `solve`: arguments, limits, callbacks, statuses, and what each promises."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.certificates import step_size
from cvxqueue.model.differences import improvement
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solution import Status
from cvxqueue.solvers.registry import METHODS, find_method
from tests.families import planted_instance
from tests.instances import CATALOGUE, allocations, instance_of
from tests.tolerances import EPSILON

SERVER = CATALOGUE["qwen3-8b-h100"].instance
ITERATIVE: dict[str, dict[str, Any]] = {
    "newton": {"method": "newton"},
    "fixed-point": {"method": "fixed-point"},
    "half-damped": {"method": "fixed-point", "damping": 0.5},
    "plain": {"method": "fixed-point", "damping": 1},
    "accelerated": {"method": "projected-gradient"},
    "scalar": {"method": "projected-gradient", "metric": "scalar"},
}
SMALL_LOADS = [name for name, row in CATALOGUE.items() if row.utilization <= 0.801]


# Arguments


def recorder(seen: list[cq.Iterate]) -> Callable[[cq.Iterate], bool]:
    """Return a callback that keeps what it sees, and never stops the method."""

    def record(progress: cq.Iterate) -> bool:
        seen.append(progress)
        return False

    return record


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "newtn"}, r"unknown method 'newtn': did you mean 'newton'\?.*conic"),
        ({"method": None}, "method must be a name such as .newton. or a callable, got None"),
        ({"tolerance": 0.0}, r"tolerance = 0\.0 must be > 0"),
        ({"tolerance": -1e-9}, "tolerance = -1e-09 must be > 0"),
        ({"tolerance": math.nan}, "tolerance = nan must be finite"),
        ({"tolerance": "tight"}, "tolerance must be one number.*'tight'"),
        ({"max_iterations": 0}, "max_iterations = 0 must be a whole number from 1"),
        ({"max_iterations": 2.5}, r"max_iterations = 2\.5 must be a whole number"),
        ({"max_iterations": True}, "max_iterations must be one number, got True"),
        ({"time_limit": 0.0}, r"time_limit = 0\.0 must be > 0"),
        ({"time_limit": math.nan}, "time_limit = nan"),
        ({"on_failure": "ignore"}, "on_failure must be 'raise' or 'return', got 'ignore'"),
        ({"dampin": 1.0}, "no option 'dampin'"),
        ({"method": "fixed-point", "dampin": 1.0}, r"no option 'dampin': did you mean 'damping'\?"),
        ({"method": "fixed-point", "damping": 0.0}, r"damping = 0\.0 must lie in \(0, 1\]"),
        ({"method": "fixed-point", "damping": 1.5}, r"damping = 1\.5 must lie in \(0, 1\]"),
        ({"method": "fixed-point", "damping": "half"}, "damping must be one number"),
        ({"method": "projected-gradient", "metric": "l2"}, "metric must be 'diagonal' or 'scalar'"),
        ({"max_iteration": 3}, r"no option 'max_iteration': did you mean 'max_iterations'\?"),
        ({"start": [0.0] * 4}, "start must .* 5 types, got 4"),
        (
            {"start": [0.0, 0.0, -1.0, 0.0, 0.0]},
            r"start\[2\] = -1\.0 must lie in \[0\.0, 32768\.0\]",
        ),
        ({"start": [0.0, 0.0, 0.0, 0.0, 40000.0]}, r"start\[4\] = 40000\.0"),
        ({"start": [math.nan] * 5}, r"start\[0\] = nan must be finite"),
        ({"start": 32768.0}, r"start makes the queue unstable .*instance\.lower"),
        ({"method": "conic", "start": [0.0] * 5}, "'conic' takes no start"),
        ({"method": ["newton"]}, r"method must be a name .* or a callable, got \['newton'\]"),
    ],
    ids=lambda value: (
        "" if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items())
    ),
)
def test_arguments_that_are_not_allowed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.solve(SERVER, **arguments)


def test_an_instance_is_wanted() -> None:
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance"):
        cq.solve({"arrival_rate": 1.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ITERATIVE)
def test_an_unstable_instance_is_refused_before_any_method(how: str) -> None:
    seen: list[cq.Iterate] = []
    heavy = SERVER.replace(arrival_rate=2.0)
    with pytest.raises(cq.UnstableQueueError, match="lower arrival_rate to") as caught:
        cq.solve(heavy, callback=recorder(seen), **ITERATIVE[how])
    assert not seen
    assert caught.value.utilization == heavy.least_utilization > 1
    assert caught.value.max_arrival_rate == heavy.max_arrival_rate


# Registry


def test_the_registry() -> None:
    assert [method.name for method in cq.methods()] == [
        "newton",
        "conic",
        "fixed-point",
        "projected-gradient",
    ]
    assert all(method.is_installed for method in cq.methods())
    assert find_method("newton").options() == ()
    assert find_method("fixed-point").options() == ("damping",)
    assert find_method("projected-gradient").options() == ("metric",)
    assert {"solver", "polish"} <= set(find_method("conic").options())
    for method in cq.methods():
        assert str(method) == f"{method.name}: {method.summary}"
        assert "limits" not in method.options()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "cvxqueue.solvers.registry.find_spec", lambda name: None if name == "cvxpy" else real(name)
    )
    assert not METHODS["conic"].is_installed
    assert "needs cvxpy" in str(METHODS["conic"])
    with pytest.raises(cq.MissingDependencyError, match=r"'conic' needs .*'cvxpy'.* install cvxpy"):
        cq.solve(SERVER, "conic")
    with pytest.raises(ImportError):
        cq.solve(SERVER, "conic")
    check = cq.cross_validate(SERVER)
    assert [solution.method for solution in check.solutions] == [
        "newton",
        "fixed-point",
        "projected-gradient",
    ]


# Limits, callbacks and statuses


@pytest.mark.parametrize("iterations", [1, 2, 5, 20])
@pytest.mark.parametrize("how", ITERATIVE)
@pytest.mark.parametrize("name", CATALOGUE)
def test_wherever_a_method_stops_its_proof_holds(name: str, how: str, iterations: int) -> None:
    instance, _, tokens, objective, _ = CATALOGUE[name]
    solution = cq.solve(instance, max_iterations=iterations, on_failure="return", **ITERATIVE[how])
    assert np.all(
        (instance.min_tokens <= solution.tokens) & (solution.tokens <= instance.max_tokens)
    )
    assert cq.certify(instance, solution.tokens).is_feasible
    assert Fraction(solution.objective) <= objective <= Fraction(solution.upper_bound)
    for value, (lower, upper) in zip(tokens, solution.token_bounds.tolist(), strict=True):
        assert Fraction(lower) <= value <= Fraction(upper)
    # What it says of itself is what the certificate says.
    within = solution.relative_gap <= solution.tolerance
    assert (solution.status is Status.OPTIMAL) == solution.is_optimal == within
    assert solution.iterations <= iterations
    assert solution.gap == min((row.gap for row in solution.history), default=np.inf) or (
        solution.status is Status.DIVERGED
    )


@pytest.mark.parametrize("how", ITERATIVE)
def test_what_is_not_certified_is_raised_by_default(how: str) -> None:
    # No method is done after its start.
    with pytest.raises(cq.ConvergenceError) as caught:
        cq.solve(SERVER, max_iterations=1, **ITERATIVE[how])
    solution = caught.value.solution
    assert solution.status is Status.ITERATION_LIMIT
    assert solution.iterations == 1
    assert isinstance(caught.value, RuntimeError)
    for part in (solution.method, "iteration_limit", "raise max_iterations", "relative gap"):
        assert part in str(caught.value)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert twin.solution == solution
    assert str(twin) == str(caught.value)


@pytest.mark.parametrize("how", ITERATIVE)
def test_a_callback_sees_every_iteration_and_can_stop(how: str) -> None:
    seen: list[cq.Iterate] = []

    def stop_at_third(row: cq.Iterate) -> bool:
        seen.append(row)
        return row.iteration == 3

    instance = CATALOGUE["light-traffic"].instance
    solution = cq.solve(
        instance, tolerance=1e-15, callback=stop_at_third, on_failure="return", **ITERATIVE[how]
    )
    assert solution.status in (Status.STOPPED, Status.STALLED)
    assert [row.iteration for row in seen] == [1, 2, 3][: len(seen)]
    for row, kept in zip(seen, solution.history, strict=True):
        assert row._replace(tokens=None) == kept
        assert row.tokens is not None
        certificate = cq.certify(instance, row.tokens)
        assert row.objective == certificate.objective
        assert row.gap == certificate.gap
        assert row.relative_gap == certificate.relative_gap


@pytest.mark.parametrize("method", [method.name for method in cq.methods()])
def test_a_callback_sees_the_last_iterate_too(method: str) -> None:
    seen: list[cq.Iterate] = []
    solution = cq.solve(SERVER, method, callback=recorder(seen))
    assert [row.iteration for row in seen] == [row.iteration for row in solution.history]
    assert seen[-1].gap == solution.gap
    # What was certified by then stays the answer.
    assert cq.solve(SERVER, "conic", callback=lambda row: True).is_optimal


def test_a_callback_where_the_objective_is_about_nothing() -> None:
    instance = SERVER.replace(
        accuracy_weight=0.0, service=cq.AffineService(base=0.0, per_token=0.002)
    )
    seen: list[cq.Iterate] = []
    assert cq.solve(instance, callback=recorder(seen)).is_optimal
    assert seen[-1].relative_gap == 0.0


def test_a_stopped_solve_says_so() -> None:
    with pytest.raises(cq.ConvergenceError, match=r"'stopped'.*callback"):
        cq.solve(SERVER, callback=lambda row: True)


def test_a_callback_must_be_callable() -> None:
    with pytest.raises(cq.InvalidInputError, match="callback must be callable, got 3"):
        cq.solve(SERVER, callback=3)  # type: ignore[arg-type]


def test_a_callback_that_fails_is_heard() -> None:
    def fails(row: cq.Iterate) -> bool:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        cq.solve(SERVER, callback=fails)


@pytest.mark.parametrize("how", ITERATIVE)
def test_a_time_limit_stops_after_the_first_proposal(how: str) -> None:
    solution = cq.solve(SERVER, time_limit=1e-9, on_failure="return", **ITERATIVE[how])
    assert solution.status is Status.TIME_LIMIT
    assert solution.iterations == 1


@pytest.mark.parametrize("how", ["newton", "fixed-point", "accelerated"])
def test_history_and_times(how: str) -> None:
    # With a callback every iterate is certified; without, newton's last ones alone are.
    solution = cq.solve(SERVER, callback=recorder([]), **ITERATIVE[how])
    history = solution.history
    assert [row.iteration for row in history] == list(range(1, solution.iterations + 1))
    seconds = [row.seconds for row in history]
    assert seconds == sorted(seconds)
    assert 0.0 < seconds[-1] <= solution.solve_time + solution.setup_time
    if how != "newton":
        assert cq.solve(SERVER, **ITERATIVE[how]).history[-1][:4] == history[-1][:4]
    # The first ascends on this server; the others are ascent methods.
    objectives = [row.objective for row in history]
    assert all(b >= a - 1e-12 * abs(a) for a, b in itertools.pairwise(objectives))
    assert history[-1].objective == solution.objective
    assert history[-1].gap == solution.gap


@pytest.mark.parametrize("how", ["fixed-point", "accelerated", "scalar"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_step_of_a_safeguarded_method_ascends(name: str, how: str) -> None:
    instance = CATALOGUE[name].instance
    seen: list[cq.Iterate] = []
    cq.solve(
        instance, max_iterations=30, callback=recorder(seen), on_failure="return", **ITERATIVE[how]
    )
    for before, after in itertools.pairwise(seen):
        assert before.tokens is not None
        assert after.tokens is not None
        start, end = instance.evaluate(before.tokens), instance.evaluate(after.tokens)
        assert improvement(start, end) > 0


# What each method promises


@pytest.mark.parametrize("name", CATALOGUE)
def test_newton_certifies_to_the_last_digits(name: str) -> None:
    instance, _, tokens, *_ = CATALOGUE[name]
    solution = cq.solve(instance)
    idle = 1.0 - solution.utilization
    assert solution.status is Status.OPTIMAL
    assert solution.relative_gap <= solution.tolerance
    assert solution.tolerance == pytest.approx(max(1e-12, 16 * EPSILON / idle), rel=1e-9)
    # Measured: at most 12 on 300 random instances.
    assert solution.iterations <= 25
    exact = np.array([float(value) for value in tokens])
    # The certified interval is the tolerance: no type is farther off than its own width.
    width = solution.token_bounds[:, 1] - solution.token_bounds[:, 0]
    assert (np.abs(solution.tokens - exact) <= width + 1e-12 * exact).all()


@pytest.mark.parametrize("name", CATALOGUE)
def test_newton_from_anywhere(name: str) -> None:
    instance = CATALOGUE[name].instance
    for start in allocations(instance, np.random.default_rng(7), 4):
        solution = cq.solve(instance, start=start)
        assert solution.is_optimal
        assert solution.iterations <= 30


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-9])
@pytest.mark.parametrize("how", ITERATIVE)
def test_a_tolerance_of_ones_own(how: str, tolerance: float) -> None:
    instance = CATALOGUE["light-traffic"].instance
    solution = cq.solve(instance, tolerance=tolerance, **ITERATIVE[how])
    assert solution.tolerance == tolerance
    assert solution.relative_gap <= tolerance


def test_an_impossible_tolerance_stalls() -> None:
    solution = cq.solve(SERVER, tolerance=1e-17, on_failure="return")
    assert solution.status is Status.STALLED
    assert solution.relative_gap < 1e-14
    assert "no further progress" in str(solution)


@pytest.mark.parametrize("method", ["fixed-point", "projected-gradient"])
def test_the_slow_methods_certify_nearly_all_that_is_lightly_loaded(method: str) -> None:
    rng = np.random.default_rng(11)
    loads = (0.001, 0.1, 0.3, 0.5, 0.7, 0.8)
    solutions = [
        cq.solve(
            instance_of(planted_instance(rng, utilization=load)[0]),
            method,
            max_iterations=5_000,
            on_failure="return",
        )
        for load in loads * 12
    ]
    assert np.mean([solution.is_optimal for solution in solutions]) >= 0.95
    for solution in solutions:
        assert solution.is_optimal == (solution.relative_gap <= solution.tolerance)


@pytest.mark.parametrize("method", ["fixed-point", "projected-gradient"])
@pytest.mark.parametrize("name", SMALL_LOADS)
def test_the_slow_methods_certify_the_catalogue(name: str, method: str) -> None:
    solution = cq.solve(CATALOGUE[name].instance, method, max_iterations=2_000)
    assert solution.relative_gap <= solution.tolerance == 1e-9


def test_the_plain_fixed_point_loses_stability_on_a_real_server() -> None:
    with pytest.raises(cq.ConvergenceError, match=r"diverged.*damping") as caught:
        cq.solve(SERVER, "fixed-point", damping=1)
    # The start is what is left, and it is certified as what it is.
    assert caught.value.solution.tokens.tolist() == SERVER.min_tokens.tolist()
    assert cq.solve(SERVER, "fixed-point").iterations <= 30


def test_plain_is_the_map_itself() -> None:
    instance = cq.references.planted(3, utilization=0.1).instance
    seen: list[cq.Iterate] = []
    cq.solve(instance, "fixed-point", damping=1, callback=recorder(seen))
    assert len(seen) >= 4
    for before, after in itertools.pairwise(seen):
        assert before.tokens is not None
        assert after.tokens is not None
        np.testing.assert_allclose(after.tokens, instance.response(before.tokens), rtol=1e-12)


def test_the_scalar_metric_steps_by_the_certified_bound() -> None:
    seen: list[cq.Iterate] = []
    cq.solve(
        SERVER,
        "projected-gradient",
        metric="scalar",
        max_iterations=20,
        callback=recorder(seen),
        on_failure="return",
    )
    assert seen[0].tokens is not None
    bound = step_size(SERVER, seen[0].tokens)
    for before, after in itertools.pairwise(seen):
        assert before.tokens is not None
        moved = np.maximum(before.tokens + SERVER.gradient(before.tokens) / bound.value, 0.0)
        np.testing.assert_array_equal(after.tokens, moved)
        assert after.objective > before.objective


def test_the_diagonal_metric_is_worth_its_name() -> None:
    # One scalar step for all types needs hundreds of thousands of iterations here.
    scalar = cq.solve(
        SERVER, "projected-gradient", metric="scalar", max_iterations=2_000, on_failure="return"
    )
    assert scalar.status is Status.ITERATION_LIMIT
    assert cq.solve(SERVER, "projected-gradient").iterations <= 50


@pytest.mark.parametrize(
    ("name", "iterations"), [("heavy-traffic-2", 500), ("heavy-traffic-3", 1_000)]
)
def test_momentum_is_what_certifies_heavy_loads(name: str, iterations: int) -> None:
    # It takes 222 and 435 steps; without momentum 3000 are not enough for either.
    cq.solve(CATALOGUE[name].instance, "projected-gradient", max_iterations=iterations)


@pytest.mark.parametrize("how", ITERATIVE)
def test_options_of_one_solve_do_not_leak_into_the_next(how: str) -> None:
    instance = CATALOGUE["light-traffic"].instance

    def run() -> tuple[list[float], float, int, Status]:
        solution = cq.solve(instance, **ITERATIVE[how])
        return solution.tokens.tolist(), solution.tolerance, solution.iterations, solution.status

    first = run()
    for other in ITERATIVE.values():
        cq.solve(
            instance,
            tolerance=0.01,
            max_iterations=1,
            start=instance.min_tokens,
            on_failure="return",
            **other,
        )
    assert run() == first


# What a solution says


SUMMARIES: dict[str, Callable[[cq.Solution], FloatArray | float]] = {
    "gap": lambda s: s.upper_bound - s.objective,
    "relative_gap": lambda s: s.gap / s.certificate.scale,
    "objective": lambda s: s.instance.objective(s.tokens),
    "utilization": lambda s: s.instance.evaluate(s.tokens).utilization,
    "mean_accuracy": lambda s: s.instance.evaluate(s.tokens).mean_accuracy,
    "accuracies": lambda s: s.instance.evaluate(s.tokens).accuracies,
    "mean_service_time": lambda s: s.instance.evaluate(s.tokens).mean_service_time,
    "mean_waiting_time": lambda s: s.instance.evaluate(s.tokens).mean_waiting_time,
    "mean_system_time": lambda s: s.instance.evaluate(s.tokens).mean_system_time,
}


@pytest.mark.parametrize("field", SUMMARIES)
def test_a_solution_measures_itself_on_the_instance(field: str) -> None:
    solution = cq.solve(SERVER, tolerance=1e-6)
    assert solution.instance is SERVER
    # The gap is rounding compared with the objectives whose difference it is.
    rounding = 4.0 * EPSILON * solution.certificate.scale
    np.testing.assert_allclose(
        getattr(solution, field), SUMMARIES[field](solution), rtol=1e-6, atol=rounding
    )
    np.testing.assert_array_equal(solution.to_dict()[field], getattr(solution, field))


def test_a_solution_as_text_and_as_data() -> None:
    named = SERVER.replace(names=["aime24", "aime25", "gpqa", "gsm8k", "hmmt25"])
    solution = cq.solve(named)
    text = str(solution)
    for part in ("newton: optimal", "certified gap", "gsm8k", "utilization", "task type"):
        assert part in text
    assert repr(solution).startswith("Solution(method='newton', status='optimal', objective=")
    data = json.loads(json.dumps(solution.to_dict()))
    assert data["tokens"] == solution.tokens.tolist()
    assert data["status"] == "optimal"
    assert data["token_bounds"] == solution.token_bounds.tolist()
    assert pickle.loads(pickle.dumps(solution)) == solution
    with pytest.raises(ValueError, match="read-only"):
        solution.tokens[0] = 1.0


def test_a_long_table_is_cut() -> None:
    text = str(cq.solve(CATALOGUE["types-100"].instance))
    assert "type 20" in text
    assert "type 21" not in text
    assert text.endswith("... and 80 more rows")


@pytest.mark.parametrize("status", Status)
def test_every_status_says_what_to_do(status: Status) -> None:
    assert len(status.advice) > 20


def test_newton_goes_on_until_the_types_have_settled() -> None:
    # Vanishing mixes: the prices stand still from the first pass on, and the tokens do not.
    instance = cq.Instance(
        arrival_rate=1.0,
        accuracy_weight=3000.0,
        max_tokens=[1.0, 1.0, 0.0],
        probabilities=[1e-6, 1e-6, 1.0 - 2e-6],
        service=cq.QuadraticService(
            base=[0.0, 0.0, 0.1], per_token=1e-6, per_squared_token=[100.0, 80.0, 1.0]
        ),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=[0.5, 0.4, 0.0], rate=[5.0, 5.0, 0.1]),
    )
    solution = cq.solve(instance)
    assert solution.status is cq.Status.OPTIMAL
    assert solution.tokens[0] > 0.3


@pytest.mark.parametrize("accuracy_weight", [0.1, 0.3, 2.0])
def test_newton_certifies_where_the_prices_never_move(accuracy_weight: float) -> None:
    # One type rests at a bound, and the other is nearly none of the mix.
    instance = cq.Instance(
        arrival_rate=0.3,
        accuracy_weight=accuracy_weight,
        max_tokens=16.0,
        probabilities=[1e-13, 1.0 - 1e-13],
        service=cq.QuadraticService(
            base=1.0, per_token=0.02, per_squared_token=0.01 if accuracy_weight == 0.1 else 0.001
        ),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=[0.8, 0.001], rate=[0.5, 0.01]),
    )
    assert cq.solve(instance).status is cq.Status.OPTIMAL


@pytest.mark.parametrize("accuracy_weight", [0.0, 50.0])
@pytest.mark.parametrize("method", ["newton", "fixed-point", "projected-gradient", "conic"])
def test_no_service_time_at_all(method: str, accuracy_weight: float) -> None:
    # Without base times the system time at the least tokens is zero, and nothing waits.
    instance = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=accuracy_weight,
        max_tokens=100.0 if accuracy_weight == 0.0 else 0.0,
        probabilities=[0.5, 0.5],
        service=cq.AffineService(base=0.0, per_token=0.01),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=0.01),
    )
    solution = cq.solve(instance, method)
    assert solution.status is cq.Status.OPTIMAL
    assert np.all(solution.tokens == 0.0) or (method == "conic" and solution.gap < 1e-9)
    assert cq.solve_integer(instance).tokens.tolist() == [0, 0]
