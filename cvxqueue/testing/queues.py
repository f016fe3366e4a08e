"""What is asked of a queue, one promise after the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.model import Queue
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.testing.promises import CLOSE, ROUNDING, Promises

# Instances that are drawn, and types in each.
_DRAWN, _TYPES = 400, 4


class _Load(NamedTuple):
    """Service times of some types at one rate, and what a queue sees of them; shape (M,)."""

    rate: FloatArray
    mix: FloatArray
    times: FloatArray
    mean: FloatArray
    second: FloatArray
    idle: FloatArray

    @classmethod
    def of(cls, rate: FloatArray, mix: FloatArray, times: FloatArray, idle: FloatArray) -> _Load:
        second = np.sum(mix * np.square(times), axis=-1)
        return cls(rate, mix, times, np.sum(mix * times, axis=-1), second, idle)

    def system_time(self, queue: Queue) -> FloatArray:
        return self.mean + queue.mean_waiting_time(self.rate, self.mean, self.second, self.idle)

    @property
    def moments(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return self.rate, self.mean, self.second, self.idle

    @property
    def at(self) -> dict[str, FloatArray]:
        return {"arrival_rate": self.rate, "m1": self.mean, "m2": self.second, "idle": self.idle}


def _drawn(rng: np.random.Generator) -> tuple[_Load, _Load]:
    """Loads over many decades, next to saturation among them, and others at the same rates."""
    rate = 10.0 ** rng.uniform(-4.0, 3.0, _DRAWN)
    mix = rng.dirichlet(np.ones(_TYPES), _DRAWN)
    loads = []
    for _ in range(2):
        idle = 10.0 ** rng.uniform(-9.0, 0.0, _DRAWN)
        idle = np.where(rng.random(_DRAWN) < 0.5, 1.0 - 0.999 * rng.random(_DRAWN), idle)
        shape = 10.0 ** rng.uniform(-2.0, 2.0, mix.shape)
        scale = (1.0 - idle) / (rate * np.sum(mix * shape, axis=-1))
        loads.append(_Load.of(rate, mix, scale[:, np.newaxis] * shape, idle))
    return loads[0], loads[1]


def check_queue(queue: Queue, rng: np.random.Generator, promises: Promises) -> None:
    """Compare a queue with everything that is asked of one."""
    load, other = _drawn(rng)
    _check_delay(queue, load, promises)
    _check_prices(queue, load, promises)
    _check_convex(queue, load, other, promises)
    _check_bounds(queue, load, other, rng, promises)
    _check_hessian(queue, load, promises)
    of_time, of_waiting = 0.75, 2.5
    priced = queue.priced(of_time, of_waiting)
    time, waiting = load.system_time(queue), queue.mean_waiting_time(*load.moments)
    words = "priced counts of_time · T + of_waiting · W as its system time"
    expected = of_time * time + of_waiting * waiting
    found = load.system_time(priced)
    promises.compare("priced", words, found, "=", expected, CLOSE * expected, **load.at)
    expected = (of_time + of_waiting) * queue.prices(*load.moments).mean - of_waiting
    found = priced.prices(*load.moments).mean
    promises.compare("priced", words, found, "=", expected, CLOSE * expected, **load.at)
    one = [queue.mean_waiting_time(*(part[k] for part in load.moments)) for k in range(9)]
    words = "what it says of many instances is what it says of each"
    promises.compare("broadcasting", words, waiting[:9], "=", one, ROUNDING * waiting[:9])


def _nearer(load: _Load, share: float) -> _Load:
    """The same mix, with an idle fraction that is smaller by a share."""
    idle = load.idle * (1.0 - share)
    longer = 1.0 + load.idle * share / (load.rate * load.mean)
    return _Load.of(load.rate, load.mix, load.times * longer[:, np.newaxis], idle)


def _check_delay(queue: Queue, load: _Load, promises: Promises) -> None:
    rate, mean, _, idle = load.moments
    found, at = queue.delay(rate, mean, idle), load.at
    for name, part in zip(found._fields, found, strict=True):
        words = f"the {name} of delay is a number ≥ 0"
        is_number = np.isfinite(part) & (np.asarray(part) >= 0.0)
        promises.compare("delay", words, is_number, "=", 1.0, 0.0, **at)
    for share in (0.5, 0.1, 1e-3, 1e-6):
        nearer = _nearer(load, share)
        later, step = queue.delay(rate, nearer.mean, nearer.idle), idle * share / rate
        rise = later.value - np.asarray(found.value)
        slack = ROUNDING * (later.value + later.slope * mean)
        words = "the slope of delay is the derivative of its value, and does not fall"
        promises.compare("delay", words, rise, "≥", found.slope * step, slack, **at)
        promises.compare("delay", words, rise, "≤", later.slope * step, slack, **at)
        rise = later.slope - np.asarray(found.slope)
        slack = 1e3 * ROUNDING * np.asarray(later.slope)
        words = "the curvature of delay is the derivative of its slope, and does not fall"
        promises.compare("delay", words, rise, "≥", found.curvature * step, slack, **at)
        promises.compare("delay", words, rise, "≤", later.curvature * step, slack, **at)
        words = "delay_divergence is R(to) − R − R′ · mean_change, and keeps its digits"
        apart = queue.delay_divergence(rate, idle, nearer.idle, step)
        half = 0.5 * step * step
        for curvature, relation in ((found.curvature, "≥"), (later.curvature, "≤")):
            expected = curvature * half
            slack = CLOSE * np.abs(expected)
            promises.compare("delay divergence", words, apart, relation, expected, slack, **at)  # type: ignore[arg-type]


def _check_prices(queue: Queue, load: _Load, promises: Promises) -> None:
    """The derivatives of T, each between those at the two ends: T is convex in either moment."""
    rate, mean, second, idle = load.moments
    at, prices, slopes = load.at, queue.prices(*load.moments), queue.price_slopes(*load.moments)
    words = "the price of a squared second is ω λ/(2 (1 − ρ)), with second_weight for ω"
    expected = 0.5 * queue.second_weight * rate / idle
    found = prices.second_moment
    promises.compare("price of a squared second", words, found, "=", expected, CLOSE * expected, **at)
    more = 1.5 * second
    time, later = load.system_time(queue), mean + queue.mean_waiting_time(rate, mean, more, idle)
    words = "that price is the derivative of the mean system time"
    rise, expected = later - time, found * (more - second)
    slack = ROUNDING * later
    promises.compare("price of a squared second", words, rise, "=", expected, slack, **at)
    for share in (0.1, 1e-2, 1e-3):
        nearer = _nearer(load, share)
        moments = rate, nearer.mean, second, nearer.idle
        step = idle * share / rate
        last, bent = queue.prices(*moments), queue.price_slopes(*moments)
        later = nearer.mean + queue.mean_waiting_time(*moments)
        slack = 10.0 * ROUNDING * (later + last.mean * mean)
        words = "the price of a second is the derivative of the mean system time"
        promises.compare("price of a second", words, later - time, "≥", prices.mean * step, slack, **at)
        promises.compare("price of a second", words, later - time, "≤", last.mean * step, slack, **at)
        words = "price_slopes are the derivatives of the prices"
        for first, end, own, own_end in (
            (prices.mean, last.mean, slopes.mean_mean, bent.mean_mean),
            (found, last.second_moment, slopes.mean_second, bent.mean_second),
        ):
            slack = 1e2 * ROUNDING * end
            promises.compare("price slopes", words, end - first, "≥", own * step, slack, **at)
            promises.compare("price slopes", words, end - first, "≤", own_end * step, slack, **at)
    zero = slopes.second_second
    promises.compare("price slopes", "T is linear in m2", zero, "=", 0.0, 0.0, **at)


def _check_convex(queue: Queue, load: _Load, other: _Load, promises: Promises) -> None:
    """Other service times at the same rates: T and its tangent there, and the divergence."""
    prices = queue.prices(*load.moments)
    time, time_to = load.system_time(queue), other.system_time(queue)
    price = prices.mean[:, np.newaxis] + 2.0 * prices.second_moment[:, np.newaxis] * load.times
    terms = load.mix * price * (other.times - load.times)
    slope = np.sum(terms, axis=-1)
    size = time + time_to + np.sum(np.abs(terms), axis=-1)
    # The idle fraction is known to a rounding of one only in what is computed from the times.
    slack = 1e-12 * size + 1e-14 * (prices.mean / load.rate + time_to / other.idle)
    apart, at = time_to - time - slope, {**load.at, "idle_to": other.idle}
    words = "the mean system time is convex in the service times: no less than its tangent"
    promises.compare("convex", words, apart, "≥", 0.0, slack, **at)
    ratio = (other.idle / load.idle)[:, np.newaxis]
    spread = np.sum(load.mix * np.square(other.times - ratio * load.times), axis=-1)
    change = other.mean - load.mean
    found = queue.divergence(load.rate, load.idle, other.idle, change, spread)
    words = "divergence is T(to) − T − ∇T · (to − from) in the service times"
    promises.compare("divergence", words, found, "=", apart, slack + CLOSE * found, **at)
    promises.compare("divergence", words, found, "≥", 0.0, 0.0, **at)


def _check_bounds(
    queue: Queue, load: _Load, other: _Load, rng: np.random.Generator, promises: Promises
) -> None:
    time, at = load.system_time(queue), load.at
    share = rng.random((3, _DRAWN))
    longest, m1 = time * (1.0 + share[0] ** 4 + CLOSE), load.mean * share[1]
    least = queue.least_idle(load.rate, longest, m1, load.second * share[2])
    words = "least_idle is no more than the idle fraction of any load within the system time"
    promises.compare("least idle", words, least, "≤", load.idle, CLOSE * load.idle, **at)
    if queue.second_weight > 0.0:
        most = queue.greatest_second_moment(load.rate, longest, m1, load.idle)
        words = "greatest_second_moment is no less than that of any load within the system time"
        slack = CLOSE * load.second + ROUNDING * load.idle * longest / load.rate
        promises.compare("greatest second moment", words, most, "≥", load.second, slack, **at)
    # A box of times: from shorter ones, by some load within it, to longer ones that are stable.
    pairs = [(load, _nearer(load, 0.5)), (_scaled(load, 0.3), load)]
    words = "relative_slopes bounds the derivatives of ln (P1 + 2 P2 t) over a box"
    for low, high in pairs:
        for k in range(0, _DRAWN, 8):
            found = queue.relative_slopes(
                float(load.rate[k]),
                (float(low.second[k]), float(high.second[k])),
                (float(low.idle[k]), float(high.idle[k])),
                (low.times[k], high.times[k]),
            )
            for inside in (low, high):
                moments = [part[k] for part in inside.moments]
                prices, slopes = queue.prices(*moments), queue.price_slopes(*moments)
                level = prices.mean + 2.0 * prices.second_moment * inside.times[k]
                rises = (
                    (slopes.mean_mean + 2.0 * slopes.mean_second * inside.times[k]) / level,
                    slopes.mean_second / level,
                    2.0 * prices.second_moment / level,
                )
                for bound, rise in zip(found, rises, strict=True):
                    slack = 1e-6 * rise
                    where = {name: part[k] for name, part in inside.at.items()}
                    promises.compare("relative slopes", words, bound, "≥", rise, slack, **where)


def _scaled(load: _Load, share: float) -> _Load:
    """The same times, each a share of its own length."""
    return _Load.of(load.rate, load.mix, share * load.times, 1.0 - share * (1.0 - load.idle))


def _check_hessian(queue: Queue, load: _Load, promises: Promises) -> None:
    """Eigenvalues of the Hessian of T for affine times, in the metric diag(π (dt/dl)²)."""
    prices, slopes = queue.prices(*load.moments), queue.price_slopes(*load.moments)
    root = np.sqrt(load.mix)
    along, across = root, 2.0 * root * load.times
    outer = along[:, :, np.newaxis] * across[:, np.newaxis, :]
    hessian = slopes.mean_mean[:, np.newaxis, np.newaxis] * along[:, :, np.newaxis] * along[:, np.newaxis]
    hessian = hessian + slopes.mean_second[:, np.newaxis, np.newaxis] * (outer + outer.swapaxes(1, 2))
    hessian = hessian + 2.0 * prices.second_moment[:, np.newaxis, np.newaxis] * np.eye(_TYPES)
    values = np.linalg.eigvalsh(hessian)
    bounds = [
        queue.curvature(rate, float(1.01 * second), float(0.99 * idle))
        for rate, second, idle in zip(load.rate.tolist(), load.second, load.idle, strict=True)
    ]
    words = "curvature bounds the eigenvalues of the Hessian of T"
    slack = 1e-9 * values[:, -1]
    least, greatest = ([getattr(bound, name) for bound in bounds] for name in ("least", "greatest"))
    promises.compare("curvature bounds", words, least, "≤", values[:, 0], slack, **load.at)
    promises.compare("curvature bounds", words, greatest, "≥", values[:, -1], slack, **load.at)
