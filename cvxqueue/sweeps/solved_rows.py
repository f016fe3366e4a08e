"""Rows of a sweep: what `solve_batch` finds of some combinations, as plain arrays or as text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.batch import solve_batch
from cvxqueue.solvers.batch_solution import METRICS, BatchSolution
from cvxqueue.sweeps.grid import Grid
from cvxqueue.tables import Column, Table

STATUSES = ("optimal", "unstable", "infeasible", "not certified")
"""A certified answer; no allocation is stable; none is known to keep the constraints, or reaches an
accuracy floor; tokens with a gap above the tolerance."""


class Rows(NamedTuple):
    """What was found of some combinations, each array with a row for each."""

    status: NDArray[np.int8]
    """Place in `STATUSES`."""
    objective: FloatArray
    gap: FloatArray
    mean_accuracy: FloatArray
    weighted_accuracy: FloatArray
    """Σ π w p, which the objective counts."""
    utilization: FloatArray
    mean_waiting_time: FloatArray
    mean_system_time: FloatArray
    tokens: FloatArray
    """Shape (rows, N)."""
    prices: FloatArray
    """What one unit more of each constraint's limit gains, in seconds, shape (rows, C)."""

    @property
    def is_optimal(self) -> NDArray[np.bool_]:
        """Whether the answer is certified."""
        is_optimal: NDArray[np.bool_] = self.status == 0
        return is_optimal


def solve_rows(grid: Grid, first: int, last: int, tolerance: float | None) -> Rows:
    """Solve some of the combinations."""
    batch = solve_batch(grid.instance, tolerance=tolerance, **grid.variants(first, last))
    weighted = np.vecdot(grid.weights(first, last), batch.accuracies)
    return Rows(
        _status(batch),
        batch.objective,
        batch.gap,
        batch.mean_accuracy,
        weighted,
        batch.utilization,
        batch.mean_waiting_time,
        batch.mean_system_time,
        batch.tokens,
        batch.constraint_multipliers,
    )


def _status(batch: BatchSolution) -> NDArray[np.int8]:
    is_empty = np.isnan(batch.tokens).any(axis=-1) | ~batch.variants.reaches_floors
    found = np.where(batch.is_optimal, 0, np.where(~batch.is_stable, 1, np.where(is_empty, 2, 3)))
    return found.astype(np.int8)


def table_of(grid: Grid, first: int, rows: Rows) -> Table:
    """Return rows, from the first on, with names and units."""
    instance = grid.instance
    status = np.asarray(STATUSES, dtype=object)[rows.status].tolist()
    columns = [*grid.columns(first, first + rows.status.size), Column("status", status)]
    for name, (label, show) in METRICS.items():
        if name != "is_optimal":
            columns.append(Column(label, getattr(rows, name), show))
        if name == "mean_accuracy" and grid.is_weighted:
            columns.append(Column("weighted accuracy", rows.weighted_accuracy, show))
    columns += [
        Column(f"tokens of {instance.type_name(k)}", rows.tokens[:, k], "{:,.1f}".format)
        for k in range(instance.size)
    ]
    columns += [
        Column(f"price of {coupling.label} (s)", rows.prices[:, place])
        for place, coupling in enumerate(instance.model.couplings)
    ]
    return Table(columns)


def text_of(grid: Grid, first: int, last: int, tolerance: float | None) -> tuple[str, list[int]]:
    """Solve some of the combinations; return lines of CSV, and how many have each status."""
    rows = solve_rows(grid, first, last, tolerance)
    columns = table_of(grid, first, rows).machine_columns().values()
    lists = [it.tolist() if isinstance(it, np.ndarray) else it for it in columns]
    # One call for all digits: Python's writer of CSV takes half as long again. There are but
    # numbers and the words of `STATUSES`.
    text = str(list(zip(*lists, strict=True)))[2:-2]
    text = text.replace("), (", "\n").replace(", ", ",").replace("'", "")
    return text + "\n", np.bincount(rows.status, minlength=len(STATUSES)).tolist()
