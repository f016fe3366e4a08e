"""Mean system times that are linear fractions of the two moments.

Every queue of the package has T = m1 + W with

    W = (β m1 + δ ρ m1 + ω λ m2/2) / (1 − ρ) + constant

and weights β, δ, ω ≥ 0 of its own. With y = 1 − ρ, u = 1 + β and κ = β + δ this is
T = u m1 + (κ ρ m1 + ω λ m2/2)/y + constant, and the prices are

    P1 = u + κ ρ (1 + y)/y² + ω λ² m2/(2 y²)     and     P2 = ω λ/(2 y),

sums of terms ≥ 0. With s = u − κ also T = s m1 + (κ m1 + ω λ m2/2)/y + constant. A constant shows
in the times and leaves the optimum alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cvxqueue.model.queue_law import Curvature, Prices, PriceSlopes, RelativeSlopes
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, Numbers


class Weights(NamedTuple):
    """What the mean waiting time is made of, times 1/(1 − ρ)."""

    mean: float
    """β, of m1."""
    load: float
    """δ, of ρ m1."""
    second: float
    """ω, of λ m2/2."""


@quiet
class LinearFractionalQueue(ABC):
    """The closed forms that the queues share, for any weights."""

    @property
    @abstractmethod
    def weights(self) -> Weights:
        """The weights β, δ and ω."""

    @property
    def has_lundberg_bound(self) -> bool:
        """Whether the tail of the waiting time is below its Lundberg bound."""
        return False

    def constant(self, arrival_rate: Numbers) -> Numbers:
        """Part of the mean waiting time that no service time changes, in seconds."""
        return 0.0

    def priced(self, of_time: float, of_waiting: float) -> LinearFractionalQueue:
        """Return the queue that counts `of_time` · T + `of_waiting` · W as its system time."""
        return PricedQueue(self, of_time, of_waiting)

    @cached_property
    def _shares(self) -> tuple[float, float, float]:
        """The weights u of m1, κ of ρ m1/(1 − ρ) and ω of λ m2/(2 (1 − ρ)) in T."""
        mean, load, second = self.weights
        return 1.0 + mean, mean + load, second

    @property
    def _share(self) -> float:
        """The weight s of m1 in T beside κ m1/(1 − ρ): negative where waiting alone has a price."""
        alone, congested, _ = self._shares
        return alone - congested

    def mean_waiting_time(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> FloatArray:
        """Mean system time less the mean service time, in seconds."""
        by_mean, by_load, by_second = self.weights
        work = arrival_rate * (by_load * mean * mean + 0.5 * by_second * second_moment)
        return (by_mean * mean + work) / idle + self.constant(arrival_rate)

    def prices(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> Prices:
        """P1 and P2, where ρ is that of the mean: 1 − y has lost its digits at light load."""
        alone, congested, by_second = self._shares
        pressure = by_second * arrival_rate / idle
        half = 0.5 * pressure
        price = alone + half * second_moment * arrival_rate / idle
        if congested:
            price = price + congested * (arrival_rate * mean) * (1.0 + idle) / idle**2
        return Prices(price, half)

    def price_slopes(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> PriceSlopes:
        """Second derivatives of T: λ (2κ + ω λ² m2)/(1−ρ)³, ω λ²/(2 (1−ρ)²) and zero."""
        _, congested, by_second = self._shares
        pressure = arrival_rate / idle
        burden = 2.0 * congested + by_second * arrival_rate**2 * second_moment
        return PriceSlopes(
            burden * pressure / idle**2, 0.5 * by_second * pressure**2, 0.0 * pressure
        )

    def divergence(
        self,
        arrival_rate: Numbers,
        idle: FloatArray,
        idle_to: FloatArray,
        mean_change: FloatArray,
        spread: FloatArray,
    ) -> FloatArray:
        """(ω λ/2) Σ π E[(t′ − (y′/y) t)²]/y′ + κ λ (m1′ − m1)²/(y² y′)."""
        _, congested, by_second = self._shares
        bend = congested * np.square(mean_change / idle)
        return arrival_rate / idle_to * (0.5 * by_second * spread + bend)

    def least_idle(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, m2: Numbers
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`.

        With τ for `system_time` less the constant: from κ m1 + ω λ m2/2 ≤ (τ − s m1) y, and, with
        m2 ≥ m1² and λ m1 = 1 − y, from (ω − 2s) y² − 2 (κ + ω − s + λ τ) y + 2κ + ω ≤ 0.
        """
        share, (_, congested, by_second) = self._share, self._shares
        longest = system_time - self.constant(arrival_rate)
        half = congested + by_second - share + arrival_rate * longest
        least, bend = 2.0 * congested + by_second, 2.0 * share - by_second
        # Of a queue at prices the bend may be negative, and half is at least one then.
        root = (
            np.hypot(half, np.sqrt(bend * least))
            if bend >= 0.0
            else half * np.sqrt(1.0 + bend / half * (least / half))
        )
        from_mean = least / (half + root)
        # Nothing to wait for, where no service takes time, bounds nothing.
        waiting = np.asarray(longest - share * m1)
        work = np.asarray(congested * m1 + 0.5 * by_second * arrival_rate * m2)
        from_second = work / np.where(waiting > 0.0, waiting, np.inf)
        return np.maximum(from_mean, from_second)

    def greatest_second_moment(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, idle: Numbers
    ) -> FloatArray:
        """Upper bound on m2 where T ≤ `system_time`, m1 is ≥ the given and 1 − ρ = `idle`.

        From ω λ m2/(2 (1−ρ)) ≤ τ − s m1, where τ is `system_time` less the constant. Zero for a
        queue whose T does not depend on m2.
        """
        share, (_, _, by_second) = self._share, self._shares
        if by_second == 0.0:
            return np.zeros(np.shape(idle))
        work = np.maximum(system_time - self.constant(arrival_rate) - share * m1, 0.0)
        return 2.0 * idle * work / (by_second * arrival_rate)

    def curvature(self, arrival_rate: Numbers, second_moment: float, idle: float) -> Curvature:
        """Bounds on the Hessian of T in the metric diag(π E[(dt/dl)²]), for affine times.

        With g = 1/(1−ρ), the Hessian is ω λ g M Mᵀ + 2 κ λ g³ u uᵀ in that metric, where
        M = I + λ g u zᵀ and the norms of u and z are at most 1 and √m2. The inverse of M is
        I − λ u zᵀ. Hence the eigenvalues lie between ω λ/(1 + λ √m2)² and
        ω λ g (1 + λ g √m2)² + 2 κ λ g³.
        """
        _, congested, by_second = self._shares
        root = np.sqrt(second_moment)
        pressure = arrival_rate / idle
        greatest = by_second * pressure * (1.0 + pressure * root) ** 2
        return Curvature(
            least=float(by_second * arrival_rate / (1.0 + arrival_rate * root) ** 2),
            greatest=float(greatest + 2.0 * congested * pressure / idle**2),
        )

    def relative_slopes(
        self,
        arrival_rate: Numbers,
        second_moment: tuple[float, float],
        idle: tuple[float, float],
        times: tuple[FloatArray, FloatArray],
    ) -> RelativeSlopes:
        """Bounds on the derivatives of ln q, q = P1 + 2 P2 t, over a box.

        With h = λ/(1−ρ), a = κ/(1−ρ)² + ω m2 h²/2 and x = ω h t, q = s + a + x, and the derivatives
        are h (2a + x)/q in m1 (increasing in a, monotone in x), (ω h²/2)/q in m2 and ω h/q in t.
        """
        share, (_, congested, by_second) = self._share, self._shares
        pressure_low, pressure_high = arrival_rate / idle[0], arrival_rate / idle[1]
        # a = bend · h², and grows with both.
        fixed = congested / np.square(arrival_rate)
        bend_low, bend_high = (fixed + 0.5 * by_second * moment for moment in second_moment)
        burden = bend_high * pressure_high**2
        mean_slope = pressure_high * np.maximum(
            *(
                (2.0 * burden + x) / (share + burden + x)
                for x in (by_second * pressure_low * times[0], by_second * pressure_high * times[1])
            )
        )
        # (h²/2)/q grows with h at fixed m2 and t, and falls with these.
        least_q = share + bend_low * pressure_high**2 + by_second * pressure_high * times[0]
        second_slope = 0.5 * by_second * pressure_high**2 / least_q
        # h/q rises with h up to h = √(s/bend) and falls beyond.
        peak = np.sqrt(share / bend_low) if bend_low > 0 else np.inf
        pressure = float(np.clip(peak, pressure_low, pressure_high))
        at_peak = share + bend_low * pressure**2 + by_second * pressure * times[0]
        return RelativeSlopes(mean_slope, second_slope, by_second * pressure / at_peak)


