"""The exact integer method: against enumeration, exact arithmetic and two other solvers."""

from __future__ import annotations

import contextlib
import itertools
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import files
from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.files.text import render
from cvxqueue.integer import (
    Domains,
    Integers,
    LevelMenu,
    Menu,
    Multiples,
    RoundingBound,
    ZeroOrAtLeast,
    branch_and_bound,
    cell_search,
    partition,
    plain_rounding,
    rounding_bound,
    solve_integer,
)
from cvxqueue.integer.branch_and_bound import best_choice
from cvxqueue.integer.cells import Bounds, cell_bounds
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.enumeration import (
    Enumerated,
    PriceCorners,
    Tangents,
    enumerate_all,
    enumerate_bounded,
)
from cvxqueue.integer.increments import Increments
from cvxqueue.integer.incumbent import Base, Incumbent
from cvxqueue.integer.solve import solve_within
from cvxqueue.model import Queue
from cvxqueue.model.domains import Domain
from cvxqueue.numerics.arrays import FloatArray
from tests.families import planted_instance
from tests.instances import CATALOGUE, instance_of

pytestmark = pytest.mark.usefixtures("inside")

PAIRS = list(itertools.product(range(41), range(41)))
# What the exact method proves by default, relative to α Σ π w p + T.
TOLERANCE = 1e-9
ROUNDING = ("nearest", "floor", "neighbors")
KINDS = ("integers", "multiples", "zero-or-at-least", "menu", "levels", "mixed")
QUEUES: tuple[Queue, ...] = (
    cq.FIFO(),
    cq.ProcessorSharing(),
    cq.BatchArrivals(2.0, 6.0),
    cq.Vacations(1.0, 2.0),
    cq.Setups(1.0, 2.0),
)


