"""What a constraint may be off by, against fifty digits of the same binary64 data."""

from __future__ import annotations

import collections
import functools
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.certificates import lagrangian_gap
from cvxqueue.model.limits import Stability

EPSILON = 2.0**-52
TRIALS = 120
QUEUES: list[Any] = [
    cq.FIFO(),
    cq.ProcessorSharing(),
    cq.BatchArrivals(mean_size=2.0, size_second_moment=6.5),
    cq.Vacations(mean=0.3, second_moment=0.7),
    cq.Setups(mean=0.3, second_moment=0.7),
]


def one_type(**changes: Any) -> cq.Instance:
    return cq.Instance(
        **{
            "accuracy_weight": 1.0,
            "max_tokens": 1e4,
            "probabilities": [1.0],
            "service": cq.AffineService(base=0.5, per_token=0.002),
            "accuracy": cq.SaturatingExponential(floor=0.0, gain=0.5, rate=1e-3),
            **changes,
        }
    )


def hostile(seed: int) -> tuple[cq.Instance, np.ndarray]:
    """Data over many decades, stable tokens, and loads next to zero and to one."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([1, 2, 3, 40]))
    mix = rng.dirichlet(np.full(size, rng.choice([0.1, 1.0, 10.0])))
    mix = np.maximum(mix, 1e-12)
    mix /= mix.sum()
    base = 10.0 ** rng.uniform(-6.0, 2.0, size) * (rng.random(size) < 0.8)
    per_token = 10.0 ** rng.uniform(-6.0, 0.0, size)
    tokens = 10.0 ** rng.uniform(-3.0, 5.0, size) * (rng.random(size) < 0.9) + 1e-3
    load = rng.choice([10.0 ** rng.uniform(-15.0, 0.0), 1.0 - 10.0 ** rng.uniform(-13.0, -0.3)])
    rate = float(load) / float(mix @ (base + per_token * tokens))
    floor = rng.uniform(0.0, 0.5, size) * (rng.random(size) < 0.5)
    gain = np.minimum(10.0 ** rng.uniform(-12.0, 0.0, size), 1.0 - floor)
    queue = QUEUES[int(rng.integers(5))]
    instance = cq.Instance(
        arrival_rate=rate,
        accuracy_weight=1.0,
        max_tokens=tokens,
        probabilities=mix,
        service=cq.AffineService(base=base, per_token=per_token),
        accuracy=cq.SaturatingExponential(
            floor=floor, gain=gain, rate=10.0 ** rng.uniform(-7.0, 1.0, size)
        ),
        queue=queue,
    )
    return instance, tokens


def exact_waiting(instance: cq.Instance, mean: Any, second: Any) -> Any:
    rate, queue = mp.mpf(float(instance.arrival_rate)), instance.queue
    load = rate * mean
    if isinstance(queue, cq.ProcessorSharing):
        return load * mean / (1 - load)
    waiting = rate * second / (2 * (1 - load))
    if isinstance(queue, cq.BatchArrivals):
        size, square = mp.mpf(queue.mean_size), mp.mpf(queue.size_second_moment)
        return waiting + (square / size - 1) * mean / (2 * (1 - load))
    if isinstance(queue, cq.Vacations):
        return waiting + mp.mpf(queue.second_moment) / (2 * mp.mpf(queue.mean))
    if isinstance(queue, cq.Setups):
        length, square = mp.mpf(queue.mean), mp.mpf(queue.second_moment)
        return waiting + (2 * length + rate * square) / (2 * (1 + rate * length))
    return waiting


class Exact:
    """The same quantities in fifty digits."""

    def __init__(self, instance: cq.Instance, tokens: np.ndarray) -> None:
        def numbers(array: Any) -> list[Any]:
            return [mp.mpf(float(value)) for value in np.broadcast_to(array, tokens.shape)]

        self.mix, self.tokens = numbers(instance.probabilities), numbers(tokens)
        service: Any = instance.service
        curve: Any = instance.accuracy
        pairs = zip(numbers(service.base), numbers(service.per_token), self.tokens, strict=True)
        self.times = [base + per_token * count for base, per_token, count in pairs]
        self.mean = mp.fdot(self.mix, self.times)
        self.waiting = exact_waiting(
            instance, self.mean, mp.fdot(self.mix, [time**2 for time in self.times])
        )
        parameters = zip(
            numbers(curve.floor), numbers(curve.gain), numbers(curve.rate), self.tokens, strict=True
        )
        self.accuracy = mp.fdot(
            self.mix,
            [floor - gain * mp.expm1(-rate * count) for floor, gain, rate, count in parameters],
        )
        self.rate = mp.mpf(float(instance.arrival_rate))


def limits(instance: cq.Instance, point: Any, exact: Exact) -> dict[str, tuple[Any, Any]]:
    """Each constraint with its limit next to what the point has, and its exact excess."""
    rng = np.random.default_rng(point.tokens.size)
    near = 1.0 + rng.choice([0.0, 1e-15, -1e-15, 1e-6])
    mean_tokens = float(instance.probabilities @ point.tokens)
    system = cq.MaxMeanSystemTime(float(point.mean_system_time) * near)
    waiting = cq.MaxMeanWaitingTime(float(point.mean_waiting_time) * near)
    tokens = cq.MaxTokenRate(float(instance.arrival_rate) * mean_tokens * near)
    floor = cq.MinMeanAccuracy(min(float(point.mean_accuracy) * near, 1.0))
    found = {
        "system time": (system, exact.mean + exact.waiting - mp.mpf(system.seconds)),
        "waiting time": (waiting, exact.waiting - mp.mpf(waiting.seconds)),
        "token rate": (
            tokens,
            mp.fdot(exact.mix, exact.tokens) - mp.mpf(tokens.tokens_per_second) / exact.rate,
        ),
        "mean accuracy": (floor, mp.mpf(floor.accuracy) - exact.accuracy),
    }
    if instance.queue.has_lundberg_bound:
        # The decay at which the sum meets its limit.
        def left(decay: Any) -> Any:
            rise = [mp.expm1(decay * time) for time in exact.times]
            return mp.fdot(exact.mix, rise) - decay / exact.rate

        high = 1 / max(exact.times)
        while left(high) < 0:
            high *= 2
        low = mp.mpf(0)
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if left(middle) < 0 else (low, middle)
        tail = cq.WaitingTimeTail(float(-mp.log(0.01) / low) if low else 1.0, 0.01)
        decay = -mp.log(mp.mpf(tail.probability)) / mp.mpf(tail.seconds)
        rise = mp.fdot(exact.mix, [mp.expm1(decay * time) for time in exact.times])
        found["tail"] = (tail, rise * exact.rate / decay - 1)
    return found


@functools.cache
def shares() -> dict[str, list[float]]:
    """Error of each excess as a share of what is allowed, by kind."""
    found = collections.defaultdict(list)
    with mp.workdps(50):
        for seed in range(TRIALS):
            instance, tokens = hostile(seed)
            point = instance.evaluate(tokens)
            for kind, (constraint, exact) in limits(
                instance, point, Exact(instance, tokens)
            ).items():
                excess = constraint.excess(point)
                allowed = constraint.allowance(point) + 0.5 * EPSILON * abs(excess)
                found[kind].append(float(abs(mp.mpf(excess) - exact) / mp.mpf(allowed)))
    return found


@pytest.mark.parametrize(
    "kind", ["system time", "waiting time", "token rate", "mean accuracy", "tail"]
)
def test_an_excess_is_right_to_its_allowance_and_hardly_less_so(kind: str) -> None:
    errors = shares()[kind]
    assert len(errors) >= 20
    # A bound, and of the right size.
    assert 0.01 <= max(errors) <= 1.0


@pytest.mark.parametrize("arrival_rate", [1e-2, 1e-9, 1e-14])
def test_a_cap_on_the_waiting_time_is_kept_to_its_own_digits(arrival_rate: float) -> None:
    """However short the wait is beside the service."""
    free = one_type(
        arrival_rate=arrival_rate,
        accuracy_weight=1e5,
        max_tokens=1e5,
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=1e-4),
    )
    limit = float(free.evaluate([2000.0]).mean_waiting_time)
    instance = free.replace(constraints=[cq.MaxMeanWaitingTime(limit)])
    assert not cq.certify(instance, [2000.0 * (1.0 + 1e-13)]).is_feasible
    solution = cq.solve(instance)
    assert solution.is_optimal
    with mp.workdps(50):
        waiting = Exact(instance, solution.tokens).waiting
        assert 1 - 1e-12 <= waiting / mp.mpf(limit) <= 1


@pytest.mark.parametrize("size", [1e-2, 1e-6, 1e-12])
def test_a_floor_on_the_mix_is_kept_to_its_own_digits(size: float) -> None:
    free = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=1.0,
        max_tokens=1e4,
        probabilities=[0.5, 0.5],
        service=cq.AffineService(base=0.5, per_token=0.001),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=size, rate=[1e-3, 2e-3]),
    )
    instance = free.replace(constraints=[cq.MinMeanAccuracy(0.5 * size)])
    solution = cq.solve(instance)
    assert solution.is_optimal
    with mp.workdps(50):
        reached = Exact(instance, solution.tokens).accuracy / mp.mpf(0.5 * size)
        assert 1 <= reached <= 1 + 1e-12
    assert not cq.certify(instance, solution.tokens * (1.0 - 1e-13)).is_feasible


@pytest.mark.parametrize("decay_by", ["the rate", "itself"])
def test_a_tail_far_from_its_limit_is_right_to_its_allowance_too(decay_by: str) -> None:
    """Where the decay is near the arrival rate, their logarithms cancel."""
    rng, errors = np.random.default_rng(3), []
    with mp.workdps(50):
        for _ in range(150):
            rate = 10.0 ** rng.uniform(-28.0, 3.0)
            near = 1.0 + 10.0 ** rng.uniform(-8.0, -1.0) * rng.choice([-1.0, 1.0])
            decay = 10.0 ** rng.uniform(-20.0, 3.0) if decay_by == "itself" else rate * near
            time = min(10.0 ** rng.uniform(-9.0, 0.5) / decay, 0.99 / rate)
            instance = one_type(
                arrival_rate=rate,
                max_tokens=1.0,
                service=cq.AffineService(base=time, per_token=1e-30),
            )
            point = instance.evaluate([0.0])
            tail = cq.WaitingTimeTail(-np.log(0.01) / decay, 0.01)
            theta = -mp.log(mp.mpf(0.01)) / mp.mpf(tail.seconds)
            exact = mp.expm1(theta * mp.mpf(time)) * mp.mpf(rate) / theta - 1
            excess = tail.excess(point)
            allowed = tail.allowance(point) + 0.5 * EPSILON * abs(excess)
            errors.append(float(abs(mp.mpf(excess) - exact) / mp.mpf(allowed)))
    assert 0.01 <= max(errors) <= 1.0


def test_a_rate_far_below_its_limit_is_right_to_its_allowance_too() -> None:
    """The limit itself is a quotient, and rounded."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        rate, limit, tokens = (10.0 ** rng.uniform(-3.0, 3.0) for _ in range(3))
        limit *= 1e6
        instance = one_type(arrival_rate=rate, service=cq.AffineService(base=0.0, per_token=1e-9))
        point, cap = instance.evaluate([tokens]), cq.MaxTokenRate(limit)
        exact = Fraction(tokens) - Fraction(limit) / Fraction(rate)
        excess = cap.excess(point)
        # The difference is rounded too, and what it is of by half an ulp at least.
        rounded = Fraction(EPSILON) / 2 * abs(Fraction(excess))
        assert abs(Fraction(excess) - exact) <= Fraction(cap.allowance(point)) + rounded
        assert cap.allowance(point) <= 4.0 * EPSILON * (limit / rate + tokens)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: type(queue).__name__)
