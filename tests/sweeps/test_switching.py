"""Switching points: against forty digits, against solved grids, and where they do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import cvxqueue as cq
from tests.families import FAMILIES, pairwise, planted
from tests.own_classes import Knee, Logarithmic, Retrials
from tests.paths import EXAMPLES
from tests.strategies import SEEDS
from tests.sweeps.exact_switching import switching_value

SERVER = cq.load(EXAMPLES / "instances" / "qwen3-8b-h100.toml")
OVER: Any = ("arrival_rate", "accuracy_weight")
# Worst of 395 on 200 instances of all families, with seed 7: 6.1e-13.
EXACT = 1e-12


def random_instance(rng: np.random.Generator, queue: str, law: str, curve: str) -> Any:
    load = float(rng.choice([0.3, 0.7, 0.9]))
    size = int(rng.integers(1, 5))
    return planted(rng, queue, law, curve, n=size, utilization=load, plain=True).family


def require_exact(seed: int, families: Any) -> None:
    rng = np.random.default_rng(seed)
    for kinds in families:
        family = random_instance(rng, *kinds)
        for over in OVER:
            points = cq.switching_points(family.instance(), over=over)
            if len(points):
                row = int(rng.integers(len(points)))
                exact = switching_value(family, points, row)
                assert abs(points.values[row] / exact - 1) <= EXACT, (kinds, over, row)


def test_switching_points_solve_the_equations_in_forty_digits() -> None:
    require_exact(5, list(pairwise())[::7])


@pytest.mark.slow
def test_switching_points_of_every_pair_of_classes_are_exact() -> None:
    require_exact(7, pairwise())


def changes(instance: cq.Instance, over: str, grid: Any) -> tuple[Any, list[Any]]:
    """Where a solved grid has answers, and which types rest at which end of their box there."""
    batch = cq.solve_batch(instance, **{over: grid})
    known = batch.is_optimal
    ends = {"min tokens": instance.lower, "max tokens": instance.upper}
    rests = [
        (k, bound, batch.tokens[known, k] == end[k])
        for bound, end in ends.items()
        for k in np.flatnonzero(instance.lower < instance.upper)
    ]
    return grid[known], rests


def require_every_change(instance: cq.Instance, over: Any, grid: Any) -> None:
    """Every change from one point of the grid to the next is a switching point, and no other is."""
    points = cq.switching_points(instance, over=over)
    for place in range(len(points)):
        there = instance.replace(**{over: float(points.values[place])})
        assert cq.certify(there, points.tokens[place]).relative_gap < 1e-12
    places, rests = changes(instance, over, grid)
    for k, bound, is_resting in rests:
        own = [
            (value, way)
            for value, way, who, rest in zip(
                points.values, points.directions, points.types, points.bounds, strict=True
            )
            if who == k and rest == bound
        ]
        for low, high, was, now in zip(
            places, places[1:], is_resting, is_resting[1:], strict=False
        ):
            # A value on the grid is in both of its cells, for a rounding.
            between = [way for value, way in own if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
            if was != now:
                assert between, (k, bound, low, high)
                assert between[-1] == ("enters" if now else "leaves")
            elif between and all(low < value / (1 + 1e-9) for value, _ in own):
                assert len(between) % 2 == 0 or any(
                    abs(value / end - 1) < 1e-9 for value, _ in own for end in (low, high)
                )


@pytest.mark.parametrize("over", OVER)
def test_every_change_on_a_fine_grid_is_a_switching_point(over: Any) -> None:
    instance = SERVER.replace(arrival_rate=0.12, max_tokens=1800)
    grid = np.geomspace(1e-3, 1.4, 10_000) if over == OVER[0] else np.geomspace(1.0, 1e6, 10_000)
    require_every_change(instance, over, grid)


@settings(max_examples=8)
@given(SEEDS)
def test_every_change_of_any_family_is_a_switching_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = random_instance(rng, *FAMILIES[seed % len(FAMILIES)]).instance()
    for over in OVER:
        middle = max(getattr(instance, over), 1e-9)
        high = 1e2 * middle
        if over == "arrival_rate":
            high = min(high, (1.0 - 1e-6) * instance.max_arrival_rate)
        require_every_change(instance, over, np.geomspace(1e-2 * middle, high, 100))


@settings(max_examples=8)
@given(SEEDS)
def test_tokens_never_rise_with_the_arrival_rate(seed: int) -> None:
    """The theorem of docs/sweeps.md, on instances of every family."""
    rng = np.random.default_rng(seed)
    instance = random_instance(rng, *FAMILIES[seed % len(FAMILIES)]).instance()
    most = min(100.0 * instance.arrival_rate, (1.0 - 1e-4) * instance.max_arrival_rate)
    rates = np.geomspace(0.01 * instance.arrival_rate, most, 60)
    batch = cq.solve_batch(instance, arrival_rate=rates)
    tokens = batch.tokens[batch.is_optimal]
    # Tokens are known to about the root of the certified gap.
    assert (np.diff(tokens, axis=0) <= 1e-5 * (1.0 + tokens[1:])).all()


def test_a_type_may_switch_twice_as_accuracy_gains_weight() -> None:
    points = cq.switching_points(SERVER.replace(arrival_rate=0.12), over="accuracy_weight")
    aime = [
        (round(float(value)), way)
        for value, way, who in zip(points.values, points.directions, points.names, strict=True)
        if who == "AIME24"
    ]
    assert aime == [(3555, "leaves"), (26470, "enters")]
    # Near the rate from which on it never thinks, the two are one.
    weights = np.geomspace(1e3, 1e6, 2000)
    curve = cq.switching_curves(SERVER, accuracy_weight=weights)[0]
    top = float(np.nanmax(curve.arrival_rate))
    for rate, count in ((top * (1 - 1e-6), 2), (top * (1 + 1e-5), 0)):
        points = cq.switching_points(SERVER.replace(arrival_rate=rate), over="accuracy_weight")
        assert points.names.count("AIME24") == count


@pytest.mark.parametrize(
    "queue",
    [
        *(cq.FIFO(), cq.BatchArrivals(2.0, 6.0), cq.Vacations(1.0, 2.0), cq.Setups(0.5, 0.3)),
        cq.ProcessorSharing(),
    ],
    ids=lambda queue: type(queue).__name__,
)
def test_switching_points_are_roots_of_a_quadratic(queue: Any) -> None:
    """In z = ρ/(1 − ρ), at the moments and the type's own slope and time; the curve agrees."""
    beta, delta, omega = queue.weights
    kappa, share = beta + delta, 1.0 - delta
    for over in OVER:
        points = cq.switching_points(SERVER.replace(queue=queue, arrival_rate=0.1), over=over)
        assert len(points) >= 5
        for value, k, tokens in zip(points.values, points.types, points.tokens, strict=True):
            there = points.instance.replace(**{over: float(value)})
            at, weight = there.evaluate(tokens), there.accuracy_weight
            m1, m2 = float(at.mean_service_time), float(at.service_time_second_moment)
            z = there.arrival_rate * m1 / (1.0 - there.arrival_rate * m1)
            # α w p′ = r c (q + t) with r = 2 P2, whatever the price of a second.
            slope = float(at.marginal_benefit[k]) / 0.00686
            if omega == 0.0:
                assert slope == pytest.approx(kappa * (1.0 + z) ** 2, rel=1e-9)
            else:
                q = slope / (omega * z / m1) - float(at.times[k])
                terms = (
                    (kappa + omega * m2 / (2 * m1**2)) * z**2,
                    (2 * kappa - omega * q / m1) * z,
                    share + kappa,
                )
                assert sum(terms) == pytest.approx(0.0, abs=1e-9 * max(map(abs, terms)))
            curves = cq.switching_curves(there, accuracy_weight=[weight])
            rates = [curve.arrival_rate[0] for curve in curves if curve.type == k]
            assert np.nanmin(np.abs(np.array(rates) / there.arrival_rate - 1.0)) < 1e-9


