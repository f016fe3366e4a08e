"""The queues: weights and constants of their mean waiting times, and when these are exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.linear_fractional import LinearFractionalQueue, Weights
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import real_number, require_representable
from cvxqueue.numerics.float64 import JENSEN_SLACK


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

    @cached_property
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

    @cached_property
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
        vars(self).update(
            _moments(self, "mean_size", "size_second_moment", least=1.0, unit="queries")
        )

    @cached_property
    def weights(self) -> Weights:
        """Besides the second moment, those of the own batch that come first, times m1."""
        ahead = 0.5 * (self.size_second_moment - self.mean_size) / self.mean_size
        return Weights(mean=ahead, load=0.0, second=1.0)


@dataclass(frozen=True)
class _WithAbsences(LinearFractionalQueue):
    """First in first out, where the server is away at times."""

    mean: float
    second_moment: float

    def __post_init__(self) -> None:
        vars(self).update(_moments(self, "mean", "second_moment", least=0.0, unit="seconds"))

    @cached_property
    def weights(self) -> Weights:
        """Those of FIFO."""
        return Weights(mean=0.0, load=0.0, second=1.0)


@dataclass(frozen=True)
class Vacations(_WithAbsences):
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

    def constant(self, arrival_rate: float | FloatArray) -> float | FloatArray:
        """E[V²]/(2 E[V]), in seconds."""
        return 0.5 * self.second_moment / self.mean


@dataclass(frozen=True)
class Setups(_WithAbsences):
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

    def constant(self, arrival_rate: float | FloatArray) -> float | FloatArray:
        """(2 E[D] + λ E[D²]) / (2 (1 + λ E[D])), in seconds."""
        wait = self.mean + 0.5 * arrival_rate * self.second_moment
        return wait / (1.0 + arrival_rate * self.mean)


def _moments(queue: object, mean: str, second: str, *, least: float, unit: str) -> dict[str, float]:
    """Two moments of a queue as floats, checked."""
    first = real_number(f"queue.{mean}", getattr(queue, mean))
    square = real_number(f"queue.{second}", getattr(queue, second))
    if first < least or first == 0.0:
        bound = f"≥ {least:g}" if least else "> 0"
        raise InvalidInputError(f"queue.{mean} = {first!r} must be {bound} ({unit})")
    if square < JENSEN_SLACK * first * first:
        raise InvalidInputError(
            f"queue.{second} = {square!r} must be at least the square of queue.{mean} = {first!r} "
            f"({unit}²)"
        )
    for name, value in ((mean, first), (second, square)):
        require_representable(f"queue.{name}", np.asarray(value))
    return {mean: first, second: square}