@pytest.mark.parametrize("idle", [2.0**-48, 1e-9, 0.5, 1.0 - 1e-9])
def test_times_may_be_off_by_what_the_roundings_before_them_add_up_to(
    queue: Any, idle: float
) -> None:
    point = one_type(arrival_rate=1.0 - idle, queue=queue).evaluate([250.0])
    left, unit = float(point.idle), 0.5 * EPSILON
    assert abs(left - idle) <= 8.0 * unit
    mean, waiting = float(point.mean_service_time), float(point.mean_waiting_time)
    # Eight roundings of at most half an ulp reach the utilization, and ten the rest of W.
    of_load = waiting * left / (left - 8.0 * unit) - waiting
    least = of_load + 10.0 * unit * waiting
    most = 1.01 * of_load + 24.0 * unit * waiting
    assert least <= cq.MaxMeanWaitingTime(1.0).allowance(point) <= most
    # A mean service time has four: of the line two, of the mix two.
    of_system = cq.MaxMeanSystemTime(1.0).allowance(point)
    assert least + 4.0 * unit * mean <= of_system <= most + 12.0 * unit * mean


@pytest.mark.parametrize("size", [1.0, 2.0**-30])
@pytest.mark.parametrize("off", [0.0, 1e-15, 1e-13])
def test_a_floor_on_a_type_is_out_of_reach_where_rounding_does_not_explain_it(
    size: float, off: float
) -> None:
    curve = cq.SaturatingExponential(floor=0.0, gain=size, rate=1e-3)
    with mp.workdps(50):
        most = float(mp.mpf(size) * -mp.expm1(mp.mpf(1e-3) * -1000))
    floor = most * (1.0 + off)
    instance = one_type(arrival_rate=0.01, max_tokens=1000.0, accuracy=curve)
    floors = cq.MinAccuracy([floor])
    if off < 1e-14:
        assert cq.solve(instance.replace(constraints=[floors])).tokens.tolist() == [1000.0]
    else:
        with pytest.raises(cq.InfeasibleError, match="lower the floor to"):
            cq.solve(instance.replace(constraints=[floors]))