@quiet
@dataclass(frozen=True)
class PricedQueue(LinearFractionalQueue):
    """A queue whose system time and waiting time have prices of their own, as in a Lagrangian.

    What stands for the mean system time is `of_time` · T + `of_waiting` · W.
    """

    queue: LinearFractionalQueue
    of_time: float
    of_waiting: float

    @property
    def weights(self) -> Weights:
        """Those of the sum, beyond one mean service time."""
        alone, congested, by_second = self._shares
        return Weights(alone - 1.0, congested - (alone - 1.0), by_second)

    @cached_property
    def _shares(self) -> tuple[float, float, float]:
        _, congested, by_second = self.queue._shares
        both = self.of_time + self.of_waiting
        alone = self.of_time + both * self.queue.weights.mean
        return alone, both * congested, both * by_second

    def constant(self, arrival_rate: Numbers) -> Numbers:
        """That of the queue, at the sum of the prices."""
        return (self.of_time + self.of_waiting) * self.queue.constant(arrival_rate)

    def mean_waiting_time(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> FloatArray:
        """The sum, less one mean service time, in seconds."""
        waiting = self.queue.mean_waiting_time(arrival_rate, mean, second_moment, idle)
        return (self.of_time + self.of_waiting) * waiting + (self.of_time - 1.0) * mean