def random_domain(rng: np.random.Generator, kind: str, cap: int) -> Domain:
    if kind == "mixed":
        kind = str(rng.choice(KINDS[:-1]))
    if kind == "integers":
        return Integers()
    if kind == "multiples":
        return Multiples(int(rng.integers(1, 9)))
    if kind == "zero-or-at-least":
        return ZeroOrAtLeast(int(rng.integers(1, cap // 2 + 2)))
    if kind == "menu":
        return Menu(np.append(0, rng.integers(0, cap + 1, rng.integers(1, 8))))
    size = int(rng.integers(1, 6))
    times = rng.uniform(0.1, 0.5 * cap, size)
    return LevelMenu(rng.random(size), times, times**2 * rng.uniform(1.0, 3.0, size))


def random_small(seed: int) -> tuple[cq.Instance, list[Domain]]:
    """Up to four types with caps of up to 40, all queues, loads up to 0.999, and ties."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 5))
    cap = (40, 40, 40, 20)[size - 1]
    lower = np.where(rng.random(size) < 0.7, 0.0, rng.uniform(0.0, 3.0, size).round(1))
    mix = rng.dirichlet(np.full(size, rng.choice([0.3, 1.0, 10.0]))) + 1e-9
    mix /= mix.sum()
    base, slope = rng.uniform(0.0, 1.0, size), 10.0 ** rng.uniform(-2.0, 0.0, size)
    service: Any = cq.AffineService(
        base=base, per_token=slope, token_scv=rng.choice([0.0, 0.5], size)
    )
    if rng.random() < 0.5:
        bend = 10.0 ** rng.uniform(-4.0, -2.0, size)
        service = cq.QuadraticService(base=base, per_token=slope, per_squared_token=bend)
    accuracy = cq.SaturatingExponential(
        floor=0.1, gain=0.9 * rng.random(size), rate=10.0 ** rng.uniform(-2.5, 0.0, size)
    )
    if seed % 5 == 0:
        # Ties: identical types, all of whose numbers are short in binary.
        mix, lower = np.full(size, 1.0 / size), np.zeros(size)
        service = cq.AffineService(base=0.5, per_token=0.25)
        accuracy = cq.SaturatingExponential(floor=0.125, gain=0.5, rate=0.125)
    shortest = float(mix @ np.broadcast_to(service.mean(lower), size))
    longest = float(mix @ np.broadcast_to(service.mean(np.full(size, float(cap))), size))
    load = rng.choice([0.3, 0.9, 0.99, 0.999])
    instance = cq.Instance(
        arrival_rate=load / (shortest + rng.random() ** 2 * (longest - shortest)),
        accuracy_weight=10.0 ** rng.uniform(0.0, 5.0),
        min_tokens=lower,
        max_tokens=float(cap),
        probabilities=mix,
        service=service,
        accuracy=accuracy,
        queue=QUEUES[int(rng.integers(len(QUEUES)))],
        importance=rng.choice([0.0, 1.0, 2.0], size, p=[0.1, 0.6, 0.3]),
    )
    kind = KINDS[seed % len(KINDS)]
    return instance, [random_domain(rng, kind, cap) for _ in range(size)]


def allowed(instance: cq.Instance, domain: Domain, k: int) -> list[float]:
    """The choices of one type, straight from the definition of its domain."""
    if isinstance(domain, LevelMenu):
        return [float(j) for j in range(domain.size)]
    low, high = float(instance.min_tokens[k]), float(instance.max_tokens[k])
    numbers = [float(n) for n in range(int(high) + 1) if low <= n <= high]
    if isinstance(domain, Multiples):
        return [n for n in numbers if n % domain.step == 0]
    if isinstance(domain, ZeroOrAtLeast):
        return [n for n in numbers if n == 0 or n >= domain.minimum]
    if isinstance(domain, Menu):
        return [n for n in numbers if n in domain.tokens]
    return numbers


def every_choice(instance: cq.Instance, domains: list[Domain]) -> FloatArray:
    lists = [allowed(instance, domain, k) for k, domain in enumerate(domains)]
    return np.array(list(itertools.product(*lists)))


def objectives(instance: cq.Instance, domains: list[Domain], points: FloatArray) -> FloatArray:
    """J at many choices, from sums that know nothing of the package's own evaluation."""
    benefit, mean, second = (np.zeros(len(points)) for _ in range(3))
    for k, domain in enumerate(domains):
        at = np.zeros((len(points), instance.size))
        at[:, k] = points[:, k]
        if isinstance(domain, LevelMenu):
            place = points[:, k].astype(int)
            values = (
                domain.accuracy[place],
                domain.mean_service_time[place],
                domain.second_moment[place],
            )
        else:
            values = (
                instance.accuracy.value(at)[:, k],
                np.broadcast_to(instance.service.mean(at), at.shape)[:, k],
                np.broadcast_to(instance.service.second_moment(at), at.shape)[:, k],
            )
        share = instance.probabilities[k]
        benefit += instance.accuracy_weight * instance.importance[k] * share * values[0]
        mean += share * values[1]
        second += share * values[2]
    idle = 1.0 - instance.arrival_rate * mean
    safe = np.where(idle > 1e-12, idle, 1.0)
    waiting = instance.queue.mean_waiting_time(instance.arrival_rate, mean, second, safe)
    return np.where(idle > 1e-12, benefit - mean - waiting, -np.inf)


@pytest.mark.slow
# The campaign goes on where this ends.
@pytest.mark.parametrize("block", range(24))
def test_no_choice_is_better_by_enumeration(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        instance, domains = random_small(seed)
        points = every_choice(instance, domains)
        values = objectives(instance, domains, points) if points.size else np.array([-np.inf])
        if not points.size or values.max() == -np.inf:
            with pytest.raises(cq.InfeasibleError):
                solve_integer(instance, domains=domains)
            continue
        answer = solve_integer(instance, domains=domains)
        scale = float(answer.evaluation.scale)
        assert answer.is_optimal, seed
        assert answer.gap <= TOLERANCE * scale, seed
        assert values.max() - answer.objective <= TOLERANCE * scale, seed
        assert values.max() <= answer.upper_bound + 4.0 * answer.allowance, seed
        assert answer.evaluation.is_stable
        assert (points == answer.choice).all(axis=1).any()


def test_prices_near_a_cell_are_finite_where_second_moments_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, price_corners = [], cell_search._Problem._price_corners

    def kept(*arguments: Any) -> Any:
        found.append(price_corners(*arguments))
        return found[-1]

    monkeypatch.setattr(cell_search._Problem, "_price_corners", kept)
    for seed in range(30):
        instance, domains = random_small(seed)
        with contextlib.suppress(cq.InfeasibleError):
            solve_integer(instance.replace(queue=cq.ProcessorSharing()), domains=domains)
    assert found
    for corners in found:
        assert all(np.isfinite(part).all() for part in corners)


@pytest.mark.parametrize("seeds", [range(9), range(9, 18)], ids=["first", "last"])
def test_heuristics_stay_in_the_domains_and_below_the_bound(seeds: range) -> None:
    tried = 0
    for seed in seeds:
        instance, domains = random_small(seed)
        points = every_choice(instance, domains)
        values = objectives(instance, domains, points) if points.size else np.array([-np.inf])
        if values.max() == -np.inf:
            continue
        has_levels = any(isinstance(domain, LevelMenu) for domain in domains)
        if has_levels:
            for method in ROUNDING:
                with pytest.raises(cq.InvalidInputError, match="levels"):
                    solve_integer(instance, method, domains=domains)
        elif not instance.is_feasible:
            continue
        best = solve_integer(instance, domains=domains)
        for method in ("descent", *(() if has_levels else ROUNDING)):
            answer = solve_integer(instance, method, domains=domains)
            tried += 1
            assert answer.evaluation.is_stable
            assert (points == answer.choice).all(axis=1).any()
            assert values.max() <= answer.upper_bound + 4.0 * answer.allowance
            assert answer.objective <= best.upper_bound
    assert tried >= 20


def exact_objective(instance: cq.Instance, tokens: FloatArray) -> Fraction:
    """J over FIFO with affine times and accuracies rounded to float64, in rational arithmetic."""
    service, rate = instance.service, Fraction(float(instance.arrival_rate))
    assert isinstance(service, cq.AffineService)
    benefit = mean = second = Fraction(0)
    for k in range(instance.size):
        share, count = Fraction(float(instance.probabilities[k])), Fraction(float(tokens[k]))
        time = Fraction(float(service.base[k])) + Fraction(float(service.per_token[k])) * count
        accuracy = Fraction(float(instance.accuracy.value(np.asarray(tokens))[k]))
        weight = Fraction(float(instance.accuracy_weight)) * Fraction(float(instance.importance[k]))
        benefit += weight * share * accuracy
        mean += share * time
        second += share * time**2
    return benefit - mean - rate * second / (2 * (1 - rate * mean))


@pytest.mark.parametrize("load", [0.5, 0.95, 0.999])
def test_the_bound_holds_in_exact_arithmetic(load: float) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        base, slope = rng.uniform(0.1, 1.0, 2), 10.0 ** rng.uniform(-2.0, -1.0, 2)
        instance = cq.Instance(
            arrival_rate=load / float(np.mean(base + 20.0 * slope)),
            accuracy_weight=10.0 ** rng.uniform(1.0, 4.0),
            max_tokens=40.0,
            probabilities=[0.5, 0.5],
            service=cq.AffineService(base=base, per_token=slope),
            accuracy=cq.SaturatingExponential(floor=0.1, gain=[0.5, 0.8], rate=[0.05, 0.2]),
        )
        answer = solve_integer(instance)
        points = every_choice(instance, [Integers(), Integers()])
        stable = points[instance.evaluate(points).idle > 0.0]
        values = [exact_objective(instance, point) for point in stable]
        top = max(values)
        mine = exact_objective(instance, answer.choice)
        assert Fraction(answer.objective) <= mine <= top
        assert top <= Fraction(answer.upper_bound)
        assert float(top - mine) <= TOLERANCE * float(answer.evaluation.scale)


@pytest.mark.slow
@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: type(queue).__name__)
def test_bounds_of_cells_hold_for_every_choice(queue: Queue) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        instance, _ = random_small(int(rng.integers(1000)))
        instance = instance.replace(queue=queue)
        domains: list[Domain] = [Integers() for _ in range(instance.size)]
        choices = Choices(instance, Domains.of(domains, instance.size))
        point = choices.evaluate(choices.lowest)
        if not point.is_stable:
            continue
        base = Base(choices, point)
        points = every_choice(instance, domains)
        totals = choices.increments(base.point.tokens, points).totals()
        gains = base.gain(totals)
        room = 0.999 * base.idle / base.rate
        edges = np.linspace(0.0, min(float(totals.mean.max()), room), 9)
        if edges[-1] == 0.0:
            continue
        guesses = np.full(8, base.mean_price) * 10.0 ** rng.uniform(-1.0, 1.0, 8)
        bounds = cell_bounds(Incumbent(base, 0.0, NEVER), edges[:-1], edges[1:], guesses)
        for first, last, value in zip(bounds.first, bounds.last, bounds.value, strict=True):
            inside = (totals.mean >= first) & (totals.mean <= last)
            assert np.all(gains[inside] <= value)
        # The middle bounds what is there, and narrow cells come near it.
        assert np.all(bounds.at_middle[np.isfinite(bounds.at_middle)] <= bounds.value.max() + 1e-9)


@pytest.mark.parametrize("load", [0.0, 0.3, 0.9, 1.0 - 1e-9])
@pytest.mark.parametrize("width", [1e-9, 1e-3, 1.0, 1e3])
def test_cells_reach_to_the_end_and_at_most_halve_or_double_the_idle_fraction(
    load: float, width: float
) -> None:
    base: Any = SimpleNamespace(idle=1.0 - load, rate=0.5)
    saturated = base.idle / base.rate
    for end in (0.1 * saturated, saturated * (1.0 - 1e-12), -2.0, -1e3):
        edges = np.array(partition._edges(base, float(np.copysign(width, end)), end))
        assert (edges[0], edges[-1]) == (0.0, end)
        widths = np.diff(edges) * np.sign(end)
        assert (widths > 0.0).all()
        idle = base.idle - base.rate * edges
        ratios = np.maximum(idle[1:] / idle[:-1], idle[:-1] / idle[1:])
        # Rounding has a part in what little is left of the idle fraction.
        assert (ratios[idle[1:] > 1e-9 * base.idle] <= 2.0 + 1e-6).all()
        # As few as that allows: each is four times as wide as the one before, or at that limit.
        by_growth = np.log(max(abs(end) / width, 1.0)) / np.log(4.0)
        by_idle = abs(np.log2(idle[-1] / base.idle))
        assert len(edges) <= 4.0 + by_growth + by_idle


def test_an_idle_fraction_that_rounding_leaves_is_none() -> None:
    epsilon = np.finfo(np.float64).eps
    instance = simple(
        arrival_rate=1.0,
        accuracy_weight=1e25,
        max_tokens=1000.0,
        probabilities=[1.0],
        service=cq.AffineService(base=0.0, per_token=(1.0 - 4.0 * epsilon) / 1000.0),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.5, rate=1e-3),
        names=None,
    )
    choices = Choices(instance, Domains.of(Integers(), 1))
    base = Base(choices, choices.evaluate(np.zeros(1)))
    full = np.array([1000.0])
    assert not choices.evaluate(full).is_stable
    assert base.gain(choices.increments(np.zeros(1), full).totals()) == -np.inf
    # Nor are there cells where no choice can be: at this weight nearly all is worth its wait.
    _, last = partition._cells(Incumbent(base, 1.0, NEVER))
    assert base.idle_at(last).min() >= 7.0 * epsilon


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(14))
def test_larger_instances_are_certified(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parameters, _ = planted_instance(
        rng, n=int(rng.integers(5, 51)), utilization=float(rng.choice([0.1, 0.5, 0.9, 0.99, 0.999]))
    )
    instance = instance_of(parameters, max_tokens=np.ceil(parameters["max_tokens"]))
    if not instance.evaluate(np.ceil(instance.min_tokens)).is_stable:
        instance = instance.replace(min_tokens=np.floor(instance.min_tokens))
    answer = solve_integer(instance)
    assert answer.is_optimal
    assert answer.relative_gap <= TOLERANCE
    for method in ("nearest", "floor", "descent"):
        other = solve_integer(instance, method)
        assert other.objective <= answer.upper_bound
        assert answer.objective <= other.upper_bound


COARSE: dict[str, Domain] = {
    "multiples": Multiples(256),
    "zero-or-at-least": ZeroOrAtLeast(4096),
    "menu": Menu([0, 1024, 4096, 16384]),
}


def in_a_wide_box(rng: np.random.Generator, size: int) -> cq.Instance:
    service = cq.AffineService(
        base=10.0 ** rng.uniform(-2.0, 0.0, size), per_token=10.0 ** rng.uniform(-3.0, -1.5, size)
    )
    mix = rng.dirichlet(np.ones(size))
    shortest, longest = (float(mix @ service.mean(np.full(size, ends))) for ends in (0.0, 32768.0))
    load = float(rng.choice([0.3, 0.9, 0.99, 0.999]))
    return cq.Instance(
        arrival_rate=load / (shortest + rng.random() ** 3 * (longest - shortest)),
        accuracy_weight=10.0 ** rng.uniform(1.0, 5.0),
        max_tokens=32768.0,
        probabilities=mix,
        service=service,
        accuracy=cq.SaturatingExponential(
            floor=0.1, gain=rng.uniform(0.05, 0.7, size), rate=10.0 ** rng.uniform(-4.0, -2.0, size)
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [*COARSE, "mixed"])
def test_coarse_domains_in_wide_boxes_are_certified(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 51))
    instance = in_a_wide_box(rng, size)
    own = [*COARSE.values(), Integers()]
    domains = (
        [own[int(rng.integers(len(own)))] for _ in range(size)] if kind == "mixed" else COARSE[kind]
    )
    answer = solve_integer(instance, domains=domains)
    assert answer.is_optimal
    assert answer.relative_gap <= TOLERANCE
    for method in ("nearest", "descent"):
        other = solve_integer(instance, method, domains=domains)
        assert other.objective <= answer.upper_bound
        assert answer.objective <= other.upper_bound


@pytest.mark.parametrize("seed", [24, 57])
def test_steps_beside_menus_are_certified(seed: int) -> None:
    # Without a split at a step these are left at a gap of a thousandth.
    rng = np.random.default_rng(seed)
    size = int(rng.integers(20, 51))
    instance = in_a_wide_box(rng, size)
    domains: list[Domain] = []
    for _ in range(size):
        step = int(2 ** rng.integers(9, 14))
        domains.append((Multiples(step), COARSE["menu"])[int(rng.integers(2))])
    answer = solve_integer(instance, domains=domains, time_limit=20.0)
    assert answer.is_optimal
    assert answer.relative_gap <= TOLERANCE


@pytest.mark.parametrize("kind", ["zero-or-at-least", "menu", "levels", "multiples"])
def test_parts_share_out_what_there_is_to_choose_from(kind: str) -> None:
    rng = np.random.default_rng(3)
    instance = simple(max_tokens=20.0)
    first = Multiples(4) if kind == "multiples" else random_domain(rng, kind, 20)
    domains = [first, random_domain(rng, "zero-or-at-least", 20)]
    choices = Choices(instance, Domains.of(domains, 2))

    def everything(part: Choices) -> set[tuple[float, ...]]:
        lists = [part.listed(k, part.span(part.lowest, 0.0, 0.0, np.inf)) for k in range(2)]
        return set(itertools.product(*(listed.tolist() for listed in lists)))

    alternatives = choices.alternatives(1.0, 0.1)
    for k in range(2):
        one, others = choices.split(k, float(alternatives.choice[k]))
        assert everything(one) | everything(others) == everything(choices)
        assert not everything(one) & everything(others)
        taken = {point[k] for point in everything(one)}
        if kind == "multiples" and k == 0:
            assert (
                max(taken) == alternatives.choice[k] < min(point[k] for point in everything(others))
            )
        else:
            assert taken == {alternatives.choice[k]}
        for part in (one, others):
            moved = part.moved_into(choices.lowest)
            assert tuple(moved.tolist()) in everything(part)
            kept = np.arange(2) != k
            assert np.array_equal(moved[kept], choices.lowest[kept])


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_the_catalogue_is_certified(name: str) -> None:
    instance = CATALOGUE[name].instance
    lower, upper = np.ceil(instance.min_tokens), np.floor(instance.max_tokens)
    if np.any(lower > upper) or not instance.evaluate(lower).is_stable:
        with pytest.raises(cq.InfeasibleError):
            solve_integer(instance)
        return
    answer = solve_integer(instance, time_limit=20.0)
    assert answer.evaluation.is_stable
    assert answer.relative_gap <= max(
        TOLERANCE, 8.0 * answer.allowance / float(answer.evaluation.scale)
    )


def second_opinion(
    instance: cq.Instance, domains: list[Domain], *, is_linear: bool
) -> tuple[FloatArray, float]:
    """The same program in CVXPY: binaries for the choices, and T as a convex function of these."""
    choices = Choices(instance, Domains.of(domains, instance.size))
    lists = [np.array(allowed(instance, domain, k)) for k, domain in enumerate(domains)]
    picks = [cp.Variable(row.size, boolean=True) for row in lists]
    constraints: list[Any] = [cp.sum(pick) == 1 for pick in picks]
    rate, share = float(instance.arrival_rate), instance.probabilities
    values, means, roots = [], [], []
    for k, row in enumerate(lists):
        points = np.tile(choices.lowest, (row.size, 1))
        points[:, k] = row
        data = choices.evaluate(points).model
        values.append(instance.model.accuracy_value[k] * data.accuracy.value(points)[:, k])
        means.append(np.asarray(data.service.mean(points))[:, k])
        roots.append(np.sqrt(np.asarray(data.service.second_moment(points))[:, k]))
    benefit = cp.sum([share[k] * (values[k] @ picks[k]) for k in range(instance.size)])
    mean = cp.sum([share[k] * (means[k] @ picks[k]) for k in range(instance.size)])
    idle = 1.0 - rate * mean
    if is_linear:
        # m1/(1 − λ m1) is convex: with a tangent at every attainable m1 it is exact there.
        attainable = np.unique(
            [float(share @ np.array(combination)) for combination in itertools.product(*means)]
        )
        time = cp.Variable()
        slopes = 1.0 / np.square(1.0 - rate * attainable[rate * attainable < 0.999])
        at = attainable[rate * attainable < 0.999]
        constraints += [time >= at / (1.0 - rate * at) + cp.multiply(slopes, mean - at)]
        constraints += [mean <= float(at.max())]
        system_time: Any = time
    else:
        stacked = cp.hstack(
            [np.sqrt(rate * share[k] / 2.0) * (roots[k] @ picks[k]) for k in range(instance.size)]
        )
        system_time = mean + cp.quad_over_lin(stacked, idle)
        constraints.append(idle >= 1e-3)
    problem = cp.Problem(cp.Maximize(benefit - system_time), constraints)
    problem.solve(solver="HIGHS" if is_linear else "SCIP")
    found = [
        row[int(np.argmax(np.asarray(pick.value)))] for row, pick in zip(lists, picks, strict=True)
    ]
    return np.array(found), float(problem.value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("is_linear", [False, True], ids=["scip", "highs"])
def test_another_solver_has_the_same_optimum(seed: int, is_linear: bool) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 4))
    instance = cq.Instance(
        arrival_rate=rng.uniform(0.05, 0.15),
        accuracy_weight=10.0 ** rng.uniform(1.0, 2.5),
        max_tokens=2048.0,
        probabilities=rng.dirichlet(np.ones(size) * 4.0),
        service=cq.AffineService(
            base=rng.uniform(0.1, 1.0, size), per_token=rng.uniform(2e-3, 8e-3, size)
        ),
        accuracy=cq.SaturatingExponential(
            floor=0.1, gain=rng.uniform(0.2, 0.8, size), rate=10.0 ** rng.uniform(-3.5, -2.0, size)
        ),
        queue=cq.ProcessorSharing() if is_linear else cq.FIFO(),
    )
    every: list[Domain] = [
        Menu([0, 128, 256, 512, 1024, 2048]),
        LevelMenu([0.3, 0.6, 0.7], [1.0, 4.0, 9.0], [1.5, 20.0, 100.0]),
        Multiples(256),
    ]
    domains = every[:size]
    answer = solve_integer(instance, domains=domains)
    found, value = second_opinion(instance, domains, is_linear=is_linear)
    scale = float(answer.evaluation.scale)
    theirs = float(objectives(instance, domains, found[np.newaxis])[0])
    assert theirs <= answer.upper_bound + answer.allowance
    # The other solvers work to 1e-6 of numbers of this size.
    assert value == pytest.approx(answer.objective, abs=1e-5 * scale)
    assert theirs >= answer.objective - 1e-5 * scale


def simple(**changes: Any) -> cq.Instance:
    values: dict[str, Any] = {
        "arrival_rate": 0.1,
        "accuracy_weight": 100.0,
        "max_tokens": 1000.0,
        "probabilities": [0.5, 0.5],
        "service": cq.AffineService(base=0.5, per_token=0.01),
        "accuracy": cq.SaturatingExponential(floor=0.1, gain=[0.5, 0.6], rate=[0.01, 0.004]),
        "names": ["easy", "hard"],
    }
    return cq.Instance(**{**values, **changes})


def test_nearest_is_not_optimal_for_menus() -> None:
    domains = ZeroOrAtLeast(400)
    nearest = solve_integer(simple(), "nearest", domains=domains)
    best = solve_integer(simple(), domains=domains)
    assert nearest.tokens.tolist() != best.tokens.tolist()
    assert best.loss < nearest.loss
    assert best.objective <= nearest.upper_bound


def test_levels_have_no_tokens() -> None:
    domains: list[Domain] = [Integers(), LevelMenu([0.2, 0.7], [1.0, 3.0])]
    answer = solve_integer(simple(), domains=domains)
    assert answer.tokens[1] == -1
    assert answer.levels.tolist()[0] == -1
    assert answer.levels[1] in (0, 1)
    assert answer.continuous is None
    assert np.isnan(answer.loss)
    assert np.isnan(answer.loss_bound)
    assert answer.to_dict()["loss"] is None
    assert answer.to_dict()["levels"] == answer.levels.tolist()
    assert "level" in str(answer)
    assert answer.accuracies[1] in (0.2, 0.7)
    assert plain_rounding(answer) is None
    assert "loss" not in repr(answer)


def test_plain_rounding_keeps_the_bound_of_the_proof() -> None:
    answer = solve_integer(simple())
    rounded = plain_rounding(answer)
    assert rounded is not None
    assert rounded.method == "nearest"
    assert rounded.tokens.tolist() == solve_integer(simple(), "nearest").tokens.tolist()
    assert rounded.gap <= max(answer.gap + answer.objective - rounded.objective, 0.0) + 1e-12


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        (Menu([2000]), r"'easy' can have no tokens of Menu.*max_tokens\[0\] = 1000"),
        ([Integers(), Menu([5000])], r"'hard'"),
        (LevelMenu([0.5], [11.0]), r"utilization is 1\.1.*'easy' takes 0\.55"),
        ([Integers(), LevelMenu([0.5], [30.0])], r"\('hard' takes 1\.5"),
    ],
)
def test_a_domain_without_a_stable_point_names_the_types(domains: Any, message: str) -> None:
    with pytest.raises(cq.InfeasibleError, match=message):
        solve_integer(simple(), domains=domains)