def test_a_tail_is_allowed_one_ulp_in_each_step() -> None:
    # θ = λ = 1 and θ t = ln 2: both logarithms vanish, and the exponent is as small as it can be.
    tail = cq.WaitingTimeTail(seconds=1.0, probability=float(np.exp(-1.0)))
    instance = one_type(
        arrival_rate=1.0,
        max_tokens=1000.0,
        service=cq.AffineService(base=0.0, per_token=float(np.log(2.0)) / 1000.0),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.5, rate=1e-3),
    )
    point = instance.evaluate([1000.0])
    assert abs(tail.excess(point)) < 4.0 * EPSILON
    # The time has two roundings, θ an ulp and a rounding, their product one; of e^x − 1 = 1 the
    # slope is 2. Two functions of an ulp each and three roundings follow.
    exponent = np.log(2.0) * (1.0 + 1.0 + 0.5 + 0.5) * EPSILON
    worst = 2.0 * exponent + (1.0 + 1.0 + 3.0 * 0.5) * EPSILON
    assert worst <= tail.allowance(point) <= 3.0 * worst


def test_a_utilization_is_right_to_its_allowance_and_hardly_less_so() -> None:
    largest = 0.0
    for seed in range(TRIALS):
        instance, tokens = hostile(seed)
        point, line = instance.evaluate(tokens), instance.service
        assert isinstance(line, cq.AffineService)
        columns = (instance.probabilities, line.base, line.per_token, tokens)
        rows = zip(
            *(map(Fraction, np.broadcast_to(each, tokens.shape)) for each in columns), strict=True
        )
        mean = sum(pi * (base + per_token * count) for pi, base, per_token, count in rows)
        limit, load = Stability(), Fraction(float(instance.arrival_rate)) * mean
        excess, allowance = limit.excess(point), limit.allowance(point)
        error = abs(Fraction(excess) - (load - 1))
        # The difference from 1 is rounded once more.
        assert error <= Fraction(allowance) + Fraction(0.5 * EPSILON * abs(excess))
        assert allowance <= 4.0 * EPSILON * float(load) * (1.0 + EPSILON)
        largest = max(largest, float(error) / allowance if load > 0.5 else 0.0)
    assert largest > 0.1


