"""One replication: blocks of queries through the queue of each allocation, summed by batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvxqueue.model import ProcessorSharing, Setups, Vacations
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation.histogram import Histogram
from cvxqueue.simulation.laws import GammaLaw, GapSource, batch_gaps, renewal_gaps, trace_gaps
from cvxqueue.simulation.plan import QUEUES, Columns, Plan, starts_stationary
from cvxqueue.simulation.recursions import (
    Block,
    Lindley,
    Recursion,
    Served,
    SetupRecursion,
    SharedServer,
    VacationRecursion,
)
from cvxqueue.simulation.sampling import ServiceTimes

# Queries that are worked on at a time: a dozen arrays of so many floats stay in the cache.
_BLOCK = 8192
# Queries for each time at which those in the system are counted.
_SPACING = 64
# Residual service times that are drawn at a time.
_RESIDUALS = 100_000


class Stream:
    """One replication.

    Every source of randomness has a generator of its own, so that the allocations meet the same
    arrivals, the same types and the same luck.
    """

    def __init__(self, plan: Plan, seed: np.random.SeedSequence) -> None:
        self._plan = plan
        seeds = seed.spawn(5)
        gaps, self._kinds, self._answers, self._samples = (_generator(child) for child in seeds[:4])
        own, start, use = seeds[4].spawn(3)
        allocations = range(len(plan.allocations))
        self._use = [_generator(use) for _ in allocations]
        self._gaps = self._source(gaps)
        self._queues = [self._recursion(services, own, start) for services in plan.services]
        self.histograms = [(Histogram(unit), Histogram(unit)) for unit in plan.units]
        self.rows: list[list[FloatArray]] = [[] for _ in allocations]
        self._is_warm, self._has_begun = plan.warm_up == 0, False

    def _source(self, generator: np.random.Generator) -> GapSource:
        plan = self._plan
        if plan.options.trace is not None:
            return trace_gaps(plan.options.trace)
        if plan.sizes is not None:
            return batch_gaps(generator, plan.rate, plan.options.scv, plan.sizes)
        return renewal_gaps(generator, plan.rate, plan.options.scv)

    def _recursion(
        self, services: ServiceTimes, own: np.random.SeedSequence, start: np.random.SeedSequence
    ) -> Recursion:
        """The queue of one allocation; each gets the same random numbers."""
        plan, queue = self._plan, self._plan.instance.queue
        if type(queue) not in QUEUES:
            simulated: Recursion = queue.recursion(_generator(own))
            return simulated
        if isinstance(queue, ProcessorSharing):
            return SharedServer()
        if isinstance(queue, Vacations | Setups):
            law = GammaLaw.of_moments(queue.mean, queue.second_moment)
            away = VacationRecursion if isinstance(queue, Vacations) else SetupRecursion
            return away(law, _generator(own))
        if plan.options.trace is None and starts_stationary(plan.instance, plan.options.scv):
            return Lindley(stationary_workload(plan, services, _generator(start)))
        return Lindley(0.0)

    def advance(self, sizes: Sequence[int]) -> None:
        """Simulate further batches of so many queries each."""
        if not self._is_warm:
            self._batch(self._plan.warm_up)
            self._is_warm = True
        for size in sizes:
            for position, row in enumerate(self._batch(size, len(self.rows[0]))):
                self.rows[position].append(row)

    def _batch(self, size: int, number: int | None = None) -> list[FloatArray]:
        """Sums over so many queries, under each allocation; warm-up where there is no number."""
        plan, columns = self._plan, self._plan.columns
        rows = [np.zeros(columns.total) for _ in plan.allocations]
        arrived = np.zeros(plan.instance.size, dtype=np.int64)
        left = size
        while left:
            count = min(left, _BLOCK)
            left -= count
            gaps = self._gaps(count)
            if not self._has_begun:
                # The first query comes at once: the state that a query finds is that of the queue
                # at arrivals, and a gap before it would leave less work than queries find.
                gaps[0], self._has_begun = 0.0, True
            kinds = plan.types.draw(self._kinds, count)
            arrivals = np.cumsum(gaps)
            samples = self._sample_times(count, float(arrivals[-1]))
            arrived += np.bincount(kinds, minlength=plan.instance.size)
            for position, (services, queue) in enumerate(
                zip(plan.services, self._queues, strict=True)
            ):
                times = services.draw(self._use[position], kinds)
                served = queue.advance(Block(gaps, arrivals, times, kinds, samples))
                if number is not None:
                    row = rows[position]
                    row[Columns.ELAPSED] += arrivals[-1]
                    row[Columns.ARRIVED] += count
                    self._add(row, served, services)
                    if plan.groups:
                        group = number * plan.groups // plan.batches
                        waiting, system = self.histograms[position]
                        waiting.add(served.waits, group)
                        system.add(served.waits + served.services, group)
        for row, correct in zip(rows, self._correct(arrived), strict=True):
            row[columns.correct] = correct
        return rows

    def _add(self, row: FloatArray, served: Served, services: ServiceTimes) -> None:
        """Add what happened in a block to the sums of its batch."""
        columns, size = self._plan.columns, self._plan.instance.size
        waits, kinds = served.waits, served.kinds
        wait, counts = float(waits.sum()), np.bincount(kinds, minlength=size)
        row[Columns.COUNT] += len(waits)
        row[Columns.WAIT] += wait
        row[Columns.WAIT_SQUARE] += float(waits @ waits)
        row[Columns.WAITED] += np.count_nonzero(waits > 0.0)
        row[Columns.SYSTEM] += wait + float(served.services.sum())
        row[Columns.WORK] += served.work_done
        row[Columns.NUMBER] += served.number
        for position, threshold in enumerate(self._plan.options.thresholds):
            row[columns.tails.start + position] += np.count_nonzero(waits > threshold)
        row[columns.counts] += counts
        row[columns.system] += np.bincount(kinds, weights=waits, minlength=size)
        # Fixed times need no second look at every query.
        row[columns.system] += (
            np.bincount(kinds, weights=served.services, minlength=size)
            if services.is_random
            else counts * services.mean
        )

    def _sample_times(self, count: int, end: float) -> FloatArray:
        """Times in a block, one at random in each of equal parts: no rhythm can meet them."""
        parts = max(count // _SPACING, 1)
        return (np.arange(parts) + self._samples.random(parts)) * (end / parts)

    def _correct(self, arrived: NDArray[np.int64]) -> FloatArray:
        """Correct answers of each type under each allocation, from common luck."""
        # A query with the luck u is answered correctly where u < p: the differences of the sorted p
        # are the probabilities of a multinomial draw.
        accuracies = np.clip(self._plan.accuracies, 0.0, 1.0)
        order = np.argsort(accuracies, axis=0, kind="stable")
        ranked = np.take_along_axis(accuracies, order, axis=0)
        steps = np.diff(ranked, axis=0, prepend=0.0, append=1.0)
        found = self._answers.multinomial(arrived, steps.T).T
        correct = np.empty_like(accuracies)
        np.put_along_axis(correct, order, np.cumsum(found[:-1], axis=0), axis=0)
        return correct


def _generator(seed: np.random.SeedSequence) -> np.random.Generator:
    # The fastest bit generator of numpy.
    return np.random.Generator(np.random.SFC64(seed))


def stationary_workload(
    plan: Plan, services: ServiceTimes, generator: np.random.Generator
) -> float:
    """Draw the stationary workload of M/G/1, or of batches: a geometric sum of residual times.

    Each is a uniform share of a service time met by length; a batch is met in proportion to its
    size, and a member of it by length.
    """
    mean = math.fsum((plan.instance.probabilities * services.mean).tolist())
    load = plan.rate * mean
    if load <= 0.0:
        return 0.0
    count = math.floor(math.log1p(-generator.random()) / math.log(load))
    # Close to saturation there are too many to hold them all at a time.
    parts = range(0, count, _RESIDUALS)
    return math.fsum(
        _residuals(plan, services, generator, min(_RESIDUALS, count - first)) for first in parts
    )


def _residuals(
    plan: Plan, services: ServiceTimes, generator: np.random.Generator, count: int
) -> float:
    """Draw the sum of so many residual times."""
    work = services.draw_by_length(generator, count)
    if plan.sizes is not None:
        weights = plan.sizes.sizes * plan.sizes.probabilities
        sizes = generator.choice(plan.sizes.sizes, size=count, p=weights / weights.sum())
        others = np.repeat(np.arange(count), sizes - 1)
        kinds = plan.types.draw(generator, len(others))
        work += np.bincount(others, weights=services.draw(generator, kinds), minlength=count)
    return float((generator.random(count) * work).sum())
