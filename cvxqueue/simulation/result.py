"""What a simulation estimated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.formatting import TYPES_SHOWN, plural
from cvxqueue.json_values import json_attributes, json_values
from cvxqueue.model import FIFO, Instance, ProcessorSharing
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray, forwarded
from cvxqueue.simulation.plan import Columns
from cvxqueue.simulation.sampling import ServiceTimes
from cvxqueue.statistics.batch_means import BatchSums
from cvxqueue.statistics.estimate import Estimate
from cvxqueue.tables import Column, Part, Report, Table

# Relaxation times in a run whose intervals can be believed: twenty batches of fifty.
_LONG_ENOUGH = 1000.0
# Independent terms of equal weight that make the mean of so skewed ones nearly normal: the relative
# error is then 0.11, which is that of the variance of the wait in heavy traffic after a thousand
# relaxation times, where the intervals hold.
ENOUGH_TERMS = 80.0
_PLAIN = FIFO, ProcessorSharing


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Simulation(ReadOnlyArrays, Report):
    """Estimates of what an operator would measure at an allocation.

    Parameters
    ----------
    instance : Instance
        The instance that was simulated.
    tokens : ndarray, shape (N,)
        The allocation.
    sums : BatchSums
        What was summed, batch by batch.
    confidence : float
        Of each interval by itself.
    queries : int
        Queries that were counted, warm-up left out.
    warm_up : int
        Queries of each replication that were left out at its start.
    replications : int
        Independent replications that the queries are spread over.
    arrivals : str
        ``"poisson"``, ``"renewal"`` or ``"trace"``.
    rate : float
        Arrivals per second: those of the instance, or of the trace.
    relaxation : float
        Queries after which the waiting time has mostly forgotten where it was: by the theory of
        heavy traffic, and longer by the queries that wait for the end of one vacation or setup;
        infinite under overload.
    trace : ndarray or None
        The arrival times that were replayed.
    thresholds : tuple of float
        Waiting times x, in seconds, whose P(W > x) is in `waiting_tail`.
    waiting_quantiles, system_quantiles : mapping of float to Estimate
        By probability, in seconds; what was asked for.
    seconds : float
        How long the simulation took.
    """

    instance: Instance
    tokens: FloatArray
    sums: BatchSums
    confidence: float
    queries: int
    warm_up: int
    replications: int
    arrivals: str
    rate: float
    relaxation: float
    trace: FloatArray | None
    thresholds: tuple[float, ...]
    waiting_quantiles: Mapping[float, Estimate]
    system_quantiles: Mapping[float, Estimate]
    seconds: float

    @property
    def columns(self) -> Columns:
        """Where each sum is found in a row of `sums`."""
        return Columns(self.instance.size, len(self.thresholds))

    @property
    def _clustering(self) -> float:
        """Queries that share their luck in waiting, at most all of them."""
        return min(self.relaxation, float(self.queries))

    @property
    def is_overloaded(self) -> bool:
        """Whether a trace brings more work than the server can do, on average."""
        return self.rate * float(self.instance.evaluate(self.tokens).mean_service_time) >= 1.0

    @property
    def is_short(self) -> bool:
        """Whether the run is too short for its intervals to hold: too few independent stretches."""
        return self.queries < _LONG_ENOUGH * self.relaxation

    @cached_property
    def _fewest_by_rarity(self) -> float:
        """Queries of which enough, of a plain queue, are served so long that others wait for them.

        At light load a service time t makes Poisson many queries wait for a uniform part of it, and
        adds to the sum of the squared waits λ t³/3 on average, and λ t⁵/5 + λ² t⁶/9 to the mean
        square of what it adds. A few rare types may hold all of that.
        """
        if self.arrivals != "poisson" or type(self.instance.queue) not in _PLAIN:
            return 0.0
        moment = ServiceTimes(self.instance, self.tokens).moment
        # In units of the mean time between arrivals, so that powers stay in range.
        third, fifth, sixth = (self.rate**n * moment(n) for n in (3, 5, 6))
        if third <= 0.0:
            return 0.0
        return ENOUGH_TERMS * (fifth / 5.0 + sixth / 9.0) / (third / 3.0) ** 2

    @property
    def caution(self) -> str:
        """What a reader of the intervals should know; empty where they hold."""
        if self.is_overloaded:
            return (
                "The trace brings more work than the server can do: waiting times grow as long as "
                "it goes on, and the averages describe these arrivals alone."
            )
        if self.is_short:
            return (
                "The run is short for this queue and load, and the intervals may be too narrow: "
                f"use at least {math.ceil(_LONG_ENOUGH * self.relaxation):,} queries."
            )
        if not self.sums.settles(self.mean_waiting_time):
            waited = int(self.sums.rows[:, Columns.WAITED].sum())
            some = f"{waited:,} of {self.queries:,} queries waited"
            if waited > 1:
                some += ", and too few of them hold most of the waiting"
            return f"{some}: intervals of waiting times may be too narrow; use more queries."
        if self.queries < self._fewest_by_rarity:
            return (
                "Most of the waiting is for few queries that are served for long, and intervals of "
                "waiting times may be too narrow: use at least "
                f"{math.ceil(self._fewest_by_rarity):,} queries."
            )
        return ""

    batches = forwarded("sums", BatchSums.count)

    @property
    def batch_correlation(self) -> float:
        """Correlation of the mean waiting times of neighbouring batches; near zero."""
        return self.sums.correlation

    @cached_property
    def mean_waiting_time(self) -> Estimate:
        """Mean time between arrival and start of service, in seconds."""
        return self.sums.ratio(Columns.WAIT, Columns.COUNT)

    @cached_property
    def mean_system_time(self) -> Estimate:
        """Mean time between arrival and departure, in seconds."""
        return self.sums.ratio(Columns.SYSTEM, Columns.COUNT)

    @cached_property
    def system_times(self) -> tuple[Estimate, ...]:
        """Mean system time of each type, in seconds; not a number where no query was of it."""
        rows, columns = self.sums.rows, self.columns
        sums, counts = rows[:, columns.system], rows[:, columns.counts]
        return tuple(self.sums.ratio(sums[:, k], counts[:, k]) for k in range(self.instance.size))

    @property
    def batches_with(self) -> NDArray[np.int64]:
        """Batches that saw each type, shape (N,)."""
        seen = self.sums.rows[:, self.columns.counts] > 0
        return np.asarray(seen.sum(axis=0), dtype=np.int64)

    @cached_property
    def waiting_variance(self) -> Estimate:
        """Variance of the waiting time, in seconds²."""
        mean, of_mean = self.sums.residuals(Columns.WAIT, Columns.COUNT)
        square, of_square = self.sums.residuals(Columns.WAIT_SQUARE, Columns.COUNT)
        return self.sums.estimate(
            square - mean * mean, of_square - 2.0 * mean * of_mean, terms=square
        )

    @cached_property
    def waiting_probability(self) -> Estimate:
        """Fraction of the queries that wait at all."""
        return self.sums.fraction(Columns.WAITED, Columns.COUNT, clustering=self._clustering)

    @cached_property
    def waiting_tail(self) -> dict[float, Estimate]:
        """P(W > x), by the waiting times x that were asked for."""
        first = self.columns.tails.start
        return {
            threshold: self.sums.fraction(
                first + position, Columns.COUNT, clustering=self._clustering
            )
            for position, threshold in enumerate(self.thresholds)
        }

    @cached_property
    def utilization(self) -> Estimate:
        """Fraction of time that the server works."""
        return self.sums.ratio(Columns.WORK, Columns.ELAPSED)

    @cached_property
    def arrival_rate(self) -> Estimate:
        """Arrivals per second."""
        return self.sums.ratio(Columns.ARRIVED, Columns.ELAPSED)

    @cached_property
    def mean_number(self) -> Estimate:
        """Time average of the number of queries in the system, counted over time."""
        return self.sums.ratio(Columns.NUMBER, Columns.ELAPSED)

    @cached_property
    def little_difference(self) -> Estimate:
        """Mean number in the system less arrival rate times mean system time: zero by Little."""
        number, of_number = self.sums.residuals(Columns.NUMBER, Columns.ELAPSED)
        rate, of_rate = self.sums.residuals(Columns.ARRIVED, Columns.ELAPSED)
        time, of_time = self.sums.residuals(Columns.SYSTEM, Columns.COUNT)
        # Counts at random times say nothing where they met nobody.
        seen = int(np.count_nonzero(self.sums.rows[:, Columns.NUMBER]))
        residuals = of_number - rate * of_time - time * of_rate
        return self.sums.estimate(number - rate * time, residuals, terms=number, count=seen)

    @cached_property
    def mean_accuracy(self) -> Estimate:
        """Fraction of the answers that are correct, drawn from the accuracy curves."""
        correct = self.sums.rows[:, self.columns.correct].sum(axis=1)
        return self.sums.fraction(correct, Columns.ARRIVED)

    @cached_property
    def objective(self) -> Estimate:
        """Objective α Σ π w p − T, in seconds: p from the curves, T simulated."""
        benefit = float(self.instance.evaluate(self.tokens).benefit)
        time, of_time = self.sums.residuals(Columns.SYSTEM, Columns.COUNT)
        return self.sums.estimate(benefit - time, -of_time)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimates as plain Python values, ready for JSON."""
        names = (
            *("tokens", "queries", "warm_up", "replications", "batches", "batch_correlation"),
            *("arrivals", "caution", *_ESTIMATES),
        )
        by_number = ("waiting_tail", "waiting_quantiles", "system_quantiles")
        estimates: dict[str, Any] = {
            "system_times": {
                self.instance.type_name(k): it for k, it in enumerate(self.system_times)
            },
            **{name: {repr(x): it for x, it in getattr(self, name).items()} for name in by_number},
        }
        return json_attributes(self, names) | json_values(estimates) | {"seconds": self.seconds}

    def __repr__(self) -> str:
        return (
            f"Simulation(queries={self.queries}, mean_waiting_time={self.mean_waiting_time}, "
            f"mean_system_time={self.mean_system_time})"
        )

    def _parts(self) -> Iterable[Part]:
        yield (
            f"{self.queries:,} queries, {ARRIVALS[self.arrivals]}, "
            f"{plural(self.replications, 'replication')}, {self.batches} batches, intervals at "
            f"{100 * self.confidence:g} %"
        )
        yield ""
        yield self.table()
        if self.caution:
            yield f"\n{self.caution}"

    def table(self) -> Table:
        """Return the estimates."""
        rows = [(label, getattr(self, name)) for name, label in _ESTIMATES.items()]
        rows += [(f"P(waiting > {x:g} s)", it) for x, it in self.waiting_tail.items()]
        for what, quantiles in (
            ("waiting", self.waiting_quantiles),
            ("system time", self.system_quantiles),
        ):
            rows += [(f"{what}, {100 * q:g} % quantile (s)", it) for q, it in quantiles.items()]
        most = len(rows) + TYPES_SHOWN
        rows += [
            (f"system time of {self.instance.type_name(k)} (s)", it)
            for k, it in enumerate(self.system_times)
        ]
        labels, estimates = zip(*rows, strict=True)
        return Table(
            [Column("quantity", labels), *estimate_columns("estimate", estimates)], most=most
        )


def estimate_columns(name: str, estimates: Sequence[Estimate]) -> list[Column]:
    """Return the columns of estimates: their values and their intervals."""
    return [
        Column(name, [it.value for it in estimates], _five_digits),
        Column("interval", [it.interval for it in estimates], _five_digits),
    ]


def _five_digits(value: float | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        return f"[{value[0]:.5g}, {value[1]:.5g}]"
    return f"{value:.5g}"


ARRIVALS = {
    "poisson": "Poisson arrivals",
    "renewal": "renewal arrivals",
    "trace": "replayed arrivals",
}

_ESTIMATES = {
    "utilization": "utilization",
    "mean_accuracy": "mean accuracy",
    "waiting_probability": "P(waiting > 0)",
    "mean_waiting_time": "mean waiting time (s)",
    "waiting_variance": "variance of it (s²)",
    "mean_number": "mean number in the system",
    "objective": "objective (s)",
    "mean_system_time": "mean system time (s)",
}