def test_a_bound_does_not_lose_the_rounding_of_an_excess(monkeypatch: pytest.MonkeyPatch) -> None:
    # W is 1.7e-16 s: 1 − W is rounded down by half an ulp, and W is known to far less.
    monkeypatch.setattr(lagrangian_gap, "certified_gap", lambda lagrangian: 0.0)
    cap = cq.MaxMeanWaitingTime(1.0)
    instance = one_type(
        arrival_rate=3.4e-4,
        max_tokens=1.0,
        service=cq.AffineService(base=1e-6, per_token=1e-6),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.5, rate=1e-3),
        constraints=[cap],
    )
    rate, base = Fraction(float(instance.arrival_rate)), Fraction(1e-6)
    waiting = rate * base**2 / (2 * (1 - rate * base))
    room = Fraction(-cap.excess(instance.evaluate([0.0])))
    assert room < 1 - waiting
    gap = lagrangian_gap.lagrangian_gap(instance.evaluate([0.0]), np.ones(1))
    assert 1 - waiting <= Fraction(gap) <= 1 - waiting + Fraction(4.0 * EPSILON)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda it: type(it).__name__)
@pytest.mark.parametrize("arrival_rate", [1e-20, 1e-9, 0.1])
def test_the_slope_of_a_waiting_time_keeps_its_digits_at_a_low_load(
    queue: Any, arrival_rate: float
) -> None:
    instance = one_type(queue=queue, arrival_rate=arrival_rate)
    found = cq.MaxMeanWaitingTime(1.0).gradient(instance.evaluate(np.array([1000.0])))

    def waiting(tokens: Any) -> Any:
        time = mp.mpf(0.5) + mp.mpf(0.002) * tokens
        return exact_waiting(instance, time, time**2)

    with mp.workdps(120):
        exact = mp.diff(waiting, mp.mpf(1000))
        assert abs(found[0] - exact) <= 1e-14 * exact
