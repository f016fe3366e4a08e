"""What a message advises is done here, to the letter, and works."""

from __future__ import annotations

import pickle
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

import cvxqueue as cq
from cvxqueue import errors
from cvxqueue.certificates import step_size
from cvxqueue.files import from_dict, to_dict
from cvxqueue.fitting import fit_curve
from cvxqueue.plots import style
from cvxqueue.solvers import registry
from tests.generator import random_parameters
from tests.instances import CATALOGUE, instance_of

SERVER = CATALOGUE["qwen3-8b-h100"].instance


def number_after(words: str, message: object) -> float:
    """The number that follows some words of a message."""
    found = re.search(rf"{words} ([\d.e+-]+)", str(message))
    assert found is not None, message
    return float(found[1])


@pytest.mark.parametrize("seed", range(40))
def test_an_unstable_queue_is_stable_at_the_rate_that_the_error_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = instance_of(random_parameters(rng))
    crowded = instance.replace(arrival_rate=instance.max_arrival_rate * (1.0 + rng.random()))
    with pytest.raises(cq.UnstableQueueError) as unstable:
        cq.solve(crowded)
    advised = crowded.replace(arrival_rate=number_after("lower arrival_rate to", unstable.value))
    assert cq.solve(advised).is_optimal


def test_a_rate_of_few_digits_is_not_the_one_that_is_advised() -> None:
    crowded = SERVER.replace(arrival_rate=3.0, service=cq.AffineService(base=0.5, per_token=0.002))
    with pytest.raises(cq.UnstableQueueError) as unstable:
        cq.solve(crowded)
    assert unstable.value.max_arrival_rate == pytest.approx(2.0)
    rate = number_after("lower arrival_rate to", unstable.value)
    assert cq.solve(crowded.replace(arrival_rate=rate)).is_optimal


@pytest.mark.parametrize("seed", range(20))
def test_whole_tokens_are_stable_at_the_rate_that_the_error_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = instance_of(random_parameters(rng)).replace(domains=cq.Menu([700, 900]))
    instance = instance.replace(min_tokens=0.0, max_tokens=1000.0)
    busy = float(instance.evaluate(np.full(instance.size, 700.0)).mean_service_time)
    crowded = instance.replace(arrival_rate=(1.0 + rng.random()) / busy)
    if not crowded.is_feasible:
        pytest.fail("the generator makes no such instance")
    with pytest.raises(cq.InfeasibleError, match="in whole tokens") as unstable:
        cq.solve_integer(crowded)
    advised = crowded.replace(arrival_rate=number_after("lower arrival_rate to", unstable.value))
    assert cq.solve_integer(advised).is_optimal


def test_times_that_may_be_milliseconds_are_asked_about() -> None:
    line = SERVER.service
    assert isinstance(line, cq.AffineService)
    milliseconds = cq.AffineService(base=1e3 * line.base, per_token=1e3 * line.per_token)
    with pytest.raises(cq.UnstableQueueError, match="are these milliseconds"):
        cq.solve(SERVER.replace(service=milliseconds))
    seconds = cq.AffineService(
        base=1e-3 * milliseconds.base, per_token=1e-3 * milliseconds.per_token
    )
    assert cq.solve(SERVER.replace(service=seconds)).is_optimal
    # A thousandth of these would still be too much.
    with pytest.raises(cq.UnstableQueueError, match=r"at min_tokens$"):
        cq.solve(SERVER.replace(arrival_rate=1e4))