def test_a_floor_on_accuracy_that_leaves_no_choice_is_told_from_the_box() -> None:
    # The floor takes 45.6 tokens.
    floored = simple(constraints=[cq.MinAccuracy(0.2, type=1)], max_tokens=[100.0, 60.0])
    with pytest.raises(cq.InfeasibleError, match=r"which its least accuracy takes, .* lower that"):
        solve_integer(floored, domains=Multiples(64))


def test_a_minimum_above_the_cap_leaves_zero() -> None:
    answer = solve_integer(simple(), domains=ZeroOrAtLeast(4000))
    assert answer.tokens.tolist() == [0, 0]
    with pytest.raises(cq.InfeasibleError, match="'easy'"):
        solve_integer(simple(min_tokens=1.0), domains=ZeroOrAtLeast(4000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multiples(0), r"domain\.step = 0 must be a whole number from 1 to"),
        (lambda: Multiples(2.5), r"domain\.step = 2\.5"),  # type: ignore[arg-type]
        (lambda: ZeroOrAtLeast(0), r"domain\.minimum = 0 must be"),
        (lambda: Menu([1.5]), r"menu\.tokens\[0\] = 1\.5 must be a whole number"),
        (lambda: Menu([]), r"menu\.tokens must have at least one entry"),
        (lambda: LevelMenu([1.5], [1.0]), r"levels\.accuracy\[0\] = 1\.5"),
        (lambda: LevelMenu([0.5], [-1.0]), r"levels\.mean_service_time\[0\] = -1\.0"),
        (lambda: Multiples(2**60), r"domain\.step = 1152921504606846976 .* from 1 to 2\^53"),
        (lambda: LevelMenu([0.5], [2.0], [1.0]), r"levels\.second_moment\[0\] = 1\.0"),
        (lambda: LevelMenu([0.5], [1e200]), r"levels\.second_moment\[0\] = inf must be finite"),
        (lambda: LevelMenu([0.5, 0.6], [1.0]), "one entry for each of the 2 levels, got 1"),
        (lambda: LevelMenu([0.5], [0.0], [5.0]), r"levels\.second_moment\[0\] = 5\.0 .* zero"),
        (lambda: LevelMenu([0.5, 0.6], [2.0, 3.0, 4.0]), r"levels\.mean_service_time"),
        (lambda: Domains.of("integers", 1), "domains must be a list of domains"),  # type: ignore[arg-type]
        (lambda: Domains.of([Integers()], 2), "one entry for each of the 2 types"),
        (lambda: Domains.of([3], 1), r"domains\[0\] must be Integers"),  # type: ignore[list-item]
        (lambda: Domains((3,)), r"domains\[0\] must be .*, got 3"),  # type: ignore[arg-type]
    ],
)
def test_bad_domains_are_named(make: Any, message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        make()


@pytest.mark.parametrize(
    "domain",
    [
        Integers(),
        Multiples(64),
        ZeroOrAtLeast(1024),
        Menu([512, 0]),
        LevelMenu([0.2, 0.5], [1.0, 2.0], [1.5, 4.0]),
    ],
    ids=lambda domain: type(domain).__name__,
)
def test_domains_survive_a_round_trip(domain: Domain) -> None:
    for size in (1, 2, 60):
        instance = cq.Instance(
            arrival_rate=0.1,
            accuracy_weight=10.0,
            max_tokens=4096,
            probabilities=np.full(size, 1.0 / size),
            service=cq.AffineService(base=0.1, per_token=0.001),
            accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=0.001),
            domains=[domain] + [Integers()] * (size - 1),
        )
        assert cq.from_dict(cq.to_dict(instance)) == instance
        for format in ("toml", "json"):
            assert files.loads(render(cq.to_dict(instance), format), format) == instance


