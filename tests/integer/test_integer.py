"""Whole tokens: stable always, the best combination of neighbors, and losses that are proven."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli.answer import answer_report
from cvxqueue.files.writing import domain_tables
from cvxqueue.formatting import at_most
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import improvement
from cvxqueue.numerics.arrays import FloatArray
from tests.families import planted_instance
from tests.generator import PATTERNS
from tests.instances import CATALOGUE, instance_of
from tests.oracle import Problem
from tests.tolerances import IMPROVEMENT

METHODS = ("nearest", "floor", "descent", "neighbors", "exact")

# Relative to `scale`, what `solve_integer` may leave to a better one by default.
DEFAULT_TOLERANCE = 1e-9


def whole_feasible(parameters: dict[str, Any]) -> cq.Instance:
    """The instance with caps rounded up, and lower bounds down where whole tokens need it."""
    instance = instance_of(parameters, max_tokens=np.ceil(parameters["max_tokens"]))
    if instance.evaluate(np.ceil(instance.min_tokens)).is_stable:
        return instance
    return instance.replace(min_tokens=np.floor(instance.min_tokens))


def small_instance(seed: int) -> cq.Instance:
    """One to eight types of all loads, active sets and bounds; some of them twice."""
    rng = np.random.default_rng(seed)
    parameters, _ = planted_instance(
        rng,
        n=int(rng.integers(1, 9)),
        utilization=float(rng.choice([0.01, 0.3, 0.6, 0.8, 0.95, 0.99, 0.999])),
        pattern=str(rng.choice(PATTERNS)),
    )
    if seed % 4 == 0 and parameters["rate"].size <= 4:
        twice = {
            name: np.tile(value, 2)
            for name, value in parameters.items()
            if isinstance(value, np.ndarray)
        }
        twice["probabilities"] = twice["probabilities"] / 2
        parameters = parameters | twice
    return whole_feasible(parameters)


def planted(tokens: list[float], utilization: float, *, base: float = 0.5) -> cq.Instance:
    """Equally frequent types with one server speed and these tokens at the optimum."""
    optimum = np.array(tokens)
    size = optimum.size
    parameters: dict[str, Any] = {
        "probabilities": np.full(size, 1.0 / size),
        "base": np.full(size, base),
        "per_token": np.full(size, 0.01),
        "min_tokens": np.zeros(size),
        "max_tokens": np.full(size, 4096.0),
        "importance": np.ones(size),
        "floor": np.zeros(size),
        "rate": np.full(size, 0.01),
    }
    times = base + 0.01 * optimum
    parameters["arrival_rate"] = utilization / float(times.mean())
    load = parameters["arrival_rate"] / (1.0 - utilization)
    mean_price, second_price = 1.0 + load**2 * float(np.mean(times**2)) / 2.0, load / 2.0
    worth = 0.01 * (mean_price + 2 * second_price * times) * np.exp(0.01 * optimum) / 0.01
    parameters["accuracy_weight"] = float(worth.max()) / 0.9
    parameters["gain"] = worth / parameters["accuracy_weight"]
    return instance_of(parameters)


def neighbors(instance: cq.Instance) -> FloatArray:
    """All stable combinations of the next lower and higher numbers of tokens, shape (M, N)."""
    relaxed = relaxation(instance)
    pairs = zip(np.floor(relaxed.tokens), np.ceil(relaxed.tokens), strict=True)
    every = grid([np.unique(pair) for pair in pairs])
    return every[relaxed.model.evaluate(every).idle > 0]


def relaxation(instance: cq.Instance) -> Evaluation:
    """The continuous optimum over the box from ⌈min_tokens⌉ to ⌊max_tokens⌋."""
    whole = instance.replace(
        min_tokens=np.ceil(instance.min_tokens), max_tokens=np.floor(instance.max_tokens)
    )
    return cq.solve(whole).certificate.evaluation


def best_gain(point: Evaluation, candidates: FloatArray) -> float:
    """What the best stable candidate gains over `point`, from J itself without cancellation."""
    instance = point.model
    stable = instance.evaluate(candidates).idle > 0
    return float(np.max(improvement(point, instance.evaluate(candidates[stable]))))


def grid(values: list[FloatArray]) -> FloatArray:
    return np.array(list(itertools.product(*values)))


def check_answer(answer: cq.IntegerSolution) -> None:
    """What holds for every answer of every method."""
    instance = answer.instance
    assert answer.tokens.dtype == np.int64
    assert np.all(answer.tokens >= instance.min_tokens)
    assert np.all(answer.tokens <= instance.max_tokens)
    assert answer.utilization < 1.0
    assert answer.evaluation.is_stable
    assert answer.loss >= -answer.allowance
    assert answer.loss <= answer.loss_bound
    assert 0.0 <= answer.gap <= answer.loss_bound + 2.0 * answer.allowance


@pytest.mark.parametrize("seed", range(60))
def test_no_combination_of_neighbors_is_better(seed: int) -> None:
    instance = small_instance(seed)
    answer = cq.solve_integer(instance, "neighbors")
    check_answer(answer)
    gain = best_gain(answer.evaluation, neighbors(instance))
    assert answer.neighbors_gap is not None
    assert gain <= answer.neighbors_gap + answer.allowance
    assert answer.neighbors_gap <= max(
        DEFAULT_TOLERANCE * float(answer.evaluation.scale), 5.0 * answer.allowance
    )
    assert answer.ended is cq.Ended.CONVERGED


@pytest.mark.parametrize("seed", range(40))
def test_no_whole_allocation_beats_the_upper_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 5))
    lower = np.round(rng.uniform(0.0, 2.0, size), int(rng.integers(0, 2)))
    instance = cq.Instance(
        arrival_rate=rng.uniform(0.01, 0.1),
        accuracy_weight=rng.uniform(10.0, 1e3),
        min_tokens=lower,
        max_tokens=np.ceil(lower) + rng.integers(0, 6, size) + rng.choice([0.0, 0.4]),
        probabilities=rng.dirichlet(np.ones(size)),
        service=cq.AffineService(base=rng.uniform(0.0, 1.0), per_token=rng.uniform(0.3, 2.0, size)),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=rng.random(size), rate=0.3),
    )
    box = [
        np.arange(np.ceil(a), np.floor(b) + 1)
        for a, b in zip(instance.min_tokens, instance.max_tokens, strict=True)
    ]
    for method in METHODS:
        answer = cq.solve_integer(instance, method)
        check_answer(answer)
        assert best_gain(answer.evaluation, grid(box)) <= answer.gap


def test_the_upper_bound_over_whole_allocations_bites() -> None:
    answers = [cq.solve_integer(small_instance(seed), "nearest") for seed in range(24)]
    lossy = [answer for answer in answers if answer.loss > 1e3 * answer.allowance]
    assert len(lossy) >= 12
    assert np.median([answer.gap / answer.loss_bound for answer in lossy]) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("utilization", [0.9, 0.999, 0.9995])
def test_answers_are_stable_at_high_load(method: str, utilization: float) -> None:
    for seed in range(0, 8, 2):
        parameters, _ = planted_instance(
            np.random.default_rng(seed), n=1 + 2 * seed, utilization=utilization, pattern="free"
        )
        check_answer(cq.solve_integer(whole_feasible(parameters), method, time_limit=0.2))


def test_the_nearest_whole_numbers_need_not_be_the_best_neighbors() -> None:
    instance = planted([100.49, 200.49, 300.49, 400.49], 0.95)
    nearest, floor = (cq.solve_integer(instance, method) for method in ("nearest", "floor"))
    best = cq.solve_integer(instance, "neighbors")
    assert nearest.tokens.tolist() == floor.tokens.tolist() == [100, 200, 300, 400]
    assert sorted(best.tokens - nearest.tokens) == [0, 0, 1, 1]
    assert best.loss < 0.5 * nearest.loss


def test_an_unstable_nearest_rounding_becomes_the_floor() -> None:
    instance = planted([10.6], 0.999, base=0.0)
    assert not instance.evaluate([11.0]).is_stable
    answer = cq.solve_integer(instance, "nearest")
    assert answer.is_repaired
    assert answer.tokens.tolist() == [10]
    assert "unstable" in str(answer)
    assert not cq.solve_integer(planted([10.6], 0.5), "nearest").is_repaired


def test_the_real_server() -> None:
    instance = CATALOGUE["qwen3-8b-h100"].instance
    answers = {method: cq.solve_integer(instance, method) for method in METHODS}
    assert answers["floor"].tokens.tolist() == [1047, 2147, 846, 1327, 947]
    assert answers["nearest"].tokens.tolist() == [1048, 2147, 847, 1328, 947]
    assert answers["neighbors"].tokens.tolist() == [1048, 2147, 847, 1328, 947]
    assert answers["neighbors"].loss_bound < 1e-6
    assert answers["neighbors"].upper_bound < cq.solve(instance).upper_bound
    for method, words in (
        ("floor", "rounded down"),
        ("nearest", "rounded to the nearest"),
        ("neighbors", "its search left no combination of neighbors that gains over"),
    ):
        assert words in str(answers[method])


def test_neighbors_lose_no_more_than_roundings() -> None:
    for seed in range(20):
        methods = ("nearest", "floor", "neighbors")
        answers = {m: cq.solve_integer(small_instance(seed), m) for m in methods}
        best = answers["neighbors"]
        for answer in answers.values():
            assert improvement(answer.evaluation, best.evaluation) >= -best.allowance


def test_ties_are_settled() -> None:
    answer = cq.solve_integer(planted([50.5] * 6, 0.9), "neighbors")
    check_answer(answer)
    assert sorted(answer.tokens) == [50, 50, 50, 51, 51, 51]


def test_whole_lower_bounds_can_make_the_others_give_way() -> None:
    # Rounding min_tokens up takes 0.98 of the server: far from the continuous optimum.
    free = planted([30.2, 0.0], 0.6, base=0.1)
    instance = free.replace(
        min_tokens=[0.0, 0.02],
        arrival_rate=1.9,
        service=cq.AffineService(base=0.1, per_token=[0.01, 0.75]),
    )
    assert not instance.evaluate(np.ceil(cq.solve(instance).tokens)).is_stable
    for method in METHODS:
        answer = cq.solve_integer(instance, method)
        check_answer(answer)
        assert answer.tokens[1] == 1
        assert answer.gap < 0.1 * answer.loss
        box = [np.arange(0.0, 200.0), np.arange(1.0, 3.0)]
        assert best_gain(answer.evaluation, grid(box)) <= answer.gap


def test_a_box_without_a_whole_number_is_named() -> None:
    instance = planted([30.0, 30.0], 0.5).replace(
        min_tokens=[0.0, 7.25], max_tokens=[100.0, 7.75], names=["easy", "hard"]
    )
    with pytest.raises(cq.InfeasibleError, match=r"'hard'.*min_tokens\[1\] = 7\.25.*7\.75"):
        cq.solve_integer(instance, "neighbors")


def test_whole_numbers_can_make_every_allocation_unstable() -> None:
    instance = planted([30.0, 30.0], 0.5).replace(
        min_tokens=[0.5, 0.5], service=cq.AffineService(base=0.0, per_token=1.0), arrival_rate=1.5
    )
    assert cq.solve(instance).is_optimal
    with pytest.raises(cq.InfeasibleError, match=r"whole tokens.*utilization is 1\.5"):
        cq.solve_integer(instance, "neighbors")


def test_an_unstable_instance_is_refused_before_anything_runs() -> None:
    with pytest.raises(cq.UnstableQueueError, match="utilization"):
        cq.solve_integer(planted([30.0], 0.5).replace(arrival_rate=100.0))


def test_more_tokens_than_float64_can_count_are_refused() -> None:
    instance = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=1e3,
        max_tokens=1e18,
        probabilities=[1.0],
        service=cq.AffineService(base=1.0, per_token=1e-18),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=0.9, rate=1e-17),
    )
    with pytest.raises(cq.InvalidInputError, match="2\\^53"):
        cq.solve_integer(instance, "neighbors")


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_figures_against_exact_arithmetic(name: str) -> None:
    reference = CATALOGUE[name]
    parameters = dict(reference.parameters)
    lower, upper = np.ceil(parameters["min_tokens"]), np.floor(parameters["max_tokens"])
    if np.any(lower > upper) or not reference.instance.evaluate(lower).is_stable:
        with pytest.raises(cq.InfeasibleError):
            cq.solve_integer(reference.instance)
        return
    answer = cq.solve_integer(reference.instance, "neighbors", time_limit=0.3)
    check_answer(answer)
    with mpmath.workdps(50):
        problem = Problem.of(parameters)
        exact = problem.objective([mpmath.mpf(int(v)) for v in answer.tokens])
        assert answer.continuous is not None
        continuous = problem.objective([mpmath.mpf(float(v)) for v in answer.continuous.tokens])
        optimum = mpmath.mpf(reference.objective.numerator) / reference.objective.denominator
        assert answer.objective <= exact <= answer.objective + 2 * answer.allowance
        assert exact <= answer.upper_bound
        assert optimum - exact <= answer.loss_bound
        error = float(abs(answer.loss - (continuous - exact)))
    # Without cancellation the loss has digits of its own, whatever the size of J.
    assert answer.continuous is not None
    point, other = answer.evaluation, answer.continuous.certificate.evaluation
    benefit = point.marginal_benefit * np.abs(other.tokens - point.tokens)
    cost = point.marginal_cost * np.abs(other.tokens - point.tokens)
    terms = float(np.sum(reference.instance.probabilities * (benefit + cost)))
    assert error <= IMPROVEMENT.atol * terms / min(float(point.idle), float(other.idle))


def similar_types(size: int) -> cq.Instance:
    """Types with much the same curvature: the program takes long to prove its answer."""
    rng = np.random.default_rng(size)
    weights = rng.random(size)
    return cq.Instance(
        arrival_rate=0.08,
        accuracy_weight=300.0,
        max_tokens=32768,
        probabilities=weights / weights.sum(),
        service=cq.AffineService(base=0.5, per_token=rng.uniform(0.5, 1.5, size) * 7e-3),
        accuracy=cq.SaturatingExponential(
            floor=0.0, gain=rng.random(size), rate=10 ** rng.uniform(-5.0, -2.5, size)
        ),
    )


def test_a_time_limit_gives_the_best_so_far_with_its_bound() -> None:
    instance = similar_types(200)
    hasty = cq.solve_integer(instance, "neighbors", time_limit=1e-9)
    patient = cq.solve_integer(instance, "neighbors")
    for answer, words in ((hasty, "raise time_limit"), (patient, "within the tolerance")):
        check_answer(answer)
        assert words in str(answer)
    assert hasty.neighbors_gap is not None
    assert patient.neighbors_gap is not None
    assert 0.0 < patient.neighbors_gap < hasty.neighbors_gap
    gain = float(improvement(hasty.evaluation, patient.evaluation))
    assert -hasty.allowance <= gain <= hasty.neighbors_gap + hasty.allowance


def test_a_thousand_types() -> None:
    instance = similar_types(1000)
    methods = ("neighbors", "nearest", "floor")
    best, nearest, floor = (cq.solve_integer(instance, method) for method in methods)
    check_answer(best)
    assert best.neighbors_gap is not None
    assert best.neighbors_gap <= DEFAULT_TOLERANCE * float(best.evaluation.scale)
    assert best.neighbors_gap <= best.domain_gap
    assert best.loss <= nearest.loss < floor.loss
    # The bound of whole choices, for which the others had all the time that it takes.
    assert nearest.gap < 0.5 * nearest.loss


def test_a_continuous_optimum_that_is_proven_to_less_is_enough() -> None:
    """Next to saturation float64 does not bring its gap to the tolerance of its method."""
    instance = planted([100.4, 200.7], 0.7)
    busy = instance.replace(arrival_rate=instance.max_arrival_rate * (1.0 - 1e-13))
    with pytest.raises(cq.ConvergenceError):
        cq.solve(busy)
    for method in METHODS:
        answer = cq.solve_integer(busy, method)
        assert answer.continuous is not None
        assert not answer.continuous.is_optimal
        check_answer(answer)


def test_a_loose_tolerance_is_kept() -> None:
    instance = similar_types(40)
    answer = cq.solve_integer(instance, tolerance=0.001)
    assert answer.is_optimal
    assert answer.tolerance == 0.001
    assert answer.relative_gap <= 0.001


def test_the_order_of_the_types_does_not_matter() -> None:
    parameters, _ = planted_instance(
        np.random.default_rng(3), n=8, utilization=0.8, pattern="free", plain=True
    )
    order = np.random.default_rng(0).permutation(8)
    permuted = {
        name: value[order] if isinstance(value, np.ndarray) else value
        for name, value in parameters.items()
    }
    answer, other = (
        cq.solve_integer(whole_feasible(p), "neighbors") for p in (parameters, permuted)
    )
    np.testing.assert_array_equal(other.tokens, answer.tokens[order])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "nearst"}, r"'nearst'.*did you mean 'nearest'"),
        ({"method": None}, "unknown integer method None"),
        ({"tolerance": -1e-3}, r"tolerance = -0\.001 must be > 0"),
        ({"tolerance": np.nan}, "tolerance = nan must be finite"),
        ({"time_limit": 0}, r"time_limit = 0\.0 must be > 0"),
        ({"time_limit": "soon"}, "time_limit must be one number"),
        ({"instance": "file.toml"}, "instance must be an Instance"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.solve_integer(**({"instance": planted([30.0], 0.5)} | arguments))


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_plain_data(method: str) -> None:
    answer = cq.solve_integer(planted([100.4, 200.7], 0.7), method)
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer
    assert hash(again) == hash(answer)
    assert not again.tokens.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        answer.tokens[0] = 0
    written = json.loads(json.dumps(answer.to_dict()))
    assert written["tokens"] == answer.tokens.tolist()
    assert written["upper_bound"] - written["objective"] == pytest.approx(answer.gap, abs=1e-12)
    assert (written["neighbors_gap"] is None) == (method != "neighbors")
    assert repr(answer).startswith(f"IntegerSolution(method={method!r}")
    assert answer.mean_system_time == answer.mean_service_time + answer.mean_waiting_time
    assert answer.mean_accuracy == pytest.approx(float(answer.accuracies.mean()))
    for word in ("task type", "loss", "utilization", str(answer.tokens[1])):
        assert word in str(answer)
    assert "more rows" in str(cq.solve_integer(planted([30.5] * 25, 0.5), "floor"))


BEATEN = cq.Instance(
    arrival_rate=0.2704620092130232,
    accuracy_weight=837.5236006225479,
    max_tokens=4000,
    probabilities=[
        *(0.038821211609346935, 0.0782485646052944, 0.016883863330952),
        *(0.09920097724125058, 0.1884952582970605, 0.5783501249160955),
    ],
    service=cq.AffineService(
        base=[0.586, 0.848, 0.293, 0.169, 0.284, 0.187],
        per_token=[0.00286, 0.00189, 0.00236, 0.00311, 0.0114, 0.00672],
    ),
    accuracy=cq.SaturatingExponential(
        floor=0.1,
        gain=[0.892, 0.566, 0.843, 0.66, 0.808, 0.849],
        rate=[0.00147, 0.000505, 0.000175, 0.0782, 0.000521, 0.088],
    ),
)


def test_what_may_be_beaten_is_not_called_exact() -> None:
    loose, sharp = (
        cq.solve_integer(BEATEN, tolerance=tolerance, domains=cq.Multiples(500))
        for tolerance in (0.01, 1e-9)
    )
    assert loose.is_optimal
    assert float(improvement(loose.evaluation, sharp.evaluation)) > 100.0 * loose.allowance
    assert not loose.is_exact
    assert "is better" not in str(loose)
    assert f"none gains more than {at_most(loose.gap)} s (within the tolerance)" in str(loose)
    assert "raise time_limit" not in str(loose)
    # With one choice nothing is left to be proven.
    alone = cq.solve_integer(BEATEN, domains=cq.Menu([0]))
    assert alone.is_exact
    assert "no allocation in the domains is better" in str(alone)


def test_a_gap_of_neighbors_is_one_of_their_search() -> None:
    instance = planted([100.4, 200.7], 0.7)
    proven = cq.solve_integer(instance, "neighbors")
    wrong: tuple[Any, ...] = (-1e-9, np.inf, np.nan, "0")
    for gap in wrong:
        with pytest.raises(cq.InvalidInputError, match="neighbors_gap"):
            dataclasses.replace(proven, neighbors_gap=gap)
    nearest = cq.solve_integer(instance, "nearest")
    with pytest.raises(cq.InvalidInputError, match=r"neighbors_gap must be None for .*'nearest'"):
        dataclasses.replace(nearest, neighbors_gap=0.0)


class Dozens(cq.Multiples):
    """A class of one's own, which files have no word for."""


