"""What is asked of a queue, one promise after the other."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from cvxqueue.model import Queue
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import LARGEST
from cvxqueue.testing.promises import CLOSE, ROUNDING, Compare, Promises

# Instances that are drawn, and types in each.
_LOADS, _MIXED = 400, 4


class _Load(NamedTuple):
    """Service times of some types at one rate, and what a queue sees of them; shape (M,)."""

    rate: FloatArray
    mix: FloatArray
    times: FloatArray
    idle: FloatArray

    @property
    def mean(self) -> FloatArray:
        mean: FloatArray = np.vecdot(self.mix, self.times)
        return mean

    @property
    def second(self) -> FloatArray:
        second: FloatArray = np.vecdot(self.mix, np.square(self.times))
        return second

    @property
    def moments(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return self.rate, self.mean, self.second, self.idle

    def system_time(self, queue: Queue) -> FloatArray:
        return self.mean + queue.mean_waiting_time(*self.moments)

    def on(self, promises: Promises) -> Compare:
        names = "arrival_rate", "m1", "m2", "idle"
        return promises.on(**dict(zip(names, self.moments, strict=True)))

    def nearer(self, share: float) -> Self:
        """The same mix, with an idle fraction that is smaller by a share."""
        longer = 1.0 + self.idle * share / (self.rate * self.mean)
        times, idle = self.times * longer[:, np.newaxis], self.idle * (1.0 - share)
        return self._replace(times=times, idle=idle)


def _drawn(rng: np.random.Generator, rate: FloatArray, mix: FloatArray) -> _Load:
    """Times over many decades, next to saturation among them."""
    idle = 10.0 ** rng.uniform(-9.0, 0.0, _LOADS)
    idle = np.where(rng.random(_LOADS) < 0.5, 1.0 - 0.999 * rng.random(_LOADS), idle)
    shape = 10.0 ** rng.uniform(-2.0, 2.0, mix.shape)
    scale = (1.0 - idle) / (rate * np.vecdot(mix, shape))
    return _Load(rate, mix, scale[:, np.newaxis] * shape, idle)


def check_queue(queue: Queue, rng: np.random.Generator, promises: Promises) -> None:
    """Compare a queue with everything that is asked of one."""
    rate, mix = 10.0 ** rng.uniform(-4.0, 3.0, _LOADS), rng.dirichlet(np.ones(_MIXED), _LOADS)
    load, other = _drawn(rng, rate, mix), _drawn(rng, rate, mix)
    tell = load.on(promises)
    for share in (0.5, 0.1, 1e-3, 1e-6):
        _check_delay(queue, load, load.nearer(share), tell)
        if share >= 1e-3:
            _check_prices(queue, load, load.nearer(share), tell)
    _check_convex(queue, load, other, tell)
    _check_saturation(queue, load, tell)
    _check_bounds(queue, load, rng.random((3, _LOADS)), tell)
    # The last box is almost a point, where the bounds have no room.
    for ends in ((load, load.nearer(0.5)), (other, other.nearer(0.9)), (load, load.nearer(1e-6))):
        _check_relative_slopes(queue, *ends, promises)
    of_time, of_waiting = 0.75, 2.5
    priced, waiting = queue.priced(of_time, of_waiting), queue.mean_waiting_time(*load.moments)
    words = "priced counts of_time · T + of_waiting · W as its system time"
    expected = of_time * load.system_time(queue) + of_waiting * waiting
    tell("priced", words, load.system_time(priced), expected, expected, CLOSE * np.abs(expected))
    expected = (of_time + of_waiting) * queue.prices(*load.moments).mean - of_waiting
    found = priced.prices(*load.moments).mean
    tell("priced", words, found, expected, expected, CLOSE * np.abs(expected))
    one = np.array([queue.mean_waiting_time(*each) for each in zip(*load.moments, strict=True)])
    words = "what it says of many instances is what it says of each"
    tell("broadcasting", words, waiting, one, one, ROUNDING * (np.abs(one) + load.mean))


def _check_saturation(queue: Queue, load: _Load, tell: Compare) -> None:
    """Even a logarithm of the idle fraction doubles between these two."""
    least, near, nearest = (
        queue.mean_waiting_time(load.rate, mean, np.square(mean), np.full_like(mean, idle))
        for idle in (0.5, 1e-7, 1e-14)
        for mean in [(1.0 - idle) / load.rate]
    )
    words = "the waiting time grows without bound as the server saturates"
    tell("saturation", words, nearest - least, least=1.5 * (near - least))


def _check_delay(queue: Queue, load: _Load, nearer: _Load, tell: Compare) -> None:
    """R, R′ and R″ do not fall, so that each lies between the next one at the two ends."""
    first, last = (
        [np.asarray(part) for part in queue.delay(each.rate, each.mean, each.idle)]
        for each in (load, nearer)
    )
    names = "value", "slope", "curvature"
    for name, part in zip(names, first, strict=True):
        tell("delay", f"the {name} of delay is finite and ≥ 0", part, 0.0, LARGEST)
    step = (load.idle - nearer.idle) / load.rate
    slack = ROUNDING * (last[0] + last[1] * load.mean), 1e3 * ROUNDING * last[1]
    for k in range(2):
        words = f"the {names[k + 1]} of delay is the derivative of its {names[k]}, and never falls"
        tell("delay", words, last[k] - first[k], first[k + 1] * step, last[k + 1] * step, slack[k])
    apart = queue.delay_divergence(load.rate, load.idle, nearer.idle, step)
    low, high = (0.5 * step * step * part for part in (first[2], last[2]))
    words = "delay_divergence is R(to) − R − R′ · mean_change, and keeps its digits"
    tell("delay divergence", words, apart, low, high, CLOSE * high)


def _check_prices(queue: Queue, load: _Load, nearer: _Load, tell: Compare) -> None:
    """The derivatives of T in m1 lie between those at the two ends; in m2 it is linear."""
    rate, mean, second, idle = load.moments
    to = rate, nearer.mean, second, nearer.idle
    prices, slopes = queue.prices(*load.moments), queue.price_slopes(*load.moments)
    last, bends = queue.prices(*to), queue.price_slopes(*to)
    time, later = load.system_time(queue), nearer.mean + queue.mean_waiting_time(*to)
    subject, found = "price of a squared second", prices.second_moment
    words = "it is ω λ/(2 (1 − ρ)), with second_weight for ω"
    expected = 0.5 * queue.second_weight * rate / idle
    tell(subject, words, found, expected, expected, CLOSE * expected)
    more = mean + queue.mean_waiting_time(rate, mean, 1.5 * second, idle)
    words, expected = "it is the derivative of the mean system time", 0.5 * found * second
    tell(subject, words, more - time, expected, expected, ROUNDING * more)
    step = (idle - nearer.idle) / rate
    slack = 10.0 * ROUNDING * (later + last.mean * mean)
    ends = prices.mean * step, last.mean * step
    tell("price of a second", words, later - time, *ends, slack)
    words = "price_slopes are the derivatives of the prices"
    for first, end, low, high in (
        (prices.mean, last.mean, slopes.mean_mean, bends.mean_mean),
        (found, last.second_moment, slopes.mean_second, bends.mean_second),
    ):
        tell("price slopes", words, end - first, low * step, high * step, 1e2 * ROUNDING * end)
    tell("price slopes", "T is linear in m2", slopes.second_second, 0.0, 0.0)


def _check_convex(queue: Queue, load: _Load, other: _Load, tell: Compare) -> None:
    """Other service times at the same rates: T and its tangent there, and the divergence."""
    prices = queue.prices(*load.moments)
    time, time_to = load.system_time(queue), other.system_time(queue)
    price = prices.mean[:, np.newaxis] + 2.0 * prices.second_moment[:, np.newaxis] * load.times
    terms = load.mix * price * (other.times - load.times)
    apart = time_to - time - np.sum(terms, axis=-1)
    size = time + time_to + np.sum(np.abs(terms), axis=-1)
    # The times have the idle fractions to a rounding of one.
    slack = 1e-12 * size + 1e-14 * (prices.mean / load.rate + time_to / other.idle)
    words = "the mean system time is convex in the service times: no less than its tangent"
    tell("convex", words, apart, 0.0, slack=slack)
    ratio = (other.idle / load.idle)[:, np.newaxis]
    spread = np.vecdot(load.mix, np.square(other.times - ratio * load.times))
    change = other.mean - load.mean
    found = queue.divergence(load.rate, load.idle, other.idle, change, spread)
    words = "it is T(to) − T − ∇T · (to − from) ≥ 0 in the service times"
    tell("divergence", words, found, np.maximum(apart - slack, 0.0), apart + slack, CLOSE * found)


def _check_bounds(queue: Queue, load: _Load, share: FloatArray, tell: Compare) -> None:
    rate, mean, second, idle = load.moments
    longest = load.system_time(queue) * (1.0 + share[0] ** 4 + CLOSE)
    least = queue.least_idle(rate, longest, mean * share[1], second * share[2])
    words = "it is no more than the idle fraction of any load within the system time"
    tell("least idle", words, least, most=idle, slack=CLOSE * idle)
    if queue.second_weight > 0.0:
        most = queue.greatest_second_moment(rate, longest, mean * share[1], idle)
        words = "it is no less than that of any load within the system time"
        slack = CLOSE * second + ROUNDING * idle * longest / rate
        tell("greatest second moment", words, most, second, slack=slack)
    # For affine times, in the metric diag(π (dt/dl)²).
    prices, slopes = queue.prices(*load.moments), queue.price_slopes(*load.moments)
    along, across = np.sqrt(load.mix), 2.0 * np.sqrt(load.mix) * load.times
    outer = np.einsum("m,mi,mj->mij", slopes.mean_second, along, across)
    hessian = np.einsum("m,mi,mj->mij", slopes.mean_mean, along, along)
    hessian += outer + outer.swapaxes(1, 2)
    hessian += np.einsum("m,ij->mij", 2.0 * prices.second_moment, np.eye(_MIXED))
    values = np.linalg.eigvalsh(hessian)
    given = zip(rate.tolist(), (1.01 * second).tolist(), (0.99 * idle).tolist(), strict=True)
    low, high = np.array([queue.curvature(*each) for each in given]).T
    words, slack = "they hold the eigenvalues of the Hessian of T", CLOSE * values[:, -1]
    tell("curvature bounds", words, values[:, 0], low, slack=slack)
    tell("curvature bounds", words, values[:, -1], most=high, slack=slack)


def _check_relative_slopes(queue: Queue, low: _Load, high: _Load, promises: Promises) -> None:
    """A box of times, and the derivatives of ln q at its two ends."""
    sides = (low.second, high.second), (low.idle, high.idle), (low.times, high.times)
    boxes = zip(low.rate.tolist(), *(zip(*ends, strict=True) for ends in sides), strict=True)
    bounds = [
        [np.broadcast_to(bound, _MIXED) for bound in queue.relative_slopes(*box)] for box in boxes
    ]
    mean, second, time = np.moveaxis(np.array(bounds), 1, 0)
    words = "they bound the derivatives of ln (P1 + 2 P2 t) over a box"
    for load in (low, high):
        prices, slopes = queue.prices(*load.moments), queue.price_slopes(*load.moments)
        price, pull = prices.second_moment[:, np.newaxis], slopes.mean_second[:, np.newaxis]
        level = prices.mean[:, np.newaxis] + 2.0 * price * load.times
        rise = slopes.mean_mean[:, np.newaxis] + 2.0 * pull * load.times
        rate, idle = load.rate[:, np.newaxis], load.idle[:, np.newaxis]
        tell = promises.on(arrival_rate=rate, idle=idle, time=load.times)
        for bound, found in ((mean, rise), (second, pull), (time, 2.0 * price)):
            tell("relative slopes", words, found / level, most=bound * (1.0 + 1e-6))