def test_levels_in_a_file_may_leave_out_second_moments() -> None:
    document = cq.to_dict(simple())
    table = {"kind": "levels", "accuracy": [0.5, 0.7], "mean_service_time": [1.0, 3.0]}
    instance = cq.from_dict(document | {"domain": table})
    assert instance == simple(domains=LevelMenu([0.5, 0.7], [1.0, 3.0]))
    assert cq.from_dict(cq.to_dict(instance)) == instance


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "menus"}, r"domain\.kind = 'menus' is unknown: did you mean 'menu'"),
        ({"kind": "menu"}, r"domain\.tokens is missing \(token counts"),
        ({"kind": "integers", "step": 2}, r"domain\.step is no known key"),
        ({"kind": "multiples", "step": 2.5}, r"domain: domain\.step = 2\.5 must be a whole number"),
        (7, r"domain = 7 must be a table"),
    ],
)
def test_bad_domains_in_files_are_named(table: Any, message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.from_dict(cq.to_dict(simple()) | {"domain": table})


def test_domains_are_a_sequence() -> None:
    domains = Domains.of(Multiples(8), 3)
    assert len(domains) == 3
    assert list(domains) == [domains[0]] * 3
    assert Domains.of(domains, 3) is not None
    assert not domains.has_levels


def test_floors_of_types_are_kept_and_other_constraints_refused() -> None:
    floor = cq.MinAccuracy(0.5)
    answer = solve_integer(simple().replace(constraints=[floor]))
    assert (answer.accuracies >= 0.5).all()
    with pytest.raises(cq.InvalidInputError, match="cannot keep mean system time"):
        solve_integer(simple().replace(constraints=[cq.MaxMeanSystemTime(9.0)]))
    levels = LevelMenu([0.2, 0.6], [1.0, 2.0])
    with pytest.raises(cq.InvalidInputError, match=r"cannot keep accuracy .* levels of effort"):
        solve_integer(simple().replace(constraints=[floor]), domains=levels)


def test_the_domains_of_the_instance_count_unless_others_are_given() -> None:
    coarse = simple().replace(domains=Multiples(256))
    assert (solve_integer(coarse).tokens % 256 == 0).all()
    assert (solve_integer(coarse, domains=Multiples(100)).tokens % 100 == 0).all()


def test_a_time_limit_gives_the_best_so_far_with_its_gap() -> None:
    parameters, _ = planted_instance(np.random.default_rng(31), n=28, utilization=0.9995)
    instance = instance_of(parameters, max_tokens=np.ceil(parameters["max_tokens"]))
    instance = instance.replace(min_tokens=np.floor(instance.min_tokens))
    hasty = solve_integer(instance, time_limit=1e-3)
    patient = solve_integer(instance, time_limit=2.0)
    for answer in (hasty, patient):
        assert answer.evaluation.is_stable
        assert np.isfinite(answer.gap)
    assert not hasty.is_optimal
    assert "raise time_limit" in str(hasty)
    assert patient.objective <= hasty.upper_bound
    assert hasty.objective <= patient.upper_bound


def test_the_tolerance_is_relative_to_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # A first base that is nearly unstable has a scale dozens of times that of the answer.
    instance = simple(arrival_rate=0.25, max_tokens=500.0)
    choices = Choices(instance, Domains.of(Integers(), 2))
    start = np.array([300.0, 399.0])
    assert float(choices.evaluate(start).scale) > 20.0 * solve_integer(instance).evaluation.scale
    # Cells that are closed around it, because no better base is sought, prove too little.
    monkeypatch.setattr(partition, "local_search", lambda _, start, *__: start)
    monkeypatch.setattr(partition, "_REBASES", 1)
    for tolerance in (1e-1, 1e-3, 1e-9):
        proof = best_choice(choices, start, None, tolerance, Deadline.after(20.0))
        assert proof.is_exact
        assert proof.gap <= tolerance * proof.point.scale


def test_a_part_keeps_the_bound_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = in_a_wide_box(np.random.default_rng(1), 6)
    choices = Choices(instance, Domains.of(ZeroOrAtLeast(4096), 6))
    bounded, found = partition.bounded, []

    def useless(part: Choices, *arguments: Any) -> tuple[Incumbent, Bounds]:
        incumbent, bounds = bounded(part, *arguments)
        found.append(bounds)
        # Cells of a part with nothing proven of them.
        return incumbent, found[0]._replace(
            at_first=found[0].at_first + 1e9 * (part is not choices)
        )

    monkeypatch.setattr(branch_and_bound, "bounded", useless)
    monkeypatch.setattr(branch_and_bound, "_search_cells", lambda *_: np.inf)
    whole = branch_and_bound._Tree(choices, choices.lowest, np.inf, TOLERANCE, NEVER).nodes[0].gap
    proof = best_choice(choices, choices.lowest, None, TOLERANCE, Deadline.after(20.0))
    assert len(found) > 2
    assert proof.gap <= whole + 3.0 * float(rounding_allowance(proof.point))


def test_a_cell_is_enumerated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where nothing counts as proven, a narrower cell of the same choices proves no more.
    searched: list[float] = []

    def search_cell(incumbent: Incumbent, cell: Bounds, **options: bool) -> Any:
        searched.append(float(cell.first[0]))
        return cell_search.search_cell(incumbent, cell, **options)

    monkeypatch.setattr(branch_and_bound, "search_cell", search_cell)
    monkeypatch.setattr(branch_and_bound, "target_of", lambda *_: 0.0)
    choices = Choices(simple(max_tokens=400.0), Domains.of([Integers(), Integers()], 2))
    proof = best_choice(choices, choices.lowest, None, TOLERANCE, Deadline.after(20.0))
    assert not proof.is_exact
    assert len(searched) == len(set(searched)) <= 20


def test_enumeration_counts_the_rounding_of_each_combination() -> None:
    instance = simple(max_tokens=40.0)
    choices = Choices(instance, Domains.of([Integers(), Integers()], 2))
    base = Base(choices, choices.evaluate(choices.lowest))
    lists = [choices.increments_of(k, 0.0, np.arange(41.0)) for k in range(2)]
    found = enumerate_all(base, Increments(*np.zeros(3)), lists)
    sums = [Increments(*(a[i] + b[j] for a, b in zip(*lists, strict=True))) for i, j in PAIRS]
    gains = np.array([float(base.gain(total)) for total in sums])
    most = [float(base.allowance(total.mean, total)) for total in sums]
    assert found.gain == gains.max()
    assert found.picks is not None
    assert tuple(found.picks.tolist()) == PAIRS[int(gains.argmax())]
    assert found.bound == max(gains + most) > found.gain


@pytest.mark.slow
def test_a_search_without_room_still_proves_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_search, "_FIRST_KEPT", 3)
    monkeypatch.setattr(cell_search, "_LAST_KEPT", 5)
    monkeypatch.setattr(cell_search, "_EASY_LOGARITHM", -1.0)
    for seed in range(20):
        instance, domains = random_small(seed)
        points = every_choice(instance, domains)
        if not points.size:
            continue
        top = objectives(instance, domains, points).max()
        if top == -np.inf:
            continue
        answer = solve_integer(instance, domains=domains, time_limit=1.0)
        assert top <= answer.upper_bound + 4.0 * answer.allowance


