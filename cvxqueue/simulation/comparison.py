"""Allocations on the same queries, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cvxqueue.formatting import plural
from cvxqueue.json_values import json_attributes
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation.plan import Columns
from cvxqueue.simulation.result import Simulation, estimate_columns
from cvxqueue.statistics.estimate import Estimate
from cvxqueue.tables import Column, Part, Report, Table


@quiet
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Comparison(Report):
    """Allocations that met the same arrivals, the same types and the same luck.

    Differences are those of each allocation to the first, in the order of `simulations`; the first
    is zero.

    Parameters
    ----------
    simulations : tuple of Simulation
        One for each allocation.
    """

    simulations: tuple[Simulation, ...]

    def _differences(self, above: Sequence[FloatArray | int], below: int) -> tuple[Estimate, ...]:
        first = self.simulations[0].sums
        parts = [
            simulation.sums.residuals(top, below)
            for simulation, top in zip(self.simulations, above, strict=True)
        ]
        value, residuals = parts[0]
        return tuple(
            # Equal allocations differ by nothing, and that is certain.
            Estimate(0.0, (0.0, 0.0), first.confidence, 0.0, first.count - 1)
            if np.array_equal(simulation.tokens, self.simulations[0].tokens)
            else first.estimate(v - value, r - residuals, terms=v + value)
            for simulation, (v, r) in zip(self.simulations, parts, strict=True)
        )

    @cached_property
    def mean_waiting_time(self) -> tuple[Estimate, ...]:
        """Differences of the mean waiting time, in seconds."""
        return self._differences([Columns.WAIT] * len(self.simulations), Columns.COUNT)

    @cached_property
    def mean_system_time(self) -> tuple[Estimate, ...]:
        """Differences of the mean system time, in seconds."""
        return self._differences([Columns.SYSTEM] * len(self.simulations), Columns.COUNT)

    @cached_property
    def mean_accuracy(self) -> tuple[Estimate, ...]:
        """Differences of the fraction of correct answers."""
        correct = [it.sums.rows[:, it.columns.correct].sum(axis=1) for it in self.simulations]
        return self._differences(correct, Columns.ARRIVED)

    @cached_property
    def objective(self) -> tuple[Estimate, ...]:
        """Differences of the objective, in seconds: accuracy from the curves, times simulated."""
        benefits = [float(it.instance.evaluate(it.tokens).benefit) for it in self.simulations]
        return tuple(
            _shifted(time, benefit - benefits[0])
            for benefit, time in zip(benefits, self.mean_system_time, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the simulations and their differences as plain values, ready for JSON."""
        differences = json_attributes(self, _DIFFERENCES)
        return json_attributes(self, ["simulations"]) | {"differences": differences}

    def __repr__(self) -> str:
        return f"Comparison({plural(len(self.simulations), 'allocation')})"

    def _parts(self) -> Iterable[Part]:
        count = plural(len(self.simulations), "allocation")
        queries = f"{self.simulations[0].queries:,} queries"
        yield f"{queries}, the same for {count}; differences to the first"
        yield ""
        yield self.table()

    def table(self) -> Table:
        """Return the differences."""
        count = len(self.simulations) - 1
        columns = [
            Column("quantity", [label for label in _DIFFERENCES.values() for _ in range(count)]),
            Column("allocation", list(range(2, count + 2)) * len(_DIFFERENCES)),
        ]
        differences = [it for name in _DIFFERENCES for it in getattr(self, name)[1:]]
        columns += estimate_columns("difference", differences)
        return Table(columns, most=len(differences))


_DIFFERENCES = {
    "objective": "objective (s)",
    "mean_system_time": "mean system time (s)",
    "mean_waiting_time": "mean waiting time (s)",
    "mean_accuracy": "mean accuracy",
}


def _shifted(time: Estimate, gain: float) -> Estimate:
    """Estimate of a gain less a time."""
    low, high = time.interval
    return replace(
        time, value=gain - time.value, interval=(gain - high, gain - low), skewness=-time.skewness
    )
