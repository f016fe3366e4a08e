"""Floors on the mean accuracy: called out of reach where that is proven, and nowhere else."""

from __future__ import annotations

import contextlib
import itertools
import pickle
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.certificates import AccuracyBound
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality import newton_on_multipliers
from cvxqueue.duality.dual_search import dual_search
from cvxqueue.solvers import attainable
from cvxqueue.solvers.attainable import require_attainable
from tests.test_advice import SERVER, number_after
from tests.test_deadline import Clock


def smooth(seed: int, size: int) -> cq.Instance:
    rng = np.random.default_rng(seed)
    mix = rng.dirichlet(np.full(size, 0.5)) + 1e-6
    mix /= mix.sum()
    base, per_token = rng.uniform(0.0, 1.0, size), 10.0 ** rng.uniform(-4.0, -1.0, size)
    most = 10.0 ** rng.uniform(2.0, 5.0, size)
    load = rng.uniform(1.5, 20.0)
    floor = rng.uniform(0.0, 0.4, size)
    return cq.Instance(
        arrival_rate=min(load / float(mix @ (base + per_token * most)), 0.9 / float(mix @ base)),
        accuracy_weight=10.0 ** rng.uniform(-1.0, 3.0),
        max_tokens=most,
        probabilities=mix,
        service=cq.AffineService(base=base, per_token=per_token),
        accuracy=cq.SaturatingExponential(
            floor=floor,
            gain=rng.uniform(0.1, 0.6, size),
            rate=10.0 ** rng.uniform(-5.0, -2.0, size),
        ),
    )


def test_a_floor_that_rounding_misses_where_no_service_takes_time() -> None:
    instance = cq.Instance(
        arrival_rate=0.8,
        accuracy_weight=13.8,
        max_tokens=0.0,
        probabilities=[1.0],
        service=cq.AffineService(base=0.0, per_token=0.006),
        # Continued to 0 tokens, this line misses 0.02 by rounding.
        accuracy=cq.PiecewiseLinear(tokens=[100, 200, 2000], accuracy=[0.11, 0.2, 0.55]),
        constraints=[cq.MinMeanAccuracy(0.02)],
    )
    assert cq.solve(instance).is_optimal


def most_accuracy(instance: cq.Instance) -> Any:
    """Supremum of Σ π p over λ Σ π t ≤ 1 and the box, in fifty digits: the slopes per second agree.

    At the price η of a second of service, a type has the tokens at which p′ = η c.
    """

    def numbers(array: Any) -> list[Any]:
        return [mp.mpf(float(value)) for value in np.broadcast_to(array, (instance.size,))]

    with mp.workdps(50):
        mix, most = numbers(instance.probabilities), numbers(instance.upper)
        service: Any = instance.service
        curve: Any = instance.accuracy
        base, per_token = numbers(service.base), numbers(service.per_token)
        floor, gain, rate = numbers(curve.floor), numbers(curve.gain), numbers(curve.rate)
        types = range(instance.size)

        def tokens(price: Any) -> list[Any]:
            wanted = [mp.log(gain[k] * rate[k] / (price * per_token[k])) / rate[k] for k in types]
            return [min(max(wanted[k], mp.mpf(0)), most[k]) for k in types]

        def load(price: Any) -> Any:
            found = tokens(price)
            return mp.mpf(float(instance.arrival_rate)) * sum(
                mix[k] * (base[k] + per_token[k] * found[k]) for k in types
            )

        low, high = mp.mpf("1e-40"), mp.mpf("1e10")
        for _ in range(260):
            middle = mp.sqrt(low * high)
            low, high = (middle, high) if load(middle) > 1 else (low, middle)
        found = tokens(high)
        return sum(mix[k] * (floor[k] - gain[k] * mp.expm1(-rate[k] * found[k])) for k in types)


