"""The choice that the others are counted from, and the best one so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.increments import Increments
from cvxqueue.model import Evaluation
from cvxqueue.model.model import LEAST_IDLE
from cvxqueue.model.queue_formulas import LinearFractionalQueue
from cvxqueue.model.queue_law import Prices
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
        if not isinstance(queue, LinearFractionalQueue):
            raise InvalidInputError(
                f"queue {shown(queue)} has no integer bound: it must be one of the package's"
            )
        by_mean, by_load, by_second = queue.weights
        self.choices, self.point, self.queue = choices, point, queue
        self.share, self.congested = 1.0 - by_load, by_mean + by_load
        self.rate = float(instance.arrival_rate)
        self.by_second = by_second * self.rate
        self.idle = float(point.idle)
        self.mean = float(point.mean_service_time)
        self.second = float(point.service_time_second_moment)
        self.burden = self.congested * self.mean + 0.5 * self.by_second * self.second
        self.mean_price, self.second_price = (float(price) for price in point.prices)
        self.benefit_size = float(point.benefit_size)

    def gain(self, totals: Increments) -> FloatArray:
        """J less that of the base, exactly but for rounding; −inf where the queue is unstable.

        T is linear at the prices of the base but for h (y Δn + n h)/(y² y′), with h = λ Δm1 and
        n = κ m1 + ω λ m2/2.
        """
        h = self.rate * totals.mean
        idle = self.idle - h
        change = self.congested * totals.mean + 0.5 * self.by_second * totals.second
        is_stable = idle > LEAST_IDLE
        bend = h * (self.idle * change + self.burden * h)
        bend /= self.idle * self.idle * np.where(is_stable, idle, 1.0)
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
        idle = self.idle_at(mean)
        bend = (self.congested * self.idle + self.burden * self.rate) / (self.idle * idle)
        slope = self.share + (self.congested + 0.5 * self.by_second * self.rate * self.second) / (
            idle * idle
        )
        return (self.share + bend) * mean, slope

    def allowance(self, mean: FloatArray, totals: Increments) -> FloatArray:
        """What rounding can have done to a bound: as for the objective, at the choice found."""
        idle = self.idle_at(mean)
        second = self.second + np.maximum(totals.second, 0.0)
        first = self.mean + np.maximum(np.maximum(mean, totals.mean), 0.0)
        time = self.share * first + (self.congested * first + 0.5 * self.by_second * second) / idle
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
