"""Frontiers: what accuracy costs in mean system time, and what the next unit of it would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvxqueue.formatting import plural
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.batch_solution import LABELS
from cvxqueue.sweeps.grid import Grid
from cvxqueue.sweeps.solved_rows import Rows
from cvxqueue.tables import Column, Part, Report, Table


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Frontier(ReadOnlyArrays, Report):
    """Allocations of which none has more accuracy in less time: the certified rows of a sweep.

    The slope of the frontier is the accuracy weight: at each allocation one unit more of accuracy
    takes that many seconds more of mean system time. Between two allocations the time per unit of
    accuracy lies between their weights; between two that are equal there is none.

    Parameters
    ----------
    shadow_price : ndarray, shape (M,)
        Accuracy weights, increasing: seconds of mean system time per unit of accuracy.
    accuracy : ndarray, shape (M,)
        Σ π w p, the accuracy that the objective counts.
    mean_system_time : ndarray, shape (M,)
        In seconds.
    utilization : ndarray, shape (M,)
    at : mapping
        Value of each other parameter that varies, by name with unit.
    """

    shadow_price: FloatArray
    accuracy: FloatArray
    mean_system_time: FloatArray
    utilization: FloatArray
    at: Mapping[str, float]

    @classmethod
    def of(cls, grid: Grid, rows: Rows, which: NDArray[np.intp]) -> Frontier:
        """Return the frontier that some rows trace, which differ by the accuracy weight alone."""
        first = int(which[0])
        label = LABELS["accuracy_weight"]
        others = (it for it in grid.columns(first, first + 1) if it.name != label)
        at = {name: float(values[0]) for name, values, _ in others}
        weights = np.asarray(grid.axes["accuracy_weight"])
        is_certified = rows.status[which] == 0
        weights, which = weights[is_certified], which[is_certified]
        order = np.argsort(weights, kind="stable")
        which = which[order]
        return cls(
            shadow_price=weights[order],
            accuracy=rows.weighted_accuracy[which],
            mean_system_time=rows.mean_system_time[which],
            utilization=rows.utilization[which],
            at=at,
        )

    def table(self) -> Table:
        """Return a row for each allocation."""
        return Table(
            [
                Column("shadow price (s)", self.shadow_price),
                Column("accuracy", self.accuracy, "{:.4f}".format),
                Column("mean system time (s)", self.mean_system_time, "{:.4g}".format),
                Column("utilization", self.utilization, "{:.4f}".format),
            ]
        )

    def _parts(self) -> Iterable[Part]:
        at = ", ".join(f"{name} {value:g}" for name, value in self.at.items())
        yield f"Frontier of {plural(len(self), 'allocation')}{f' at {at}' if at else ''}"
        if len(self):
            yield ""
            yield self.table()

    def __len__(self) -> int:
        return self.shadow_price.size

    def __repr__(self) -> str:
        return f"Frontier({plural(len(self), 'allocation')})"
