"""The search for the two prices: what the types want, the rectangle, and where it leads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

import cvxqueue as cq
from cvxqueue.duality.newton_on_prices import PriceSearch
from cvxqueue.model import Instance
from cvxqueue.model.model import Model
from cvxqueue.model.price_response import PriceResponse, price_response
from cvxqueue.model.queue_formulas import Prices
from tests.families import planted_instance
from tests.generator import log_uniform, random_parameters
from tests.instances import CATALOGUE, instance_of
from tests.performance.instances import random_servers
from tests.tolerances import DIFFERENCE_QUOTIENT

SERVER = CATALOGUE["qwen3-8b-h100"].instance


def settled(instance: Instance, prices: Prices) -> PriceResponse:
    """What the types want, from the least tokens."""
    return price_response(instance.model, np.array(instance.min_tokens), prices, 40)


def prices_at(instance: Instance, idle: float, price: float) -> Prices:
    """The two prices that an idle fraction and a price of a second stand for."""
    return Prices(np.asarray(price), np.asarray(instance.arrival_rate / (2.0 * idle)))


def optimal_prices(instance: Instance) -> tuple[float, float]:
    point = cq.solve(instance).certificate.evaluation
    return float(point.idle), float(point.prices.mean)


# What the types want


@pytest.mark.parametrize("seed", range(20))
def test_what_a_type_wants_is_the_root_of_its_own_equation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = instance_of(random_parameters(rng, n=8))
    prices = prices_at(instance, 10 ** rng.uniform(-6, 0), 10 ** rng.uniform(0, 9))
    with np.errstate(all="ignore"):
        found = price_response(instance.model, np.array(instance.min_tokens), prices, 40).tokens
        # From wherever a type starts, it wants the same; what has settled is off by little.
        again = price_response(instance.model, np.array(instance.max_tokens), prices, 40).tokens
    service, curve = instance.service, instance.accuracy
    assert isinstance(curve, cq.SaturatingExponential)
    for k in range(instance.size):

        def excess(tokens: float, k: int = k) -> float:
            everywhere = np.full(instance.size, tokens)
            benefit = instance.model.accuracy_value * curve.slope(everywhere)
            cost = prices.mean * service.mean_slope(everywhere)
            cost = cost + prices.second_moment * service.second_moment_slope(everywhere)
            return float(benefit[k] - cost[k])

        lower, upper = float(instance.min_tokens[k]), float(instance.max_tokens[k])
        if excess(lower) <= 0:
            wanted = lower
        elif excess(upper) >= 0:
            wanted = upper
        else:
            wanted = brentq(excess, lower, upper, xtol=1e-12, rtol=1e-14)
        # In units of the curve: a tenth of the cube of the last relative change of the cost.
        unit = 1.0 / float(curve.rate[k])
        assert abs(found[k] - wanted) <= 3e-6 * unit
        assert abs(again[k] - wanted) <= 3e-6 * unit


def random_types(rng: np.random.Generator, law: str, curve: str) -> Instance:
    """Data over many decades, some of it zero: allowed, and no more likely than that."""
    n = 300
    base = log_uniform(rng, 1e-6, 1e3, n) * (rng.random(n) > 0.1)
    gain, per_token = rng.random(n) * (rng.random(n) > 0.1), log_uniform(rng, 1e-8, 10.0, n)
    bend = log_uniform(rng, 1e-14, 1e-2, n)
    scale, exponent = log_uniform(rng, 1.0, 1e6, n), log_uniform(rng, 0.05, 20.0, n)
    laws: dict[str, Any] = {
        "affine": lambda: cq.AffineService(base=base, per_token=per_token),
        "quadratic": lambda: cq.QuadraticService(
            base=base, per_token=per_token, per_squared_token=bend
        ),
    }
    curves: dict[str, Any] = {
        "exponential": lambda: cq.SaturatingExponential(floor=0.0, gain=gain, rate=1.0 / scale),
        "power": lambda: cq.PowerLaw(floor=0.0, gain=gain, scale=scale, exponent=exponent),
    }
    return cq.Instance(
        arrival_rate=1e-9,
        accuracy_weight=float(log_uniform(rng, 1e-3, 1e6, 1)[0]),
        max_tokens=log_uniform(rng, 1.0, 1e6, n),
        probabilities=np.full(n, 1.0 / n),
        service=laws[law](),
        accuracy=curves[curve](),
    )


@pytest.mark.parametrize("law", ["affine", "quadratic"])
@pytest.mark.parametrize("curve", ["exponential", "power"])
def test_every_type_settles_from_anywhere(law: str, curve: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(15):
        instance = random_types(rng, law, curve)
        price, second = log_uniform(rng, 1e-2, 1e4, 1)[0], log_uniform(rng, 1e-9, 1e4, 1)[0]
        # Under processor sharing a squared second costs nothing.
        prices = Prices(np.asarray(price), np.asarray(second * (rng.random() > 0.2)))
        lower, upper = instance.lower, instance.upper
        for start in (lower, upper, upper * rng.random(instance.size)):
            tokens = start.copy()
            with np.errstate(all="ignore"):
                for _ in range(3):
                    tokens = price_response(instance.model, tokens, prices, 40).tokens
            assert np.isfinite(tokens).all()
            cost = instance.model.marginal_cost(tokens, prices.mean, prices.second_moment)[0]
            excess = instance.model.benefit.slope(tokens) / cost - 1.0
            assert (np.abs(excess[(tokens > lower) & (tokens < upper)]) <= 1e-9).all()
            assert (excess[tokens == lower] <= 1e-9).all()
            assert (excess[tokens == upper] >= -1e-9).all()


@pytest.mark.parametrize("name", ["qwen3-8b-h100", "bounds-mixed", "heavy-traffic-3"])
def test_the_moments_of_the_demand_answer_to_the_prices(name: str) -> None:
    instance = CATALOGUE[name].instance
    idle, price = optimal_prices(instance)
    prices, h = prices_at(instance, idle, price), 1e-6

    def moments(mean_factor: float, second_factor: float) -> tuple[float, float]:
        tokens = np.array(instance.min_tokens)
        moved = Prices(prices.mean * mean_factor, prices.second_moment * second_factor)
        for _ in range(5):
            found = price_response(instance.model, tokens, moved, 40)
            tokens = found.tokens
        return float(found.mean), float(found.second_moment)

    exact = price_response(instance.model, settled(instance, prices).tokens, prices, 40)
    by_mean = np.subtract(moments(1 + h, 1), moments(1 - h, 1)) / (2 * h * prices.mean)
    by_second = np.subtract(moments(1, 1 + h), moments(1, 1 - h)) / (2 * h * prices.second_moment)
    near = DIFFERENCE_QUOTIENT._replace(rtol=1e-4)
    near.check(-by_mean[0] / exact.mean_by_mean, 1.0)
    near.check(-by_mean[1] / exact.mean_by_second, 1.0)
    near.check(-by_second[0] / exact.mean_by_second, 1.0)
    near.check(-by_second[1] / exact.second_by_second, 1.0)


def test_types_are_worked_on_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = CATALOGUE["types-100"].instance
    whole, certificate = cq.solve(instance), cq.solve(instance).certificate
    monkeypatch.setattr("cvxqueue.model.model.BLOCK", 7)
    monkeypatch.setattr("cvxqueue.model.price_response.BLOCK", 7)
    places = [place for place, _ in instance.model.blocks]
    assert [(p.start, p.stop) for p in places[:2]] == [(0, 7), (7, 14)]
    assert sum(part.size for _, part in instance.model.blocks) == 100
    blocked = cq.solve(instance.replace())
    assert blocked.iterations == whole.iterations
    np.testing.assert_allclose(blocked.tokens, whole.tokens, rtol=1e-9, atol=1e-9)
    again = cq.certify(instance.replace(), whole.tokens)
    assert again.objective == pytest.approx(certificate.objective, rel=1e-14)
    assert again.gap == pytest.approx(certificate.gap, rel=1e-3)
    assert again.evaluation.mean_accuracy == pytest.approx(whole.mean_accuracy, rel=1e-14)


# The rectangle


def random_instance(seed: int) -> Instance:
    rng = np.random.default_rng(seed)
    load = 1.0 - 10 ** rng.uniform(-3.3, -0.01)
    return instance_of(planted_instance(rng, utilization=load, pattern="free")[0])


@pytest.mark.parametrize("seed", range(60))
def test_the_rectangle_keeps_the_answer(seed: int) -> None:
    instance = random_instance(seed)
    idle, price = optimal_prices(instance)
    search = PriceSearch(instance.model, instance.min_tokens)
    for _ in range(60):
        # To the rounding of the answer itself.
        near = 1e-6
        assert search.least_idle <= idle * (1 + near)
        assert search.most_idle >= idle * (1 - near)
        assert search.least_price <= price * (1 + near)
        assert search.most_price >= price * (1 - near)
        assert search.least_idle <= search.idle <= search.most_idle
        assert search.least_price <= search.price <= search.most_price
        if search.is_close:
            return
        search.advance()
    pytest.fail("no answer in 60 passes")


@pytest.mark.parametrize("seed", range(40))
def test_signs_tell_on_which_side_the_answer_lies(seed: int) -> None:
    # The four rules, at random points and with types that have settled to the last digit.
    instance = random_instance(1000 + seed)
    idle, price = optimal_prices(instance)
    rng = np.random.default_rng(seed)
    highest, rate = float(instance.model.lowest.idle), instance.arrival_rate
    for _ in range(50):
        y = min(idle * 10 ** rng.uniform(-1.5, 1.5), highest)
        a = max(price * 10 ** rng.uniform(-1.5, 1.5), 1.0)
        prices, tokens = prices_at(instance, y, a), np.array(instance.min_tokens)
        with np.errstate(all="ignore"):
            for _ in range(6):
                found = price_response(instance.model, tokens, prices, 40)
                tokens = found.tokens
        first = float(1.0 + 0.5 * found.second_moment * (rate / y) ** 2) / a - 1.0
        second = float(1.0 - rate * found.mean - y)
        if min(abs(first), abs(second) / y) < 1e-9:
            continue
        if first > 0 and second > 0:
            assert idle > y
        elif first < 0 and second < 0:
            assert idle < y
        elif first > 0:
            assert price > a
        else:
            assert price < a


def test_a_rectangle_that_has_lost_the_answer_is_opened_again() -> None:
    search = PriceSearch(SERVER.model, SERVER.min_tokens)
    search.advance()
    idle, price = optimal_prices(SERVER)
    search.most_price = search.price = np.asarray(0.5 * (1.0 + price))
    for _ in range(60):
        search.advance()
        if search.is_close:
            break
    assert search.price == pytest.approx(price, rel=1e-6)
    assert search.idle == pytest.approx(idle, rel=1e-6)


@pytest.mark.parametrize("shift", [-8.0, -2.0, 2.0, 8.0])
def test_the_search_finds_the_answer_from_any_prices(shift: float) -> None:
    idle, price = optimal_prices(SERVER)
    search = PriceSearch(
        SERVER.model,
        SERVER.max_tokens,
        np.asarray(idle * np.exp(shift)),
        np.asarray(price * np.exp(-2 * shift)),
    )
    while not search.is_close:
        search.advance()
        assert search.passes < 60
    assert search.price == pytest.approx(price, rel=1e-6)


# Newton


def iterates(instance: Instance, **options: Any) -> tuple[cq.Solution, list[cq.Iterate]]:
    seen: list[cq.Iterate] = []

    def record(iterate: cq.Iterate) -> bool:
        seen.append(iterate)
        return False

    return cq.solve(instance, callback=record, **options), seen


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_iterate_is_stable_and_in_the_box(name: str) -> None:
    instance = CATALOGUE[name].instance
    solution, seen = iterates(instance)
    assert len(seen) == solution.iterations
    for iterate in seen:
        assert iterate.tokens is not None
        assert instance.evaluate(iterate.tokens).is_stable
        assert np.all(iterate.tokens >= instance.min_tokens)
        assert np.all(iterate.tokens <= instance.max_tokens)
        assert iterate.objective <= solution.upper_bound
        assert iterate.objective + iterate.gap >= solution.objective
    # Looking on changes nothing.
    assert np.array_equal(cq.solve(instance).tokens, solution.tokens)


def test_steps_that_go_on_are_taken_whole() -> None:
    """From the least tokens prices rise by several steps of about one length at heavy load."""
    needed = [
        cq.solve(
            random_servers(np.random.default_rng(seed), 1, 6, utilization=(0.85, 0.9)).instance()
        ).iterations
        for seed in range(20)
    ]
    # Were each step halved that is hardly shorter than the last, it would be 6.15, and 8 at most.
    assert np.mean(needed) <= 5.8
    assert max(needed) <= 6


def test_newton_proposes_what_is_worth_certifying() -> None:
    solution = cq.solve(SERVER)
    assert len(solution.history) == 1
    assert solution.history[0].iteration == solution.iterations
    assert len(iterates(SERVER)[0].history) == solution.iterations


@pytest.mark.slow
def test_newton_on_a_wide_random_suite() -> None:
    iterations, worst = [], 0.0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        load = 10 ** rng.uniform(-3, np.log10(0.9995))
        if seed % 2:
            load = 1.0 - 10 ** rng.uniform(np.log10(0.0005), -0.01)
        solution = cq.solve(instance_of(planted_instance(rng, utilization=load)[0]))
        iterations.append(solution.iterations)
        worst = max(worst, solution.relative_gap / solution.tolerance)
    assert worst <= 1.0
    assert np.median(iterations) <= 10
    assert max(iterations) <= 60


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_best_within_a_limit_is_stable_and_bounded(limit: int) -> None:
    solution = cq.solve(SERVER, max_iterations=limit, on_failure="return")
    assert solution.status is cq.Status.ITERATION_LIMIT
    assert solution.utilization < 1.0
    best = cq.solve(SERVER).objective
    assert solution.objective <= best <= solution.upper_bound


# Sequences


@pytest.mark.parametrize("field", ["arrival_rate", "accuracy_weight"])
def test_an_earlier_answer_saves_passes(field: str) -> None:
    cold, warm = 0, 0
    solution = cq.solve(SERVER)
    for factor in np.geomspace(1.0, 1.5, 12)[1:]:
        instance = SERVER.replace(**{field: float(factor) * getattr(SERVER, field)})
        fresh = cq.solve(instance)
        solution = cq.solve(instance, start=solution)
        np.testing.assert_allclose(solution.tokens, fresh.tokens, rtol=1e-6, atol=1e-4)
        cold, warm = cold + fresh.iterations, warm + solution.iterations
    assert warm <= 0.8 * cold


def test_an_earlier_answer_may_be_unstable_or_outside_the_box_now() -> None:
    light = cq.solve(SERVER.replace(arrival_rate=0.01))
    heavy = SERVER.replace(arrival_rate=0.5)
    assert not heavy.evaluate(light.tokens).is_stable
    for method in ("newton", "fixed-point", "projected-gradient"):
        assert cq.solve(heavy, method, start=light).is_optimal
    smaller = SERVER.replace(max_tokens=800.0)
    found = cq.solve(smaller, start=light)
    np.testing.assert_allclose(found.tokens, cq.solve(smaller).tokens, atol=1e-4)


def test_an_answer_of_another_size_is_no_start() -> None:
    other = cq.solve(CATALOGUE["types-1"].instance)
    with pytest.raises(cq.InvalidInputError, match="with 1 types, and must be of one with 5"):
        cq.solve(SERVER, start=other)
    with pytest.raises(cq.InvalidInputError, match="'conic' takes no start"):
        cq.solve(SERVER, "conic", start=cq.solve(SERVER))


# Many types


def many_types(size: int, seed: int = 0) -> Instance:
    rng = np.random.default_rng(seed)
    return cq.Instance(
        arrival_rate=0.05,
        accuracy_weight=300.0,
        max_tokens=32768.0,
        probabilities=rng.dirichlet(np.ones(size)),
        service=cq.AffineService(base=rng.uniform(0.1, 1.0, size), per_token=0.007),
        accuracy=cq.SaturatingExponential(
            floor=0.1, gain=rng.uniform(0.1, 0.6, size), rate=10 ** rng.uniform(-4, -2, size)
        ),
    )


@pytest.mark.parametrize("size", [4096, 16_385, 100_000])
def test_many_types_start_from_a_sample(size: int) -> None:
    solution = cq.solve(many_types(size))
    assert solution.is_optimal
    assert solution.iterations <= 6


def test_a_sample_that_says_nothing_of_the_rest() -> None:
    # Every 64th type is another kind of query altogether, and alone it would not be stable.
    size = 70_000
    instance = many_types(size)
    base = np.array(instance.service.base)  # type: ignore[attr-defined]
    mix = np.full(size, 1.0 / size)
    for step in (64, 68):
        base[::step] = 50.0
    odd = instance.replace(
        probabilities=mix, service=cq.AffineService(base=base, per_token=0.007), arrival_rate=0.05
    )
    assert not Model.types(odd.model, slice(None, None, 64)).lowest.utilization > 1.0
    assert cq.solve(odd).is_optimal