def floored(instance: cq.Instance, accuracy: Any, *caps: Any) -> cq.Instance:
    return instance.replace(constraints=[cq.MinMeanAccuracy(float(accuracy)), *caps])


def rare_and_long() -> cq.Instance:
    """One query in a million thinks for days: the mean system time has no bound."""
    return cq.Instance(
        arrival_rate=1.0,
        accuracy_weight=1.0,
        max_tokens=[0.0, 1e6],
        probabilities=[1.0 - 1e-6, 1e-6],
        service=cq.AffineService(base=1e-3, per_token=1.0),
        accuracy=cq.SaturatingExponential(floor=[0.5, 0.0], gain=[0.0, 1.0], rate=1e-5),
    )


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_floor_that_tokens_keep_is_not_called_infeasible(share: float) -> None:
    instance, tokens = rare_and_long(), [0.0, 2.3e5]
    reached = [float(instance.evaluate(each).mean_accuracy) for each in ([0.0, 0.0], tokens)]
    limited = floored(instance, reached[0] + share * (reached[1] - reached[0]))
    assert cq.certify(limited, tokens).is_feasible
    solution = cq.solve(limited, on_failure="return")
    assert solution.certificate.is_feasible
    # The rounding of a half is worth so much beside a millionth.
    assert solution.relative_gap <= 1e-7


@pytest.mark.parametrize("seed", range(30))
def test_infeasible_is_said_beyond_the_most_accuracy_in_fifty_digits_alone(seed: int) -> None:
    instance = smooth(seed, 1 + seed % 5)
    most = most_accuracy(instance)
    if instance.evaluate(instance.upper).is_stable:
        pytest.fail("the generator makes no such instance")
    with pytest.raises(cq.InfeasibleError, match="together with a stable queue") as caught:
        cq.solve(floored(instance, most * (1 + mp.mpf("1e-6"))))
    proof = caught.value.bound
    assert proof is not None
    assert most <= proof.value < most * (1 + mp.mpf("1e-6"))
    assert pickle.loads(pickle.dumps(caught.value)).bound.value == proof.value
    advised = floored(instance, number_after("lower accuracy to", caught.value))
    solution = cq.solve(advised)
    assert solution.is_optimal
    # Next to the most, answers may be hard to certify, and are not called infeasible.
    for below in ("1e-6", "1e-10", "1e-14"):
        require_attainable(floored(instance, most * (1 - mp.mpf(below))).model)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_any_multipliers_at_any_stable_tokens_prove_a_bound(seed: int) -> None:
    """Of an allocation whose times are the limits, in exact arithmetic or fifty digits."""
    rng = np.random.default_rng(seed)
    instance = smooth(seed, 1 + seed % 4)
    if seed % 2:
        points = np.cumsum(rng.uniform(10.0, 500.0, (instance.size, 4)), axis=1) - 10.0
        slopes = -np.sort(-rng.uniform(0.0, 4e-4, (instance.size, 3)), axis=1)
        rises = np.cumsum(slopes * np.diff(points), axis=1)
        heights = 0.2 + np.concatenate([np.zeros((instance.size, 1)), rises], axis=1)
        points[:, 0] = 0.0
        instance = instance.replace(accuracy=cq.PiecewiseLinear(tokens=points, accuracy=heights))
    hidden = instance.model.boxed(rng.uniform(0.0, 1.0, instance.size) * instance.upper)
    while not instance.evaluate(hidden).idle > 1e-3:
        hidden = 0.7 * hidden
    there = instance.evaluate(hidden)
    one_more = 1.0 + 1e-12
    limited = floored(
        instance,
        0.5,
        cq.MaxMeanSystemTime(float(there.mean_system_time) * one_more),
        cq.MaxMeanWaitingTime(float(there.mean_waiting_time) * one_more),
        cq.MaxTokenRate(
            float(instance.arrival_rate * (instance.probabilities @ hidden)) * one_more
        ),
        cq.WaitingTimeTail(1e3, 1.0 - 1e-9),
    )
    scales = [1.0, *(0.1 / abs(float(c.excess(there)) + 1.0) for c in limited.model.couplings[1:])]
    for _ in range(10):
        tokens = hidden * rng.uniform(0.0, 1.3, instance.size)
        point = limited.evaluate(limited.model.boxed(tokens))
        if not point.is_stable:
            continue
        multipliers = np.array(scales) * 10.0 ** rng.uniform(-6.0, 1.0, 5) * (rng.random(5) < 0.5)
        multipliers[4] = 0.0
        bound = AccuracyBound(limited.model, point.tokens, multipliers)
        assert float(there.mean_accuracy) <= bound.value
        if limited.accuracy.is_smooth:
            assert float(there.mean_accuracy) <= bound.sharpened(NEVER).value <= bound.value