def test_the_unit_of_time_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    family = random_instance(rng, "Setups", "random", "mixed")
    for over, power in zip(OVER, (-1, 1), strict=True):
        seconds = cq.switching_points(family.instance(), over=over)
        milli = cq.switching_points(family.in_unit(1000.0).instance(), over=over)
        np.testing.assert_allclose(milli.values, seconds.values * 1000.0**power, rtol=1e-11)
        assert (milli.bounds, milli.directions) == (seconds.bounds, seconds.directions)


def test_floors_on_the_accuracy_of_types_are_ends_of_the_box() -> None:
    floored = SERVER.replace(constraints=[cq.MinAccuracy([0.0, 0.1, 0.4, 0.5, 0.0])])
    points = cq.switching_points(floored, over="arrival_rate")
    place = points.names.index("AIME25")
    assert points.tokens[place, 1] == floored.lower[1] > 0.0
    beyond = SERVER.replace(constraints=[cq.MinAccuracy(0.99)])
    with pytest.raises(cq.InfeasibleError, match=r"accuracy.0. of .AIME24. must be"):
        cq.switching_points(beyond)


def test_what_has_no_switching_points_says_so() -> None:
    capped = SERVER.replace(constraints=[cq.MaxMeanSystemTime(10.0)])
    with pytest.raises(cq.InvalidInputError, match=r"mean system time ≤ 10 s.*no closed form"):
        cq.switching_points(capped)
    wrong: Any = "max_tokens"
    with pytest.raises(cq.InvalidInputError, match=r"over: .*arrival_rate"):
        cq.switching_points(SERVER, over=wrong)
    with pytest.raises(cq.UnstableQueueError):
        cq.switching_points(SERVER.replace(arrival_rate=9.0), over="accuracy_weight")
    assert len(cq.switching_points(SERVER.replace(arrival_rate=9.0))) == 5
    for worthless in (SERVER.replace(accuracy_weight=0.0), SERVER.replace(importance=0.0)):
        assert not len(cq.switching_points(worthless))
    assert not len(cq.switching_points(SERVER.replace(importance=0.0), over="accuracy_weight"))
    assert not len(cq.switching_points(SERVER.replace(min_tokens=7, max_tokens=7)))
    with pytest.raises(cq.InvalidInputError, match="accuracy_weight"):
        cq.switching_curves(SERVER, accuracy_weight=[1.0, 0.0])


