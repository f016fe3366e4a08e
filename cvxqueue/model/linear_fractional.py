"""Mean system times that are linear fractions of the two moments.

Every queue of the package has T = m1 + W with

    W = (β m1 + δ ρ m1 + ω λ m2/2) / (1 − ρ) + constant

and weights β, δ, ω ≥ 0 of its own. With y = 1 − ρ, κ = β + δ and s = 1 − δ this is
T = s m1 + (κ m1 + ω λ m2/2)/y + constant, and what depends on m1 alone is
R = β m1 + κ ρ m1/y + constant. A constant shows in the times and leaves the optimum alone.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cvxqueue.model.queue_formulas import Delay, Queue, RelativeSlopes
from cvxqueue.numerics.arrays import FloatArray, Numbers


class Weights(NamedTuple):
    """What the mean waiting time is made of, times 1/(1 − ρ)."""

    mean: float
    """β, of m1."""
    load: float
    """δ, of ρ m1."""
    second: float
    """ω, of λ m2/2."""


class LinearFractionalQueue(Queue):
    """The closed forms that the queues share, for any weights."""

    @property
    @abstractmethod
    def weights(self) -> Weights:
        """The weights β, δ and ω."""

    def constant(self, arrival_rate: Numbers) -> Numbers:
        """Part of the mean waiting time that no service time changes, in seconds."""
        return 0.0

    @cached_property
    def second_weight(self) -> float:
        """The weight ω."""
        return self.weights.second

    def delay(self, arrival_rate: Numbers, mean: FloatArray, idle: FloatArray) -> Delay:
        """R and its derivatives β + κ ρ (1 + y)/y² and 2 κ λ/y³: sums of terms ≥ 0.

        Here ρ is that of the mean: 1 − y has lost its digits at light load.
        """
        by_mean, by_load, _ = self.weights
        constant, congested = self.constant(arrival_rate), by_mean + by_load
        if not congested:
            return Delay(constant, 0.0, 0.0)
        load, share = arrival_rate * mean, congested / (idle * idle)
        return Delay(
            (by_mean + by_load * load) * mean / idle + constant,
            by_mean + share * load * (1.0 + idle),
            2.0 * share * arrival_rate / idle,
        )

    def delay_divergence(
        self, arrival_rate: Numbers, idle: FloatArray, idle_to: FloatArray, mean_change: FloatArray
    ) -> FloatArray:
        """κ λ (m1′ − m1)²/(y² y′)."""
        by_mean, by_load, _ = self.weights
        return (by_mean + by_load) * arrival_rate / idle_to * np.square(mean_change / idle)

    def least_idle(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, m2: Numbers
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`.

        With τ for `system_time` less the constant: from κ m1 + ω λ m2/2 ≤ (τ − s m1) y, and, with
        m2 ≥ m1² and λ m1 = 1 − y, from (ω − 2s) y² − 2 (κ + ω − s + λ τ) y + 2κ + ω ≤ 0.
        """
        by_mean, by_load, by_second = self.weights
        share, congested = 1.0 - by_load, by_mean + by_load
        longest = system_time - self.constant(arrival_rate)
        half = congested + by_second - share + arrival_rate * longest
        least, bend = 2.0 * congested + by_second, 2.0 * share - by_second
        # The bend may be negative, and half is at least one then.
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
        by_mean, by_load, by_second = self.weights
        share, congested = 1.0 - by_load, by_mean + by_load
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