def test_a_search_that_finds_nothing_leaves_the_bound_of_the_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell_search, "enumerate_bounded", lambda *_: Enumerated(dropped=np.inf))
    monkeypatch.setattr(cell_search, "_EASY_LOGARITHM", -1.0)
    instance = simple(max_tokens=40.0)
    domains: list[Domain] = [Multiples(8), Multiples(8)]
    top = objectives(instance, domains, every_choice(instance, domains)).max()
    answer = solve_integer(instance, domains=domains, time_limit=1.0)
    assert top <= answer.upper_bound + 4.0 * answer.allowance


def planted_free(seed: int, utilization: float) -> cq.Instance:
    parameters, _ = planted_instance(
        np.random.default_rng(seed), n=6, utilization=utilization, pattern="mixed"
    )
    instance = instance_of(parameters, max_tokens=np.ceil(parameters["max_tokens"]))
    if not instance.evaluate(np.ceil(instance.min_tokens)).is_stable:
        instance = instance.replace(min_tokens=np.floor(instance.min_tokens))
    return instance


@pytest.mark.parametrize("domain", [Integers(), Multiples(3)], ids=["integers", "multiples"])
def test_the_bound_on_rounding_holds_and_bites(domain: Domain) -> None:
    ratios, held = [], 0
    for seed in range(40):
        instance = planted_free(seed, float(np.random.default_rng(seed).choice([0.1, 0.5, 0.8])))
        try:
            bound = rounding_bound(instance, domain)
        except cq.InfeasibleError:
            continue
        assert isinstance(bound, RoundingBound)
        if not bound.holds:
            continue
        held += 1
        answer = solve_integer(instance, "nearest", domains=domain)
        assert not answer.is_repaired
        assert answer.loss <= bound.value + answer.allowance
        assert answer.evaluation.objective >= bound.level - answer.allowance
        if answer.loss > 1e3 * answer.allowance:
            ratios.append(bound.value / answer.loss)
    assert held >= 15
    # Of the curvature bound, most is slack of the level set; a tenth of the instances come close.
    assert np.quantile(ratios, 0.25) < 1e3