def test_where_optima_may_not_be_unique_it_is_said() -> None:
    straight = cq.PiecewiseLinear(tokens=[[0, 500, 1000]] * 2, accuracy=[[0.1, 0.5, 0.6]] * 2)
    smooth = cq.SaturatingExponential(floor=0.1, gain=0.5, rate=[0.001, 0.002])
    for queue, curve, count in (
        (cq.ProcessorSharing(), straight, 1),
        (cq.ProcessorSharing(), smooth, 0),
        (cq.FIFO(), straight, 0),
    ):
        shared = cq.Instance(
            arrival_rate=0.2,
            accuracy_weight=60.0,
            max_tokens=1000,
            probabilities=[0.5, 0.5],
            queue=queue,
            service=cq.AffineService(base=0.5, per_token=0.002),
            accuracy=curve,
        )
        points = cq.switching_points(shared)
        assert len([it for it in points.assumes if "optimum is unique" in it]) == count
        assert str(points).count("optimum is unique") == count


def test_classes_of_ones_own() -> None:
    curve = Logarithmic(floor=0.1, gain=0.1, scale=200.0)
    law = Knee(base=0.5, per_token=0.006, per_squared_token=1e-6, knee=500.0)
    queue = Retrials(mean_backoff=3.0)
    own = SERVER.replace(accuracy=curve, service=law, queue=queue, max_tokens=2000)
    assert len(cq.switching_points(own).assumes) == 3
    require_every_change(own, "arrival_rate", np.geomspace(1e-3, 1.0, 500))
    require_every_change(own, "accuracy_weight", np.geomspace(1.0, 1e4, 500))

    class Kinked(Logarithmic):  # type: ignore[misc]
        is_smooth = False

    kinked = SERVER.replace(accuracy=Kinked(floor=0.1, gain=0.1, scale=200.0))
    with pytest.raises(cq.InvalidInputError, match=r"Kinked has kinks.*breakpoints"):
        cq.switching_points(kinked)
