"""Frontiers: what accuracy costs in mean system time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvxqueue.formatting import plural
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.batch_solution import LABELS
from cvxqueue.sweeps.grid import Grid, Rows
from cvxqueue.tables import Column, Part, Report, Table


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Frontier(ReadOnlyArrays, Report):
    """Allocations of which none has more accuracy in less time: the certified rows of a sweep.

    Between two allocations the time per unit of accuracy lies between their weights, whatever the
    constraints; between two that are equal there is none. So the slope of the frontier is the
    accuracy weight where allocations move with it. Where they rest, at bounds on tokens or at
    limits of constraints, the next unit of accuracy takes more than the weight, or there is none.

    Parameters
    ----------
    accuracy_weight : ndarray, shape (M,)
        Increasing, in seconds per unit of accuracy.
    accuracy : ndarray, shape (M,)
        Σ π w p, the accuracy that the objective counts.
    mean_system_time : ndarray, shape (M,)
        In seconds.
    utilization : ndarray, shape (M,)
    is_weighted : bool
        Whether some w is not one, or w varies: then the accuracy is not the mean.
    at : mapping
        Value of each other parameter that varies, by name with unit.
    """

    accuracy_weight: FloatArray
    accuracy: FloatArray
    mean_system_time: FloatArray
    utilization: FloatArray
    is_weighted: bool
    at: Mapping[str, float]

    @classmethod
    def of(cls, grid: Grid, rows: Rows, which: NDArray[np.intp]) -> Frontier:
        """Return the frontier that some rows trace, which differ by the accuracy weight alone."""
        first = int(which[0])
        label = LABELS["accuracy_weight"]
        others = (it for it in grid.columns(first, first + 1) if it.name != label)
        at = {name: float(values[0]) for name, values, _ in others}
        weights = np.asarray(grid.axes["accuracy_weight"])
        is_certified = rows.is_optimal[which]
        weights, which = weights[is_certified], which[is_certified]
        order = np.argsort(weights, kind="stable")
        which = which[order]
        return cls(
            accuracy_weight=weights[order],
            accuracy=rows.weighted_accuracy[which],
            mean_system_time=rows.mean_system_time[which],
            utilization=rows.utilization[which],
            is_weighted=grid.is_weighted,
            at=at,
        )

    @property
    def accuracy_label(self) -> str:
        """What the accuracy is called."""
        return "weighted accuracy" if self.is_weighted else "accuracy"

    def table(self) -> Table:
        """Return a row for each allocation."""
        return Table(
            [
                Column(LABELS["accuracy_weight"], self.accuracy_weight),
                Column(self.accuracy_label, self.accuracy, "{:.4f}".format),
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
        return self.accuracy_weight.size

    def __repr__(self) -> str:
        return f"Frontier({plural(len(self), 'allocation')})"
