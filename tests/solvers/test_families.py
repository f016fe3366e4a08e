"""Every queue with every service law and accuracy curve: optima, certificates and derivatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from mpmath import mpf, workdps

import cvxqueue as cq
from cvxqueue.certificates import contraction, order_bracket, step_size, strong_concavity
from cvxqueue.model.differences import divergence, improvement, separable_gains
from cvxqueue.numerics.arrays import FloatArray
from tests.families import FAMILIES, Family, Planted, family_of, pairwise, planted
from tests.family_oracle import Exact, optimum, service_slopes
from tests.generator import UTILIZATIONS
from tests.tolerances import EPSILON, IMPROVEMENT, SAME_INSTANCE, SAMPLED_BOUND

Names = tuple[str, str, str]

# References whose tokens are determined, by classes of the package of all kinds.
REFERENCES = [
    name
    for name in cq.references.names()
    if name.startswith(("fifo-", "processor-", "batch-", "vacations-", "setups-", "exact-3"))
]
# Relative to the terms over the idle fraction: the closed forms are sums of N products and a few
# powers, whose exponents magnify their rounding by a logarithm.
CLOSED = 100.0 * EPSILON
# Planted tokens against the optimum, relative to the larger of the tokens and one: the gains are
# rounded, and the shapes here are flatter than those of `tests.generator`.
PLANTED = 1e-9


def named(families: Sequence[Names] | Iterator[Names]) -> list[Any]:
    return [pytest.param(names, id=" ".join(names)) for names in families]


each_family = pytest.mark.parametrize("names", named(FAMILIES))
each_pair = pytest.mark.parametrize("names", named(pairwise()))


def instances(names: Names, count: int, **options: Any) -> Iterator[Planted]:
    """Planted instances of a family, at loads that take turns unless one is given."""
    first = FAMILIES.index(names)
    for seed in range(count):
        load = UTILIZATIONS[(first + seed) % len(UTILIZATIONS)]
        rng = np.random.default_rng([20261125, first, seed])
        yield planted(rng, *names, **{"utilization": load, **options})


def allowed(family: Family, solution: cq.Solution) -> float:
    """The relative gap that rounding alone may leave."""
    share = 16.0 if family.has_kinks else 1.0
    return share * max(1e-12, 16.0 * EPSILON / (1.0 - solution.utilization))


def check_certified(family: Family, solution: cq.Solution) -> None:
    assert solution.is_optimal
    assert solution.relative_gap <= allowed(family, solution)


def check_planted(case: Planted, solution: cq.Solution) -> None:
    """The planted optimum lies in what is proven, and is no better than what was found."""
    there = cq.certify(solution.instance, case.tokens)
    assert there.is_feasible
    assert there.objective <= solution.upper_bound
    assert solution.objective <= there.upper_bound
    # A mistake in the third digit of a price would show here.
    assert abs(solution.objective - there.objective) <= 1e-9 * there.scale
    if case.is_exact:
        check_inside(solution.token_bounds, case.tokens)


def check_inside(bounds: FloatArray, tokens: FloatArray) -> None:
    margin = PLANTED * np.maximum(tokens, 1.0)
    assert (bounds[:, 0] <= tokens + margin).all()
    assert (bounds[:, 1] >= tokens - margin).all()


@each_family
def test_newton_certifies_the_planted_optimum(names: Names) -> None:
    for case in instances(names, 8):
        solution = cq.solve(case.family.instance())
        check_certified(case.family, solution)
        check_planted(case, solution)


@each_family
def test_one_type_at_every_load(names: Names) -> None:
    for case in instances(names, len(UTILIZATIONS), n=1):
        solution = cq.solve(case.family.instance())
        check_certified(case.family, solution)
        check_planted(case, solution)


@each_family
@pytest.mark.parametrize("margin", [1e-3, 1e-6])
def test_next_to_the_edge_of_stability(names: Names, margin: float) -> None:
    (case,) = instances(names, 1, n=4, plain=True)
    instance = case.family.instance()
    solution = cq.solve(instance.replace(arrival_rate=instance.max_arrival_rate * (1.0 - margin)))
    check_certified(case.family, solution)
    assert 1.0 - margin <= solution.utilization * (1.0 + 1e-12) < 1.0


def check_same(first: cq.Solution, second: cq.Solution, unit: float = 1.0) -> None:
    """Two forms of one instance have one optimum, up to a unit of time."""
    scale = first.certificate.scale
    # Each certified objective is below the optimum by its gap at most.
    margin = max(SAME_INSTANCE.atol, first.relative_gap, second.relative_gap)
    assert abs(second.objective / unit - first.objective) <= margin * scale


def check_overlap(first: FloatArray, second: FloatArray) -> None:
    margin = 1e-9 * np.maximum(first[:, 1], 1.0)
    assert (first[:, 0] <= second[:, 1] + margin).all()
    assert (second[:, 0] <= first[:, 1] + margin).all()


@pytest.mark.slow
@each_family
def test_the_same_instance_in_disguise(names: Names) -> None:
    rng = np.random.default_rng(7)
    for place, case in enumerate(instances(names, 3)):
        plain = cq.solve(case.family.instance())
        unit = (1e3, 1e-3, 60.0)[place]
        order = rng.permutation(case.tokens.size)
        twice = [0, *range(case.tokens.size)]
        for other, factor, positions in (
            (case.family.permuted(order.tolist()), 1.0, order),
            (case.family.in_unit(unit), unit, np.arange(order.size)),
            (case.family.split(rng.uniform(0.01, 0.99)), 1.0, np.array(twice)),
        ):
            solution = cq.solve(other.instance())
            check_certified(other, solution)
            check_same(plain, solution, factor)
            check_overlap(plain.token_bounds[positions], solution.token_bounds)


def stable_points(instance: cq.Instance, rng: np.random.Generator, count: int) -> FloatArray:
    """Stable points of the box, shape (count, N), of all loads up to 1 − 1e-3 of what is idle."""
    lower, span = instance.lower, instance.upper - instance.lower
    points = []
    least = float(instance.model.lowest.idle)
    for _ in range(count):
        step = rng.random(instance.size) ** rng.choice([1.0, 4.0]) * span
        while float(instance.evaluate(lower + step).idle) < 1e-3 * least:
            step *= rng.uniform(0.2, 0.99)
        points.append(np.minimum(lower + step, instance.upper))
    return np.array(points)


def precise(tokens: FloatArray) -> list[mpf]:
    return [mpf(count) for count in tokens.tolist()]


@each_family
def test_closed_forms_and_derivatives_against_exact_differences(names: Names) -> None:
    rng = np.random.default_rng(11)
    for case in instances(names, 2, n=3, plain=True, utilization=0.7):
        instance, problem = case.family.instance(), Exact(case.family)
        for tokens in stable_points(instance, rng, 3):
            point, direction = instance.evaluate(tokens), rng.standard_normal(3)
            noise = CLOSED / float(point.idle)
            exact = exact_derivatives(problem, tokens, direction)
            objective, waiting, slopes, bends = exact
            assert abs(float(point.objective) - objective) <= noise * float(point.scale)
            assert abs(float(point.mean_waiting_time) - waiting) <= noise * waiting
            terms = instance.probabilities * (point.marginal_benefit + point.marginal_cost)
            assert (np.abs(instance.gradient(tokens) - slopes) <= noise * terms).all()
            found = instance.hessian_product(tokens, direction)
            parts = sum(
                np.abs(instance.hessian_product(tokens, row) * size)
                for row, size in zip(np.eye(3), direction, strict=True)
            )
            assert (np.abs(found - bends) <= 10.0 * noise * parts).all()


def exact_derivatives(
    problem: Exact, tokens: FloatArray, direction: FloatArray
) -> tuple[float, float, list[float], list[float]]:
    """Objective, mean waiting time, gradient and a product with the Hessian, by differences."""
    with workdps(80):
        here, step = precise(tokens), mpf(10) ** -20

        def moved(*moves: Sequence[float]) -> mpf:
            shifts = [sum(map(mpf, parts)) for parts in zip(*moves, strict=True)]
            return problem.objective([a + step * b for a, b in zip(here, shifts, strict=True)])

        value, along = problem.objective(here), direction.tolist()
        units = np.eye(tokens.size).tolist()
        slopes = [(moved(e) - moved([-x for x in e])) / (2 * step) for e in units]
        bends = [(moved(e, along) - moved(e) - moved(along) + value) / step**2 for e in units]
        waiting = problem.mean_waiting_time(here)
        return float(value), float(waiting), [*map(float, slopes)], [*map(float, bends)]


@each_family
@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-6])
def test_differences_keep_their_digits(names: Names, distance: float) -> None:
    rng = np.random.default_rng(13)
    for case in instances(names, 2, n=4, plain=True, utilization=0.8):
        instance, problem = case.family.instance(), Exact(case.family)
        here, far = stable_points(instance, rng, 2)
        there = here + distance * (far - here)
        start, end = instance.evaluate(here), instance.evaluate(there)
        with workdps(80):
            first, second = precise(here), precise(there)
            slopes = gradient_of_time(problem, first)
            changes = [b - a for a, b in zip(first, second, strict=True)]
            time = problem.mean_system_time(second) - problem.mean_system_time(first)
            expected = time - sum(a * b for a, b in zip(slopes, changes, strict=True))
            gained = problem.objective(second) - problem.objective(first)
        apart, gain = float(divergence(start, end)), float(improvement(start, end))
        idle = float(min(start.idle, end.idle))
        times = float(max(start.mean_system_time, end.mean_system_time))
        # A square of differences: of times that are rounded by themselves.
        share = (CLOSED / idle) * (math.sqrt(abs(float(expected)) / times) + CLOSED / idle)
        assert abs(apart - float(expected)) <= 10.0 * share * times / idle
        assert apart >= 0.0
        moved = instance.probabilities * start.marginal_cost * (there - here)
        size = float(np.sum(np.abs(separable_gains(start, there)) + np.abs(moved))) / idle
        assert abs(gain - float(gained)) <= 4.0 * IMPROVEMENT.atol * size


def gradient_of_time(problem: Exact, tokens: Sequence[mpf]) -> list[mpf]:
    first, second = problem.moments(tokens)
    prices = problem.prices(1 - problem.rate * first, second)
    slopes = (
        service_slopes(row["service"], v) for row, v in zip(problem.types, tokens, strict=True)
    )
    return [
        row["probability"] * (prices[0] * slope[0] + prices[1] * slope[1])
        for row, slope in zip(problem.types, slopes, strict=True)
    ]


@each_family
def test_what_is_proven_anywhere_holds_for_the_optimum(names: Names) -> None:
    rng = np.random.default_rng(17)
    for case in instances(names, 3):
        instance = case.family.instance()
        best = cq.certify(instance, case.tokens)
        bracket = order_bracket(instance, rounds=4)
        if case.is_exact:
            check_inside(np.stack(bracket, axis=-1), case.tokens)
        for tokens in stable_points(instance, rng, 4):
            certificate = cq.certify(instance, tokens)
            assert best.objective <= certificate.upper_bound
            assert certificate.objective <= best.upper_bound
            if case.is_exact:
                check_inside(certificate.token_bounds, case.tokens)


def curvatures(instance: cq.Instance, tokens: FloatArray, direction: FloatArray) -> float:
    return -float(direction @ instance.hessian_product(tokens, direction))


@each_family
def test_curvature_certificates_are_sound_or_say_why_not(names: Names) -> None:
    rng = np.random.default_rng(19)
    slack = 1.0 + SAMPLED_BOUND.rtol
    for case in instances(names, 3, n=4):
        instance = case.family.instance()
        steps, concavity = step_size(instance), strong_concavity(instance)
        assert steps.holds == (not steps.reason)
        # A box without a kink of a type that is worth something has bounds all the same.
        assert steps.holds or case.family.has_kinks
        points = stable_points(instance, rng, 20)
        near = [
            np.clip(case.tokens * rng.uniform(0.5, 1.1, 4), instance.lower, instance.upper)
            for _ in range(10)
        ]
        for tokens in (*points, *near):
            point = instance.evaluate(tokens)
            if not point.is_stable:
                continue
            direction = rng.standard_normal(4) * np.maximum(tokens, 1.0)
            curvature = curvatures(instance, tokens, direction)
            metric = instance.probabilities * np.square(instance.service.mean_slope(tokens))
            assert curvature * slack >= concavity.value * float(metric @ direction**2)
            assert curvature * slack >= concavity.plain * float(direction @ direction)
            if steps.holds and float(point.objective) >= steps.level:
                assert curvature <= slack * float(steps.metric @ direction**2)
                assert curvature <= slack * steps.value * float(direction @ direction)


@each_family
def test_responses_move_by_no_more_than_the_contraction(names: Names) -> None:
    rng = np.random.default_rng(23)
    for case in instances(names, 3, n=4, utilization=0.01):
        instance = case.family.instance()
        certificate = contraction(instance)
        if not np.isfinite(certificate.value):
            assert certificate.reason
            continue
        span = certificate.upper - certificate.lower
        for _ in range(20):
            first, second = certificate.lower + rng.random((2, 4)) * span
            apart = float(np.max(np.abs(second - first) / certificate.weights))
            responses = instance.response(np.stack([first, second]))
            moved = float(np.max(np.abs(responses[1] - responses[0]) / certificate.weights))
            # The responses themselves are rounded.
            rounding = 1e-12 * float(np.max(np.abs(responses) / certificate.weights))
            assert moved <= certificate.value * apart * (1.0 + 1e-9) + rounding


@each_pair
def test_every_method_proves_the_same_optimum(names: Names) -> None:
    for place, case in enumerate(instances(names, 2, plain=True, pattern="mixed")):
        load = (0.3, 0.8)[place]
        rng = np.random.default_rng([29, place])
        case = planted(rng, *names, n=(1, 5)[place], utilization=load, plain=True)
        instance = case.family.instance()
        able = [method.name for method in cq.methods(instance)]
        assert {"newton", "conic"} <= set(able)
        assert ("fixed-point" in able) == (not case.family.has_kinks)
        for method in able:
            solution = cq.solve(instance, method, on_failure="return")
            if method == "conic" and case.family.has_kinks:
                # Inside a straight piece the gap falls with the distance, not with its square, and
                # an interior point method leaves some 1e-7 of the tokens: gaps up to 7e-8.
                assert solution.relative_gap <= 1e-7
                check_planted(case, solution)
                solution = cq.solve(instance, method, polish=True)
            assert solution.is_optimal, method
            check_planted(case, solution)


@each_family
def test_newton_encloses_a_proven_optimum_of_one_type(names: Names) -> None:
    (case,) = instances(names, 1, n=1)
    check_encloses(case.family)


@each_pair
def test_newton_encloses_a_proven_optimum(names: Names) -> None:
    for case in instances(names, 2, n=3):
        check_encloses(case.family)


def check_encloses(family: Family) -> None:
    """What is certified holds what is proven to thirty digits, by arithmetic of its own."""
    solution = cq.solve(family.instance())
    check_certified(family, solution)
    found = cq.verify(cq.prove(family.instance()))
    assert Fraction(solution.objective) <= Fraction(found.objective[1])
    assert Fraction(found.objective[0]) <= Fraction(solution.upper_bound)
    for proven, bounds in zip(found.tokens, solution.token_bounds.tolist(), strict=True):
        assert bounds[0] <= proven[1]
        assert proven[0] <= bounds[1]


def exact_tokens(name: str) -> list[mpf]:
    record = cq.references.load(name).record
    return [mpf(count) for count in record["tokens"]]


@pytest.mark.parametrize("name", REFERENCES)
def test_the_oracle_proves_the_references(name: str) -> None:
    reference = cq.references.load(name)
    with workdps(60):
        problem = Exact(family_of(reference.instance))
        tokens = exact_tokens(name)
        scale = problem.benefit(tokens) + problem.mean_system_time(tokens)
        unit = mpf(10) ** -30 * scale
        assert abs(problem.gap(tokens)) <= unit
        assert abs(problem.objective(tokens) - mpf(reference.record["objective"])) <= unit
        # A point next to it is refused.
        row = problem.types[0]
        center = (row["min_tokens"] + row["max_tokens"]) / 2
        moved = [tokens[0] + mpf(10) ** -4 * (center - tokens[0]), *tokens[1:]]
        assert problem.gap(moved) > mpf(10) ** -26 * scale


@pytest.mark.parametrize(
    "name",
    ["fifo-varying-michaelis", "processor-sharing-quadratic-points", "setups-quadratic-power"],
)
def test_the_oracle_finds_the_references(name: str) -> None:
    found = optimum(family_of(cq.references.load(name).instance))
    with workdps(60):
        for count, expected in zip(map(mpf, found["tokens"]), exact_tokens(name), strict=True):
            assert abs(count - expected) <= mpf(10) ** -29 * max(count, 1)


def stacked(rows: Sequence[Family]) -> dict[str, Any]:
    """What `solve_batch` takes for instances of one size, with types of the same kinds."""
    services = {
        key: [[row["service"][key] for row in family.types] for family in rows]
        for key in rows[0].types[0]["service"]
    }
    law: Any = cq.QuadraticService if "per_squared_token" in services else cq.AffineService
    kinds = [row["accuracy"]["kind"] for row in rows[0].types]
    distinct = list(dict.fromkeys(kinds))
    columns = [
        {
            key: [
                [row["accuracy"][key] for row in family.types if row["accuracy"]["kind"] == kind]
                for family in rows
            ]
            for key in next(
                row["accuracy"] for row in rows[0].types if row["accuracy"]["kind"] == kind
            )
            if key != "kind"
        }
        for kind in distinct
    ]
    classes: dict[str, Any] = {
        "exponential": cq.SaturatingExponential,
        "power": cq.PowerLaw,
        "michaelis": cq.MichaelisMenten,
        "points": cq.PiecewiseLinear,
    }
    curves = [
        classes[kind](**{key: filled(part) for key, part in column.items()})
        for kind, column in zip(distinct, columns, strict=True)
    ]
    which = [distinct.index(kind) for kind in kinds]
    return {
        "arrival_rate": [family.arrival_rate for family in rows],
        "accuracy_weight": [family.accuracy_weight for family in rows],
        "probabilities": [family.column("probability") for family in rows],
        "min_tokens": [family.column("min_tokens") for family in rows],
        "max_tokens": [family.column("max_tokens") for family in rows],
        "importance": [family.column("importance") for family in rows],
        "service": law(**services),
        "accuracy": curves[0] if len(curves) == 1 else cq.MixedAccuracy(curves=curves, which=which),
    }


def filled(rows: Any) -> Any:
    """Lists of points of one length, each repeating its last one."""
    if not isinstance(rows[0][0], list):
        return rows
    longest = max(len(points) for row in rows for points in row)
    return [[[*points, *[points[-1]] * (longest - len(points))] for points in row] for row in rows]


def variants(names: Names, count: int, size: int) -> list[Family]:
    """Instances of one queue and with types of the same kinds, at loads that take turns."""
    drawn = [case.family for case in instances(names, 20 * count, n=size)]
    kinds = [row["accuracy"]["kind"] for row in drawn[0].types]
    alike = [f for f in drawn if [row["accuracy"]["kind"] for row in f.types] == kinds][:count]
    return [Family(f.arrival_rate, f.accuracy_weight, drawn[0].queue, f.types) for f in alike]


@each_pair
def test_a_batch_answers_as_single_solves_do(names: Names) -> None:
    rows = variants(names, 6, 3)
    assert len(rows) >= 3
    singles = [cq.solve(family.instance()) for family in rows]
    batch = cq.solve_batch(rows[0].instance(), **stacked(rows))
    assert batch.is_optimal.all()
    for place, single in enumerate(singles):
        scale = single.certificate.scale
        noise = max(64.0 * EPSILON / (1.0 - single.utilization), single.relative_gap)
        assert abs(batch.objective[place] - single.objective) <= noise * scale
        assert batch.relative_gap[place] <= batch.tolerance[place]
        assert batch.tolerance[place] == pytest.approx(single.tolerance, rel=1e-6)
        bounds, margin = single.token_bounds, 1e-12 * single.token_bounds[:, 1]
        assert (batch.tokens[place] >= bounds[:, 0] - margin).all()
        assert (batch.tokens[place] <= bounds[:, 1] + margin).all()
