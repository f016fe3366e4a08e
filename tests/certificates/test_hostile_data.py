"""What certificates claim, against sixty digits at hostile data."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

import cvxqueue as cq
from cvxqueue import certificates
from cvxqueue.model.queue_formulas import PricedQueue
from cvxqueue.numerics.arrays import FloatArray
from tests.exact_model import DIGITS, ExactModel, number, numbers
from tests.tolerances import EPSILON

COUNT = 3
CURVES = ["exponential", "power", "michaelis"]
LAWS = ["affine", "random", "quadratic"]
QUEUES = ["fifo", "sharing", "batches"]


def spread(rng: np.random.Generator, least: float, most: float) -> FloatArray:
    drawn: FloatArray = 10 ** rng.uniform(least, most, COUNT)
    return drawn


def hostile(rng: np.random.Generator, curve: str, law: str, queue: str) -> cq.Instance:
    """Draw mixes of 1e-12, b L from 1e-12 to 1e6, powers next to 0 and 1, loads next to 1."""
    mix = spread(rng, -12, 0)
    mix /= mix.sum()
    caps = spread(rng, 0, float(rng.choice([3, 6, 12])))
    common: dict[str, Any] = {"floor": rng.uniform(0, 0.3, COUNT), "gain": spread(rng, -6, -0.3)}
    scale = caps / spread(rng, -12, 6)
    powers = rng.choice([1e-9, 1e-3, 1.0 - 1e-6, 1.0, 1.0 + 1e-7, 50.0], COUNT)
    curves: dict[str, Callable[[], Any]] = {
        "exponential": lambda: cq.SaturatingExponential(rate=1.0 / scale, **common),
        "power": lambda: cq.PowerLaw(scale=scale, exponent=powers, **common),
        "michaelis": lambda: cq.MichaelisMenten(half_saturation=scale, **common),
    }
    base = spread(rng, -4, 1) * (rng.random() < 0.7)
    per_token = spread(rng, -6, 0) / (caps if rng.random() < 0.5 else 1.0)
    linear: dict[str, Any] = {"base": base, "per_token": per_token}
    laws: dict[str, Callable[[], Any]] = {
        "affine": lambda: cq.AffineService(**linear),
        "random": lambda: cq.AffineService(token_scv=spread(rng, -6, 4), **linear),
        "quadratic": lambda: cq.QuadraticService(
            per_squared_token=per_token * spread(rng, -14, 0), **linear
        ),
    }
    mean = float(mix @ base)
    load = 1.0 - 10 ** rng.uniform(-9, -0.1)
    rate = load / mean if mean > 0.0 and rng.random() < 0.5 else 10 ** rng.uniform(-9, -1.5)
    size = 1.0 + 10 ** rng.uniform(-12, 1)
    discipline: Any = {
        "fifo": cq.FIFO(),
        "sharing": cq.ProcessorSharing(),
        "batches": cq.BatchArrivals(mean_size=size, size_second_moment=size**2 * 1.5),
    }[queue]
    return cq.Instance(
        arrival_rate=rate,
        accuracy_weight=10 ** rng.uniform(-3, 8),
        max_tokens=caps,
        probabilities=mix,
        service=laws[law](),
        accuracy=curves[curve](),
        queue=discipline,
    )


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("curve", CURVES)
def test_claims_hold_to_their_allowance(curve: str, law: str, queue: str) -> None:
    rng = np.random.default_rng([CURVES.index(curve), LAWS.index(law), QUEUES.index(queue)])
    with mp.workdps(DIGITS):
        for _ in range(6):
            instance = hostile(rng, curve, law, queue)
            if not instance.is_feasible:
                continue
            exact = ExactModel(instance)
            answer = cq.solve(instance, on_failure="return").tokens
            away = answer * (1.0 + rng.normal(size=COUNT) * 10 ** rng.uniform(-9, -1))
            anywhere = instance.upper * rng.uniform(0, 1, COUNT) * 10 ** rng.uniform(-9, 0)
            for tokens in (answer, instance.lower, instance.model.boxed(away), anywhere):
                point = instance.evaluate(tokens)
                if not point.is_stable:
                    continue
                at = numbers(tokens)
                right = exact.objective(at)
                claimed = number(certificates.certified_objective(point))
                allowance = number(certificates.rounding_allowance(point))
                assert claimed <= right
                # Half of it is room for what the gap is rounded to.
                assert abs(number(point.objective) - right) <= 0.6 * allowance
                assert claimed + number(certificates.certified_gap(point)) >= exact.bound(at)
                for found, cost in zip(point.marginal_cost, exact.marginal_costs(at), strict=True):
                    assert abs(number(found) - cost) <= 4 * EPSILON * cost / exact.idle(at)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("curve", CURVES)
def test_curvature_bounds_are_rounded_outwards(curve: str, law: str) -> None:
    rng = np.random.default_rng([7, CURVES.index(curve), LAWS.index(law)])
    with mp.workdps(DIGITS):
        for _ in range(8):
            # One type, so that nothing but rounding separates some bounds from the curvature.
            instance = alone(hostile(rng, curve, law, "fifo"))
            if not instance.is_feasible:
                continue
            exact, step = ExactModel(instance), certificates.step_size(instance)
            least = certificates.strong_concavity(instance)
            ends = (instance.lower, certificates.order_bracket(instance).lower, instance.upper)
            for tokens in ends:
                at = numbers(tokens)
                if exact.idle(at) <= 0:
                    continue
                for k in range(instance.size):
                    bent = curvature(exact, at, k)
                    metric = exact.mix[k] * exact.slope(k, at[k]) ** 2
                    assert bent >= number(least.plain)
                    assert bent >= number(least.value) * metric
                    if exact.objective(at) >= number(step.level):
                        assert bent <= number(step.metric[k])
                        assert exact.idle(at) >= number(step.least_idle)


def alone(instance: cq.Instance) -> cq.Instance:
    """Return the first type of an instance as the only one."""
    return instance.replace(
        **{
            name: getattr(instance, name)[:1] for name in ("max_tokens", "min_tokens", "importance")
        },
        probabilities=[1.0],
        service=instance.service.mapped(lambda array: array[:1]),
        accuracy=instance.accuracy.mapped(lambda array: array[:1]),
    )


def curvature(exact: ExactModel, tokens: list[mpf], k: int) -> mpf:
    """Return −∂²J/∂l_k², by a difference quotient of twice the digits."""
    with mp.workdps(2 * DIGITS):
        width = mpf(10) ** -40 * exact.scale[k]

        def moved(by: mpf) -> mpf:
            return exact.objective([*tokens[:k], tokens[k] + by, *tokens[k + 1 :]])

        # Forwards, because there is nothing below zero tokens.
        return -(moved(2 * width) - 2 * moved(width) + moved(mpf(0))) / width**2


def test_a_level_holds_where_the_benefit_dwarfs_the_time() -> None:
    # The system time is 1e-12 of the benefit, and was rounded away in the level.
    instance = cq.Instance(
        arrival_rate=0.5,
        accuracy_weight=3e12,
        max_tokens=1e4,
        probabilities=[1.0],
        service=cq.AffineService(base=1.0, per_token=1e-4),
        accuracy=cq.SaturatingExponential(floor=0.3, gain=0.0, rate=1e-3),
    )
    exact = ExactModel(instance)
    for start in np.linspace(0.0, 9e3, 41):
        step = certificates.step_size(instance, [start])
        with mp.workdps(DIGITS):
            assert number(step.level) <= exact.objective(numbers([start]))
            assert step.least_idle <= exact.idle(longest(exact, number(step.level)))


def longest(exact: ExactModel, level: mpf) -> list[mpf]:
    """Return tokens of the one type that no allocation with J ≥ level exceeds in load."""
    # T = t + λ t²/(2 (1 − λ t)) ≤ α p − level, a quadratic inequality in t.
    most = exact.worth[0] * exact.floor[0] - level
    half = 1 + exact.rate * most
    time = (half - mp.sqrt(half**2 - 2 * exact.rate * most)) / exact.rate
    return [(time - exact.base[0]) / exact.per_token[0]]


def test_a_price_of_waiting_keeps_its_digits_at_light_load() -> None:
    # P1 = 1/y² − 1 of the waiting time alone, at ρ = 1e-12.
    queue = PricedQueue(cq.ProcessorSharing(), 0.0, 1.0)
    mean, rate = np.asarray(2.0), 5e-13
    found = queue.prices(rate, mean, np.asarray(4.0), np.asarray(1.0 - rate * mean)).mean
    load = Fraction(rate) * 2
    right = 1 / (1 - load) ** 2 - 1
    assert abs(Fraction(float(found)) - right) <= 4 * Fraction(EPSILON) * right


def test_batches_of_hardly_more_than_one_keep_their_weight() -> None:
    queue = cq.BatchArrivals(mean_size=1.0 + 2.0**-30, size_second_moment=1.0 + 2.0**-29)
    right = (Fraction(queue.size_second_moment) / Fraction(queue.mean_size) - 1) / 2
    assert abs(Fraction(queue.weights.mean) - right) <= 2 * Fraction(EPSILON) * right