def test_an_answer_within_other_domains_says_so() -> None:
    own = planted([100.4, 200.7], 0.7)
    menu = own.replace(domains=[cq.Menu([0, 100]), cq.Multiples(7)])
    words = "within domains other than the instance's own: "
    for instance in (own, menu):
        answer = cq.solve_integer(instance)
        assert words not in str(answer)
        assert answer.to_dict().items() >= domain_tables(answer.domains).items()
        other = cq.solve_integer(instance, domains=cq.Multiples(50))
        assert words + "Multiples(step=50)\n" in str(other)
        assert other.to_dict()["domain"] == {"kind": "multiples", "step": 50}
    strange = cq.solve_integer(own, domains=[Dozens(12), cq.Integers()])
    assert words + "Dozens(step=12), Integers()" in str(strange)
    assert strange.to_dict()["domains"] is None


def test_a_continuous_answer_with_nothing_proven_counts_as_none() -> None:
    answer = cq.solve_integer(planted([100.4, 200.7], 0.7))
    assert answer.continuous is not None
    certificate = cq.certify(answer.instance, [np.nan, 0.0])
    assert certificate.gap == np.inf
    bare = dataclasses.replace(
        answer, continuous=dataclasses.replace(answer.continuous, certificate=certificate)
    )
    comparison = cq.cross_validate(answer.instance, methods=["newton"])
    report = list(answer_report(comparison, bare, bare))
    for text in (str(bare), repr(bare), *map(str, report)):
        assert "loss" not in text
        assert "loses" not in text
        assert "inf" not in text


