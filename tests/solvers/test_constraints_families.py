"""Constraints with every queue and curve: kept, priced by slopes, told apart where impossible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import cvxqueue as cq
from cvxqueue.model.couplings import is_satisfied
from cvxqueue.numerics.arrays import FloatArray
from tests.families import FAMILIES, LAWS, QUEUES, Planted, pairwise, planted
from tests.tolerances import MULTIPLIER

Names = tuple[str, str, str]

KINDS = ("system time", "waiting time", "token rate", "mean accuracy", "tail")
CHANCE = 0.05
# What the driver holds newton to where constraints couple the types.
CERTIFIED = 1e-9
# A conic solver or a descent method against it, relative to the scale.
SAME_OPTIMUM = 1e-7


def takes_tail(names: Names) -> bool:
    return names[0] == "FIFO" and names[1] != "random"


def combinations() -> Iterator[Any]:
    """Every two of a queue, a law and a curve, with every constraint that the queue takes."""
    for names in pairwise():
        for kind in KINDS:
            if kind != "tail" or takes_tail(names):
                yield pytest.param(names, kind, id=f"{' '.join(names)} {kind}")


each_combination = pytest.mark.parametrize(("names", "kind"), list(combinations()))


def case_of(names: Names, seed: int, **options: Any) -> Planted:
    rng = np.random.default_rng([31, FAMILIES.index(names), seed])
    plain: dict[str, Any] = {"n": 4, "utilization": (0.4, 0.7, 0.9)[seed % 3], "pattern": "free"}
    return planted(rng, *names, plain=True, **{**plain, **options})


def rate_of(instance: cq.Instance, tokens: FloatArray) -> float:
    return float(instance.arrival_rate * (instance.probabilities @ tokens))


def decay_of(instance: cq.Instance, tokens: FloatArray) -> float:
    """The θ > 0 with Σ π exp(θ t) = 1 + θ/λ, by halving."""
    mix, times, rate = instance.probabilities, instance.service.mean(tokens), instance.arrival_rate
    low, high = 0.0, 1.0 / float(np.max(times))
    while float(mix @ np.expm1(high * times)) < high / rate:
        high *= 2.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        is_below = float(mix @ np.expm1(middle * times)) < middle / rate
        low, high = (middle, high) if is_below else (low, middle)
    return low


def more_than(instance: cq.Instance, tokens: FloatArray) -> FloatArray:
    """Stable tokens with more accuracy than the given ones."""
    step, idle = instance.upper - tokens, float(instance.evaluate(tokens).idle)
    if idle <= 0.0 or not step.any():
        raise ValueError("there is no more than tokens that are unstable or at the cap")
    while float(instance.evaluate(tokens + step).idle) < 0.3 * idle:
        step = 0.7 * step
    more: FloatArray = tokens + step
    return more


def test_tokens_that_leave_no_room_have_no_more() -> None:
    instance = case_of(next(iter(pairwise())), 0).family.instance()
    for tokens in (instance.upper, instance.upper + 1e9):
        with pytest.raises(ValueError, match="there is no more"):
            more_than(instance, tokens)


def limit(kind: str, instance: cq.Instance, best: FloatArray, share: float) -> Any:
    """A constraint that is tighter than the optimum by a share of the way to the impossible."""
    least, here = instance.evaluate(instance.lower), instance.evaluate(best)

    def between(of_best: Any, of_least: Any) -> float:
        return float(of_best) + share * (float(of_least) - float(of_best))

    if kind == "system time":
        return cq.MaxMeanSystemTime(between(here.mean_system_time, least.mean_system_time))
    if kind == "waiting time":
        return cq.MaxMeanWaitingTime(between(here.mean_waiting_time, least.mean_waiting_time))
    if kind == "token rate":
        return cq.MaxTokenRate(between(rate_of(instance, best), rate_of(instance, instance.lower)))
    if kind == "mean accuracy":
        more = instance.evaluate(more_than(instance, best))
        return cq.MinMeanAccuracy(between(here.mean_accuracy, more.mean_accuracy))
    decay = between(decay_of(instance, best), decay_of(instance, instance.lower))
    return cq.WaitingTimeTail(float(-np.log(CHANCE)) / decay, CHANCE)


def field_of(constraint: Any) -> float:
    return float(getattr(constraint, next(iter(type(constraint).__dataclass_fields__))))


def is_hard(names: Names, case: Planted) -> bool:
    """Whether the maximum may have kinks as a function of the multipliers.

    Without a price of the squared second and with straight pieces, several types may be worth the
    price of their tokens all along a piece.
    """
    return names[0] == "ProcessorSharing" and case.family.has_kinks


@each_combination
def test_a_constraint_is_kept_and_the_answer_certified(names: Names, kind: str) -> None:
    case = case_of(names, KINDS.index(kind))
    instance = case.family.instance()
    plain = cq.solve(instance)
    constraint = limit(kind, instance, plain.tokens, 0.3)
    solution = cq.solve(instance.replace(constraints=[constraint]), on_failure="return")
    certificate, scale = solution.certificate, solution.certificate.scale
    assert certificate.is_feasible
    assert solution.objective <= plain.upper_bound
    # What is proven holds, whatever the status: no feasible point is above the bound.
    share = np.linspace(0.0, 1.0, 50)[:, np.newaxis]
    for end in (instance.lower, more_than(instance, plain.tokens)):
        for tokens in end + share * (solution.tokens - end):
            point = solution.instance.evaluate(tokens)
            if is_satisfied(point):
                assert float(point.objective) <= solution.upper_bound
    if is_hard(names, case) and not solution.is_optimal:
        # Known: the search for the multipliers may end at a kink of the dual function, and says so.
        assert solution.status is cq.Status.STALLED
        return
    assert solution.is_optimal
    assert solution.relative_gap <= max(CERTIFIED, solution.tolerance)
    assert solution.constraint_multipliers[0] > 0.0
    assert abs(float(certificate.excesses[0])) <= 1e-7 * max(1.0, field_of(constraint))
    assert scale > 0.0


@pytest.mark.parametrize(
    ("names", "kind"), [case for place, case in enumerate(combinations()) if place % 4 == 0]
)
def test_the_same_program_as_cones_has_the_same_optimum(names: Names, kind: str) -> None:
    case = case_of(names, KINDS.index(kind))
    instance = case.family.instance()
    constraint = limit(kind, instance, cq.solve(instance).tokens, 0.3)
    constrained = instance.replace(constraints=[constraint])
    first = cq.solve(constrained, on_failure="return")
    second = cq.solve(constrained, "conic", on_failure="return")
    scale = first.certificate.scale
    assert second.objective <= first.upper_bound
    assert first.objective <= second.upper_bound
    assert second.objective >= first.objective - SAME_OPTIMUM * scale
    assert first.is_optimal or second.is_optimal
    if not is_hard(names, case):
        assert first.is_optimal
        # Inside a straight piece it may stop a little short.
        assert second.relative_gap <= (1e-9 if instance.accuracy.is_smooth else 1e-8)
        assert abs(first.objective - second.objective) <= SAME_OPTIMUM * scale


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["FIFO", "BatchArrivals", "Setups"])
@pytest.mark.parametrize("curve", ["points", "mixed"])
@pytest.mark.parametrize("seed", range(5))
def test_at_kinks_the_multipliers_of_the_optimum_prove_no_more(
    queue: str, curve: str, seed: int
) -> None:
    rng = np.random.default_rng([9, seed])
    instance = planted(rng, queue, "affine", curve, n=5, utilization=0.7).family.instance()
    tokens = cq.solve(instance).tokens
    kinds = ("system time", "waiting time", "token rate")
    limits = [limit(kind, instance, tokens, float(rng.uniform(0.1, 0.4))) for kind in kinds]
    best = cq.solve(instance.replace(constraints=limits), on_failure="return")
    # From the optimum, and from tokens that are moved to where the constraints hold.
    for allocation in (best.tokens, 0.9 * best.tokens, tokens):
        found = cq.certify(best.instance, allocation)
        other = cq.Certificate(best.instance, found.tokens, best.certificate.multipliers)
        assert found.gap <= 1.05 * other.gap + 1e-9 * found.scale


@pytest.mark.parametrize("names", list(pairwise()), ids=" ".join)
def test_several_constraints_at_once(names: Names) -> None:
    case = case_of(names, 0, n=5)
    instance = case.family.instance()
    best = cq.solve(instance).tokens
    shares = {"system time": 0.2, "waiting time": 0.25, "token rate": 0.3, "tail": 0.25}
    if not takes_tail(names):
        del shares["tail"]
    if is_hard(names, case):
        # Kinks in two multipliers at once take seconds.
        del shares["token rate"]
    limits = [limit(kind, instance, best, share) for kind, share in shares.items()]
    constrained = instance.replace(constraints=limits)
    solution = cq.solve(constrained)
    assert solution.is_optimal
    assert max(solution.constraint_multipliers) > 0.0
    assert min(solution.constraint_multipliers) >= 0.0
    # A constraint with room has no price, and one with a price no room.
    for constraint, price, excess in zip(
        limits, solution.constraint_multipliers, solution.certificate.excesses, strict=True
    ):
        assert price * abs(excess) <= 1e-7 * solution.certificate.scale, constraint.label
    alone = cq.solve(instance.replace(constraints=limits[:1]))
    assert solution.objective <= alone.upper_bound


SMOOTH = [
    pytest.param(names, kind, id=f"{' '.join(names)} {kind}")
    for place, names in enumerate(pairwise())
    if names[2] in ("exponential", "power", "michaelis")
    for kind in KINDS
    if (kind != "tail" or takes_tail(names)) and (place + KINDS.index(kind)) % 2 == 0
]


@pytest.mark.parametrize(("names", "kind"), SMOOTH)
def test_a_general_descent_method_finds_nothing_better(names: Names, kind: str) -> None:
    instance = case_of(names, KINDS.index(kind)).family.instance()
    plain = cq.solve(instance)
    constraint = limit(kind, instance, plain.tokens, 0.3)
    constrained = instance.replace(constraints=[constraint])
    solution = cq.solve(constrained)
    unit = np.maximum(plain.tokens, 1.0)
    # From a point inside; the constraint or the cap holds it to the stable part of the box.
    start = more_than(instance, plain.tokens) if kind == "mean accuracy" else instance.lower
    worst = float(instance.objective(start))
    gain = solution.objective - worst
    size = abs(constraint.excess(instance.evaluate(start)))

    def cost(x: FloatArray) -> float:
        return float((worst - instance.objective(x * unit)) / gain)

    def slope(x: FloatArray) -> FloatArray:
        return -instance.gradient(x * unit) * unit / gain

    def room(x: FloatArray) -> float:
        return float(-constraint.excess(instance.evaluate(x * unit)) / size)

    def room_slope(x: FloatArray) -> FloatArray:
        slopes: FloatArray = -constraint.gradient(instance.evaluate(x * unit)) * unit / size
        return slopes

    # A stable box with the answer inside: of a concave objective, the best there is the best.
    center = np.maximum(solution.tokens, start)
    most = np.minimum(2.0 * center, instance.upper)
    while float(instance.evaluate(most).idle) < 1e-3:
        most = 0.8 * most + 0.2 * center
    bounds = list(zip((instance.lower / unit).tolist(), (most / unit).tolist(), strict=True))
    x = start / unit
    # It stops short of the optimum at a first answer, and goes on from there.
    for _ in range(5):
        found = minimize(
            cost,
            x,
            jac=slope,
            method="SLSQP",
            bounds=bounds,
            constraints=[{"type": "ineq", "fun": room, "jac": room_slope}],
            options={"ftol": 1e-15, "maxiter": 500},
        )
        x = found.x
    assert room(x) >= -1e-7
    assert -1.0 - 1e-6 <= cost(x) <= -1.0 + 1e-5


def active_set(solution: cq.Solution) -> Any:
    """Where each type is: at a bound, at a kink of its curve, or between."""
    instance, tokens = solution.instance, solution.tokens
    near = 1e-7 * np.maximum(tokens, 1.0)
    bent = instance.accuracy.curvature_range(tokens - near, tokens + near)[1]
    at = [tokens <= instance.lower + near, tokens >= instance.upper - near, np.isinf(bent)]
    return np.stack(at).tolist()


@pytest.mark.slow
@each_combination
def test_multipliers_are_slopes_of_the_optimal_value(names: Names, kind: str) -> None:
    for seed in range(8):
        case = case_of(names, seed, utilization=0.6)
        instance = case.family.instance()
        best = cq.solve(instance).tokens
        step = 3e-5
        here, looser, tighter = (limit(kind, instance, best, 0.3 + s) for s in (0.0, -step, step))
        solutions = [
            cq.solve(instance.replace(constraints=[one]), on_failure="return")
            for one in (here, looser, tighter)
        ]
        if not all(solution.relative_gap <= CERTIFIED for solution in solutions):
            # Slow too, so that no other is looked for.
            assert is_hard(names, case)
            return
        middle, first, last = solutions
        if not active_set(first) == active_set(middle) == active_set(last):
            continue
        change = abs(field_of(looser) - field_of(tighter))
        price = middle.constraint_multipliers[0]
        slope = (first.objective - last.objective) / change
        # The values are certified to within their gaps.
        noise = (first.gap + last.gap) / change
        if noise > 0.1 * MULTIPLIER.rtol * price:
            continue
        MULTIPLIER.check(slope, price)
        return
    assert is_hard(names, case)


@each_combination
def test_what_is_impossible_says_what_would_do(names: Names, kind: str) -> None:
    instance = case_of(names, 1).family.instance()
    best = cq.solve(instance).tokens
    least = instance.evaluate(instance.lower)
    beyond: dict[str, Any] = {
        "system time": cq.MaxMeanSystemTime(0.9 * float(least.mean_system_time)),
        "waiting time": cq.MaxMeanWaitingTime(0.9 * float(least.mean_waiting_time)),
        "mean accuracy": cq.MinMeanAccuracy(
            min(1.0, 1.001 * float(instance.evaluate(instance.upper).mean_accuracy))
        ),
    }
    if kind == "token rate":
        raised = instance.replace(min_tokens=np.minimum(best, instance.upper))
        instance = raised
        beyond[kind] = cq.MaxTokenRate(0.5 * rate_of(raised, raised.lower))
    if kind == "tail":
        beyond[kind] = cq.WaitingTimeTail(
            0.5 * float(-np.log(CHANCE)) / decay_of(instance, instance.lower), CHANCE
        )
    with pytest.raises(cq.InfeasibleError) as caught:
        cq.solve(instance.replace(constraints=[beyond[kind]]))
    message = str(caught.value)
    assert beyond[kind].label in message
    if kind != "mean accuracy":
        # Its remedy is the accuracy at max_tokens, where the queue need not be stable.
        value = float(re.findall(r"to ([-+.e\d]+) or", message)[0])
        rest = (CHANCE,) if kind == "tail" else ()
        remedied = instance.replace(constraints=[type(beyond[kind])(value, *rest)])
        assert cq.solve(remedied, on_failure="return").certificate.is_feasible


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("law", LAWS)
def test_the_tail_is_not_available_where_its_law_is_not_known(queue: str, law: str) -> None:
    names = (queue, law, "exponential")
    instance = case_of(names, 0).family.instance()
    tail = cq.WaitingTimeTail(1e3 * float(instance.model.lowest.mean_system_time), CHANCE)
    if takes_tail(names):
        assert instance.replace(constraints=[tail]).model.couplings == (tail,)
        return
    reason = "random use" if queue == "FIFO" else queue
    with pytest.raises(cq.InvalidInputError, match=f"not available (for|with) {reason}"):
        instance.replace(constraints=[tail])


HARD = [names for names in FAMILIES if names[0] == "ProcessorSharing" and names[2] == "points"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("names", HARD, ids=" ".join)
def test_kinks_of_the_dual_function(names: Names, kind: str) -> None:
    """Newton mixes what lies on both sides of one, or says that it stalled; conic does it."""
    case = case_of(names, 2, n=3)
    instance = case.family.instance()
    constraint = limit(kind, instance, cq.solve(instance).tokens, 0.3)
    constrained = instance.replace(constraints=[constraint])
    solution = cq.solve(constrained, on_failure="return")
    assert solution.status in (cq.Status.OPTIMAL, cq.Status.STALLED)
    conic = cq.solve(constrained, "conic", on_failure="return")
    assert conic.certificate.is_feasible
    assert conic.objective <= solution.upper_bound
    assert solution.objective <= conic.upper_bound
    assert abs(conic.objective - solution.objective) <= 1e-6 * solution.certificate.scale


TAILS = [
    ("FIFO", "affine", "exponential"),
    ("FIFO", "quadratic", "power"),
    ("FIFO", "affine", "points"),
    ("FIFO", "quadratic", "mixed"),
]


@pytest.mark.slow
@pytest.mark.parametrize("names", TAILS, ids=" ".join)
@pytest.mark.parametrize("load", [0.5, 0.9])
def test_ten_million_queries_at_the_edge_of_the_tail(names: Names, load: float) -> None:
    instance = case_of(names, 0, utilization=load).family.instance()
    constraint = limit("tail", instance, cq.solve(instance).tokens, 0.1)
    solution = cq.solve(instance.replace(constraints=[constraint]))
    assert solution.utilization <= 0.9
    # At the edge, to what a gap of 1e-9 leaves.
    assert float(solution.certificate.excesses[0]) == pytest.approx(0.0, abs=1e-8)
    simulation = cq.simulate(
        instance, solution.tokens, queries=10_000_000, seed=1, thresholds=constraint.seconds
    )
    found = simulation.waiting_tail[constraint.seconds]
    assert found.interval[0] <= constraint.probability
    # Lundberg's bound is not ten times too strict here, so that the edge means something.
    assert found.value >= 0.1 * constraint.probability
