"""The formulas of a queue: its mean system time as a function of two moments of the service time.

A queue sees the mixture of service times through its mean m1 and second moment m2 alone. The
prices P1 = ∂T/∂m1 and P2 = ∂T/∂m2 are what a second and a squared second of service cost. Every
queue has T = m1 + W with

    W = ω λ m2/(2 (1 − ρ)) + R(m1),

the formula of Pollaczek and Khinchine where ω = 1 and R = 0. R and its first two derivatives are
≥ 0 and do not fall in m1. Then T is convex in the service times, because the first term is, and
with y = 1 − ρ and h = λ/y

    P1 = 1 + R′ + ω h² m2/2     and     P2 = ω h/2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arithmetic import Quiet
from cvxqueue.numerics.arrays import FloatArray, Numbers
from cvxqueue.numerics.checks import real_number
from cvxqueue.numerics.roots import bracketed_root

# No idle fraction is so small that float64 can tell it from zero.
_LEAST_IDLE = 1e-30
# The bound is as sharp as a search rectangle needs it; no claim is the better for more.
_SHARP_IDLE = 1e-3


class Prices(NamedTuple):
    """Partial derivatives of the mean system time T(m1, m2)."""

    mean: FloatArray
    """P1 = ∂T/∂m1, dimensionless."""
    second_moment: FloatArray
    """P2 = ∂T/∂m2, per second."""

    @property
    def by_type(self) -> Prices:
        """The same for the types of each instance: with an axis more, which broadcasts."""
        return Prices(*(np.asarray(price)[..., np.newaxis] for price in self))


class PriceSlopes(NamedTuple):
    """Second derivatives of T(m1, m2)."""

    mean_mean: FloatArray
    mean_second: FloatArray
    second_second: FloatArray


class Delay(NamedTuple):
    """The part R of the mean waiting time that depends on the mean service time alone."""

    value: Numbers
    """R, in seconds."""
    slope: Numbers
    """dR/dm1, dimensionless."""
    curvature: Numbers
    """d²R/dm1², per second."""


class Curvature(NamedTuple):
    """Bounds on the eigenvalues of the Hessian of T in the metric diag(π (dt/dl)²)."""

    least: float
    greatest: float


class RelativeSlopes(NamedTuple):
    """Upper bounds, over a box, on the derivatives of ln q for q = P1 + 2 P2 t, type by type."""

    mean: FloatArray
    """|∂ ln q/∂m1|, per second."""
    second_moment: FloatArray
    """|∂ ln q/∂m2|, per second squared."""
    time: FloatArray
    """∂ ln q/∂t at fixed prices, per second."""


class Queue(Quiet, ABC):
    """What the rest of the package asks of a queue; what is not abstract follows from the rest.

    ``idle`` is the idle fraction 1 − ρ > 0, handed over rather than recomputed because it carries
    the accuracy of everything else near saturation. Everything broadcasts over the instances of a
    batch.
    """

    _time_share = 1.0
    """What a second of service counts in T by itself."""

    @property
    def second_weight(self) -> float:
        """The weight ω ≥ 0 of λ m2/(2 (1 − ρ)): 1 first in first out, 0 where m2 plays no part."""
        return 1.0

    @abstractmethod
    def delay(self, arrival_rate: Numbers, mean: FloatArray, idle: FloatArray) -> Delay:
        """The rest R of the mean waiting time, and its derivatives with respect to the mean.

        All three are ≥ 0 and do not fall as the mean grows and ``idle`` = 1 − λ · mean shrinks. The
        waiting time must grow without bound as ``idle`` goes to zero, by R where ω is zero:
        stability is a constraint that never binds.
        """

    @abstractmethod
    def delay_divergence(
        self, arrival_rate: Numbers, idle: FloatArray, idle_to: FloatArray, mean_change: FloatArray
    ) -> FloatArray:
        """R(to) − R − R′ · `mean_change` ≥ 0, without cancellation; λ · `mean_change` = y − y′."""

    @property
    def has_lundberg_bound(self) -> bool:
        """Whether P(W > x) ≤ exp(−θ x) for every θ with E exp(θ S) ≤ 1 + θ/λ."""
        return False

    def recursion(self, generator: np.random.Generator) -> Any:
        """Return a `cvxqueue.simulation.Recursion`, or ``None`` where there is none.

        What the queue draws from the generator is the same for all allocations compared.
        """
        return None

    def priced(self, of_time: float, of_waiting: float) -> Queue:
        """Return the queue that counts `of_time` · T + `of_waiting` · W as its system time."""
        return PricedQueue(self, of_time, of_waiting)

    def mean_waiting_time(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> FloatArray:
        """Mean time between arrival and start of service: the system time less the mean, in s."""
        work = 0.5 * self.second_weight * arrival_rate * second_moment
        waiting: FloatArray = work / idle + self.delay(arrival_rate, mean, idle).value
        return waiting

    def prices(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> Prices:
        """Derivatives of the mean system time."""
        half = 0.5 * (self.second_weight * arrival_rate / idle)
        price = self._time_share + half * second_moment * arrival_rate / idle
        return Prices(price + self.delay(arrival_rate, mean, idle).slope, half)

    def price_slopes(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> PriceSlopes:
        """Second derivatives of T: R″ + ω h³ m2, ω h²/2 and zero."""
        pressure = arrival_rate / idle
        squared = self.second_weight * pressure * pressure
        bend = self.delay(arrival_rate, mean, idle).curvature
        return PriceSlopes(bend + squared * pressure * second_moment, 0.5 * squared, 0.0 * pressure)

    def divergence(
        self,
        arrival_rate: Numbers,
        idle: FloatArray,
        idle_to: FloatArray,
        mean_change: FloatArray,
        spread: FloatArray,
    ) -> FloatArray:
        """T(to) − T − ∇T · (to − from) ≥ 0 in the service times, without cancellation.

        From m1′ − m1, and the spread Σ π E[(t′ − (y′/y) t)²] where y and y′ are idle fractions.
        """
        of_delay = self.delay_divergence(arrival_rate, idle, idle_to, mean_change)
        return 0.5 * self.second_weight * arrival_rate / idle_to * spread + of_delay

    def least_idle(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, m2: Numbers
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`.

        Where the idle fraction is less, T exceeds it at the least second moment, which is no less
        than the square of the mean.
        """
        rate, most, least, second = np.broadcast_arrays(arrival_rate, system_time, m1, m2)

        def too_long(logarithm: FloatArray) -> FloatArray:
            idle = np.exp(logarithm)
            mean = (1.0 - idle) / rate
            square = np.maximum(second, np.square(mean))
            excess: FloatArray = mean - most + self.mean_waiting_time(rate, mean, square, idle)
            return excess

        ends = np.full(rate.shape, np.log(_LEAST_IDLE)), np.log1p(-rate * least)
        least_idle: FloatArray = np.exp(bracketed_root(too_long, *ends, _SHARP_IDLE)[0])
        return least_idle

    def greatest_second_moment(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, idle: Numbers
    ) -> FloatArray:
        """Upper bound on m2 where T ≤ `system_time`, m1 is ≥ the given and 1 − ρ = `idle`.

        From ω λ m2/(2 (1 − ρ)) ≤ T − m1 − R(m1). Zero for a queue whose T does not depend on m2,
        and so says nothing of it.
        """
        if self.second_weight == 0.0:
            return np.zeros(np.shape(idle))
        mean = np.asarray(m1)
        least = self._time_share * mean
        least = least + self.delay(arrival_rate, mean, 1.0 - arrival_rate * mean).value
        room = np.maximum(system_time - least, 0.0)
        bound: FloatArray = 2.0 * idle * room / (self.second_weight * arrival_rate)
        return bound

    def curvature(self, arrival_rate: Numbers, second_moment: float, idle: float) -> Curvature:
        """Bounds on the Hessian of T wherever the second moment is ≤ and 1 − ρ is ≥ the given.

        In the metric diag(π E[(dt/dl)²]), for affine times. There the Hessian is
        ω h M Mᵀ + R″ u uᵀ, where M = I + h u zᵀ and the norms of u and z are at most 1 and √m2. The
        inverse of M is I − λ u zᵀ. Hence the eigenvalues lie between ω λ/(1 + λ √m2)² and
        ω h (1 + h √m2)² + R″.
        """
        root, weight = np.sqrt(second_moment), self.second_weight
        pressure = arrival_rate / idle
        mean = np.asarray((1.0 - idle) / arrival_rate)
        bend = self.delay(arrival_rate, mean, np.asarray(idle)).curvature
        return Curvature(
            least=float(weight * arrival_rate / (1.0 + arrival_rate * root) ** 2),
            greatest=float(weight * pressure * (1.0 + pressure * root) ** 2 + bend),
        )

    def relative_slopes(
        self,
        arrival_rate: Numbers,
        second_moment: tuple[float, float],
        idle: tuple[float, float],
        times: tuple[FloatArray, FloatArray],
    ) -> RelativeSlopes:
        """Bounds on the derivatives of ln q over a box; each pair is (at lower, at upper).

        Each derivative of q = 1 + R′ + ω h² m2/2 + ω h t is largest, and q is least, at one end.
        """
        weight, pressure = self.second_weight, arrival_rate / np.asarray(idle)
        low, high = (
            self.delay(arrival_rate, np.asarray((1.0 - y) / arrival_rate), np.asarray(y))
            for y in idle
        )
        pull, most = 0.5 * pressure * second_moment[0], pressure[1]
        least = self._time_share + low.slope + weight * pressure[0] * (pull[0] + times[0])
        rise = high.curvature + weight * most * most * (most * second_moment[1] + times[1])
        by_time = weight * most / least
        return RelativeSlopes(rise / least, 0.5 * most * by_time, by_time)


