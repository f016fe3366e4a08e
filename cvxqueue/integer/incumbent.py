"""The choice that the others are counted from, and the best one so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.increments import Increments
from cvxqueue.model import Evaluation
from cvxqueue.model.model import LEAST_IDLE
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

# As in the gap certificate: four roundings of relative size ε, and twice that for the rest.
_SUM_ROUNDING = 8.0 * EPSILON


class Proof(NamedTuple):
    """A choice and what is proven of it."""

    point: Evaluation
    gap: float
    """Bound on what any other choice gains over it, in seconds."""
    is_exact: bool
    """Whether that is within the tolerance, or within what rounding can do to the objective."""


def target_of(point: Evaluation, tolerance: float) -> float:
    """Seconds within which a choice is as good as the best, `tolerance` relative to the scale."""
    allowance = float(rounding_allowance(point))
    # The allowance is part of the gap that is told. Bounds have it twice, those of choices that
    # are as good with more tokens somewhat more: no bound is sharper.
    return max(tolerance * float(point.scale) - 3.0 * allowance, 2.5 * allowance)


class Base:
    """A stable choice, and what the others are in terms of what they change."""

    def __init__(self, choices: Choices, point: Evaluation) -> None:
        queue, instance = choices.instance.queue, choices.instance
        self.choices, self.point, self.queue = choices, point, queue
        self.rate = float(instance.arrival_rate)
        self.by_second = queue.second_weight * self.rate
        self.idle = float(point.idle)
        self.mean = float(point.mean_service_time)
        self.second = float(point.service_time_second_moment)
        self.work = 0.5 * self.by_second * self.second
        self.mean_price, self.second_price = (float(price) for price in point.prices)
        at_base = queue.delay(self.rate, point.mean_service_time, point.idle)
        self._delay_price = 1.0 + float(at_base.slope)
        self.benefit_size = float(point.benefit_size)

    def gain(self, totals: Increments) -> FloatArray:
        """J less that of the base, exactly but for rounding; −inf where the queue is unstable.

        T is linear at the prices of the base but for h (y Δn + n h)/(y² y′), with h = λ Δm1 and
        n = ω λ m2/2, and for the divergence of what depends on m1 alone.
        """
        h = self.rate * totals.mean
        idle = self.idle - h
        is_stable = idle > LEAST_IDLE
        inside = np.where(is_stable, idle, 1.0)
        bend = h * (0.5 * self.idle * self.by_second * totals.second + self.work * h)
        bend /= self.idle * self.idle * inside
        bend += self.queue.delay_divergence(
            self.rate, np.asarray(self.idle), inside, np.where(is_stable, totals.mean, 0.0)
        )
        gain = totals.net_benefit(self.mean_price, self.second_price) - bend
        return np.where(is_stable, gain, -np.inf)

    def idle_at(self, mean: FloatArray) -> FloatArray:
        """Idle fraction where the mean service time has changed by so much."""
        return self.idle - self.rate * mean

    def prices_at(self, mean: float, second: float) -> Prices:
        """The prices where the moments have changed by so much."""
        to = np.asarray(self.mean + mean), np.asarray(self.second + second)
        return self.queue.prices(self.rate, *to, self.idle_at(np.asarray(mean)))

    def second_price_at(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The price p of a squared second there, and its slope."""
        # Asked for at every step of every cell: without the other price, which is half of the work.
        idle = self.idle_at(mean)
        price = 0.5 * self.by_second / idle
        return price, price * self.rate / idle

    def cost(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ψ less that of the base, and its slope."""
        idle, rate = self.idle_at(mean), self.rate
        slope = 1.0 + self.queue.delay(rate, self.mean + mean, idle).slope
        bent = self.queue.delay_divergence(rate, np.asarray(self.idle), idle, mean)
        change = self._delay_price + self.work * rate / (self.idle * idle)
        return change * mean + bent, slope + self.work * rate / (idle * idle)

    def allowance(self, mean: FloatArray, totals: Increments) -> FloatArray:
        """What rounding can have done to a bound: as for the objective, at the choice found."""
        idle = self.idle_at(mean)
        second = self.second + np.maximum(totals.second, 0.0)
        first = self.mean + np.maximum(np.maximum(mean, totals.mean), 0.0)
        time = first + self.queue.mean_waiting_time(self.rate, first, second, idle)
        benefit = self.benefit_size + np.maximum(totals.benefit, 0.0)
        return _SUM_ROUNDING * (benefit + time / np.minimum(idle, self.idle))


class Incumbent:
    """The best choice so far; `target` is the seconds within which the search is to prove it."""

    def __init__(self, base: Base, target: float, deadline: Deadline) -> None:
        self.base, self.target, self.deadline = base, target, deadline
        # What the best choice gains over the base.
        self.gain, self.best = 0.0, base.point.tokens
        # Bound on what is in the cells that have been pruned.
        self.pruned = -np.inf

    @property
    def cutoff(self) -> float:
        """What is bounded by no more is pruned, in seconds over the base."""
        return self.gain + self.target

    def update(self, gains: FloatArray, points: FloatArray) -> None:
        """Take the best of some choices, shape (M, N), where it is better."""
        place = int(np.argmax(gains))
        if gains[place] > self.gain:
            self.gain, self.best = float(gains[place]), points[place].copy()

    def update_with(self, point: FloatArray) -> None:
        """Take a choice where it is better."""
        base = self.base
        totals = base.choices.increments(base.point.tokens, point).totals()
        self.update(base.gain(totals)[np.newaxis], point[np.newaxis])
