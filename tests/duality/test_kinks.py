"""The best point between two demands: no point on the way is better, and the types move alone."""

from __future__ import annotations

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.duality.kinks import best_between
from cvxqueue.model import Instance
from cvxqueue.model.price_response import response_tokens
from cvxqueue.model.queue_formulas import Prices
from tests.families import LAWS, QUEUES, planted
from tests.tolerances import EPSILON

# From the least tokens a handful of steps settles a type.
_STEPS = 40
_POINTS = 200


def instance_of(queue: str, law: str, curve: str, seed: int) -> Instance:
    rng = np.random.default_rng([20261126, seed])
    return planted(rng, queue, law, curve, n=6, utilization=0.6).family.instance()


def prices_below(instance: Instance, share: float) -> Prices:
    """A share of the prices at the optimum, at which more is wanted than is best."""
    prices = cq.solve(instance).certificate.evaluation.prices
    return Prices(share * np.asarray(prices.mean), share * np.asarray(prices.second_moment))


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("curve", ["points", "mixed"])
def test_no_point_on_the_way_is_better(queue: str, law: str, curve: str) -> None:
    for seed in range(3):
        instance = instance_of(queue, law, curve, seed)
        prices = prices_below(instance, 0.7)
        start = instance.evaluate(np.array(instance.lower))
        with np.errstate(all="ignore"):
            best = best_between(start, prices, _STEPS)
            to = response_tokens(instance.model, start.tokens.copy(), prices, _STEPS)
        assert best.is_stable
        for share in np.linspace(0.0, 1.0, _POINTS + 1):
            other = instance.evaluate(start.tokens + share * (to - start.tokens))
            noise = 64.0 * EPSILON * float(best.scale / best.idle)
            assert float(other.objective) <= float(best.objective) + noise


def test_a_point_that_is_wanted_stays() -> None:
    instance = instance_of("FIFO", "affine", "points", 0)
    start = instance.evaluate(np.array(instance.lower))
    dear = Prices(np.asarray(1e12), np.asarray(1e12))
    assert best_between(start, dear, _STEPS) is start


def test_types_that_are_content_stay() -> None:
    instance = instance_of("Setups", "affine", "points", 1)
    optimum = cq.solve(instance).certificate.evaluation
    prices = Prices(*(np.asarray(price) * (1.0 - 1e-10) for price in optimum.prices))
    with np.errstate(all="ignore"):
        best = best_between(optimum, prices, _STEPS)
    corners = np.asarray(instance.accuracy.breakpoints)
    at_corner = (optimum.tokens == corners).any(axis=0)
    assert at_corner.any()
    np.testing.assert_array_equal(best.tokens[at_corner], optimum.tokens[at_corner])


def test_next_to_the_start_of_a_long_piece() -> None:
    # To the right of the maximum, rounding costs a millionth of what it costs at it.
    instance = cq.Instance(
        arrival_rate=8.80159628045382,
        accuracy_weight=53162518.296024084,
        probabilities=[1.0],
        max_tokens=4340.6083039795585,
        service=cq.AffineService(base=0.11350213849486976, per_token=0.003113277725461751),
        accuracy=cq.PiecewiseLinear(
            tokens=[0.0, 7036.243267175307], accuracy=[0.12860826340742898, 0.8835434835403424]
        ),
        queue=cq.BatchArrivals(mean_size=1.5254965968849095, size_second_moment=3.859352689596255),
    )
    solution = cq.solve(instance)
    assert solution.relative_gap <= 1e-3 * solution.tolerance


def test_one_price_is_known_long_before_the_other() -> None:
    # Types with pieces of the same slopes jump together, and over more than the server can do.
    tokens = np.array(
        [
            [0.0, 6874.0, 7811.0, 11242.0],
            [0.0, 5477.0, 7184.0, 10774.0],
            [0.0, 822.0, 2598.0, 4621.0],
            [0.0, 5898.0, 8234.0, 11858.0],
        ]
    )
    rises = np.array([0.725, 0.684, 0.164]) / 20000.0 * np.diff(tokens)
    instance = cq.Instance(
        arrival_rate=5.9,
        accuracy_weight=50000.0,
        probabilities=np.array([8.0, 7.0, 9.0, 5.0]) / 29.0,
        max_tokens=32768.0,
        service=cq.AffineService(base=[0.21, 0.02, 0.24, 0.13], per_token=3e-5),
        accuracy=cq.PiecewiseLinear(
            tokens=tokens, accuracy=np.pad(np.cumsum(rises, axis=1), ((0, 0), (1, 0)))
        ),
        queue=cq.ProcessorSharing(),
    )
    assert cq.solve(instance, tolerance=1e-9).relative_gap <= 1e-9