@pytest.mark.parametrize("most", [200, 700, 1000])
@pytest.mark.parametrize(("least", "greatest"), [(0.2, 0.7), (0.1, 0.8), (0.3, 0.6)])
@pytest.mark.parametrize("domain", [cq.Integers(), cq.Multiples(10), cq.Menu(range(0, 2001, 10))])
def test_a_floor_at_a_whole_number_is_met_as_far_as_rounding_can_tell(
    least: float, greatest: float, most: int, domain: Any
) -> None:
    for k in range(1, 10):
        floor = round(least + (greatest - least) * k / 10, 4)
        instance = cq.Instance(
            arrival_rate=0.01,
            accuracy_weight=0.0,
            probabilities=[1.0],
            max_tokens=2 * most,
            service=cq.AffineService(base=0.5, per_token=0.002),
            accuracy=cq.PiecewiseLinear(tokens=[0, most], accuracy=[least, greatest]),
            constraints=[cq.MinAccuracy(floor)],
        )
        count = most * k // 10
        answer = cq.solve_integer(instance, domains=domain)
        (tokens,) = answer.tokens
        # In decimals it is met with that many; in binary64 that or the next number is enough.
        assert tokens == count
        exact = Fraction(least) + Fraction(count) * (Fraction(greatest) - Fraction(least)) / most
        assert answer.assumes or exact >= Fraction(floor)
        assert instance.accuracy.value(tokens) == pytest.approx(floor, rel=4e-16)
