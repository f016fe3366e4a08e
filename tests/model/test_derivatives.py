"""Derivatives against differences, and differences against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

import cvxqueue as cq
from cvxqueue.model import FIFO, Evaluation
from cvxqueue.model.differences import divergence, improvement, separable_gains
from cvxqueue.numerics.arrays import FloatArray
from tests.instances import CATALOGUE, allocations, rates
from tests.oracle import Problem
from tests.tolerances import DIFFERENCE_QUOTIENT, EPSILON, IMPROVEMENT, ROUNDING, SAMPLED_BOUND

SEED = 20260110

LOADS = (0.3, 0.9, 0.999, 0.99999)
# How many roundings, and how large a third derivative, a difference quotient is allowed for.
ROUNDINGS = 12.0


def natural_lengths(instance: cq.Instance, point: Evaluation) -> FloatArray:
    """Tokens over which a type changes its slope, the idle fraction or a price by a factor."""
    pressure = instance.arrival_rate / point.idle
    consumption = instance.probabilities * instance.service.mean_slope(point.tokens) * pressure
    on_price = consumption * pressure * point.times / point.prices.mean
    lengths: FloatArray = 1.0 / (rates(instance) + consumption + on_price)
    return lengths


def at_load(instance: cq.Instance, load: float) -> FloatArray | None:
    """Stable tokens of the given utilization on the diagonal of the box, if there are any."""
    ends = instance.evaluate(np.stack([instance.min_tokens, instance.max_tokens])).utilization
    if not ends[0] < load < ends[1]:
        return None
    share = (load - ends[0]) / (ends[1] - ends[0])
    tokens: FloatArray = instance.min_tokens + share * (instance.max_tokens - instance.min_tokens)
    return tokens


LOADED = [
    pytest.param(name, load, id=f"{name} at {load}")
    for name, row in CATALOGUE.items()
    for load in LOADS
    # At the optimum the slopes are those of rounding.
    if at_load(row.instance, load) is not None and abs(load - row.utilization) > 1e-9
]


def loaded(name: str, load: float) -> tuple[cq.Instance, Evaluation, FloatArray]:
    """One of these, the point of that utilization, and its natural lengths."""
    instance = CATALOGUE[name].instance
    tokens = at_load(instance, load)
    assert tokens is not None
    point = instance.evaluate(tokens)
    return instance, point, natural_lengths(instance, point)


@pytest.mark.parametrize(("name", "load"), LOADED)
def test_gradient_by_central_differences(name: str, load: float) -> None:
    instance, point, lengths = loaded(name, load)
    tokens = point.tokens
    # Relative to the terms of J. The step h balances the rounding, noise/h, against the third
    # derivative, h²; a pole in 1 − ρ has a coefficient of one there.
    scale = float(point.scale)
    digits = EPSILON * (1.0 + np.max(rates(instance) * tokens))
    noise = digits * float(point.benefit + point.mean_system_time / point.idle) / scale
    h = noise ** (1 / 3)
    moves = np.diag(h * lengths)
    quotient = (instance.objective(tokens + moves) - instance.objective(tokens - moves)) / (2.0 * h)
    found = instance.gradient(tokens) * lengths
    allowed = ROUNDINGS * h**2 * scale
    np.testing.assert_array_less(np.abs(found - quotient), allowed)
    # The check means something: the largest slope stands out.
    assert np.max(np.abs(found)) > 10 * allowed


@pytest.mark.parametrize(("name", "load"), LOADED)
def test_hessian_product_by_central_differences(name: str, load: float) -> None:
    instance, point, lengths = loaded(name, load)
    tokens = point.tokens
    h = (EPSILON * float(1.0 + np.max(rates(instance) * tokens)) / point.idle) ** (1 / 3)
    random = np.random.default_rng(SEED).standard_normal(instance.size)
    # What a type of one query in 10^12 does is lost in rounding.
    alone = np.eye(instance.size)[instance.probabilities > 1e-9]
    for direction in (*alone[:5], random):
        # All types together change the idle fraction by its own size at most.
        step = direction / np.sum(np.abs(direction)) * lengths
        change = (instance.gradient(tokens + h * step) - instance.gradient(tokens - h * step)) / (
            2.0 * h
        )
        found = instance.hessian_product(tokens, step)
        terms = instance.probabilities * (point.marginal_benefit + point.marginal_cost)
        np.testing.assert_array_less(np.abs(found - change), ROUNDINGS * h**2 * terms)
        assert np.max(np.abs(found) / terms) > 10 * ROUNDINGS * h**2


@pytest.mark.parametrize("name", CATALOGUE)
def test_hessian_is_symmetric_and_negative_definite(name: str) -> None:
    instance = CATALOGUE[name].instance
    for tokens in allocations(instance, np.random.default_rng(SEED), 3):
        hessian = instance.hessian_product(tokens, np.eye(instance.size))
        size = np.sqrt(np.abs(np.diag(hessian)))
        scaled = hessian / np.outer(size, size)
        ROUNDING._replace(atol=1e-12).check(scaled, scaled.T)
        assert np.linalg.eigvalsh(0.5 * (scaled + scaled.T)).max() < 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_divergence_is_the_exact_difference_of_system_times(name: str) -> None:
    instance = CATALOGUE[name].instance
    points = allocations(instance, np.random.default_rng(SEED), 6)
    rate = Fraction(instance.arrival_rate)
    for tokens, target in zip(points[::2], points[1::2], strict=True):
        start, end = instance.evaluate(tokens), instance.evaluate(target)
        # T(l′) − T(l) − ∇T(l) · (l′ − l), from the definition, in rational arithmetic.
        mix = [Fraction(value) for value in instance.probabilities.tolist()]
        times, times_to = ([Fraction(t) for t in e.times.tolist()] for e in (start, end))
        idle = 1 - rate * sum(p * t for p, t in zip(mix, times, strict=True))
        idle_to = 1 - rate * sum(p * t for p, t in zip(mix, times_to, strict=True))
        second = sum(p * t**2 for p, t in zip(mix, times, strict=True))
        second_to = sum(p * t**2 for p, t in zip(mix, times_to, strict=True))
        slopes = [1 + rate**2 * second / (2 * idle**2) + rate / idle * t for t in times]
        expected = (
            sum(p * (u - t) for p, t, u in zip(mix, times, times_to, strict=True))
            + rate * second_to / (2 * idle_to)
            - rate * second / (2 * idle)
            - sum(p * s * (u - t) for p, s, t, u in zip(mix, slopes, times, times_to, strict=True))
        )
        found = divergence(start, end)
        error = 30 * EPSILON / min(float(idle), float(idle_to))
        # The square of a difference: relative to the squares that it is a difference of.
        size = float(rate * (second_to + (idle_to / idle) ** 2 * second) / idle_to)
        assert abs(float(found) - float(expected)) <= error * size
        assert found >= 0


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", CATALOGUE)
def test_improvement_keeps_its_digits_near_the_optimum(name: str, distance: float) -> None:
    instance, parameters, optimum, *_ = CATALOGUE[name]
    problem = Problem.of(parameters)
    rng = np.random.default_rng(SEED)
    best = np.array([float(value) for value in optimum])
    spread = distance * natural_lengths(instance, instance.evaluate(best))
    near, nearer = (
        np.clip(
            best + share * spread * rng.uniform(-1, 1, best.size),
            instance.min_tokens,
            instance.max_tokens,
        )
        for share in (1.0, 0.5)
    )
    start, end = instance.evaluate(near), instance.evaluate(nearer)
    with workdps(60):
        exact = problem.objective([mpf(v) for v in nearer.tolist()]) - problem.objective(
            [mpf(v) for v in near.tolist()]
        )
        expected = float(exact)
    found = float(improvement(start, end))
    moved = instance.probabilities * start.marginal_cost * (nearer - near)
    terms = np.sum(np.abs(separable_gains(start, nearer)) + np.abs(moved))
    size = float(terms) / float(min(start.idle, end.idle))
    assert abs(found - expected) <= IMPROVEMENT.atol * size
    # Where the objectives themselves agree in all their digits it still has the sign, and more.
    assert abs(found - expected) <= 0.01 * abs(expected)


SHARES = np.linspace(0.0, 1.0, 9)


def curve() -> cq.SaturatingExponential:
    return cq.SaturatingExponential(
        floor=[0.2, 0.0, 0.1, 0.5], gain=[0.7, 1.0, 1e-3, 0.0], rate=[1e-6, 1e-3, 1.0, 0.1]
    )


def tokens_up_to(saturation: float) -> FloatArray:
    """Tokens on a grid from none to an exponent of `saturation`, shape (9, 4)."""
    grid: FloatArray = SHARES[:, np.newaxis] * saturation / curve().rate
    return grid


def test_the_curve_and_its_derivatives() -> None:
    accuracy, tokens = curve(), tokens_up_to(20.0)
    assert accuracy.value(np.zeros(4)).tolist() == accuracy.floor.tolist()
    assert np.all(accuracy.value(tokens) <= accuracy.floor + accuracy.gain)
    assert np.all(np.diff(accuracy.value(tokens), axis=0)[:, :3] >= 0)
    h = 1e-5 / accuracy.rate
    for function, derivative in (
        (accuracy.value, accuracy.slope),
        (accuracy.slope, accuracy.curvature),
    ):
        quotient = (function(tokens + h) - function(tokens - h)) / (2.0 * h)
        unit = np.maximum(derivative(np.zeros(4)), -derivative(np.zeros(4)))
        unit = np.where(unit > 0, unit, 1.0)
        DIFFERENCE_QUOTIENT.check(derivative(tokens) / unit, quotient / unit)


def test_the_inverse_of_the_slope() -> None:
    accuracy, tokens = curve(), tokens_up_to(20.0)
    found = accuracy.inverse_slope(np.where(accuracy.gain > 0, accuracy.slope(tokens), 1.0))
    # Without a gain, the least normal float stands for the ratio.
    least = np.log(np.finfo(np.float64).tiny)
    np.testing.assert_allclose(found[:, 3], least / accuracy.rate[3], rtol=1e-15)
    # Relative to 1/rate, the only length that a curve has.
    ROUNDING._replace(atol=1e-14).check(
        (found * accuracy.rate)[:, :3], (tokens * accuracy.rate)[:, :3]
    )
    with np.errstate(divide="ignore"):
        beyond = accuracy.inverse_slope(2.0 * accuracy.slope(np.zeros(4)) + 1e-9)
    assert np.all(beyond < 0)


@pytest.mark.parametrize("distance", [1e-12, 1e-6, 1e-2, 1.0])
def test_differences_of_accuracy_keep_their_digits(distance: float) -> None:
    accuracy, tokens = curve(), tokens_up_to(5.0)
    to = tokens + distance / accuracy.rate
    with workdps(40):
        for k, row in np.ndindex(4, SHARES.size):
            gain, rate, start, end = (
                mpf(float(value))
                for value in (accuracy.gain[k], accuracy.rate[k], tokens[row, k], to[row, k])
            )
            exact = gain * (mp.exp(-rate * start) - mp.exp(-rate * end))
            forth = accuracy.difference(tokens[row], to[row])[k]
            back = accuracy.difference(to[row], tokens[row])[k]
            assert abs(forth - exact) <= 16 * EPSILON * exact
            assert back == -forth


def test_ranges_and_sensitivities_of_the_curve() -> None:
    accuracy = curve()
    lower, upper = tokens_up_to(2.0)[3], tokens_up_to(6.0)[7]
    between = lower + SHARES[:, np.newaxis] * (upper - lower)
    least, greatest = accuracy.curvature_range(lower, upper)
    sizes = -accuracy.curvature(between)
    ROUNDING.check(sizes.min(axis=0), least)
    ROUNDING.check(sizes.max(axis=0), greatest)
    # Of the types that gain: the tokens at a slope against its logarithm.
    slopes, bound = accuracy.slope(between), accuracy.inverse_slope_sensitivity(lower, upper)
    slopes[:, 3] = np.nan
    h = 1e-5
    with np.errstate(divide="ignore"):
        change = (accuracy.inverse_slope(slopes * np.exp(h)) - accuracy.inverse_slope(slopes)) / h
    DIFFERENCE_QUOTIENT.check((-change / bound)[:, :3], 1.0)


PRICES = np.array([7.0]), np.array([0.3])


def test_the_service_law_and_its_derivatives() -> None:
    service = cq.AffineService(base=[0.0, 0.5, 100.0], per_token=[1e-4, 0.01, 2.0])
    tokens = np.array([[0.0, 1.0, 2.0], [1e3, 1e4, 1e5]])
    assert service.mean(tokens)[0].tolist() == [0.0, 0.51, 104.0]
    ROUNDING.check(service.second_moment(tokens), service.mean(tokens) ** 2)
    h = 1.0
    for function, derivative in (
        (service.mean, service.mean_slope),
        (service.mean_slope, service.mean_curvature),
        (service.second_moment, service.second_moment_slope),
        (
            lambda tokens: service.marginal_cost(tokens, *PRICES)[0],
            lambda tokens: service.marginal_cost(tokens, *PRICES)[1],
        ),
    ):
        # No more than quadratic in the tokens, so that central differences are exact but for
        # rounding.
        quotient = (function(tokens + h) - function(tokens - h)) / (2.0 * h)
        found, wanted = np.broadcast_arrays(derivative(tokens), quotient)
        DIFFERENCE_QUOTIENT.check(found, wanted)


def test_the_service_law_says_the_same_all_at_once() -> None:
    service = cq.AffineService(base=[0.0, 0.5, 100.0], per_token=[1e-4, 0.01, 2.0])
    tokens = np.array([1.0, 1e3, 1e5])
    moments = service.moments(tokens)
    ROUNDING.check(moments.mean, service.mean(tokens))
    ROUNDING.check(moments.second_moment, service.second_moment(tokens))
    ROUNDING.check(moments.mean_slope, service.mean_slope(tokens))
    ROUNDING.check(moments.second_moment_slope, service.second_moment_slope(tokens))
    cost, _ = service.marginal_cost(tokens, *PRICES)
    ROUNDING.check(
        cost, 7.0 * service.mean_slope(tokens) + 0.3 * service.second_moment_slope(tokens)
    )


@pytest.mark.parametrize("idle", [0.9, 0.5, 1e-2, 1e-4])
def test_prices_are_the_derivatives_of_the_system_time(idle: float) -> None:
    queue, rate, second = FIFO(), 0.3, np.array(40.0)
    mean = np.array((1.0 - idle) / rate)

    def system_time(m1: FloatArray, m2: FloatArray) -> FloatArray:
        total: FloatArray = m1 + queue.mean_waiting_time(rate, m1, m2, 1.0 - rate * m1)
        return total

    def prices(m1: FloatArray, m2: FloatArray) -> FloatArray:
        return np.array(queue.prices(rate, m1, m2, 1.0 - rate * m1))

    found = queue.prices(rate, mean, second, 1.0 - rate * mean)
    slopes = queue.price_slopes(rate, mean, second, 1.0 - rate * mean)
    h1, h2 = np.array(1e-5 * idle / rate), np.array(1e-5 * second)
    tolerance = DIFFERENCE_QUOTIENT._replace(rtol=DIFFERENCE_QUOTIENT.rtol / idle)
    along_mean = (system_time(mean + h1, second) - system_time(mean - h1, second)) / (2 * h1)
    tolerance.check(along_mean, found.mean)
    along_second = (system_time(mean, second + h2) - system_time(mean, second - h2)) / (2 * h2)
    tolerance.check(along_second, found.second_moment)
    mixed = (prices(mean + h1, second) - prices(mean - h1, second)) / (2 * h1)
    tolerance.check(mixed, [slopes.mean_mean, slopes.mean_second])
    mixed = (prices(mean, second + h2) - prices(mean, second - h2)) / (2 * h2)
    tolerance.check(mixed, [slopes.mean_second, slopes.second_second])


def test_waiting_time_by_hand() -> None:
    # Two kinds of service, 1 s and 3 s, equally often, 0.25/s: m1 = 2, m2 = 5, W = 1.25.
    waiting = FIFO().mean_waiting_time(0.25, np.array(2.0), np.array(5.0), np.array(0.5))
    assert waiting == 1.25


@pytest.mark.parametrize("load", [0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("spread", [0.1, 10.0])
def test_relative_slopes_are_bounded_over_the_box(load: float, spread: float) -> None:
    # q = P1 + 2 P2 t at every combination of the second moment, the idle fraction and the time of
    # a type, within ranges that a box could have.
    queue, rate, shares = FIFO(), 0.5, np.linspace(0.0, 1.0, 41)
    lightest = 0.5 * load
    idle = (1.0 - lightest, 1.0 - load)
    smallest = (lightest / rate) ** 2
    seconds = (smallest, smallest * (1.0 + 40.0 * spread))
    times = (np.array([0.0, 0.1, 1.0]), np.array([0.1, 2.0, 1.0 + 3.0 * spread]))
    bounds = queue.relative_slopes(rate, seconds, idle, times)
    found = np.zeros((3, 3))
    for y in idle[1] + shares * (idle[0] - idle[1]):
        for second in seconds[0] + shares * (seconds[1] - seconds[0]):
            moments = (np.array((1.0 - y) / rate), np.array(second), np.array(y))
            prices, slopes = queue.prices(rate, *moments), queue.price_slopes(rate, *moments)
            t = times[0] + shares[:, np.newaxis] * (times[1] - times[0])
            q = prices.mean + 2.0 * prices.second_moment * t
            derivatives = (
                (slopes.mean_mean + 2.0 * slopes.mean_second * t) / q,
                (slopes.mean_second + 2.0 * slopes.second_second * t) / q,
                2.0 * prices.second_moment / q,
            )
            largest = [np.max(derivative, axis=0) for derivative in derivatives]
            found = np.maximum(found, np.broadcast_to(np.stack(largest), (3, 3)))
    proven = np.stack([np.broadcast_to(bound, 3) for bound in bounds])
    assert np.all(found <= proven * (1 + SAMPLED_BOUND.rtol))
    # The second and third are attained; the first takes its two arguments apart.
    assert np.all(found[1:] >= proven[1:] * 0.98)
    assert np.all(found[0] >= proven[0] * 0.4)


@pytest.mark.parametrize("load", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("spread", [0.0, 100.0, 1e4])
def test_the_curvature_of_the_waiting_time_and_its_bounds(load: float, spread: float) -> None:
    # Two types, one of which is rare and longer by `spread`, in the metric diag(π (dt/dl)²).
    queue, rate = FIFO(), 2.0
    mix, shape = np.array([0.9999, 0.0001]), np.array([1.0, 1.0 + spread])
    times = load / rate * shape / (mix @ shape)
    mean, second = np.array(mix @ times), np.array(mix @ times**2)
    slopes = queue.price_slopes(rate, mean, second, np.array(1.0 - load))
    prices = queue.prices(rate, mean, second, np.array(1.0 - load))
    first, other = np.sqrt(mix), 2.0 * np.sqrt(mix) * times
    hessian = (
        2.0 * prices.second_moment * np.eye(2)
        + slopes.mean_mean * np.outer(first, first)
        + slopes.mean_second * (np.outer(first, other) + np.outer(other, first))
    )
    least, greatest = np.linalg.eigvalsh(hessian)
    bounds = queue.curvature(rate, float(second), 1.0 - load)
    assert bounds.least <= least * (1 + SAMPLED_BOUND.rtol)
    assert greatest <= bounds.greatest * (1 + SAMPLED_BOUND.rtol)
    # The greatest is sharp where √π and √π t are parallel, the types alike; the least where they
    # are far from it, a rare type very long, and but for the 1/(1 − ρ) that it leaves out.
    if spread == 0.0:
        assert bounds.greatest <= 1.01 * greatest
    if spread == 1e4:
        assert bounds.least >= 0.2 * (1.0 - load) * least


@pytest.mark.parametrize("rate", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("idle", [0.999, 0.5, 1e-3])
def test_the_least_idle_fraction_is_attained(rate: float, idle: float) -> None:
    # Types alike, m2 = m1²: the first bound holds with equality.
    queue, mean = FIFO(), (1.0 - idle) / rate
    system_time = mean + rate * mean**2 / (2.0 * idle)
    ROUNDING._replace(rtol=1e-9).check(queue.least_idle(rate, system_time, 0.0, 0.0), idle)
    # Types apart: with m1 and m2 known exactly, the second does, and says more.
    second = 9.0 * mean**2
    system_time = mean + rate * second / (2.0 * idle)
    ROUNDING._replace(rtol=1e-9).check(queue.least_idle(rate, system_time, mean, second), idle)
    assert queue.least_idle(rate, system_time, 0.0, 0.0) < idle
    ROUNDING._replace(rtol=1e-9).check(
        queue.greatest_second_moment(rate, system_time, mean, idle), second
    )