def test_the_bound_on_rounding_sees_bounds_that_are_no_choices() -> None:
    inside = rounding_bound(simple(min_tokens=[0.0, 700.0]))
    off = simple(min_tokens=[0.0, 700.5])
    outside = rounding_bound(off)
    assert inside.first_order == 0.0
    assert outside.first_order > 0.0
    assert outside.holds
    answer = solve_integer(off, "nearest")
    assert 0.0 < answer.loss <= outside.value < 100.0 * answer.loss
    assert np.all(outside.distances == 0.5)
    assert "objective ≥" in outside.region
    assert not rounding_bound(simple(), Menu([0, 1000])).holds


def test_the_bound_on_rounding_refuses_constraints_on_all_types_together() -> None:
    free = simple()
    limit = 0.6 * cq.solve(free).mean_system_time
    capped = free.replace(constraints=[cq.MaxMeanSystemTime(limit)])
    # Where the constraint binds rounding loses to first order, and more than without it.
    with pytest.raises(cq.InvalidInputError, match="rounding_bound cannot keep mean system time"):
        rounding_bound(capped, Multiples(5))
    assert rounding_bound(free.replace(constraints=[cq.MinAccuracy(0.5)])).holds


def test_the_bound_on_rounding_names_what_is_no_instance() -> None:
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance, got 3"):
        rounding_bound(3)  # type: ignore[arg-type]