def cornered(seed: int) -> tuple[cq.Instance, Fraction]:
    """Straight pieces and a cap on the token rate, and the most accuracy that it leaves, exactly.

    The pieces of all types are filled up by their slopes, since every token counts the same.
    """
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 5))
    points = np.concatenate(
        [np.zeros((size, 1)), np.cumsum(rng.integers(1, 500, (size, 3)), axis=1)], axis=1
    )
    slopes = -np.sort(-rng.integers(0, 2**10, (size, 3)), axis=1) / 2.0**22
    steps = slopes * np.diff(points)
    heights = 0.125 + np.concatenate([np.zeros((size, 1)), np.cumsum(steps, axis=1)], axis=1)
    weights = rng.integers(1, 5, size)
    mix = np.where(np.arange(size) > 0, weights / 32.0, 0.0)
    mix[0] = 1.0 - mix.sum()
    room = float(mix @ points[:, -1]) * rng.uniform(0.1, 0.9)
    left, most = Fraction(room), Fraction(1, 8)
    pieces = [
        (Fraction(slopes[k, j]), Fraction(mix[k]) * (Fraction(points[k, j + 1]) - points[k, j]))
        for k in range(size)
        for j in range(3)
    ]
    for slope, tokens in sorted(pieces, reverse=True):
        used = min(tokens, left)
        most, left = most + slope * used, left - used
    instance = cq.Instance(
        arrival_rate=2.0**-10,
        accuracy_weight=50.0,
        max_tokens=points[:, -1],
        probabilities=mix,
        service=cq.AffineService(base=0.25, per_token=2.0**-9),
        accuracy=cq.PiecewiseLinear(tokens=points, accuracy=heights),
        constraints=[cq.MaxTokenRate(room * 2.0**-10)],
    )
    return instance, most


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_straight_pieces_fill_up_a_token_rate_exactly(seed: int) -> None:
    instance, most = cornered(seed)
    limited = floored(instance, most * (1 + Fraction(1, 10**5)), *instance.constraints)
    with pytest.raises(cq.InfeasibleError) as caught:
        cq.solve(limited)
    proof = caught.value.bound
    assert proof is not None
    assert most <= Fraction(proof.value) < most * (1 + Fraction(1, 10**5))
    for below in (0, 15, 9, 5):
        close = most * (1 - Fraction(below > 0, 10**below))
        require_attainable(floored(instance, close, *instance.constraints).model)
    assert cq.solve(
        floored(instance, most * (1 - Fraction(1, 10**5)), *instance.constraints)
    ).is_optimal


def test_a_floor_can_be_kept_where_the_error_says() -> None:
    instance = SERVER.replace(min_tokens=100.0)
    with pytest.raises(cq.InfeasibleError) as caught:
        cq.solve(floored(instance, 0.999))
    assert cq.solve(floored(instance, number_after("lower accuracy to", caught.value))).is_optimal


CONTRADICTED = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=100.0,
    max_tokens=1e4,
    probabilities=[1.0],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.PiecewiseLinear(tokens=[0, 700, 1500, 4000], accuracy=[0.2, 0.4, 0.5, 0.7]),
)