def long_piece(rng: np.random.Generator) -> tuple[Instance, float]:
    """A single piece many times as long as stability allows, and the tokens that are best.

    With processor sharing T = m1/y, so that a token costs c/y² at an idle fraction y: the weight
    makes that the slope of the piece at the wanted load.
    """
    idle, best = 10 ** rng.uniform(-7, -2), 10 ** rng.uniform(1, 4)
    longest = best * 10 ** rng.uniform(0.1, 2)
    base, per_token = 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-4, -1)
    gain = rng.uniform(0.2, 0.7)
    instance = cq.Instance(
        arrival_rate=(1.0 - idle) / (base + per_token * best),
        accuracy_weight=per_token / idle**2 / (gain / longest),
        probabilities=[1.0],
        max_tokens=longest,
        service=cq.AffineService(base=base, per_token=per_token),
        accuracy=cq.PiecewiseLinear(tokens=[0.0, longest], accuracy=[0.1, 0.1 + gain]),
        queue=cq.ProcessorSharing(),
    )
    return instance, best


@pytest.mark.parametrize("seed", range(60))
def test_a_long_piece_next_to_saturation(seed: int) -> None:
    # PriceResponse jumps over the whole piece; steps are of any length, and say nothing about it.
    instance, best = long_piece(np.random.default_rng(seed))
    solution = cq.solve(instance)
    optimum = solution.certificate.evaluation
    np.testing.assert_allclose(solution.tokens, best, rtol=1e-11)
    low, high = solution.token_bounds[0]
    assert low < best < high <= float(optimum.reach[0])


@pytest.mark.parametrize("law", LAWS)
def test_the_reach_is_where_a_type_alone_makes_the_queue_unstable(
    law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = instance_of("FIFO", law, "points", 2)
    instance = instance.replace(
        arrival_rate=0.9 * instance.arrival_rate / float(instance.model.lowest.utilization)
    )
    lower, reach = np.array(instance.lower), instance.model.lowest.reach
    is_short = reach < instance.upper
    assert is_short.any()
    for place in range(instance.size):
        tokens = lower.copy()
        tokens[place] = reach[place]
        load = float(instance.evaluate(tokens).utilization)
        if is_short[place]:
            assert 1.0 <= load <= 1.0 + 1e-11
        else:
            assert load <= 1.0
    monkeypatch.setattr("cvxqueue.model.model.BLOCK", 4)
    parts = [part.reach for part in instance.replace().model.lowest.parts]
    np.testing.assert_array_equal(np.concatenate(parts), reach)


def test_a_straight_line_is_smooth() -> None:
    # It never pays here, and that its cost does not rise under processor sharing is no obstacle.
    line = cq.PiecewiseLinear(tokens=[0.0, 4096.0], accuracy=[0.5, 0.5])
    curve = cq.SaturatingExponential(floor=0.2, gain=0.5, rate=0.001)
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=60.0,
        max_tokens=4096.0,
        probabilities=[0.5, 0.5],
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.MixedAccuracy(curves=[curve, line], which=[0, 1]),
        queue=cq.ProcessorSharing(),
    )
    solution = cq.solve(instance)
    assert solution.is_optimal
    assert solution.tokens[1] == 0.0


@pytest.mark.parametrize("seed", range(100, 130))
def test_types_settle_where_the_prices_stand_still(seed: int) -> None:
    # A server that nearly always idles: the prices are known before anything is looked at.
    rng = np.random.default_rng(seed)
    per_token = 10 ** rng.uniform(-5, -2, 3)
    instance = cq.Instance(
        arrival_rate=10 ** rng.uniform(-30, -6),
        accuracy_weight=10 ** rng.uniform(1, 6),
        probabilities=[1 / 3] * 3,
        max_tokens=1e6,
        service=cq.QuadraticService(
            base=10 ** rng.uniform(-2, 1, 3),
            per_token=per_token,
            per_squared_token=per_token * 10 ** rng.uniform(-6, 2, 3),
        ),
        accuracy=cq.MixedAccuracy(
            curves=[
                cq.SaturatingExponential(floor=0.1, gain=0.6, rate=10 ** rng.uniform(-5, -1, 2)),
                cq.PiecewiseLinear(tokens=[0.0, 100.0, 1000.0], accuracy=[0.1, 0.5, 0.6]),
            ],
            which=[0, 0, 1],
        ),
    )
    assert cq.solve(instance).is_optimal


def test_a_type_that_hardly_ever_comes_has_room_without_end() -> None:
    instance = cq.Instance(
        arrival_rate=1e-5,
        accuracy_weight=3.0,
        probabilities=[1.0, 1e-30],
        max_tokens=1e4,
        service=cq.QuadraticService(base=1.0, per_token=1e-3, per_squared_token=1e-9),
        accuracy=cq.PiecewiseLinear(tokens=[0.0, 100.0, 1000.0], accuracy=[0.1, 0.6, 0.7]),
    )
    assert instance.model.lowest.reach.tolist() == [1e4, 1e4]
    assert cq.solve(instance).is_optimal
