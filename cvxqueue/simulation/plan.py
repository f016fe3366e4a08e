"""The plan of a run: replications, warm-up and batches, from how slowly the queue forgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import FIFO, BatchArrivals, Instance, ProcessorSharing, Setups, Vacations
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation.laws import SizeLaw
from cvxqueue.simulation.options import Options
from cvxqueue.simulation.sampling import ServiceTimes, TypeSampler

# Where nothing is said: enough for three digits of the mean wait at ordinary loads.
_QUERIES = 1_000_000
# Replications keep the cores busy; more than these do not shorten the intervals.
_MOST_REPLICATIONS = 8
# Queries that make a replication of its own worth its warm-up.
_LONG = 1 << 18
# Batches: so many relaxation times each, so that the correlation of neighbours is about a percent;
# no fewer than give a usable Student's t, and no more than memory allows.
_RELAXATIONS = 50.0
_FEWEST_BATCHES, _MOST_BATCHES = 20, 256
_MOST_SUMS = 1 << 22
# Relaxation times of warm-up: what is left of the start is e^-10 of it.
_WARM_UP = 10.0
# Groups of batches for the intervals of quantiles.
_GROUPS = 32

QUEUES = (FIFO, BatchArrivals, Vacations, Setups, ProcessorSharing)
"""Simulated as they are; a class derived from one of them may be any queue."""


def check_queue(instance: Instance) -> None:
    """Raise unless the queue is one that can be simulated."""
    queue = instance.queue
    if type(queue) not in QUEUES and queue.recursion(np.random.default_rng(0)) is None:
        known = ", ".join(queue.__name__ for queue in QUEUES)
        raise InvalidInputError(
            f"queue = {shown(queue)} cannot be simulated; those that can are {known}, and classes "
            "whose method recursion returns a cvxqueue.simulation.Recursion"
        )


def starts_stationary(instance: Instance, scv: float) -> bool:
    """Whether the workload at the start is drawn from its stationary distribution."""
    return scv == 1.0 and type(instance.queue) in (FIFO, BatchArrivals)


class Columns:
    """Where each sum is found in a row."""

    COUNT, WAIT, WAIT_SQUARE, WAITED, SYSTEM, ELAPSED, WORK, NUMBER, ARRIVED = range(9)

    def __init__(self, size: int, tails: int) -> None:
        first = 9
        self.tails = slice(first, first + tails)
        self.counts = slice(self.tails.stop, self.tails.stop + size)
        self.system = slice(self.counts.stop, self.counts.stop + size)
        self.correct = slice(self.system.stop, self.system.stop + size)
        self.total = self.correct.stop


@dataclass(frozen=True)
class Plan:
    """What is simulated: the same queries under each of the allocations."""

    instance: Instance
    allocations: tuple[FloatArray, ...]
    options: Options
    rate: float
    """Arrivals per second."""
    groups: int
    """Groups of batches that the quantiles tell apart; none where no quantile is asked for."""
    batches: int
    """Batches of each replication."""
    warm_up: int
    relaxation: float
    """Queries after which the waiting time has mostly forgotten where it was."""

    @cached_property
    def types(self) -> TypeSampler:
        """How types are drawn."""
        return TypeSampler(self.instance.probabilities)

    @cached_property
    def services(self) -> tuple[ServiceTimes, ...]:
        """The service times of each allocation."""
        return tuple(ServiceTimes(self.instance, tokens) for tokens in self.allocations)

    @cached_property
    def units(self) -> tuple[float, ...]:
        """About how long things take under each allocation: a service, or a longer absence."""
        queue = self.instance.queue
        away = queue.mean if isinstance(queue, Vacations | Setups) else 0.0
        return tuple(max(services.moment(1), away) for services in self.services)

    @cached_property
    def columns(self) -> Columns:
        """Where each sum is found in a row."""
        return Columns(self.instance.size, len(self.options.thresholds))

    @cached_property
    def accuracies(self) -> FloatArray:
        """Probability of a correct answer, shape (allocations, N)."""
        return np.stack([self.instance.evaluate(tokens).accuracies for tokens in self.allocations])

    @cached_property
    def sizes(self) -> SizeLaw | None:
        """Law of the batch sizes, where queries come in batches."""
        queue = self.instance.queue
        if type(queue) is BatchArrivals and self.options.trace is None:
            return SizeLaw.of_moments(queue.mean_size, queue.size_second_moment)
        return None


def planned(
    instance: Instance, tokens: Sequence[FloatArray], options: Options
) -> tuple[Plan, list[list[int]]]:
    """What each replication does, and the queries in each batch of each replication."""
    trace, batches = options.trace, options.batches
    rate, queries = instance.arrival_rate, options.queries or _QUERIES
    if trace is not None:
        rate = (len(trace) - 1) / float(trace[-1] - trace[0])
    relaxation = max(_relaxation(instance, it, rate, options.scv) for it in tokens)
    warm_up = options.warm_up
    if warm_up is None:
        at_once = trace is not None or starts_stationary(instance, options.scv)
        # Where that is longer than the run itself, the run is far too short, and says so.
        warm_up = 0 if at_once else math.ceil(min(_WARM_UP * relaxation, queries))
    if trace is not None:
        queries -= warm_up
    replications = 1 if trace is not None else max(1, min(_MOST_REPLICATIONS, queries // _LONG))
    if batches is None:
        batches = _batches(queries, relaxation, instance.size * len(tokens))
    else:
        replications = math.gcd(replications, batches)
    each = max(1, min(batches, queries) // replications)
    ends = np.arange(replications * each + 1) * queries // (replications * each)
    sizes: list[list[int]] = np.diff(ends).reshape(replications, each).tolist()
    plan = Plan(
        instance=instance,
        allocations=tuple(tokens),
        options=options,
        rate=rate,
        batches=each,
        groups=max(1, min(each, _GROUPS // replications)) if options.quantiles else 0,
        warm_up=warm_up,
        relaxation=relaxation,
    )
    return plan, sizes


def _relaxation(instance: Instance, tokens: FloatArray, rate: float, scv: float) -> float:
    """Queries after which the waiting time has mostly forgotten where it started.

    For a reflected Brownian motion of drift −μ and variance σ² to the query it is 2 σ²/μ²; here
    μ = (1 − ρ)/λ, and σ² is the variance of a service time less a gap, or for batches of the work
    of a batch less a gap.

    A server that was away finds A queries when it comes back, and each brings on a busy period of
    1/(1 − ρ) queries on average. So a query finds itself in a cycle that is on average
    (E[A²]/E[A] − 1)/(1 − ρ) queries longer than the busy period it would see without. A is Poisson
    given a vacation V, and one more than Poisson given a setup D; both times E[A²]/E[A] − 1 is 2 λ
    times what the absences add to the mean waiting time.
    """
    point = instance.evaluate(tokens)
    mean = float(point.mean_service_time)
    load = rate * mean
    if load >= 1.0:
        return math.inf
    spread = rate**2 * max(float(point.service_time_second_moment) - mean**2, 0.0)
    queue = instance.queue
    if type(queue) is BatchArrivals:
        size, square = queue.mean_size, queue.size_second_moment
        spread += load**2 * (square - size**2) / size + scv * size
    else:
        spread += scv
    # Queries that find the server idle forget at once: at least a few queries in any case.
    busy = 2.0 * max(spread, 1.0) / (1.0 - load) ** 2
    if type(queue) in (FIFO, BatchArrivals, ProcessorSharing):
        return busy
    away = queue.delay(rate, np.asarray(mean), np.asarray(1.0 - load)).value
    return busy + 2.0 * rate * float(away) / (1.0 - load)


def _batches(queries: int, relaxation: float, width: int) -> int:
    """Number of batches that are long against the relaxation time."""
    independent = int(queries / (_RELAXATIONS * relaxation))
    most = max(_FEWEST_BATCHES, min(_MOST_BATCHES, _MOST_SUMS // width))
    return min(max(independent, _FEWEST_BATCHES), most)