def test_a_contradiction_that_nobody_can_prove_leaves_no_feasible_point() -> None:
    point = CONTRADICTED.evaluate([1000.0])
    cap = cq.MaxMeanSystemTime(float(point.mean_system_time))
    reached = float(point.mean_accuracy)
    with pytest.raises(cq.ConvergenceError, match="no feasible point was found") as caught:
        cq.solve(floored(CONTRADICTED, reached * (1.0 + 1e-12), cap))
    assert "loosen" not in str(caught.value)
    # A constraint relaxed, as it says.
    assert cq.solve(floored(CONTRADICTED, reached, cap)).is_optimal
    with pytest.raises(cq.InfeasibleError):
        cq.solve(floored(CONTRADICTED, reached * (1.0 + 1e-6), cap))


def slow_instance() -> cq.Instance:
    """Kinks, and three constraints that bind."""
    rng = np.random.default_rng(1)
    points = np.cumsum(rng.uniform(100.0, 900.0, (4, 5)), axis=1)
    points[:, 0] = 0.0
    heights = 0.9 * np.cumsum(-np.sort(-rng.uniform(0.0, 0.2, (4, 5)), axis=1), axis=1)
    instance = cq.Instance(
        arrival_rate=0.4,
        accuracy_weight=100.0,
        max_tokens=1.2 * points[:, -1],
        probabilities=[0.1, 0.2, 0.3, 0.4],
        service=cq.AffineService(base=0.1, per_token=[0.001, 0.002, 0.003, 0.004]),
        accuracy=cq.PiecewiseLinear(tokens=points, accuracy=heights),
    )
    point = instance.evaluate(0.3 * points[:, -1])
    rate = float(instance.arrival_rate * (instance.probabilities @ point.tokens))
    return floored(
        instance,
        float(point.mean_accuracy) * 1.02,
        cq.MaxMeanSystemTime(float(point.mean_system_time)),
        cq.MaxTokenRate(rate),
    )


@pytest.mark.parametrize("most_looks", [0.0, 3.0, 30.0])
def test_the_searches_end_at_their_deadline(most_looks: float) -> None:
    """Each of them looks at the clock a few times more, on the way out."""
    instance = slow_instance()
    for search in (
        lambda deadline: list(dual_search(instance.model, deadline)),
        lambda deadline: require_attainable(instance.model, deadline),
    ):
        clock = Clock()
        with contextlib.suppress(cq.InfeasibleError):
            search(Deadline(most_looks, clock))
        assert clock.looks <= most_looks + 12


def test_without_a_deadline_they_look_far_more_often() -> None:
    clock = Clock()
    list(dual_search(slow_instance().model, Deadline(1e9, clock)))
    assert clock.looks > 60


@pytest.mark.parametrize(
    ("tokens", "multipliers", "name"),
    [
        ([0.0, 0.1], [-0.1, 0.08], "multipliers"),
        ([0.0, 0.1], [0.1], "multipliers"),
        ([np.nan, 0.1], [0.1, 0.08], "tokens"),
        ([-1.0, 0.1], [0.1, 0.08], "tokens"),
        ([0.0, 0.1], [0.1, 0.08, 0.0], "multipliers"),
    ],
)
def test_a_bound_made_by_hand_proves_what_holds_or_is_refused(
    tokens: list[float], multipliers: list[float], name: str
) -> None:
    # Negative multipliers would "prove" less accuracy than there is.
    limited = smooth(1, 2).replace(constraints=[cq.MaxMeanSystemTime(1e3)])
    with pytest.raises(cq.InvalidInputError, match=name):
        AccuracyBound(limited.model, limited.lower + np.array(tokens), np.array(multipliers))