def test_a_gap_of_nothing_is_nothing_of_a_scale_of_nothing() -> None:
    """Without base times, and with accuracy worth nothing, J = T = 0 at no tokens."""
    service = cq.AffineService(base=0.0, per_token=0.01)
    idle = simple().replace(accuracy_weight=0.0, service=service)
    answer = solve_integer(idle)
    assert float(answer.evaluation.scale) == 0.0
    assert (answer.tokens == 0).all()
    assert answer.gap == answer.relative_gap == 0.0
    assert answer.is_optimal
    assert answer.to_dict()["relative_gap"] == 0.0


def test_levels_that_take_no_time_differ_in_accuracy_alone() -> None:
    instance = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=10.0,
        max_tokens=0.0,
        probabilities=[0.5, 0.5],
        service=cq.AffineService(base=0.0, per_token=0.01),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=0.01),
    )
    levels = LevelMenu([0.2, 0.7, 0.4], 0.0, 0.0)
    solution = solve_integer(instance, domains=levels)
    assert solution.levels.tolist() == [1, 1]
    assert solution.is_optimal
    assert solution.objective == pytest.approx(7.0, rel=1e-14)


def test_what_was_dropped_bounds_a_search_that_is_given_up() -> None:
    instance = simple(max_tokens=40.0)
    choices = Choices(instance, Domains.of([Integers(), Integers()], 2))
    base = Base(choices, choices.evaluate(choices.lowest))

    def listed(benefit: list[float], mean: list[float]) -> Increments:
        return Increments(np.array(benefit), np.array(mean), np.zeros(len(mean)))

    # The second of the first type falls behind and is dropped, but goes with the first of the
    # second type; what was kept goes with neither. The third type has too many.
    lists = [
        listed([0.0, -1.0, 0.0], [0.0, -6.0, 20.0]),
        listed([0.0, -5.0], [5.0, -5.0]),
        listed([0.0] * 50, [0.0] * 50),
    ]
    prices = Tangents(np.array([[0.0], [1.0]]), np.zeros(2), np.zeros((2, 2)))
    corners = PriceCorners(np.zeros(4), np.zeros(4), (0.0, 0.0), 0.0)
    nothing = Increments(*np.zeros(3))
    found = enumerate_bounded(base, nothing, lists, prices, corners, -100.0, 1, NEVER)
    assert found.picks is None
    together = Increments(*(first[1] + second[0] for first, second in zip(*lists[:2], strict=True)))
    assert found.dropped >= float(prices.net_benefit(together).max(axis=-1).min()) == -1.0