@pytest.mark.parametrize(
    ("constraint", "words", "field"),
    [
        (cq.MaxMeanSystemTime(0.01), "raise seconds to", "seconds"),
        (cq.MaxMeanWaitingTime(0.01), "raise seconds to", "seconds"),
        (cq.MaxTokenRate(0.01), "raise tokens_per_second to", "tokens_per_second"),
        (cq.WaitingTimeTail(0.1, 0.01), "raise seconds to", "seconds"),
        (cq.WaitingTimeTail(0.1, 0.01), "or probability to", "probability"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_constraint_can_be_kept_at_the_limit_that_the_error_names(
    constraint: Any, words: str, field: str
) -> None:
    # Some of the numbers are rounded up, and some would be rounded down to the nearest.
    for least in (100.0, 111.0, 123.0, 151.0, 333.0):
        instance = SERVER.replace(min_tokens=least)
        with pytest.raises(cq.InfeasibleError) as infeasible:
            cq.solve(instance.replace(constraints=[constraint]))
        fields = {**vars(constraint), field: number_after(words, infeasible.value)}
        assert cq.solve(instance.replace(constraints=[type(constraint)(**fields)])).is_optimal


def test_no_probability_is_advised_that_would_be_refused() -> None:
    crowded = SERVER.replace(arrival_rate=SERVER.max_arrival_rate * (1.0 - 1e-6))
    with pytest.raises(cq.InfeasibleError, match="raise seconds to") as infeasible:
        cq.solve(crowded.replace(constraints=[cq.WaitingTimeTail(0.1, 0.01)]))
    # To six digits it would be 1, from which on a tail demands nothing.
    assert "probability to" not in str(infeasible.value)
    long = cq.WaitingTimeTail(number_after("raise seconds to", infeasible.value), 0.01)
    assert cq.solve(crowded.replace(constraints=[long]), tolerance=1e-3).is_optimal


def test_floors_on_types_can_be_kept_where_the_errors_say() -> None:
    floors = np.full(SERVER.size, 0.9999)
    for k in range(SERVER.size):
        with pytest.raises(cq.InfeasibleError, match=rf"accuracy\[{k}\]") as infeasible:
            cq.solve(SERVER.replace(constraints=[cq.MinAccuracy(floors)]))
        floors[k] = number_after("lower the floor to", infeasible.value)
    lightly = SERVER.replace(arrival_rate=1e-3, constraints=[cq.MinAccuracy(floors)])
    assert cq.solve(lightly).is_optimal


@pytest.mark.parametrize("limit", [cq.MaxMeanSystemTime(9.0), cq.MaxTokenRate(900.0)])
def test_a_floor_on_the_mix_can_be_kept_where_the_error_says(limit: Any) -> None:
    instance = SERVER.replace(min_tokens=100.0)
    with pytest.raises(cq.InfeasibleError, match="or relax the others") as infeasible:
        cq.solve(instance.replace(constraints=[limit, cq.MinMeanAccuracy(0.999)]))
    floor = cq.MinMeanAccuracy(number_after("lower accuracy to", infeasible.value))
    assert cq.solve(instance.replace(constraints=[limit, floor])).is_optimal
    # Hardly less than could be had.
    with pytest.raises(cq.InfeasibleError):
        cq.solve(instance.replace(constraints=[limit, cq.MinMeanAccuracy(floor.accuracy + 1e-3)]))
    # The other way: a limit that leaves room.
    relaxed = type(limit)(1e6)
    reached = float(instance.evaluate(instance.upper).mean_accuracy)
    rarely = instance.replace(arrival_rate=1e-3)
    floor = cq.MinMeanAccuracy(0.9 * reached)
    assert cq.solve(rarely.replace(constraints=[relaxed, floor])).is_optimal


def test_the_mean_accuracy_of_a_point_is_rounded_to_a_floor_that_it_keeps() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        point = SERVER.evaluate(rng.uniform(0.0, 500.0, SERVER.size))
        remedy = cq.MinMeanAccuracy(0.9).remedy(point)
        floor = cq.MinMeanAccuracy(number_after("lower accuracy to", remedy))
        assert floor.excess(point) <= 0.0


def test_a_floor_that_no_answer_keeps_is_removed() -> None:
    wrong = SERVER.replace(accuracy=cq.SaturatingExponential(floor=0.0, gain=0.0, rate=1e-3))
    with pytest.raises(cq.InfeasibleError, match="remove it: no answer is ever correct"):
        cq.solve(wrong.replace(constraints=[cq.MinMeanAccuracy(0.1)]))
    assert cq.solve(wrong.replace(constraints=[])).is_optimal


def test_a_floor_on_a_type_may_be_kept_with_more_tokens() -> None:
    short = SERVER.replace(max_tokens=100.0, arrival_rate=1e-4)
    floors = cq.MinAccuracy(0.9 * np.asarray(SERVER.accuracy.value(SERVER.upper)))
    with pytest.raises(cq.InfeasibleError, match="or raise max_tokens"):
        cq.solve(short.replace(constraints=[floors]))
    raised = short.replace(max_tokens=SERVER.max_tokens, constraints=[floors])
    assert cq.solve(raised).is_optimal


def test_an_unstable_queue_is_stable_at_shorter_service_times() -> None:
    line: Any = SERVER.service
    crowded = SERVER.replace(arrival_rate=1.5 * SERVER.max_arrival_rate)
    with pytest.raises(cq.UnstableQueueError, match="or the service times at min_tokens") as error:
        cq.solve(crowded)
    share = 0.999 / error.value.utilization
    faster = cq.AffineService(base=share * line.base, per_token=share * line.per_token)
    assert cq.solve(crowded.replace(service=faster)).is_optimal


def test_a_time_limit_is_raised() -> None:
    with pytest.raises(cq.ConvergenceError, match="raise time_limit"):
        cq.solve(SERVER, "projected-gradient", time_limit=1e-9)
    assert cq.solve(SERVER, "projected-gradient", time_limit=np.inf).is_optimal
    hasty = cq.solve_integer(SERVER, domains=cq.Multiples(256), time_limit=1e-9)
    assert "raise time_limit" in str(hasty)
    patient = cq.solve_integer(SERVER, domains=cq.Multiples(256), time_limit=np.inf)
    assert "(within the tolerance)" in str(patient)


def test_an_iteration_that_leaves_stability_is_damped() -> None:
    with pytest.raises(cq.ConvergenceError, match="use damping") as diverged:
        cq.solve(SERVER, "fixed-point", damping=1.0)
    assert diverged.value.solution.status is cq.Status.DIVERGED
    assert cq.solve(SERVER, "fixed-point", damping=0.1, max_iterations=10_000).is_optimal


def called(function: Any, *arguments: Any, **options: Any) -> Any:
    return function(*arguments, **options)


@pytest.mark.parametrize(
    ("refused", "advised"),
    [
        (lambda: cq.solve(SERVER, "newtn"), lambda name: cq.solve(SERVER, name)),
        (lambda: cq.solve(SERVER, "Conic"), lambda name: cq.solve(SERVER, name)),
        (
            lambda: cq.solve(SERVER, "projected-gradient", metrc="diagonal"),
            lambda name: called(cq.solve, SERVER, "projected-gradient", **{name: "diagonal"}),
        ),
        (
            lambda: cq.solve_integer(SERVER, "neighbours"),
            lambda name: cq.solve_integer(SERVER, name),
        ),
        (
            lambda: from_dict({**to_dict(SERVER), "accuracy_wieght": 1.0}),
            lambda name: from_dict({**to_dict(SERVER), name: 1.0}),
        ),
    ],
    ids=["method", "case", "option", "integer method", "key of a file"],
)
def test_what_was_meant_is_taken(
    refused: Callable[[], object], advised: Callable[[str], object]
) -> None:
    with pytest.raises(cq.InvalidInputError) as unknown:
        refused()
    meant = re.search(r"did you mean '([\w-]+)'\?", str(unknown.value))
    assert meant is not None, unknown.value
    advised(meant[1])


def test_a_curve_far_from_its_points_is_measured_or_fitted_anew() -> None:
    tokens = np.array([0.0, 500.0, 1000.0, 2000.0, 4000.0])
    with pytest.warns(cq.CvxqueueWarning, match=r"measure more answers, or fit .* \(fit_curve\)"):
        cq.PiecewiseLinear(tokens=tokens, accuracy=[0.2, 0.35, 0.32, 0.5, 0.55])
    found = fit_curve(tokens, accuracy=[0.2, 0.35, 0.32, 0.5, 0.55], total=[100] * 5)
    curve = cq.SaturatingExponential(
        floor=found.floor.value, gain=found.gain.value, rate=found.rate.value
    )
    assert cq.solve(SERVER.replace(accuracy=curve)).is_optimal
    # More answers scatter less.
    cq.PiecewiseLinear(tokens=tokens, accuracy=[0.2, 0.34, 0.42, 0.5, 0.55])


def test_a_tolerance_loosened_to_the_gap_that_the_error_names_is_met() -> None:
    with pytest.raises(cq.ConvergenceError, match="loosen the tolerance") as stalled:
        cq.solve(SERVER, tolerance=1e-18)
    reached = number_after("best certified relative gap", stalled.value)
    assert cq.solve(SERVER, tolerance=reached).is_optimal


@pytest.mark.parametrize("method", ["fixed-point", "projected-gradient", "conic"])
def test_the_other_method_that_the_error_names_is_certified(method: str) -> None:
    with pytest.raises(cq.ConvergenceError, match="raise max_iterations") as limited:
        cq.solve(SERVER, method, max_iterations=1)
    other = re.search(r"use method '([\w-]+)'", str(limited.value))
    assert other is not None
    assert cq.solve(SERVER, other[1]).is_optimal
    assert cq.solve(SERVER, method, max_iterations=100_000).is_optimal


BATCH = cq.SaturatingExponential(floor=0.2, gain=0.5, rate=np.full((2, SERVER.size), 1e-3))
NARROW = SERVER.replace(min_tokens=100.2, max_tokens=100.7)
FLOORED = NARROW.replace(
    min_tokens=0.0, constraints=[cq.MinAccuracy(SERVER.accuracy.value(np.full(SERVER.size, 100.5)))]
)
LINE: Any = SERVER.service
CAPPED = SERVER.replace(constraints=[cq.MaxMeanSystemTime(20.0)])
BUSY_BREAKS = SERVER.replace(queue=cq.Vacations(mean=1e-9, second_moment=1e-18))
LEVELS = cq.LevelMenu(accuracy=[0.5, 0.7], mean_service_time=[1.0, 9.0])


@pytest.mark.parametrize(
    ("refused", "words", "advised"),
    [
        (
            lambda: cq.solve(SERVER, start=np.full(SERVER.size, 9000.0)),
            r"use instance\.lower",
            lambda: cq.solve(SERVER, start=SERVER.lower),
        ),
        (
            lambda: cq.solve(SERVER, "conic", start=SERVER.lower),
            "leave it out",
            lambda: cq.solve(SERVER, "conic"),
        ),
        (
            lambda: cq.formulate(SERVER).update(SERVER),
            r"use formulate\(instance, 'parametric'\)",
            lambda: cq.formulate(SERVER, "parametric").update(SERVER),
        ),
        (
            lambda: cq.PiecewiseLinear(tokens=[1000, 2000], accuracy=[0.1, 0.9]),
            "give a point at 0 tokens",
            lambda: cq.PiecewiseLinear(tokens=[0, 1000, 2000], accuracy=[0.0, 0.1, 0.9]),
        ),
        (
            lambda: cq.solve_integer(SERVER.replace(domains=LEVELS), "nearest"),
            "by method 'exact' or 'descent'",
            lambda: cq.solve_integer(SERVER.replace(domains=LEVELS), "descent"),
        ),
        (
            lambda: cq.solve_integer(SERVER.replace(domains=LEVELS), "floor"),
            "by method 'exact' or 'descent'",
            lambda: cq.solve_integer(SERVER.replace(domains=LEVELS), "exact"),
        ),
        (
            lambda: cq.formulate(SERVER).update(SERVER),
            "or formulate the new instance",
            lambda: cq.formulate(SERVER),
        ),
        (
            lambda: step_size(SERVER, np.full(SERVER.size, 9000.0)),
            r"use instance\.lower",
            lambda: step_size(SERVER, SERVER.lower),
        ),
        (
            lambda: SERVER.replace(
                max_tokens=np.ma.masked_array([1e4] * 5, mask=np.arange(5) == 2)
            ),
            "fill in or drop such entries",
            lambda: SERVER.replace(
                max_tokens=np.ma.masked_array([1e4] * 5, mask=np.arange(5) == 2).filled(9e3)
            ),
        ),
        (
            lambda: SERVER.replace(accuracy=BATCH),
            "use solve_batch",
            lambda: cq.solve_batch(SERVER, accuracy=BATCH),
        ),
        (
            lambda: cq.solve_integer(SERVER.replace(max_tokens=1e20)),
            "must be at most 2\\^53 .* lower it",
            lambda: cq.solve_integer(SERVER.replace(max_tokens=2.0**53)),
        ),
        (
            lambda: cq.solve_integer(NARROW),
            "widen the box",
            lambda: cq.solve_integer(NARROW.replace(max_tokens=101.0)),
        ),
        (
            lambda: cq.solve_integer(FLOORED),
            "lower that, or widen the box",
            lambda: cq.solve_integer(FLOORED.replace(constraints=[cq.MinAccuracy(0.001)])),
        ),
        (
            lambda: cq.BatchSolution(
                variants=SERVER,  # type: ignore[arg-type]
                tokens=SERVER.lower,
                tolerance=np.array(1e-9),
                iterations=np.array(1),
                max_iterations=1,
                solve_time=0.0,
            ),
            "use certify for one instance",
            lambda: cq.certify(SERVER, SERVER.lower),
        ),
        (
            lambda: cq.simulate(BUSY_BREAKS, 100.0, queries=1000),
            "simulate longer or steadier vacations, or cq.FIFO, .* they add E",
            lambda: [
                cq.simulate(
                    SERVER.replace(queue=cq.Vacations(mean=0.1, second_moment=0.02)),
                    100.0,
                    queries=1000,
                ),
                cq.simulate(
                    SERVER.replace(queue=cq.Vacations(mean=1e-3, second_moment=1e-6)),
                    100.0,
                    queries=1000,
                ),
                cq.simulate(SERVER.replace(queue=cq.FIFO()), 100.0, queries=1000),
            ],
        ),
    ],
    ids=[
        *("start", "no start", "update", "points", "levels", "levels to floor", "formulate"),
        *("step size", "masked", "batch", "uncountable", "narrow", "narrow by a floor"),
        *("batch of one", "vacations"),
    ],
)
def test_what_is_advised_is_taken(
    refused: Callable[[], object], words: str, advised: Callable[[], object]
) -> None:
    with pytest.raises((cq.InvalidInputError, cq.InfeasibleError), match=words):
        refused()
    advised()


QUADRATIC = cq.QuadraticService(base=LINE.base, per_token=LINE.per_token, per_squared_token=1e-9)
PIECES = cq.PiecewiseLinear(tokens=[0, 500, 4000], accuracy=[0.1, 0.5, 0.7])
MORE_PIECES = cq.PiecewiseLinear(tokens=[0, 500, 1000, 4000], accuracy=[0.1, 0.5, 0.6, 0.7])


@pytest.mark.parametrize(
    ("held", "new"),
    [
        (SERVER, SERVER.replace(queue=cq.ProcessorSharing())),
        (SERVER, SERVER.replace(service=QUADRATIC)),
        (SERVER, SERVER.replace(accuracy=PIECES)),
        (SERVER.replace(accuracy=PIECES), SERVER.replace(accuracy=MORE_PIECES)),
        (SERVER, SERVER.replace(constraints=[cq.MinMeanAccuracy(0.2)])),
        (SERVER, CATALOGUE["fifo-affine-exponential"].instance),
    ],
    ids=["queue", "service", "accuracy", "segments", "constraints", "size"],
)
def test_an_instance_that_a_form_cannot_take_is_formulated(
    held: cq.Instance, new: cq.Instance
) -> None:
    with pytest.raises(cq.InvalidInputError, match="formulate the new instance"):
        cq.formulate(held, "parametric").update(new)
    form = cq.formulate(new, "parametric")
    form.update(new)
    form.problem.solve(solver="CLARABEL")
    assert form.problem.status in ("optimal", "optimal_inaccurate")


@pytest.mark.parametrize(
    ("given", "method"),
    [
        (CAPPED, "fixed-point"),
        (CAPPED, "projected-gradient"),
        (SERVER.replace(accuracy=PIECES), "fixed-point"),
    ],
    ids=["constraint", "constraint of the gradient", "kinks"],
)
def test_each_method_that_can_take_an_instance_solves_it(given: cq.Instance, method: str) -> None:
    with pytest.raises(cq.InvalidInputError, match="methods that can take") as refused:
        cq.solve(given, method)
    able = re.findall("'([a-z-]+)'", str(refused.value).split(":")[-1])
    assert able == ["newton", "conic"]
    for name in able:
        assert cq.solve(given, name, tolerance=1e-6).is_optimal


def test_each_conic_solver_that_is_named_solves_it() -> None:
    for unable in ("ECOS", "HIGHS"):
        with pytest.raises(cq.CvxqueueError, match=r"(installed|those that do):") as refused:
            cq.solve(SERVER, "conic", solver=unable)
        named = str(refused.value).rpartition(": ")[2].split(", ")
        assert {"CLARABEL", "SCS"} <= set(named)
        for name in ("CLARABEL", "SCS"):
            assert cq.solve(SERVER, "conic", solver=name, tolerance=1e-5).is_optimal


def is_lacking(name: str) -> Callable[[str], object]:
    """A search for packages that finds all but one."""
    return lambda package: None if package == name else package


def plotted_and_solved() -> None:
    style.require_matplotlib()
    cq.solve(SERVER, "conic")


@pytest.mark.parametrize("prefix", [sys.prefix, "/home/x y/.venv"])
def test_pip_is_told_which_environment_it_is_for(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(errors, "find_spec", is_lacking("pip"))
    words = shlex.split(errors.pip_install("rich"))
    assert words == ["python3", "-m", "pip", "--python", prefix, "install", "rich"]
    # As the README installs into an environment without pip.
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert " ".join([*words[:4], ".venv", "install"]) in readme
    monkeypatch.setattr(errors, "find_spec", is_lacking("nothing"))
    words = shlex.split(errors.pip_install("rich"))
    assert words == [sys.executable, "-m", "pip", "install", "rich"]


@pytest.mark.parametrize("package", ["cvxpy", "clarabel", "scipy", "matplotlib"])
def test_a_package_that_is_to_be_installed_is_what_the_call_lacks(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = errors if package == "matplotlib" else registry
    with monkeypatch.context() as without:
        without.setattr(
            module, "find_spec", lambda name: None if name == package else find_spec(name)
        )
        with pytest.raises(cq.MissingDependencyError) as missing:
            plotted_and_solved()
    # With nothing else than what pip is told to install, the call succeeds.
    assert f": {errors.pip_install(package)}" in str(missing.value)
    plotted_and_solved()
    required = [Requirement(line) for line in metadata.requires("cvxqueue") or ()]
    named = re.search(r"the extra '(\w+)' has it", str(missing.value))
    extra = "" if named is None else named[1]
    assert extra in ["", *(metadata.metadata("cvxqueue").get_all("Provides-Extra") or ())]
    assert (extra == "plot") == (package == "matplotlib")
    (wanted,) = [
        line
        for line in required
        if line.name == package and (line.marker is None) == (not extra)
        if line.marker is None or line.marker.evaluate({"extra": extra})
    ]
    assert wanted.specifier.contains(metadata.version(package))
    if extra:
        # As the README writes it, in a clone.
        readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
        (written,) = re.findall(r"pip --python \.venv install '\.(\[plot\])'", readme)
        assert Requirement(f"cvxqueue{written}").extras == {extra}


# What the status of an answer advises.


def handmade(certificate: cq.Certificate, ended: cq.Ended, tolerance: float) -> cq.Solution:
    """An answer of a method that is not the package's."""
    return cq.Solution(
        certificate=certificate,
        method="mine",
        ended=ended,
        tolerance=tolerance,
        backend_status="it broke down",
        iterations=1,
        setup_time=0.0,
        solve_time=0.0,
        history=(),
    )


@pytest.mark.parametrize("ended", cq.Ended)
def test_what_the_end_of_a_method_advises_makes_it_optimal(ended: cq.Ended) -> None:
    optimum = cq.solve(SERVER)
    certificate = cq.certify(SERVER, optimum.tokens + 0.1)
    answer = handmade(certificate, ended, 1e-12)
    advice = str(cq.ConvergenceError(answer))
    assert (answer.status.value, answer.is_optimal) == (ended.value, False)
    followed = []
    if "loosen" in advice:
        reached = number_after("best certified relative gap", advice)
        assert handmade(certificate, ended, reached).is_optimal
        followed.append("loosen")
    if "see backend_status" in advice:
        assert answer.backend_status == "it broke down"
        followed.append("see")
    # The limits of a method that is not the package's are its own.
    followed += [word for word in ("raise", "lower") if word in advice]
    if ended is cq.Ended.STOPPED:
        assert "the callback asked to stop)" in advice
        assert cq.solve(SERVER, callback=lambda progress: False).is_optimal
        return
    other = re.search("use method '(.+)'", advice)
    assert other is not None
    assert cq.solve(SERVER, other[1]).is_optimal
    # Why somebody's own method left the stability region, the package cannot know.
    assert bool(followed) == (ended is not cq.Ended.DIVERGED)


def test_newton_is_given_more_iterations_or_the_other_method() -> None:
    with pytest.raises(cq.ConvergenceError, match=r"raise max_iterations, or use .*'conic'"):
        cq.solve(SERVER, max_iterations=1)
    assert cq.solve(SERVER, max_iterations=500).is_optimal
    assert cq.solve(SERVER, "conic").is_optimal


def test_a_gap_above_every_tolerance_is_not_said_to_need_a_looser_one() -> None:
    heavy = SERVER.replace(accuracy_weight=1e30)
    busy = SERVER.replace(arrival_rate=SERVER.max_arrival_rate * (1.0 - 1e-13))
    for beyond, within in (
        (heavy, heavy.replace(accuracy_weight=1e25)),
        (busy, busy.replace(arrival_rate=SERVER.max_arrival_rate * (1.0 - 1e-9))),
    ):
        with pytest.raises(cq.ConvergenceError) as failed:
            cq.solve(beyond)
        assert failed.value.solution.relative_gap > 0.01
        assert "; lower accuracy_weight or arrival_rate, or use" in str(failed.value)
        assert cq.solve(within).is_optimal


def test_more_iterations_are_not_advised_where_they_would_change_nothing() -> None:
    busy = SERVER.replace(arrival_rate=SERVER.max_arrival_rate * (1.0 - 1e-11))
    with pytest.raises(cq.ConvergenceError, match="reached; loosen the tolerance") as limited:
        cq.solve(busy)
    assert limited.value.solution.status is cq.Status.ITERATION_LIMIT
    reached = number_after("best certified relative gap", limited.value)
    assert cq.solve(busy, tolerance=reached).is_optimal


def test_neighbors_are_given_time() -> None:
    steps = cq.Multiples(64)
    hasty = cq.solve_integer(SERVER, "neighbors", domains=steps, time_limit=1e-9)
    assert "raise time_limit" in str(hasty)
    assert "raise time_limit" not in str(cq.solve_integer(SERVER, "neighbors", domains=steps))


def test_what_cannot_be_changed_is_made_anew() -> None:
    with pytest.raises(cq.InvalidInputError, match="make the object anew"):
        SERVER.__setstate__(vars(SERVER))
    anew = cq.Instance(
        **{field.name: getattr(SERVER, field.name) for field in fields(SERVER) if field.init}
    )
    assert anew == SERVER == pickle.loads(pickle.dumps(SERVER))
    point = SERVER.evaluate(SERVER.lower)
    with pytest.raises(AttributeError, match="evaluate others"):
        point.tokens = SERVER.upper
    assert (SERVER.evaluate(SERVER.upper).tokens == SERVER.upper).all()
    model = cq.solve_batch(SERVER, arrival_rate=[0.1, 0.2]).variants.model
    with pytest.raises(AttributeError, match="cannot assign"):
        model.arrival_rate = np.array([0.3, 0.4])  # type: ignore[misc]
    anew_too = cq.solve_batch(SERVER, arrival_rate=[0.3, 0.4]).variants.model
    np.testing.assert_array_equal(anew_too.arrival_rate, [0.3, 0.4])
