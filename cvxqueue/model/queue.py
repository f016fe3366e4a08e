"""Queues: the mean system time as a function of two moments of the service time.

A queue sees the mixture of service times through its mean m1 and second moment m2 alone. The
prices P1 = ∂T/∂m1 and P2 = ∂T/∂m2 are what a second and a squared second of service cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.summation import accurate_sum

__all__ = ["FIFO", "Curvature", "PriceSlopes", "Prices", "Queue", "RelativeSlopes"]


class Prices(NamedTuple):
    """Partial derivatives of the mean system time T(m1, m2)."""

    mean: FloatArray
    """P1 = ∂T/∂m1, dimensionless."""
    second_moment: FloatArray
    """P2 = ∂T/∂m2, per second."""


class PriceSlopes(NamedTuple):
    """Second derivatives of T(m1, m2)."""

    mean_mean: FloatArray
    mean_second: FloatArray
    second_second: FloatArray


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


class Queue(Protocol):
    """What the rest of the package asks of a queue.

    ``idle`` is the idle fraction 1 − ρ > 0, handed over rather than recomputed because it carries
    the accuracy of everything else near saturation. The price of a squared second must depend on
    the idle fraction alone, falling in it, and that of a second rise in the second moment: method
    ``newton`` rests on it. Everything broadcasts over the instances of a batch.
    """

    def mean_waiting_time(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> FloatArray:
        """Mean time between arrival and start of service, in seconds."""

    def prices(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> Prices:
        """Derivatives of the mean system time."""

    def price_slopes(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> PriceSlopes:
        """Second derivatives of the mean system time."""

    def divergence(
        self,
        arrival_rate: float | FloatArray,
        probabilities: FloatArray,
        times: FloatArray,
        idle: FloatArray,
        times_to: FloatArray,
        idle_to: FloatArray,
    ) -> FloatArray:
        """T(to) − T − ∇T · (to − from) ≥ 0 in the service times, without cancellation."""

    def least_idle(
        self,
        arrival_rate: float | FloatArray,
        system_time: float | FloatArray,
        m1: float | FloatArray,
        m2: float | FloatArray,
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`."""

    def greatest_second_moment(
        self,
        arrival_rate: float | FloatArray,
        system_time: float | FloatArray,
        m1: float | FloatArray,
        idle: float | FloatArray,
    ) -> FloatArray:
        """Upper bound on m2 where T ≤ `system_time`, m1 is ≥ the given and 1 − ρ = `idle`."""

    def curvature(
        self, arrival_rate: float | FloatArray, second_moment: float, idle: float
    ) -> Curvature:
        """Bounds on the Hessian of T wherever the second moment is ≤ and 1 − ρ is ≥ the given."""

    def relative_slopes(
        self,
        arrival_rate: float | FloatArray,
        second_moment: tuple[float, float],
        idle: tuple[float, float],
        times: tuple[FloatArray, FloatArray],
    ) -> RelativeSlopes:
        """Bounds on the derivatives of ln q over a box; each pair is (at lower, at upper)."""