@pytest.mark.parametrize(("deadline", "searches"), [(Deadline(0.0, Clock()), 1), (NEVER, 3)])
def test_a_floor_that_is_not_decided_is_given_up_when_the_time_is_up(
    deadline: Deadline, searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    original = dual_search

    def seen(model: Any, until: Deadline, start: Any) -> Any:
        given.append(until)
        yield from original(model, until, start)

    monkeypatch.setattr(attainable, "dual_search", seen)
    # Nothing that is reached or proven decides it.
    monkeypatch.setattr(attainable, "restored", lambda _: None)
    require_attainable(floored(SERVER, 0.6).model, deadline)
    assert given == [deadline] * searches


def test_multipliers_that_come_again_end_the_search() -> None:
    """Number 265 of the campaign's seed 21: three pairs of multipliers took turns for ever."""
    instance = cq.Instance(
        arrival_rate=1.8207973470105332e-09,
        accuracy_weight=88313228.12458524,
        max_tokens=0.05075854310365355,
        probabilities=[1.0],
        queue=cq.BatchArrivals(1.4695074972075826, 2.4306027758239726),
        service=cq.AffineService(
            base=1.251856378548968e-05, per_token=199.44768201288915, token_scv=0.028398524775093657
        ),
        accuracy=cq.PiecewiseLinear(
            tokens=[169.0, 177.0, 224.0, 239.0], accuracy=[0.5, 0.5095, 0.5675, 0.586]
        ),
        constraints=[
            cq.MaxTokenRate(3.052685143981296e-14),
            cq.MaxTokenRate(1.815901569362273e-11),
            cq.MinMeanAccuracy(0.2924337890672417),
        ],
    )
    looks = itertools.count()
    # A search that goes on has looked at the clock a hundred thousand times.
    assert not require_attainable(instance.model, Deadline(1e5, lambda: float(next(looks))))
    assert next(looks) < 1e4
    answer = cq.solve(instance, on_failure="return")
    assert answer.objective == -np.inf
    assert "mean accuracy ≥ 0.292434: is not kept" in str(answer)


def test_a_search_that_creeps_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two kinks each step of the multipliers was a millionth of the one before, no end."""
    # Fewer than the search allows, for the sake of time: it is as far then as it ever comes.
    monkeypatch.setattr(newton_on_multipliers, "_MOST_RAYS", 4)
    instance = cq.Instance(
        arrival_rate=1.1609325438743423e-09,
        accuracy_weight=167087501962.68277,
        max_tokens=[0.001248331833174423, 135.92895956242248, 10767.003489118311],
        probabilities=[4.2171671942195265e-05, 0.006650971110825211, 0.9933068572172326],
        service=cq.AffineService(
            base=[3.7024275725813983e-06, 0.003671896187194682, 63.048325521410895],
            per_token=[0.006423649255838439, 1.2299109281884503e-05, 2.0352809295848166e-08],
            token_scv=[0.2643828624152971, 0.0023008487478983295, 0.0],
        ),
        accuracy=cq.PiecewiseLinear(
            tokens=[[38, 46, 51, 65], [72, 85, 85, 85], [128301, 152862, 188330, 192605]],
            accuracy=[
                [0.6, 0.6495, 0.6785, 0.758],
                [0.133] + [0.157] * 3,
                [0.233, 0.251, 0.2765, 0.28],
            ],
        ),
        constraints=[
            cq.MaxTokenRate(5.7630900424621065e-06),
            cq.MaxTokenRate(7.065228861799773e-06),
            cq.MinMeanAccuracy(0.14693957146466963),
        ],
    )
    steps = itertools.count()
    along = newton_on_multipliers._along

    def counted(*arguments: Any) -> Any:
        next(steps)
        return along(*arguments)

    monkeypatch.setattr(newton_on_multipliers, "_along", counted)
    with pytest.raises(cq.InfeasibleError, match=r"mean accuracy ≥ 0\.14694"):
        cq.solve(instance)
    assert next(steps) <= 3 * 5
