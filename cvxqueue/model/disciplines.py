"""The queues: mean system times that are linear fractions of the two moments.

Every queue here has T = m1 + W with

    W = (β m1 + δ ρ m1 + ω λ m2/2) / (1 − ρ) + constant

and weights β, δ, ω ≥ 0 of its own. With y = 1 − ρ, s = 1 − δ and κ = β + δ this is
T = s m1 + (κ m1 + ω λ m2/2)/y + constant, and the prices are

    P1 = s + (κ + ω λ² m2/2)/y²     and     P2 = ω λ/(2 y).

A constant shows in the times and leaves the optimum alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.arrays import FloatArray, real_number
from cvxqueue.model.queue import Curvature, Prices, PriceSlopes, RelativeSlopes

__all__ = [
    "FIFO",
    "BatchArrivals",
    "LinearFractionalQueue",
    "ProcessorSharing",
    "Setups",
    "Vacations",
    "Weights",
]


class Weights(NamedTuple):
    """What the mean waiting time is made of, times 1/(1 − ρ)."""

    mean: float
    """β, of m1."""
    load: float
    """δ, of ρ m1."""
    second: float
    """ω, of λ m2/2."""


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

    def constant(self, arrival_rate: float | FloatArray) -> float | FloatArray:
        """Part of the mean waiting time that no service time changes, in seconds."""
        return 0.0

    def priced(self, of_time: float, of_waiting: float) -> LinearFractionalQueue:
        """Return the queue that counts `of_time` · T + `of_waiting` · W as its system time."""
        return PricedQueue(self, of_time, of_waiting)

    @cached_property
    def _shares(self) -> tuple[float, float, float]:
        """The weights s of m1, κ of m1/(1 − ρ) and ω of λ m2/(2 (1 − ρ)) in T."""
        mean, load, second = self.weights
        return 1.0 - load, mean + load, second

    def mean_waiting_time(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> FloatArray:
        """Mean system time less the mean service time, in seconds."""
        by_mean, by_load, by_second = self.weights
        work = arrival_rate * (by_load * mean * mean + 0.5 * by_second * second_moment)
        waiting: FloatArray = (by_mean * mean + work) / idle + self.constant(arrival_rate)
        return waiting

    def prices(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> Prices:
        """P1 = s + (κ + ω λ² m2/2)/(1−ρ)² and P2 = ω λ/(2 (1−ρ))."""
        share, congested, by_second = self._shares
        pressure = by_second * arrival_rate / idle
        half = 0.5 * pressure
        return Prices(
            share + congested / idle**2 + half * second_moment * arrival_rate / idle, half
        )

    def price_slopes(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
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
        arrival_rate: float | FloatArray,
        idle: FloatArray,
        idle_to: FloatArray,
        mean_change: FloatArray,
        spread: FloatArray,
    ) -> FloatArray:
        """(ω λ/2) Σ π E[(t′ − (y′/y) t)²]/y′ + κ λ (m1′ − m1)²/(y² y′)."""
        _, congested, by_second = self._shares
        bend = congested * np.square(mean_change / idle)
        divergence: FloatArray = arrival_rate / idle_to * (0.5 * by_second * spread + bend)
        return divergence

    def least_idle(
        self,
        arrival_rate: float | FloatArray,
        system_time: float | FloatArray,
        m1: float | FloatArray,
        m2: float | FloatArray,
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`.

        With τ for `system_time` less the constant: from κ m1 + ω λ m2/2 ≤ (τ − s m1) y, and, with
        m2 ≥ m1² and λ m1 = 1 − y, from (ω − 2s) y² − 2 (κ + ω − s + λ τ) y + 2κ + ω ≤ 0.
        """
        share, congested, by_second = self._shares
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
        with np.errstate(divide="ignore", invalid="ignore"):
            from_second = np.where(waiting > 0, work / waiting, 0.0)
        return np.maximum(from_mean, from_second)

    def greatest_second_moment(
        self,
        arrival_rate: float | FloatArray,
        system_time: float | FloatArray,
        m1: float | FloatArray,
        idle: float | FloatArray,
    ) -> FloatArray:
        """Upper bound on m2 where T ≤ `system_time`, m1 is ≥ the given and 1 − ρ = `idle`.

        From ω λ m2/(2 (1−ρ)) ≤ τ − s m1, where τ is `system_time` less the constant. Zero for a
        queue whose T does not depend on m2.
        """
        share, _, by_second = self._shares
        if by_second == 0.0:
            return np.zeros(np.shape(idle))
        work = np.maximum(system_time - self.constant(arrival_rate) - share * m1, 0.0)
        bound: FloatArray = 2.0 * idle * work / (by_second * arrival_rate)
        return bound

    @np.errstate(over="ignore")
    def curvature(
        self, arrival_rate: float | FloatArray, second_moment: float, idle: float
    ) -> Curvature:
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
        arrival_rate: float | FloatArray,
        second_moment: tuple[float, float],
        idle: tuple[float, float],
        times: tuple[FloatArray, FloatArray],
    ) -> RelativeSlopes:
        """Bounds on the derivatives of ln q, q = P1 + 2 P2 t, over a box.

        With h = λ/(1−ρ), a = κ/(1−ρ)² + ω m2 h²/2 and x = ω h t, q = s + a + x, and the derivatives
        are h (2a + x)/q in m1 (increasing in a, monotone in x), (ω h²/2)/q in m2 and ω h/q in t.
        """
        share, congested, by_second = self._shares
        pressure_low, pressure_high = arrival_rate / idle[0], arrival_rate / idle[1]
        # a = bend · h², and grows with both.
        fixed = congested / np.square(arrival_rate)
        bend_low, bend_high = (fixed + 0.5 * by_second * moment for moment in second_moment)
        burden = bend_high * pressure_high**2
        mean_slope = pressure_high * np.maximum(
            *(
                (2.0 * burden + x) / (share + burden + x)
                for x in (
                    by_second * pressure_low * times[0],
                    by_second * pressure_high * times[1],
                )
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
        share, congested, by_second = self._shares
        return Weights(congested + share - 1.0, 1.0 - share, by_second)

    @cached_property
    def _shares(self) -> tuple[float, float, float]:
        share, congested, by_second = self.queue._shares
        both = self.of_time + self.of_waiting
        return both * share - self.of_waiting, both * congested, both * by_second

    def constant(self, arrival_rate: float | FloatArray) -> float | FloatArray:
        """That of the queue, at the sum of the prices."""
        return (self.of_time + self.of_waiting) * self.queue.constant(arrival_rate)

    def mean_waiting_time(
        self,
        arrival_rate: float | FloatArray,
        mean: FloatArray,
        second_moment: FloatArray,
        idle: FloatArray,
    ) -> FloatArray:
        """The sum, less one mean service time, in seconds."""
        waiting = self.queue.mean_waiting_time(arrival_rate, mean, second_moment, idle)
        return (self.of_time + self.of_waiting) * waiting + (self.of_time - 1.0) * mean


@dataclass(frozen=True)
class FIFO(LinearFractionalQueue):
    """The M/G/1 queue, first in first out.

    The mean waiting time is λ m2 / (2 (1 − ρ)) (Pollaczek–Khinchine). Any other work-conserving,
    non-preemptive order that is blind to the service times, and so to the type, has the same mean.

    References
    ----------
    Kleinrock, "Queueing Systems, volume I: Theory", Wiley 1975, section 5.6.
    """

    @property
    def has_lundberg_bound(self) -> bool:
        """Yes: the waiting time is the largest of a random walk."""
        return True

    @property
    def weights(self) -> Weights:
        """Only the second moment makes queries wait."""
        return Weights(mean=0.0, load=0.0, second=1.0)


@dataclass(frozen=True)
class ProcessorSharing(LinearFractionalQueue):
    """All queries in the system share the server equally.

    The mean system time is m1/(1 − ρ), whatever the distribution of the service times. The mean
    waiting time is what a query spends beyond its own service, ρ m1/(1 − ρ). Last in first out with
    preemption and resumption has the same means.

    References
    ----------
    Kleinrock, "Queueing Systems, volume II: Computer Applications", Wiley 1976, section 4.4.
    """

    @property
    def weights(self) -> Weights:
        """Only the load makes queries wait."""
        return Weights(mean=0.0, load=1.0, second=0.0)


@dataclass(frozen=True)
class BatchArrivals(LinearFractionalQueue):
    """First in first out, where queries come in batches: the M^X/G/1 queue.

    Batches come as a Poisson stream, and the arrival rate λ counts queries. The types within a
    batch are independent of each other and of its size; the formula is wrong for batches of one
    type. The mean waiting time is (λ m2 + (E[X²]/E[X] − 1) m1) / (2 (1 − ρ)).

    Parameters
    ----------
    mean_size : float
        Mean number E[X] ≥ 1 of queries in a batch.
    size_second_moment : float
        E[X²] ≥ E[X]².

    Raises
    ------
    InvalidInputError
        If a moment is not finite or out of range.

    References
    ----------
    Burke, "Delays in single-server queues with batch input", Operations Research 23(4), 1975.
    """

    mean_size: float
    size_second_moment: float

    def __post_init__(self) -> None:
        _keep_moments(self, "mean_size", "size_second_moment", least=1.0, unit="queries")

    @property
    def weights(self) -> Weights:
        """Besides the second moment, those of the own batch that come first, times m1."""
        ahead = 0.5 * (self.size_second_moment / self.mean_size - 1.0)
        return Weights(mean=ahead, load=0.0, second=1.0)


@dataclass(frozen=True)
class Vacations(LinearFractionalQueue):
    """First in first out, where the server goes away whenever it finds nobody waiting.

    It serves until the system is empty, and takes one vacation V after another until somebody
    waits. That adds E[V²]/(2 E[V]) to the mean waiting time of a query, whatever it asks for.

    Parameters
    ----------
    mean : float
        Mean length E[V] > 0 of a vacation, in seconds.
    second_moment : float
        E[V²] ≥ E[V]², in seconds².

    Raises
    ------
    InvalidInputError
        If a moment is not finite or out of range.

    References
    ----------
    Doshi, "Queueing systems with vacations: a survey", Queueing Systems 1, 1986.
    """

    mean: float
    second_moment: float

    def __post_init__(self) -> None:
        _keep_moments(self, "mean", "second_moment", least=0.0, unit="seconds")

    @property
    def weights(self) -> Weights:
        """Those of FIFO."""
        return Weights(mean=0.0, load=0.0, second=1.0)

    def constant(self, arrival_rate: float | FloatArray) -> float | FloatArray:
        """E[V²]/(2 E[V]), in seconds."""
        return 0.5 * self.second_moment / self.mean


@dataclass(frozen=True)
class Setups(LinearFractionalQueue):
    """First in first out, where the first query of a busy period waits for a setup D.

    That adds (2 E[D] + λ E[D²]) / (2 (1 + λ E[D])) to the mean waiting time of a query.

    Parameters
    ----------
    mean : float
        Mean length E[D] > 0 of a setup, in seconds.
    second_moment : float
        E[D²] ≥ E[D]², in seconds².

    Raises
    ------
    InvalidInputError
        If a moment is not finite or out of range.

    References
    ----------
    Welch, "On a generalized M/G/1 queuing process in which the first customer of each busy period
    receives exceptional service", Operations Research 12(5), 1964.
    """

    mean: float
    second_moment: float

    def __post_init__(self) -> None:
        _keep_moments(self, "mean", "second_moment", least=0.0, unit="seconds")

    @property
    def weights(self) -> Weights:
        """Those of FIFO."""
        return Weights(mean=0.0, load=0.0, second=1.0)

    def constant(self, arrival_rate: float | FloatArray) -> float | FloatArray:
        """(2 E[D] + λ E[D²]) / (2 (1 + λ E[D])), in seconds."""
        return (self.mean + 0.5 * arrival_rate * self.second_moment) / (
            1.0 + arrival_rate * self.mean
        )


# A second moment computed from the data that gave the mean may miss its square by rounding.
_JENSEN_SLACK = 1.0 - 1e-12


def _keep_moments(queue: object, mean: str, second: str, *, least: float, unit: str) -> None:
    """Check two moments of a queue and keep them as floats."""
    first = real_number(f"queue.{mean}", getattr(queue, mean))
    square = real_number(f"queue.{second}", getattr(queue, second))
    if first < least or first == 0.0:
        bound = f"≥ {least:g}" if least else "> 0"
        raise InvalidInputError(f"queue.{mean} = {first!r} must be {bound} ({unit})")
    if square < _JENSEN_SLACK * first * first:
        raise InvalidInputError(
            f"queue.{second} = {square!r} must be at least the square of queue.{mean} = {first!r} "
            f"({unit}²)"
        )
    object.__setattr__(queue, mean, first)
    object.__setattr__(queue, second, square)
