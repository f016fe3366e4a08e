"""Constraints: kept, priced and certified; infeasible ones with the value that would do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import mpmath as mp
import numpy as np
import pytest

import cvxqueue as cq
from tests.families import planted_instance
from tests.generator import random_parameters
from tests.instances import instance_of
from tests.performance.instances import random_servers
from tests.tolerances import CONE_OPTIMUM, DIFFERENCE_QUOTIENT, MULTIPLIER, SAME_INSTANCE

SERVICE = cq.AffineService(base=[0.5, 0.3, 0.2], per_token=[0.004, 0.005, 0.006])
INSTANCE = cq.Instance(
    arrival_rate=0.15,
    accuracy_weight=90.0,
    max_tokens=4096,
    probabilities=[0.5, 0.3, 0.2],
    names=["lookup", "proof", "chat"],
    service=SERVICE,
    accuracy=cq.SaturatingExponential(
        floor=[0.2, 0.1, 0.3], gain=[0.6, 0.8, 0.5], rate=[0.003, 0.001, 0.01]
    ),
)
PLAIN = cq.solve(INSTANCE)
TOKEN_RATE = float(INSTANCE.arrival_rate * (INSTANCE.probabilities @ PLAIN.tokens))

# Each from how much its limit is tightened: 0 leaves the optimum where it is.
LIMITS: dict[str, Callable[[float], Any]] = {
    "system time": lambda x: cq.MaxMeanSystemTime(PLAIN.mean_system_time * (1.0 - x)),
    "waiting time": lambda x: cq.MaxMeanWaitingTime(PLAIN.mean_waiting_time * (1.0 - x)),
    "token rate": lambda x: cq.MaxTokenRate(TOKEN_RATE * (1.0 - x)),
    "mean accuracy": lambda x: cq.MinMeanAccuracy(PLAIN.mean_accuracy + 0.1 * x),
    "tail": lambda x: cq.WaitingTimeTail(14.0 * (1.0 - x), 0.05),
}


def constrained(*constraints: Any, **changes: Any) -> cq.Instance:
    return INSTANCE.replace(constraints=list(constraints), **changes)


@pytest.mark.parametrize("tightening", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("name", LIMITS)
def test_a_constraint_is_kept_and_the_answer_certified(name: str, tightening: float) -> None:
    limit = LIMITS[name](tightening)
    solution = cq.solve(constrained(limit))
    assert solution.is_optimal
    assert solution.relative_gap <= 1e-12
    assert solution.objective < PLAIN.objective
    assert solution.certificate.is_feasible
    # It binds, to rounding, and from the allowed side.
    excess = float(solution.certificate.excesses[0])
    assert -1e-9 <= excess <= limit.allowance(solution.certificate.evaluation)


@pytest.mark.parametrize("name", LIMITS)
def test_multipliers_are_slopes_of_the_optimal_value(name: str) -> None:
    step = 1e-5
    price = cq.solve(constrained(LIMITS[name](0.3))).constraint_multipliers[0]
    looser, tighter = LIMITS[name](0.3 - step), LIMITS[name](0.3 + step)
    values = [cq.solve(constrained(limit)).objective for limit in (looser, tighter)]
    field = next(iter(limit_fields(looser)))
    change = abs(limit_fields(looser)[field] - limit_fields(tighter)[field])
    MULTIPLIER.check((values[0] - values[1]) / change, price)


def limit_fields(limit: Any) -> dict[str, float]:
    return {name: getattr(limit, name) for name in type(limit).__dataclass_fields__}


@pytest.mark.parametrize("name", LIMITS)
def test_a_constraint_with_room_changes_nothing(name: str) -> None:
    slack = {"tail": cq.WaitingTimeTail(200.0, 0.05)}.get(name) or LIMITS[name](-0.5)
    solution = cq.solve(constrained(slack))
    assert solution.constraint_multipliers == (0.0,)
    np.testing.assert_allclose(solution.tokens, PLAIN.tokens, rtol=1e-7)


@pytest.mark.parametrize("name", LIMITS)
def test_gradients_against_difference_quotients(name: str) -> None:
    limit = LIMITS[name](0.3)
    tokens = PLAIN.tokens * 0.7 + 10.0
    gradient = limit.gradient(INSTANCE.evaluate(tokens))
    for k in range(INSTANCE.size):
        step = 1e-3 * np.eye(INSTANCE.size)[k]
        ends = [limit.excess(INSTANCE.evaluate(tokens + sign * step)) for sign in (1.0, -1.0)]
        size = float(np.max(np.abs(gradient)))
        DIFFERENCE_QUOTIENT.check((ends[0] - ends[1]) / 2e-3 / size, gradient[k] / size)


def test_a_cap_on_the_system_time_lowers_the_accuracy_weight() -> None:
    capped = cq.solve(constrained(cq.MaxMeanSystemTime(0.6 * PLAIN.mean_system_time)))
    price = capped.constraint_multipliers[0]
    weighed = cq.solve(INSTANCE.replace(accuracy_weight=INSTANCE.accuracy_weight / (1.0 + price)))
    np.testing.assert_allclose(weighed.tokens, capped.tokens, rtol=1e-7)


def test_the_floor_on_the_mix_leaves_importance_out() -> None:
    ignored = INSTANCE.replace(importance=[0.0, 0.0, 0.0])
    assert cq.solve(ignored).tokens.tolist() == [0.0, 0.0, 0.0]
    floor = ignored.replace(constraints=[cq.MinMeanAccuracy(0.6)])
    solution = cq.solve(floor)
    assert solution.is_optimal
    np.testing.assert_allclose(solution.mean_accuracy, 0.6, rtol=1e-12)


def test_floors_of_types_are_bounds_on_their_tokens() -> None:
    instance = constrained(cq.MinAccuracy(0.55), cq.MinAccuracy(0.8, "proof"))
    reached = instance.accuracy.value(instance.lower)
    np.testing.assert_allclose(reached, [0.55, 0.8, 0.55], rtol=1e-12)
    solution = cq.solve(instance)
    assert solution.is_optimal
    assert (solution.accuracies >= np.array([0.55, 0.8, 0.55]) * (1.0 - 1e-12)).all()
    assert cq.solve(constrained(cq.MinAccuracy([0.0, 0.8, 0.0]))).tokens[1] == solution.tokens[1]


def every_limit(tightening: float) -> list[Any]:
    return [limit(tightening) for name, limit in LIMITS.items() if name != "mean accuracy"]


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_all_caps_at_once(position: int) -> None:
    limits = every_limit(0.05)
    limits[position] = list(LIMITS.values())[[0, 1, 2, 4][position]](0.5)
    solution = cq.solve(constrained(*limits, cq.MinMeanAccuracy(0.3)))
    assert solution.is_optimal
    prices = solution.constraint_multipliers
    assert prices[position] > 0.0
    assert len(prices) == len(limits) + 1


@pytest.mark.parametrize("name", LIMITS)
def test_conic_keeps_it_too(name: str) -> None:
    instance = constrained(LIMITS[name](0.3))
    found, fast = cq.solve(instance, "conic"), cq.solve(instance)
    assert found.is_optimal
    assert found.certificate.is_feasible
    scale = fast.certificate.scale
    CONE_OPTIMUM.check(found.objective / scale, fast.objective / scale)
    assert cq.cross_validate(instance).outcome == "agree"


def test_a_parametric_form_is_refilled_with_other_limits() -> None:
    form = cq.formulate(constrained(LIMITS["system time"](0.1)), "parametric")
    assert form.is_dpp
    tighter = constrained(LIMITS["system time"](0.5))
    form.update(tighter)
    form.problem.solve(solver="CLARABEL", warm_start=False)
    expected = cq.solve(tighter)
    assert form.objective.value == pytest.approx(expected.objective, rel=1e-6)
    with pytest.raises(cq.InvalidInputError, match="constraints are of other kinds"):
        form.update(constrained(LIMITS["token rate"](0.1)))


def reference(instance: cq.Instance) -> float:
    """The optimum of the same program as cvxpy expressions, in seconds."""
    form = cq.formulate(instance.replace(constraints=[]))
    limits = []
    for limit in instance.constraints:
        if isinstance(limit, cq.MaxMeanSystemTime):
            limits.append(form.mean_system_time / limit.seconds <= 1)
        elif isinstance(limit, cq.MaxMeanWaitingTime):
            limits.append(form.mean_waiting_time / limit.seconds <= 1)
        elif isinstance(limit, cq.MinMeanAccuracy):
            limits.append(form.mean_accuracy >= limit.accuracy)
        elif isinstance(limit, cq.MaxTokenRate):
            mean_tokens = instance.probabilities @ form.tokens
            limits.append(mean_tokens <= limit.tokens_per_second / instance.arrival_rate)
        elif isinstance(limit, cq.WaitingTimeTail):
            service = instance.service
            assert isinstance(service, cq.AffineService)
            times = service.base + cp.multiply(service.per_token, form.tokens)
            weights = np.log(instance.probabilities) - np.log1p(limit.decay / instance.arrival_rate)
            limits.append(cp.sum(cp.exp(limit.decay * times + weights)) <= 1)
    problem = form.with_constraints(*limits).problem
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert problem.status == "optimal"
    return float(problem.value) * form.scale


@pytest.mark.parametrize(
    "names", [("system time", "token rate"), ("token rate", "tail"), ("system time", "tail")]
)
def test_the_optimum_is_that_of_the_same_program_in_cvxpy(names: tuple[str, str]) -> None:
    looser, tighter = names
    instance = constrained(LIMITS[looser](0.05), LIMITS[tighter](0.2))
    solution = cq.solve(instance)
    scale = solution.certificate.scale
    CONE_OPTIMUM.check(reference(instance) / scale, solution.objective / scale)


def random_limits(rng: np.random.Generator, instance: cq.Instance) -> list[Any]:
    """Some constraints, each between what the least tokens and what the optimum would need."""
    plain, least = cq.solve(instance), instance.evaluate(instance.lower)
    tightness = rng.choice([0.01, 0.1, 0.5, 0.9, 0.99], 5)

    def between(low: float, high: float, share: float) -> float:
        # Above the low end by more than its rounding, where that leaves a single point.
        return (low + (high - low) * share) * (1.0 + 1e-12)

    rates = [
        float(instance.arrival_rate * (instance.probabilities @ tokens))
        for tokens in (instance.lower, plain.tokens)
    ]
    candidates: list[Any] = []
    times = (float(least.mean_system_time), plain.mean_system_time)
    candidates.append(
        cq.MaxMeanSystemTime(between(times[0], times[1], tightness[0]) * (1.0 + 1e-12))
    )
    waits = (float(least.mean_waiting_time), plain.mean_waiting_time)
    if waits[1] > 0.0:
        candidates.append(cq.MaxMeanWaitingTime(between(waits[0], waits[1], tightness[1])))
    if rates[1] > 0.0:
        candidates.append(cq.MaxTokenRate(between(rates[0], rates[1], tightness[2])))
    most = float(instance.evaluate(instance.upper).mean_accuracy)
    floor = between(plain.mean_accuracy, most, 0.5 * tightness[3])
    candidates.append(cq.MinMeanAccuracy(floor))
    return [limit for limit in candidates if rng.random() < 0.4]


@pytest.mark.slow
def test_random_constraints_are_certified_or_told_apart() -> None:
    outcomes = {"optimal": 0, "infeasible": 0}
    # The campaign named constrained has thousands.
    for seed in range(120):
        rng = np.random.default_rng(seed)
        parameters = planted_instance(rng)[0] if seed % 2 else random_parameters(rng)
        queue = (cq.FIFO(), cq.ProcessorSharing(), cq.BatchArrivals(2.0, 6.0))[seed % 3]
        instance = instance_of(parameters).replace(queue=queue)
        limits = random_limits(rng, instance)
        try:
            solution = cq.solve(instance.replace(constraints=limits))
        except cq.InfeasibleError:
            outcomes["infeasible"] += 1
            continue
        outcomes["optimal"] += 1
        assert solution.relative_gap <= max(1e-9, solution.tolerance)
        assert solution.certificate.is_feasible
    assert outcomes["optimal"] >= 70
    assert outcomes["infeasible"] >= 5


def test_the_bound_holds_for_any_multipliers() -> None:
    instance = constrained(LIMITS["system time"](0.3), LIMITS["token rate"](0.3))
    best = cq.solve(instance)
    rng = np.random.default_rng(5)
    for _ in range(50):
        multipliers = 10.0 ** rng.uniform(-3.0, 2.0, 2)
        tokens = best.tokens * rng.uniform(0.5, 1.0)
        certificate = cq.Certificate(instance, tokens, multipliers)
        assert certificate.is_feasible
        assert certificate.upper_bound >= best.objective
        low, high = certificate.token_bounds.T
        assert (low <= best.tokens).all()
        assert (high >= best.tokens).all()


@pytest.mark.parametrize("name", LIMITS)
def test_certify_finds_the_multipliers_by_itself(name: str) -> None:
    instance = constrained(LIMITS[name](0.3))
    best = cq.solve(instance)
    certificate = cq.certify(instance, best.tokens)
    assert certificate.relative_gap <= 1e-12
    MULTIPLIER.check(certificate.constraint_multipliers, best.constraint_multipliers)


def many_at_a_bound(seed: int) -> tuple[cq.Instance, cq.Solution]:
    """Several constraints that leave some types without tokens."""
    rng = np.random.default_rng(seed)
    instance = random_servers(rng, 1, 8).instance()
    instance = instance.replace(importance=[0.02, *[1.0] * 7])
    plain, least = cq.solve(instance), instance.evaluate(instance.lower)
    share = rng.uniform(0.05, 0.2, 3)

    def between(low: Any, high: Any, place: int) -> float:
        return float(low + (high - low) * share[place])

    tokens = float(instance.arrival_rate * (instance.probabilities @ plain.tokens))
    made = [
        cq.MaxMeanSystemTime(between(least.mean_system_time, plain.mean_system_time, 0)),
        cq.MaxMeanWaitingTime(between(least.mean_waiting_time, plain.mean_waiting_time, 1)),
        cq.MaxTokenRate(between(0.0, tokens, 2)),
    ]
    chosen = [limit for limit in made if rng.random() < 0.6] or made[:1]
    instance = instance.replace(constraints=chosen)
    return instance, cq.solve(instance)


@pytest.mark.parametrize("seed", range(20))
def test_types_a_hair_off_a_bound_cost_a_certificate_little(seed: int) -> None:
    """Solvers leave them there, and what they leave must not pass for a balance of theirs."""
    instance, best = many_at_a_bound(seed)
    assert (best.tokens == 0.0).any()
    for off in (1e-12, 1e-7, 1e-4):
        certificate = cq.certify(instance, np.maximum(best.tokens, off))
        lost = off * float(np.max(np.abs(certificate.lagrangian.gradient)))
        assert certificate.gap <= best.gap + 2.0 * instance.size * lost + 1e-11
        assert certificate.objective <= best.upper_bound
        assert certificate.upper_bound >= best.objective


@pytest.mark.parametrize("seed", range(20))
def test_other_multipliers_prove_no_more(seed: int) -> None:
    instance, best = many_at_a_bound(seed)
    rng = np.random.default_rng(seed)
    tokens = best.tokens * rng.uniform(0.5, 1.0, instance.size)
    found = cq.certify(instance, tokens)
    assert found.multipliers is not None
    for _ in range(100):
        factors = 10.0 ** (rng.choice([-1.0, 1.0]) * rng.uniform(-3.0, 0.0, len(found.multipliers)))
        other = cq.Certificate(instance, found.tokens, found.multipliers * factors)
        assert found.gap <= 1.02 * other.gap


# Of the second stream those that need a line search that falls, and a second start.
STREAMS = [*((6, seed) for seed in range(60)), *((5, seed) for seed in (37, 323, 345, 354, 358))]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_multipliers_of_the_optimum_prove_no_more(stream: tuple[int, int]) -> None:
    """Near it and far from it, where scales are decades apart and most types are at a bound."""
    rng = np.random.default_rng(stream)
    is_planted = stream[1] % 2 == 1
    instance = instance_of(planted_instance(rng)[0] if is_planted else random_parameters(rng))
    limits = random_limits(rng, instance)
    instance = instance.replace(constraints=limits)
    try:
        best = cq.solve(instance)
    except cq.InfeasibleError:
        return
    noise = 10.0 ** rng.uniform(-8.0, -0.3) * rng.standard_normal(instance.size)
    tokens = instance.model.boxed(best.tokens * (1.0 + noise))
    found = cq.certify(instance, tokens if instance.evaluate(tokens).is_stable else best.tokens)
    if not found.gap < math.inf:
        return
    other = cq.Certificate(instance, found.tokens, best.certificate.multipliers)
    assert found.gap <= 1.05 * other.gap + 1e-13 * found.scale


@pytest.mark.parametrize("seed", range(20))
def test_conic_answers_are_certified_where_types_are_at_a_bound(seed: int) -> None:
    instance, best = many_at_a_bound(seed)
    found = cq.solve(instance, "conic")
    assert found.is_optimal
    scale = best.certificate.scale
    assert abs(found.objective - best.objective) <= (found.tolerance + best.tolerance) * scale


ONE_TYPE = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=100.0,
    max_tokens=4096,
    probabilities=[1.0],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001),
)


def test_more_constraints_than_types_are_satisfied_together() -> None:
    limits = [cq.MaxMeanSystemTime(1.5), cq.MaxTokenRate(50.0)]
    certificate = cq.certify(ONE_TYPE.replace(constraints=limits), [600.0])
    np.testing.assert_allclose(certificate.tokens, [250.0], rtol=1e-9)
    assert certificate.violation == 600.0 - certificate.tokens[0]
    assert certificate.relative_gap <= 1e-12


@pytest.mark.parametrize("slack", [1e-13, 1e-9])
@pytest.mark.parametrize("tokens", [0.0, 1465.0, 2931.0, 4000.0])
def test_a_floor_and_caps_that_leave_hardly_a_point_lead_to_it(slack: float, tokens: float) -> None:
    """No step makes the accuracy rise and the time fall by what they are off, to first order."""
    instance = ONE_TYPE.replace(
        arrival_rate=0.1, accuracy_weight=1.0, service=cq.AffineService(base=0.0, per_token=0.002)
    )
    point = instance.evaluate([2931.0])
    floor = cq.MinMeanAccuracy(float(point.mean_accuracy) * (1.0 - slack))
    cap = cq.MaxMeanSystemTime(float(point.mean_system_time) * (1.0 + slack))
    certificate = cq.certify(instance.replace(constraints=[floor, cap, cap, cap]), [tokens])
    assert certificate.relative_gap <= 1e-6
    np.testing.assert_allclose(certificate.tokens, [2931.0], rtol=1e-6)


def test_the_certificate_decides_whatever_became_of_the_search() -> None:
    """What the search proposed is not restored, and what is left proves to be the optimum."""
    instance = cq.Instance(
        arrival_rate=0.25,
        accuracy_weight=0.01,
        min_tokens=200.0,
        max_tokens=3700.0,
        probabilities=[1.0],
        queue=cq.ProcessorSharing(),
        service=cq.AffineService(base=0.0, per_token=2e-4),
        accuracy=cq.PiecewiseLinear(
            tokens=[0, 500, 1000, 2000, 4000], accuracy=[0.1, 0.3, 0.5, 0.6, 0.7]
        ),
    )
    point = instance.evaluate([600.0])
    time, wait = float(point.mean_system_time), float(point.mean_waiting_time)
    constraints = [
        cq.MinMeanAccuracy(float(point.mean_accuracy) * (1.0 - 1e-13)),
        cq.MaxMeanSystemTime(time * (1.0 + 1e-9)),
        cq.MaxMeanWaitingTime(wait * (1.0 + 1e-13)),
        cq.MaxMeanSystemTime(time * (1.0 + 1e-13)),
    ]
    solution = cq.solve(instance.replace(constraints=constraints), on_failure="return")
    assert solution.is_optimal == (solution.relative_gap <= solution.tolerance)
    np.testing.assert_allclose(solution.tokens, [600.0], rtol=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_no_objective_is_claimed_that_the_constraints_do_not_allow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parameters = planted_instance(rng)[0] if seed % 2 else random_parameters(rng)
    instance = instance_of(parameters)
    instance = instance.replace(constraints=random_limits(rng, instance))
    try:
        best = cq.solve(instance)
    except cq.InfeasibleError:
        return
    has_floor = any(limit.is_floor for limit in instance.model.couplings)
    for share in (0.1, 0.5, 1.0):
        tokens = best.tokens + share * rng.random(instance.size) * (instance.upper - best.tokens)
        if not instance.evaluate(tokens).is_stable:
            continue
        certificate = cq.certify(instance, tokens)
        assert certificate.objective <= best.upper_bound
        assert certificate.upper_bound >= best.objective
        # The least tokens keep every cap, so that something nearby does.
        assert has_floor or certificate.gap < math.inf


@pytest.mark.parametrize("name", LIMITS)
def test_certify_moves_a_violating_allocation_to_where_the_constraint_holds(name: str) -> None:
    instance = constrained(LIMITS[name](0.3))
    certificate = cq.certify(instance, PLAIN.tokens)
    assert not certificate.is_feasible
    assert certificate.violation > 1.0
    assert float(certificate.excesses[0]) <= 1e-9
    assert certificate.objective <= cq.solve(instance).objective <= certificate.upper_bound


def test_what_no_point_nearby_satisfies_proves_nothing() -> None:
    instance = constrained(cq.MinMeanAccuracy(0.9), max_tokens=5.0e4)
    certificate = cq.certify(instance, [5e4, 5e4, 5e4])
    assert certificate.gap == np.inf
    assert certificate.upper_bound == np.inf
    assert not certificate.is_feasible


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([cq.MaxMeanSystemTime(0.1)], r"mean system time ≤ 0\.1 s.*raise seconds to 0\.39"),
        ([cq.MaxMeanWaitingTime(1e-3)], "mean waiting time ≤ 0.001 s.*raise seconds to"),
        ([cq.WaitingTimeTail(0.1, 1e-9)], r"P\(waiting time > 0\.1 s\).*raise seconds to .*probab"),
        ([cq.MinMeanAccuracy(0.95)], r"mean accuracy ≥ 0\.95.*a stable queue.*accuracy to 0\.79"),
        ([cq.MinAccuracy(0.85)], r"accuracy\[0\] of 'lookup' must be ≥ 0\.85.*at most 0\.79"),
        (
            [cq.MinMeanAccuracy(0.75), cq.MaxMeanSystemTime(2.0)],
            r"mean accuracy ≥ 0\.75 together with mean system time ≤ 2 s; lower accuracy to 0\.",
        ),
    ],
)
def test_infeasible_constraints_say_what_would_do(limits: list[Any], message: str) -> None:
    with pytest.raises(cq.InfeasibleError, match=message):
        cq.solve(constrained(*limits))


def test_the_remedy_of_a_floor_is_feasible_and_nearly_the_best() -> None:
    cap = cq.MaxMeanSystemTime(2.0)
    with pytest.raises(cq.InfeasibleError) as caught:
        cq.solve(constrained(cq.MinMeanAccuracy(0.75), cap))
    remedy = float(str(caught.value).split("lower accuracy to ")[1].split()[0])
    assert cq.solve(constrained(cq.MinMeanAccuracy(remedy), cap)).is_optimal
    with pytest.raises(cq.InfeasibleError):
        cq.solve(constrained(cq.MinMeanAccuracy(remedy + 1e-4), cap))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cq.MaxMeanSystemTime(0.0), r"MaxMeanSystemTime: seconds = 0\.0 must be > 0"),
        (
            lambda: cq.MaxMeanWaitingTime(math.nan),
            "MaxMeanWaitingTime: seconds = nan must be finite",
        ),
        (lambda: cq.MaxTokenRate(-1.0), r"tokens_per_second = -1\.0 must be > 0"),
        (lambda: cq.MinMeanAccuracy(1.5), r"accuracy = 1\.5 must be ≤ 1"),
        (lambda: cq.MinAccuracy(1.5), r"accuracy = 1\.5 must lie in \[0, 1\]"),
        (lambda: cq.WaitingTimeTail(1.0, 1.0), r"probability = 1\.0 must be < 1"),
        (lambda: cq.WaitingTimeTail(30, 2), r"probability = 2\.0 must be < 1; from 1 on"),
        (lambda: constrained("fast"), r"constraints\[0\] must be a constraint .*'fast'"),
        (lambda: INSTANCE.replace(constraints=cq.MaxTokenRate(1.0)), "must be a list"),
        (lambda: constrained(cq.MinAccuracy(0.5, "poetry")), "'poetry' is not the name of a type"),
        (lambda: constrained(cq.MinAccuracy(0.5, 3)), "type = 3 must be the position"),
        (lambda: constrained(cq.MinAccuracy([0.5, 0.5])), "one entry for each of the 3 types"),
        (
            lambda: constrained(
                cq.WaitingTimeTail(9.0, 0.05),
                service=cq.AffineService(base=1.0, per_token=0.01, token_scv=0.5),
            ),
            "not available with random use",
        ),
        (
            lambda: constrained(cq.WaitingTimeTail(9.0, 0.05), queue=cq.ProcessorSharing()),
            "not available for ProcessorSharing",
        ),
        (
            lambda: cq.solve(constrained(cq.MaxTokenRate(9.0)), "fixed-point"),
            "'fixed-point' cannot keep thinking tokens ≤ 9 per second.*'newton', 'conic'",
        ),
        (
            lambda: cq.solve(constrained(cq.MaxTokenRate(9.0)), "projected-gradient"),
            "'projected-gradient' cannot keep",
        ),
        (lambda: cq.solve_integer(constrained(cq.MaxTokenRate(9.0))), "solve_integer cannot keep"),
    ],
)
def test_what_is_not_allowed(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        make()


def test_permuted_types_and_another_unit_of_time() -> None:
    limits = [LIMITS["system time"](0.3), LIMITS["token rate"](0.25)]
    plain = cq.solve(constrained(*limits))
    order = [2, 0, 1]
    accuracy = INSTANCE.accuracy
    assert isinstance(accuracy, cq.SaturatingExponential)
    permuted = constrained(
        *limits,
        probabilities=INSTANCE.probabilities[order],
        names=None,
        service=cq.AffineService(base=SERVICE.base[order], per_token=SERVICE.per_token[order]),
        accuracy=cq.SaturatingExponential(
            floor=accuracy.floor[order], gain=accuracy.gain[order], rate=accuracy.rate[order]
        ),
    )
    milliseconds = constrained(
        cq.MaxMeanSystemTime(1e3 * LIMITS["system time"](0.3).seconds),
        cq.MaxTokenRate(1e-3 * LIMITS["token rate"](0.25).tokens_per_second),
        arrival_rate=1e-3 * INSTANCE.arrival_rate,
        accuracy_weight=1e3 * INSTANCE.accuracy_weight,
        service=cq.AffineService(base=1e3 * SERVICE.base, per_token=1e3 * SERVICE.per_token),
    )
    scale = plain.certificate.scale
    for other, unit in ((cq.solve(permuted), 1.0), (cq.solve(milliseconds), 1e3)):
        SAME_INSTANCE.check(other.objective / unit / scale, plain.objective / scale)


def test_waiting_times_of_an_allocation_at_the_edge_of_the_tail() -> None:
    """The bound is met by 10^6 simulated queries, and is not ten times too strict."""
    limit = LIMITS["tail"](0.3)
    solution = cq.solve(constrained(limit))
    assert float(solution.certificate.excesses[0]) == pytest.approx(0.0, abs=1e-9)
    rng = np.random.default_rng(1)
    count = 1_000_000
    times = INSTANCE.service.mean(solution.tokens)[
        rng.choice(INSTANCE.size, count, p=INSTANCE.probabilities)
    ]
    walk = np.cumsum(times - rng.exponential(1.0 / INSTANCE.arrival_rate, count))
    waiting = walk - np.minimum.accumulate(np.minimum(walk, 0.0))
    exceeding = float(np.mean(waiting > limit.seconds))
    assert 0.1 * limit.probability < exceeding <= limit.probability


def test_answers_show_what_constraints_cost() -> None:
    solution = cq.solve(constrained(LIMITS["system time"](0.3), cq.MinAccuracy(0.3)))
    (row,) = solution.to_dict()["constraints"]
    assert row["multiplier"] == solution.constraint_multipliers[0]
    assert row["constraint"].startswith("mean system time ≤")
    assert row["constraint"] in str(solution)


def test_no_types_or_constraints_are_lost_on_the_way() -> None:
    instance = constrained(cq.MaxTokenRate(9.0), cq.MinAccuracy(0.5, "chat"))
    assert instance.replace(arrival_rate=0.1).constraints == instance.constraints
    assert instance == constrained(cq.MaxTokenRate(9.0), cq.MinAccuracy(0.5, "chat"))
    assert instance != constrained(cq.MaxTokenRate(9.0), cq.MinAccuracy(0.5, "proof"))
    assert hash(instance) == hash(constrained(cq.MaxTokenRate(9.0), cq.MinAccuracy(0.5, "chat")))


@pytest.mark.parametrize("seconds", [1e-3, 1e-300])
def test_a_tail_beyond_all_exponents_is_infeasible(seconds: float) -> None:
    limit = cq.WaitingTimeTail(seconds, 1e-9)
    with pytest.raises(cq.InfeasibleError, match=r"raise seconds to 2\.18123 or more"):
        cq.solve(constrained(limit))
    certificate = cq.certify(constrained(limit), PLAIN.tokens)
    assert not certificate.is_feasible
    assert certificate.upper_bound == np.inf
    assert cq.solve(constrained(cq.WaitingTimeTail(2.18123, 1e-9))).is_optimal


@pytest.mark.parametrize(("seconds", "probability"), [(1e-308, 1e-300), (1e308, 1.0 - 2.0**-53)])
def test_a_tail_whose_decay_is_no_float_is_refused(seconds: float, probability: float) -> None:
    with pytest.raises(cq.InvalidInputError, match="must be a positive float64"):
        cq.WaitingTimeTail(seconds, probability)


@pytest.mark.parametrize("most", [777.0, 1234.0, 9000.0])
@pytest.mark.parametrize("rate", [0.003, 0.001, 0.0007])
def test_a_floor_that_max_tokens_reach_exactly_is_feasible(most: float, rate: float) -> None:
    accuracy = cq.SaturatingExponential(floor=0.2, gain=0.6, rate=rate)
    instance = INSTANCE.replace(arrival_rate=0.01, max_tokens=most, accuracy=accuracy)
    floors = instance.accuracy.value(instance.max_tokens)
    solution = cq.solve(instance.replace(constraints=[cq.MinAccuracy(floors)]))
    np.testing.assert_allclose(solution.accuracies, floors, rtol=1e-12)
    with pytest.raises(cq.InfeasibleError) as caught:
        cq.solve(instance.replace(constraints=[cq.MinAccuracy(floors + 1e-6)]))
    remedy = float(str(caught.value).split("lower the floor to ")[1].split()[0])
    assert cq.solve(instance.replace(constraints=[cq.MinAccuracy(remedy)])).is_optimal


@pytest.mark.parametrize("method", ["newton", "conic"])
@pytest.mark.parametrize(
    ("arrival_rate", "caps"),
    [
        (0.3, []),
        (0.15, [cq.WaitingTimeTail(3.0, 0.01)]),
        (0.15, [cq.WaitingTimeTail(10.0, 0.01)]),
        (0.15, [cq.MaxMeanSystemTime(2.0)]),
    ],
)
@pytest.mark.parametrize("accuracy", [0.75, 0.95])
def test_the_remedy_of_a_floor_does_together_with_the_rest(
    method: str, arrival_rate: float, caps: list[Any], accuracy: float
) -> None:
    def limited(floor: float) -> cq.Instance:
        return constrained(cq.MinMeanAccuracy(floor), *caps, arrival_rate=arrival_rate)

    with pytest.raises(cq.InfeasibleError, match="together with") as caught:
        cq.solve(limited(accuracy), method)
    remedy = float(str(caught.value).split("lower accuracy to ")[1].split()[0])
    solution = cq.solve(limited(remedy), on_failure="return")
    assert solution.certificate.is_feasible
    # Next to saturation, rounding of the floor is worth more than 1e-9.
    assert solution.relative_gap <= 1e-8
    with pytest.raises(cq.InfeasibleError):
        cq.solve(limited(remedy + 1e-4))


def test_a_floor_beyond_max_tokens_says_what_they_reach() -> None:
    instance = constrained(cq.MinMeanAccuracy(0.95), arrival_rate=0.01)
    with pytest.raises(cq.InfeasibleError, match=r"not even at max_tokens; lower accuracy to 0\.8"):
        cq.solve(instance)


@pytest.mark.parametrize("accuracy_weight", [0.0, 1e-12])
def test_an_objective_of_nothing_but_thinking_time(accuracy_weight: float) -> None:
    service = cq.AffineService(base=0.0, per_token=0.005)
    floor, cap = cq.MinMeanAccuracy(0.5), cq.MaxMeanSystemTime(2.0)
    instance = constrained(floor, cap, service=service, accuracy_weight=accuracy_weight)
    solution = cq.solve(instance)
    np.testing.assert_allclose(solution.mean_accuracy, 0.5, rtol=1e-12)
    # The least time for that accuracy.
    found = cq.solve(instance.replace(accuracy_weight=0.0), "conic")
    np.testing.assert_allclose(found.objective, solution.objective, rtol=1e-8)
    with pytest.raises(cq.InfeasibleError, match="lower accuracy to"):
        cq.solve(instance.replace(constraints=[cq.MinMeanAccuracy(0.75), cap]))


def test_a_queue_that_floors_make_unstable_is_blamed_on_them() -> None:
    with pytest.raises(cq.UnstableQueueError, match=r"min_tokens and the accuracy floors is 4\.8"):
        cq.solve(constrained(cq.MinAccuracy(0.75), arrival_rate=1.0))


def test_the_position_of_a_type_may_be_a_numpy_integer() -> None:
    assert cq.MinAccuracy(0.5, np.int64(1)) == cq.MinAccuracy(0.5, 1)


@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        ([-1.0], r"multipliers\[0\] = -1\.0 must be ≥ 0"),
        ([math.nan], r"multipliers\[0\] = nan must be finite"),
        ([1.0, 2.0], "one entry for each of the 1"),
    ],
)
def test_a_certificate_takes_no_multipliers_that_prove_nothing(
    multipliers: list[float], message: str
) -> None:
    instance = constrained(cq.MaxTokenRate(9.0))
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.Certificate(instance, instance.lower, np.array(multipliers))


@pytest.mark.parametrize("seed", range(40))
def test_the_exact_optimum_at_a_cap_lies_between_the_bounds(seed: int) -> None:
    """One type: the cap alone says how many tokens are best, in fifty digits."""
    rng = np.random.default_rng(seed)
    rate = 10.0 ** rng.uniform(-2.0, 0.0)
    base, per_token = rng.uniform(0.0, 0.5) / rate, 10.0 ** rng.uniform(-3.0, -2.0)
    worth, decay = 10.0 ** rng.uniform(5.0, 9.0), 10.0 ** rng.uniform(-3.0, -2.0)
    instance = cq.Instance(
        arrival_rate=rate,
        accuracy_weight=worth,
        max_tokens=1e5,
        probabilities=[1.0],
        service=cq.AffineService(base=base, per_token=per_token),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=decay),
    )
    least = float(instance.model.lowest.mean_system_time)
    most = cq.solve(instance, on_failure="return").mean_system_time
    seconds = least + (most - least) * rng.choice([0.01, 0.3, 0.9])
    solution = cq.solve(instance.replace(constraints=[cq.MaxMeanSystemTime(seconds)]))
    with mp.workdps(50):
        # t + λ t²/(2(1 − λ t)) = x.
        half = 1 + mp.mpf(rate) * mp.mpf(seconds)
        time = (half - mp.sqrt(half * half - 2 * mp.mpf(rate) * mp.mpf(seconds))) / mp.mpf(rate)
        tokens = (time - mp.mpf(base)) / mp.mpf(per_token)
        accuracy = mp.mpf(0.2) + mp.mpf(0.6) * (1 - mp.exp(-mp.mpf(decay) * tokens))
        exact = mp.mpf(worth) * accuracy - mp.mpf(seconds)
        assert solution.objective <= exact <= solution.upper_bound
        low, high = solution.token_bounds[0]
        assert low <= tokens <= high


CORNERED = INSTANCE.replace(
    accuracy=cq.PiecewiseLinear(
        tokens=[0.0, 500.0, 1000.0, 3000.0],
        accuracy=[[0.2, 0.5, 0.6, 0.7], [0.1, 0.3, 0.5, 0.6], [0.3, 0.4, 0.45, 0.46]],
    )
)


@pytest.mark.parametrize(
    "limits",
    [
        [cq.MaxMeanSystemTime(2.5)],
        [cq.MaxTokenRate(9.0)],
        [cq.MaxTokenRate(63.0)],
        [cq.WaitingTimeTail(11.0, 0.05)],
        [cq.MinMeanAccuracy(0.53)],
        [cq.MaxMeanSystemTime(4.5), cq.MaxTokenRate(63.0)],
    ],
)
def test_conic_answers_at_corners_are_certified(limits: list[Any]) -> None:
    instance = CORNERED.replace(constraints=limits)
    found, fast = cq.solve(instance, "conic"), cq.solve(instance)
    scale = fast.certificate.scale
    CONE_OPTIMUM.check(found.objective / scale, fast.objective / scale)
    again = cq.certify(instance, found.tokens)
    assert again.is_feasible
    assert again.relative_gap <= 1e-9


def test_one_type_that_hardly_minds_how_many_tokens_it_has() -> None:
    """On a straight piece and under processor sharing a hair of the price moves it far."""
    instance = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=1900.0,
        max_tokens=2000.0,
        probabilities=[1.0],
        service=cq.AffineService(base=0.2, per_token=0.004),
        accuracy=cq.PiecewiseLinear(
            tokens=[0.0, 1225.0, 1856.0, 3333.0], accuracy=[0.22, 0.38, 0.405, 0.476]
        ),
        queue=cq.ProcessorSharing(),
        constraints=[cq.MaxTokenRate(2.0)],
    )
    solution = cq.solve(instance)
    assert solution.is_optimal
    # The gap that is certified leaves the tokens so much.
    low, high = solution.token_bounds[0]
    assert low <= 20.0 <= high
    np.testing.assert_allclose(solution.tokens, 20.0, rtol=1e-6)


@pytest.mark.parametrize("arrival_rate", [0.3, 0.4, 0.8])
def test_a_floor_at_corners_that_no_stable_queue_reaches(arrival_rate: float) -> None:
    changes: dict[str, Any] = {"queue": cq.ProcessorSharing(), "arrival_rate": arrival_rate}
    with pytest.raises(cq.InfeasibleError, match="together with a stable queue") as caught:
        cq.solve(CORNERED.replace(constraints=[cq.MinMeanAccuracy(0.6)], **changes))
    remedy = float(str(caught.value).split("lower accuracy to ")[1].split()[0])
    form = cq.formulate(CORNERED.replace(accuracy_weight=0.0, **changes))
    limits = [*form.constraints.values(), form.utilization <= 1.0]
    best = cp.Problem(cp.Maximize(form.mean_accuracy), limits)
    best.solve(solver="CLARABEL")
    assert remedy <= float(best.value) + 1e-6
    assert remedy == pytest.approx(float(best.value), abs=5e-3)


def test_nothing_is_claimed_where_a_floor_is_out_of_reach() -> None:
    short = CORNERED.replace(max_tokens=1.0, constraints=[cq.MinAccuracy(0.99)])
    for tokens in (short.min_tokens, short.max_tokens):
        found = cq.certify(short, tokens)
        assert found.is_stable
        assert not found.is_feasible
        assert (found.objective, found.gap) == (-np.inf, np.inf)


def test_a_floor_that_is_rounded_is_within_the_token_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        gain, floor, rate = rng.uniform((0.1, 0.01, -4.0), (0.7, 0.99, -1.0))
        floor, rate = gain * floor, 10.0**rate
        floored = cq.Instance(
            arrival_rate=1e-6,
            accuracy_weight=1e-6,
            max_tokens=1e7,
            probabilities=[1.0],
            service=cq.AffineService(base=0.5, per_token=0.002),
            accuracy=cq.SaturatingExponential(floor=0.0, gain=gain, rate=rate),
            constraints=[cq.MinAccuracy(floor)],
        )
        low, high = cq.solve(floored).token_bounds[0].tolist()
        with mp.workdps(40):
            least = -mp.log(1 - mp.mpf(floor) / mp.mpf(gain)) / mp.mpf(rate)
            assert low <= least <= high