@pytest.mark.usefixtures("inside")
def test_a_cell_that_is_enumerated_is_not_cut_further() -> None:
    # Rounding alone is left of its bound; without a tolerance that is above all there is to prove.
    mix = np.array([1.0, 0.00073, 5.1e-6])
    instance = cq.Instance(
        arrival_rate=2.7,
        accuracy_weight=1.1,
        min_tokens=[2.2, 0.0, 0.57],
        max_tokens=[37.0, 40.0, 37.0],
        probabilities=mix / mix.sum(),
        service=cq.AffineService(base=[0.008, 0.011, 0.013], per_token=[0.013, 4e-5, 0.001]),
        accuracy=cq.PiecewiseLinear(
            tokens=[[0, 15, 28], [0, 12, 15, 25, 29, 40], [0, 15, 23, 27, 37]],
            accuracy=[
                [0.018, 0.6, 0.61],
                [0.07, 0.37, 0.4, 0.82, 0.9, 0.98],
                [0.38, 0.57, 0.72, 0.81, 0.96],
            ],
        ),
        queue=cq.ProcessorSharing(),
    )
    domains: list[Domain] = [Integers(), Multiples(9), Menu([0, 13, 24, 25, 29])]
    # It takes 440 looks at the clock.
    looks = itertools.count()
    deadline = Deadline(1000.0, lambda: float(next(looks)))
    answer = solve_within(instance, "exact", Domains.of(domains, 3), 0.0, deadline)
    assert answer.is_optimal
    assert answer.gap <= 5.0 * answer.allowance


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2, 9, 11])
def test_the_best_within_long_pieces_is_not_next_to_a_corner(seed: int) -> None:
    # At any price a type wants one end of a piece: what is in between is found by leaps.
    rng = np.random.default_rng(seed)
    size = 8
    tokens = np.cumsum(rng.integers(1, 4, (size, 4)) * 100000.0, axis=1)
    tokens[:, 0] = 0.0
    instance = cq.Instance(
        arrival_rate=1.0,
        accuracy_weight=1000.0,
        max_tokens=1e6,
        accuracy=cq.PiecewiseLinear(
            tokens=tokens,
            accuracy=np.minimum([0.1, 0.5, 0.7, 0.8] * rng.uniform(0.5, 1.2, (size, 1)), 1.0),
        ),
        service=cq.AffineService(base=0.1, per_token=rng.integers(1, 9, size) * 1e-6 / 2),
        probabilities=np.full(size, 1.0 / size),
        queue=cq.ProcessorSharing(),
    )
    domains = [ZeroOrAtLeast(int(k) * 50000) for k in rng.integers(1, 16, size)]
    answer = solve_integer(instance, domains=domains, time_limit=20.0)
    assert answer.is_optimal
    assert answer.relative_gap <= TOLERANCE