@dataclass(frozen=True)
class PricedQueue(Queue):
    """A queue whose system time and waiting time have prices of their own, as in a Lagrangian.

    What stands for the mean system time is `of_time` · T + `of_waiting` · W, with prices ≥ 0: with
    others it would not be convex. No instance has such a queue: at prices of its own, what it
    counts could fall in the tokens.
    """

    queue: Queue
    of_time: float
    of_waiting: float

    def __post_init__(self) -> None:
        if isinstance(self.queue, PricedQueue):
            raise InvalidInputError("queue has prices already: price the queue within it")
        for name in ("of_time", "of_waiting"):
            price = real_number(name, getattr(self, name))
            if price < 0.0:
                raise InvalidInputError(f"{name} = {shown(price)} must be ≥ 0 (a price)")

    @property
    def _time_share(self) -> float:  # type: ignore[override]
        return self.of_time

    @cached_property
    def _both(self) -> float:
        return self.of_time + self.of_waiting

    @cached_property
    def second_weight(self) -> float:
        """That of the queue, at the sum of the prices."""
        return self._both * self.queue.second_weight

    def delay(self, arrival_rate: Numbers, mean: FloatArray, idle: FloatArray) -> Delay:
        """That of the queue, at the sum of the prices."""
        return Delay(*(self._both * part for part in self.queue.delay(arrival_rate, mean, idle)))

    def delay_divergence(
        self, arrival_rate: Numbers, idle: FloatArray, idle_to: FloatArray, mean_change: FloatArray
    ) -> FloatArray:
        """That of the queue, at the sum of the prices."""
        of_queue = self.queue.delay_divergence(arrival_rate, idle, idle_to, mean_change)
        return self._both * of_queue

    def mean_waiting_time(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> FloatArray:
        """The sum, less one mean service time, in seconds."""
        waiting = super().mean_waiting_time(arrival_rate, mean, second_moment, idle)
        return waiting + (self.of_time - 1.0) * mean

    def least_idle(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, m2: Numbers
    ) -> FloatArray:
        """That of the queue, where its T = (what is counted + `of_waiting` · m1) / both prices.

        The mean m1 is at most 1/λ, and at most (1 − y)/λ where y bounds the idle fraction already.
        """
        idle: FloatArray = np.zeros(())
        for _ in range(2):
            most = system_time + self.of_waiting * (1.0 - idle) / arrival_rate
            idle = self.queue.least_idle(arrival_rate, most / self._both, m1, m2)
        return idle