@dataclass(frozen=True)
class FIFO:
    """The M/G/1 queue, first in first out.

    The mean waiting time is λ m2 / (2 (1 − ρ)) (Pollaczek–Khinchine). Any other work-conserving,
    non-preemptive order that does not look at the type has the same mean.

    References
    ----------
    Kleinrock, "Queueing Systems, volume I: Theory", Wiley 1975, section 5.6.
    """

    def mean_waiting_time(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> FloatArray:
        """Mean time between arrival and start of service, in seconds."""
        waiting: FloatArray = arrival_rate * second_moment / (2.0 * idle)
        return waiting

    def prices(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> Prices:
        """P1 = 1 + λ² m2 / (2 (1 − ρ)²) and P2 = λ / (2 (1 − ρ))."""
        pressure = arrival_rate / idle
        return Prices(1.0 + 0.5 * second_moment * pressure**2, 0.5 * pressure)

    def price_slopes(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> PriceSlopes:
        """Second derivatives of T: λ³ m2/(1−ρ)³, λ²/(2 (1−ρ)²) and zero."""
        pressure = arrival_rate / idle
        return PriceSlopes(second_moment * pressure**3, 0.5 * pressure**2, 0.0 * pressure)

    def divergence(
        self,
        arrival_rate: float | FloatArray,
        probabilities: FloatArray,
        times: FloatArray,
        idle: FloatArray,
        times_to: FloatArray,
        idle_to: FloatArray,
    ) -> FloatArray:
        """λ/(2 y′) Σ π (t′ − (y′/y) t)², where y and y′ are the idle fractions of the two."""
        ratio = np.asarray(idle_to / idle)[..., np.newaxis]
        spread = np.square(times_to - ratio * times)
        divergence: FloatArray = 0.5 * arrival_rate / idle_to * accurate_sum(probabilities * spread)
        return divergence

    def least_idle(
        self,
        arrival_rate: float | FloatArray,
        system_time: float | FloatArray,
        m1: float | FloatArray,
        m2: float | FloatArray,
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`.

        From λ m2/(2 y) ≤ T − m1, and, with m2 ≥ m1², from (1 − y²)/(2 λ y) ≤ T.
        """
        load = arrival_rate * system_time
        from_mean = 1.0 / (load + np.hypot(1.0, load))
        waiting = system_time - m1
        with np.errstate(divide="ignore", invalid="ignore"):
            from_second = np.where(waiting > 0, arrival_rate * m2 / (2.0 * waiting), 0.0)
        return np.maximum(from_mean, from_second)

    def greatest_second_moment(
        self,
        arrival_rate: float | FloatArray,
        system_time: float | FloatArray,
        m1: float | FloatArray,
        idle: float | FloatArray,
    ) -> FloatArray:
        """Upper bound on m2 where T ≤ `system_time`, m1 is ≥ the given and 1 − ρ = `idle`.

        From λ m2/(2 (1−ρ)) ≤ T − m1.
        """
        return 2.0 * idle * np.maximum(system_time - m1, 0.0) / arrival_rate

    @np.errstate(over="ignore")
    def curvature(
        self, arrival_rate: float | FloatArray, second_moment: float, idle: float
    ) -> Curvature:
        """Bounds on the Hessian of T in the metric diag(π (dt/dl)²).

        In that metric the Hessian is λ g M Mᵀ with g = 1/(1−ρ), M = I + λ g u zᵀ, u = √π and
        z = √π t, and the inverse of M is I − λ u zᵀ. Hence the eigenvalues lie between
        λ/(1 + λ √m2)² and λ g (1 + λ g √m2)².
        """
        root = np.sqrt(second_moment)
        pressure = arrival_rate / idle
        return Curvature(
            least=float(arrival_rate / (1.0 + arrival_rate * root) ** 2),
            greatest=float(pressure * (1.0 + pressure * root) ** 2),
        )

    def relative_slopes(
        self,
        arrival_rate: float | FloatArray,
        second_moment: tuple[float, float],
        idle: tuple[float, float],
        times: tuple[FloatArray, FloatArray],
    ) -> RelativeSlopes:
        """Bounds on the derivatives of ln q, q = P1 + 2 P2 t, over a box.

        With h = λ/(1−ρ), a = m2 h²/2 and x = h t, q = 1 + a + x, and the derivatives are
        h (2a + x)/q in m1 (increasing in a, monotone in x), (h²/2)/q in m2 and h/q in t.
        """
        pressure_low, pressure_high = arrival_rate / idle[0], arrival_rate / idle[1]
        burden = 0.5 * second_moment[1] * pressure_high**2
        mean_slope = pressure_high * np.maximum(
            *(
                (2.0 * burden + x) / (1.0 + burden + x)
                for x in (pressure_low * times[0], pressure_high * times[1])
            )
        )
        # (h²/2)/q grows with h at fixed m2 and t, and falls with these.
        least_q = 1.0 + 0.5 * second_moment[0] * pressure_high**2 + pressure_high * times[0]
        second_slope = 0.5 * pressure_high**2 / least_q
        # h/q rises with h up to h = √(2/m2) and falls beyond.
        peak = np.sqrt(2.0 / second_moment[0]) if second_moment[0] > 0 else np.inf
        pressure = float(np.clip(peak, pressure_low, pressure_high))
        time_slope = pressure / (1.0 + 0.5 * second_moment[0] * pressure**2 + pressure * times[0])
        return RelativeSlopes(mean_slope, second_slope, time_slope)
