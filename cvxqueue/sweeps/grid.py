"""Grids of variants: every combination of the values of parameters, solved a part at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, assumed, require_instance
from cvxqueue.model.instance import require_type_order
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import number_array
from cvxqueue.solvers.batch import solve_batch
from cvxqueue.solvers.batch_solution import METRICS, parameter_label
from cvxqueue.solvers.variants import BY_LAW, BY_VARIANT, Variants
from cvxqueue.suggest import nearest
from cvxqueue.tables import Column, Table

_TYPE_DATA = ("probabilities", "max_tokens", "min_tokens", "importance")
_NAMES = (*BY_VARIANT, *_TYPE_DATA, *BY_LAW)


@dataclass(frozen=True)
class Grid:
    """An instance, and the values of each parameter that varies: all combinations are rows.

    The last parameter varies fastest.
    """

    instance: Instance
    axes: dict[str, Any]
    """By name: arrays of shape (M,) or (M, N), or laws of such arrays; in the order of the rows."""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """How many values each has."""
        return tuple(values.shape[0] for values in self.axes.values())

    def __len__(self) -> int:
        return math.prod(self.shape)

    def variants(self, first: int, last: int) -> dict[str, Any]:
        """Return what `solve_batch` needs for some of the rows."""
        places = np.unravel_index(np.arange(first, last), self.shape)
        size, found = self.instance.size, {}
        for (name, values), rows in zip(self.axes.items(), places, strict=True):
            if name in BY_LAW:
                found[name] = values.mapped(lambda array, rows=rows: array[rows])
            else:
                taken = values[rows]
                is_common = name in _TYPE_DATA and taken.ndim == 1
                found[name] = (
                    np.broadcast_to(taken[:, np.newaxis], (rows.size, size)) if is_common else taken
                )
        return found

    def instance_at(self, row: int) -> Instance:
        """Return the instance that one row is about."""
        return Variants(instance=self.instance, **self.variants(row, row + 1)).at((0,))

    @property
    def is_weighted(self) -> bool:
        """Whether the accuracy that counts is another than the mean."""
        return "importance" in self.axes or bool((self.instance.importance != 1.0).any())

    @property
    def assumes(self) -> tuple[str, ...]:
        """What is taken for granted of classes that are not the package's."""
        return assumed(self.instance)

    def columns(self, first: int, last: int) -> list[Column]:
        """Return the parameters of some of the rows; a law is told by its position."""
        places = np.unravel_index(np.arange(first, last), self.shape)
        columns = []
        for (name, values), rows in zip(self.axes.items(), places, strict=True):
            label = parameter_label(name)
            if name in BY_LAW:
                columns.append(Column(f"{label} law", rows))
            elif values.ndim == 1:
                columns.append(Column(label, values[rows]))
            else:
                columns += [
                    Column(f"{label} of {self.instance.type_name(k)}", values[rows, k])
                    for k in range(self.instance.size)
                ]
        return columns

    def weights(self, first: int, last: int) -> FloatArray:
        """Return π w of some of the rows, shape (rows, N) or (N,)."""
        of = self.variants(first, last)
        mix = of.get("probabilities", self.instance.probabilities)
        weights: FloatArray = mix * of.get("importance", self.instance.importance)
        return weights


def grid_of(instance: Instance, grids: dict[str, Any]) -> Grid:
    """Return the grid of an instance and of what varies, checked."""
    require_instance(instance)
    if not grids:
        raise InvalidInputError(
            f"a sweep needs the values of a parameter at least: {', '.join(_NAMES)}"
        )
    axes = {name: _axis(instance, name, values) for name, values in grids.items()}
    for name, values in axes.items():
        # What is not allowed is refused before any work.
        one = Grid(instance, {name: values})
        Variants(instance=instance, **one.variants(0, len(one)))
    if {"min_tokens", "max_tokens"} <= axes.keys():
        least, most = axes["min_tokens"].max(axis=0), axes["max_tokens"].min(axis=0)
        if (least > most).any():
            raise InvalidInputError("min_tokens must be ≤ max_tokens in every combination")
    return Grid(instance, axes)


def _axis(instance: Instance, name: str, values: Any) -> Any:
    """Return the values of one parameter: first axis the grid's, second one the types'."""
    if name not in _NAMES:
        raise InvalidInputError(f"a sweep has no parameter {shown(name)}: {nearest(name, _NAMES)}")
    if name in BY_LAW:
        shape: tuple[int, ...] = getattr(values, "shape", ())
        if len(shape) != 2 or shape[-1] != instance.size:
            raise InvalidInputError(
                f"{name} must have arrays of shape (M, {instance.size}), a row for each value, "
                f"got {shape if shape else shown(values)}"
            )
        return values
    if name in _TYPE_DATA:
        require_type_order(name, values, instance.names)
        # Of the class: of an array or a list it is no such thing, or a method.
        has_labels = hasattr(type(values), "__array__") and hasattr(type(values), "index")
        if has_labels and not set(values.index).isdisjoint(instance.names or ()):
            raise InvalidInputError(
                f"{name}: its rows have the names of types, but each row is a value of the sweep: "
                f"give shape (M, {instance.size}), a column for each type"
            )
    array = np.atleast_1d(number_array(name, values, "a list of numbers"))
    axes = "(M,)" if name in BY_VARIANT else f"(M, {instance.size})"
    if name in _TYPE_DATA[1:]:
        axes = f"(M,), or {axes}"
    is_fit = array.ndim == 1 and name != "probabilities"
    is_fit |= array.ndim == 2 and name in _TYPE_DATA and array.shape[-1] == instance.size
    if not is_fit or not array.size:
        raise InvalidInputError(
            f"{name} must have shape {axes} with M ≥ 1, a row for each value, got shape "
            f"{array.shape}"
        )
    return read_only(np.asarray(array, dtype=np.float64))


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
    is_empty = np.isnan(batch.tokens).any(axis=-1) | ~batch.variants.reaches_floors
    statuses = [batch.is_optimal, ~batch.is_stable, is_empty]
    known = {
        "status": np.select(statuses, range(len(statuses)), len(statuses)).astype(np.int8),
        "weighted_accuracy": np.vecdot(grid.weights(first, last), batch.accuracies),
        "prices": batch.constraint_multipliers,
    }
    return Rows(*(known[it] if it in known else getattr(batch, it) for it in Rows._fields))


def token_columns(instance: Instance, tokens: FloatArray) -> list[Column]:
    """Return the tokens of each type, shape (rows, N), as columns of a table."""
    return [
        Column(f"tokens of {instance.type_name(k)}", tokens[:, k], "{:,.1f}".format)
        for k in range(instance.size)
    ]


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
    columns += token_columns(instance, rows.tokens)
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
