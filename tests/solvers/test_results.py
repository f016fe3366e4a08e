"""No answer claims more than is proven of it, however it was made, copied or changed."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.solvers import batch_solution as batch_module

INSTANCE = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096,
    probabilities=[0.3, 0.7],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
)
CAPPED = INSTANCE.replace(constraints=[cq.MaxMeanSystemTime(3.0)])
RESULTS: dict[str, Callable[[], Any]] = {
    "solution": lambda: cq.solve(INSTANCE),
    "of the back end": lambda: cq.solve(INSTANCE, "conic"),
    "under a constraint": lambda: cq.solve(CAPPED),
    "unfinished": lambda: cq.solve(
        INSTANCE, "projected-gradient", max_iterations=1, on_failure="return"
    ),
    "certificate": lambda: cq.certify(CAPPED, [900.0, 5000.0]),
    "whole tokens": lambda: cq.solve_integer(INSTANCE),
    "rounded": lambda: cq.solve_integer(INSTANCE, "floor", domains=cq.Multiples(512)),
    "levels": lambda: cq.solve_integer(
        INSTANCE, domains=[cq.LevelMenu([0.2, 0.6], [0.5, 2.0]), cq.Integers()]
    ),
    "batch": lambda: cq.solve_batch(INSTANCE, arrival_rate=[0.1, 0.2, 3.0]),
}


def changed(result: Any, **fields: Any) -> Any:
    return dataclasses.replace(result, **fields)


def unfinished() -> cq.Solution:
    """An answer that is far from optimal."""
    solution = cq.solve(INSTANCE, "projected-gradient", max_iterations=1, on_failure="return")
    assert solution.relative_gap > 0.01
    assert solution.status is cq.Status.ITERATION_LIMIT
    return solution


def claims(result: Any) -> dict[str, Any]:
    """What is said of the tokens, without what took how long."""
    names = ("objective", "gap", "upper_bound", "relative_gap", "is_optimal", "tokens", "status")
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_results_cannot_be_changed(make: Callable[[], Any]) -> None:
    result = make()
    for name in ("replace", "mapped"):
        assert not hasattr(result, name)
    for field in (*(field.name for field in dataclasses.fields(result)), "gap", "is_optimal"):
        with pytest.raises(AttributeError):
            setattr(result, field, 0.0)


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize(
    "duplicate",
    [
        lambda value: pickle.loads(pickle.dumps(value)),
        copy.copy,
        copy.deepcopy,
        lambda value: dataclasses.replace(value),
    ],
    ids=["pickle", "copy", "deepcopy", "replace"],
)
def test_copies_claim_what_can_be_proven_again(
    make: Callable[[], Any], duplicate: Callable[[Any], Any]
) -> None:
    result = make()
    # What a copy must not take over.
    poisoned = {
        "gap": 0.0,
        "domain_gap": 0.0,
        "claims": None,
        "relative_gap": 0.0,
        "violation": 0.0,
    }
    twin = duplicate(result)
    assert twin == result
    assert hash(twin) == hash(result)
    mine, theirs = claims(result), claims(twin)
    for name, value in mine.items():
        if name in ("gap", "upper_bound", "relative_gap"):
            # A bound of integers that is searched again may be sharper, or within the tolerance.
            scale = cq.certify(INSTANCE, [0.0, 0.0]).scale
            np.testing.assert_allclose(theirs[name], value, rtol=0.3, atol=1e-9 * scale)
        else:
            assert np.array_equal(theirs[name], value, equal_nan=name == "tokens"), name
    vars(result).update(poisoned)
    again = duplicate(result)
    for name, value in theirs.items():
        assert np.array_equal(getattr(again, name), value, equal_nan=name == "tokens"), name


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_a_result_offers_no_parts_of_its_text(make: Callable[[], Any]) -> None:
    assert not [
        name for name in dir(make()) if name.endswith(("_line", "_lines")) and name[0] != "_"
    ]


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_a_pickle_does_not_reach_past_the_constructor(make: Callable[[], Any]) -> None:
    result = make()
    forged = Forged(type(result), {**vars(result), "gap": 0.0, "objective": 1e9})
    with pytest.raises(cq.InvalidInputError, match="past its constructor"):
        pickle.loads(pickle.dumps(forged))


class Forged:
    """Pickles as an object of a class with attributes of its own choice."""

    def __init__(self, kind: type[Any], state: dict[str, Any]) -> None:
        self.kind, self.state = kind, state

    def __reduce__(self) -> Any:
        return object.__new__, (self.kind,), dict.fromkeys(self.state, 0.0)


@pytest.mark.parametrize("ended", [cq.Status.OPTIMAL, "optimal", "converged", None, True])
def test_nobody_says_how_a_method_ended_in_other_words(ended: object) -> None:
    with pytest.raises(cq.InvalidInputError, match="ended must be one of"):
        dataclasses.replace(unfinished(), ended=ended)  # type: ignore[arg-type]
    with pytest.raises(cq.InvalidInputError, match="ended must be one of"):
        dataclasses.replace(cq.solve_integer(INSTANCE), ended=ended)  # type: ignore[arg-type]


@pytest.mark.parametrize("ended", cq.Ended)
def test_why_a_method_ended_makes_nothing_optimal(ended: cq.Ended) -> None:
    assert ended.value != "optimal"
    failed = dataclasses.replace(unfinished(), ended=ended)
    assert not failed.is_optimal
    assert failed.status is cq.Status(ended.value)
    assert failed.to_dict()["status"] == failed.to_dict()["ended"] == ended.value
    assert "within the tolerance" not in str(failed)
    good = dataclasses.replace(cq.solve(INSTANCE), ended=ended)
    assert good.is_optimal
    assert good.status is cq.Status.OPTIMAL
    assert good.to_dict()["status"] == "optimal"
    rounded = RESULTS["rounded"]()
    assert dataclasses.replace(rounded, ended=ended).status is not cq.Status.OPTIMAL


def test_a_computed_status_cannot_be_given() -> None:
    for name in ("status", "is_optimal"):
        with pytest.raises(TypeError, match=name):
            changed(unfinished(), **{name: cq.Status.OPTIMAL})
    for name in ("is_exact", "is_optimal", "domain_gap", "status"):
        with pytest.raises(TypeError, match=name):
            changed(cq.solve_integer(INSTANCE), **{name: 0.0})
    for name in ("gap", "scale", "objective", "is_optimal"):
        with pytest.raises(TypeError, match=name):
            changed(RESULTS["batch"](), **{name: np.zeros(3)})
    for name in ("gap", "objective", "violation", "tokens"):
        with pytest.raises(TypeError, match=name):
            changed(RESULTS["certificate"](), **{name: 0.0})


TOLERANT: dict[str, Callable[[float], Any]] = {
    "solve": lambda tolerance: cq.solve(INSTANCE, tolerance=tolerance),
    "conic": lambda tolerance: cq.solve(INSTANCE, "conic", tolerance=tolerance),
    "solve_batch": lambda tolerance: cq.solve_batch(INSTANCE, tolerance=tolerance),
    "solve_integer": lambda tolerance: cq.solve_integer(INSTANCE, tolerance=tolerance),
    "neighbors": lambda tolerance: cq.solve_integer(INSTANCE, "neighbors", tolerance=tolerance),
    "nearest": lambda tolerance: cq.solve_integer(INSTANCE, "nearest", tolerance=tolerance),
    "a solution": lambda tolerance: dataclasses.replace(unfinished(), tolerance=tolerance),
    "an integer answer": lambda tolerance: dataclasses.replace(
        cq.solve_integer(INSTANCE), tolerance=tolerance
    ),
    "a batch": lambda tolerance: dataclasses.replace(
        cq.solve_batch(INSTANCE), tolerance=np.array(tolerance)
    ),
}


@pytest.mark.parametrize("take", TOLERANT.values(), ids=TOLERANT)
def test_a_tolerance_is_at_most_one_part_in_a_hundred(take: Callable[[float], Any]) -> None:
    take(0.01)
    for tolerance in (5.0, np.nextafter(0.01, 1.0), np.inf, -1e-9):
        with pytest.raises(cq.InvalidInputError, match="tolerance"):
            take(tolerance)


def test_nothing_is_proven_of_tokens_outside_the_box() -> None:
    """There J can exceed the optimum over the box."""
    narrow = INSTANCE.replace(max_tokens=100.0)
    wide = cq.solve(INSTANCE)
    certificate = cq.Certificate(narrow, wide.tokens)
    assert certificate.tokens.tolist() == [100.0, 100.0]
    assert certificate.violation == pytest.approx(float(wide.tokens.max()) - 100.0)
    assert cq.Certificate.of(narrow, narrow.evaluate(wide.tokens)) == certificate
    batch = cq.solve_batch(narrow, arrival_rate=[0.1, 0.2])
    moved = dataclasses.replace(batch, tokens=np.stack([batch.tokens[0], wide.tokens]))
    assert moved.is_optimal.tolist() == [True, False]
    assert moved.objective[1] == -np.inf
    answer = cq.solve_integer(narrow)
    for choice in ([1000.0, 100.0], [99.5, 100.0], [np.nan, 1.0], [-1.0, 1.0], [1.0]):
        with pytest.raises(cq.InvalidInputError, match="choice"):
            dataclasses.replace(answer, choice=np.array(choice))


def test_an_answer_to_another_instance_proves_nothing_of_this_one() -> None:
    answer = cq.solve_integer(INSTANCE, "nearest", domains=cq.Multiples(512))
    other = cq.solve(INSTANCE.replace(arrival_rate=0.1))
    with pytest.raises(cq.InvalidInputError, match="continuous must be the answer to the same"):
        dataclasses.replace(answer, continuous=other)


def test_no_integer_answer_leaves_out_a_constraint() -> None:
    """Its bound would be one without the constraint, and its choice could break it."""
    whole, levels = RESULTS["whole tokens"](), RESULTS["levels"]()
    with pytest.raises(cq.InvalidInputError, match="IntegerSolution cannot keep mean system time"):
        dataclasses.replace(whole, instance=CAPPED, continuous=None)
    floored = INSTANCE.replace(constraints=[cq.MinAccuracy(0.5)])
    with pytest.raises(cq.InvalidInputError, match=r"cannot keep accuracy .* levels of effort"):
        dataclasses.replace(levels, instance=floored)


@pytest.mark.parametrize("method", ["exact", "nearest", "floor", "descent", "neighbors"])
def test_the_bound_of_an_integer_answer_is_searched_again(method: str) -> None:
    answer = cq.solve_integer(INSTANCE, method, domains=cq.Multiples(256))
    best = cq.solve_integer(INSTANCE, domains=cq.Multiples(256))
    again = pickle.loads(pickle.dumps(answer))
    assert again.upper_bound >= best.objective
    assert again.is_optimal == (method == "exact" or again.relative_gap <= again.tolerance)
    assert again.domain_gap >= best.objective - again.objective


def test_the_closed_forms_of_a_point_cannot_be_assigned() -> None:
    certificate = unfinished().certificate
    with pytest.raises(AttributeError, match="follows from the model and the tokens"):
        certificate.evaluation.scale = np.array(1e9)
    with pytest.raises(AttributeError, match="cannot assign"):
        RESULTS["batch"]().variants.arrival_rate = 0.1


def test_the_history_is_a_tuple_of_rows() -> None:
    solution = dataclasses.replace(unfinished(), history=[[1, 2, 3, 4, 5]])  # type: ignore[arg-type]
    assert solution.history == (cq.Iterate(1, 2.0, 3.0, 4.0, 5.0),)


@pytest.mark.parametrize("of", TOLERANT)
def test_a_tolerance_of_zero_is_refused(of: str) -> None:
    with pytest.raises(cq.InvalidInputError, match="must be > 0"):
        TOLERANT[of](0.0)


def test_a_result_is_made_of_what_it_needs() -> None:
    with pytest.raises(cq.InvalidInputError, match="certificate must be a Certificate"):
        changed(unfinished(), certificate="optimal")
    batch = RESULTS["batch"]()
    with pytest.raises(cq.InvalidInputError, match="variants must be Variants"):
        changed(batch, variants=None)
    with pytest.raises(
        cq.InvalidInputError, match=r"tokens must have shape \(3, 2\), got \(2, 2\)"
    ):
        changed(batch, tokens=batch.tokens[:2])
    with pytest.raises(cq.InvalidInputError, match=r"tolerance must have shape \(3,\), got \(2,\)"):
        changed(batch, tolerance=batch.tolerance[:2])
    with pytest.raises(cq.InvalidInputError, match="min_tokens"):
        changed(batch.variants, min_tokens=[[0.0, 5000.0]])
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance"):
        changed(cq.solve_integer(INSTANCE), instance=batch.variants)
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance"):
        cq.Certificate.of(batch.variants, INSTANCE.evaluate(batch.tokens))
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance"):
        cq.Certificate(batch.variants, [1.0, 2.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("outside", [-1.0, 4097.0, np.nan])
def test_nothing_is_claimed_of_a_variant_outside_its_box(outside: float) -> None:
    batch = cq.solve_batch(INSTANCE, arrival_rate=[0.1, 0.2])
    moved = changed(batch, tokens=np.stack([batch.tokens[0], [outside, 10.0]]))
    assert moved.objective.tolist() == [batch.objective[0], -np.inf]
    assert moved.gap.tolist() == [batch.gap[0], np.inf]
    np.testing.assert_array_equal(np.isnan(moved.scale), [False, True])
    np.testing.assert_array_equal(np.isnan(moved.mean_service_time), [False, True])
    assert moved.mean_waiting_time[1] == np.inf
    least = INSTANCE.evaluate(INSTANCE.lower).utilization
    assert moved.utilization[1] == pytest.approx(float(least), rel=1e-15)
    point = INSTANCE.evaluate(np.array([outside, 10.0]))
    certificate = cq.Certificate.of(INSTANCE, point)
    assert certificate == cq.Certificate(INSTANCE, point.tokens)
    assert not certificate.is_feasible


def test_claims_do_not_depend_on_how_many_variants_are_worked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = RESULTS["batch"]()
    monkeypatch.setattr(batch_module, "ENTRIES", 1)
    sizes = []
    original = batch_module.claims_of

    def seen(point: Any, gap: Any = None) -> Any:
        sizes.append(point.tokens.shape[0])
        return original(point, gap)

    monkeypatch.setattr(batch_module, "claims_of", seen)
    one_by_one = changed(at_once)
    np.testing.assert_array_equal(one_by_one.objective, at_once.objective)
    assert sizes == [1, 1, 1]


def test_a_choice_is_one_of_its_domain() -> None:
    domains: list[Any] = [cq.Menu([0, 300, 900]), cq.Multiples(100)]
    answer = cq.solve_integer(INSTANCE, domains=domains)
    changed(answer, choice=np.array([300.0, 200.0]))
    for choice in ([400.0, 200.0], [300.0, 250.0], [900.0, 4200.0], [300.0, np.inf]):
        with pytest.raises(cq.InvalidInputError, match="choice"):
            changed(answer, choice=np.array(choice))
    busy = INSTANCE.replace(arrival_rate=0.4, max_tokens=3000.0)
    with pytest.raises(cq.InvalidInputError, match="choice makes the queue unstable"):
        changed(cq.solve_integer(busy), choice=np.array([3000.0, 3000.0]))


def test_what_is_called_the_best_is_proven_whatever_found_it() -> None:
    domains = cq.Multiples(512)
    methods = ("nearest", "floor", "exact")
    nearest, floor, best = (cq.solve_integer(INSTANCE, it, domains=domains) for it in methods)
    np.testing.assert_array_equal(nearest.tokens, best.tokens)
    assert nearest.is_exact
    assert floor.objective < best.objective
    assert not floor.is_exact
    assert not changed(best, choice=floor.choice).is_exact


def test_multipliers_are_nonnegative_and_one_for_each_constraint() -> None:
    point = CAPPED.evaluate([900.0, 500.0])
    makes: list[Callable[[Any], Any]] = [
        lambda given: cq.Certificate(CAPPED, point.tokens, given),
        lambda given: cq.Certificate.of(CAPPED, point, given),
    ]
    for multipliers in ([-1e-9], [1.0, 1.0], [np.nan]):
        for make in makes:
            with pytest.raises(cq.InvalidInputError, match="multipliers"):
                make(np.array(multipliers))
    assert cq.Certificate.of(CAPPED, point).multipliers is not None


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("instance", 3, "must be an Instance, got 3"),
        ("ended", "converged", "ended must be one of Ended.CONVERGED"),
        ("choice", np.array([64.0, 65.0]), r"choice\[1\] = 65.0 is not allowed by the domain"),
        ("choice", np.array([4096.0, 4096.0]), "choice makes the queue unstable"),
        (
            "choice",
            np.array([64.0]),
            "choice must be a number or have one entry for each of the 2 types",
        ),
        ("tolerance", 0.02, "tolerance = 0.02 must be at most 0.01"),
        ("tolerance", -1.0, "tolerance = -1.0 must be > 0"),
    ],
)
def test_an_integer_answer_made_by_hand_is_checked(field: str, value: Any, words: str) -> None:
    answer = cq.solve_integer(INSTANCE, "descent", domains=cq.Multiples(64))
    given = {each.name: getattr(answer, each.name) for each in dataclasses.fields(answer)}
    assert cq.IntegerSolution(**given).objective == answer.objective
    with pytest.raises(cq.InvalidInputError, match=words):
        cq.IntegerSolution(**{**given, field: value})


def test_an_evaluation_that_anybody_makes_claims_nothing_of_its_own() -> None:
    model = INSTANCE.model
    # The best there are, so that others are worse than what was computed of these.
    tokens = cq.solve(INSTANCE).tokens
    with pytest.raises(TypeError, match="idle"):
        cq.Evaluation(model, tokens, idle=np.ones(()))  # type: ignore[call-arg]
    for make in (partial(cq.Evaluation, model), model.evaluate):
        given = tokens.copy()
        point = make(given)
        before = float(point.objective)
        given += 100.0
        certificate = cq.Certificate.of(INSTANCE, point)
        now = float(INSTANCE.objective(certificate.tokens))
        assert certificate.objective <= now <= certificate.upper_bound
        assert (certificate.tokens == tokens).all() == (now == before)
    given = tokens.copy()
    point = cq.Evaluation(model, given)
    given += 100.0
    assert (point.tokens == tokens).all()
    assert not point.tokens.flags.writeable


def anything(instance: cq.Instance, **_: Any) -> Any:
    """A method that takes any settings."""
    return instance.lower


OPTIONS: dict[str, tuple[Callable[[], cq.Solution], dict[str, Any]]] = {
    "none": (lambda: cq.solve(INSTANCE), {}),
    "those of a method": (
        lambda: cq.solve(INSTANCE, "conic", solver_options={"max_iter": 60}, tolerance=1e-8),
        {"solver_options": {"max_iter": 60}, "tolerance": 1e-8},
    ),
    "limits": (
        lambda: cq.solve(INSTANCE, max_iterations=50, time_limit=30, callback=lambda _: False),
        {"max_iterations": 50, "time_limit": 30},
    ),
    "a start": (lambda: cq.solve(INSTANCE, start=[1.0, 2.0]), {"start": "[1.0, 2.0]"}),
    "of a batch": (
        lambda: cq.solve_batch(INSTANCE, arrival_rate=[0.1], tolerance=1e-7)[0],
        {"tolerance": 1e-7},
    ),
    "of a batch under constraints": (
        lambda: cq.solve_batch(CAPPED, arrival_rate=[0.1], max_iterations=90)[0],
        {"max_iterations": 90},
    ),
    "somebody's own": (
        lambda: cq.solve(
            INSTANCE,
            anything,
            on_failure="return",
            a=np.float64(0.5),
            b=-np.inf,
            c=2**60,
            d="\ud800\x1b",
            e={"f": [1]},
            g=anything,
            k=np.int64(3),
            h=np.zeros((2, 2)),
            i=None,
            j=True,
        ),
        {
            "a": 0.5,
            "b": "-inf",
            "c": "1152921504606846976",
            "d": r"\ud800\x1b",
            "e": {"f": "[1]"},
            "g": "anything",
            "h": "array([[0., 0.], [0., 0.]])",
            "j": True,
            "k": 3,
        },
    ),
}


@pytest.mark.parametrize(("make", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_a_solution_keeps_the_options_that_were_given(
    make: Callable[[], cq.Solution], expected: dict[str, Any], tmp_path: Path
) -> None:
    answer = make()
    assert answer.options == expected
    assert answer.to_dict()["options"] == expected
    cq.save(answer, tmp_path / "answer.json")
    for twin in (pickle.loads(pickle.dumps(answer)), cq.load(tmp_path / "answer.json")):
        assert twin == answer
        assert hash(twin) == hash(answer)
        assert twin.options == expected
    with pytest.raises(TypeError):
        answer.options["tolerance"] = 1.0  # type: ignore[index]
    with pytest.raises(cq.InvalidInputError, match="options must be a mapping, got 3"):
        changed(answer, options=3)


def test_runs_of_one_method_are_named_by_the_options_that_differ() -> None:
    options: list[dict[str, Any]] = [{}, {"damping": 0.5}, {"damping": 1, "max_iterations": 40}]
    runs = [cq.solve(INSTANCE, "fixed-point", tolerance=1e-8, **each) for each in options]
    runs += [cq.solve(INSTANCE), cq.solve(INSTANCE, "conic"), cq.solve(INSTANCE, "conic")]
    names = [
        *("fixed-point", "fixed-point (damping=0.5)", "fixed-point (damping=1, max_iterations=40)"),
        *("newton", "conic (1)", "conic (2)"),
    ]
    compared = cq.CrossValidation(tuple(runs))
    assert compared.table().columns[0].values == names
    assert [row["options"] for row in compared.to_dict()["methods"]] == [
        dict(run.options) for run in runs
    ]
    assert all(name in repr(compared) for name in names)
