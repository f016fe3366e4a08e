"""Queues: the mean system time as a function of two moments of the service time.

A queue sees the mixture of service times through its mean m1 and second moment m2 alone. The
prices P1 = ∂T/∂m1 and P2 = ∂T/∂m2 are what a second and a squared second of service cost.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cvxqueue.numerics.arrays import FloatArray, Numbers


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

    @property
    def has_lundberg_bound(self) -> bool:
        """Whether P(W > x) ≤ exp(−θ x) for every θ with E exp(θ S) ≤ 1 + θ/λ."""

    def mean_waiting_time(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> FloatArray:
        """Mean time between arrival and start of service, in seconds."""

    def prices(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> Prices:
        """Derivatives of the mean system time."""

    def price_slopes(
        self, arrival_rate: Numbers, mean: FloatArray, second_moment: FloatArray, idle: FloatArray
    ) -> PriceSlopes:
        """Second derivatives of the mean system time."""

    def priced(self, of_time: float, of_waiting: float) -> Queue:
        """Return the queue that counts `of_time` · T + `of_waiting` · W as its system time."""

    def divergence(
        self,
        arrival_rate: Numbers,
        idle: FloatArray,
        idle_to: FloatArray,
        mean_change: FloatArray,
        spread: FloatArray,
    ) -> FloatArray:
        """T(to) − T − ∇T · (to − from) ≥ 0 in the service times, without cancellation.

        Parameters
        ----------
        arrival_rate : float or ndarray, shape (...)
            λ, per second.
        idle, idle_to : ndarray, shape (...)
            Idle fractions y and y′ of the two.
        mean_change : ndarray, shape (...)
            m1′ − m1, in seconds.
        spread : ndarray, shape (...)
            Σ π E[(t′ − (y′/y) t)²], in seconds².
        """

    def least_idle(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, m2: Numbers
    ) -> FloatArray:
        """Lower bound on 1 − ρ where T ≤ `system_time`, mean ≥ `m1`, second moment ≥ `m2`."""

    def greatest_second_moment(
        self, arrival_rate: Numbers, system_time: Numbers, m1: Numbers, idle: Numbers
    ) -> FloatArray:
        """Upper bound on m2 where T ≤ `system_time`, m1 is ≥ the given and 1 − ρ = `idle`.

        Zero for a queue whose T does not depend on m2, and so says nothing of it.
        """

    def curvature(self, arrival_rate: Numbers, second_moment: float, idle: float) -> Curvature:
        """Bounds on the Hessian of T wherever the second moment is ≤ and 1 − ρ is ≥ the given."""

    def relative_slopes(
        self,
        arrival_rate: Numbers,
        second_moment: tuple[float, float],
        idle: tuple[float, float],
        times: tuple[FloatArray, FloatArray],
    ) -> RelativeSlopes:
        """Bounds on the derivatives of ln q over a box; each pair is (at lower, at upper)."""
