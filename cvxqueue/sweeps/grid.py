"""Grids of variants: every combination of the values of some parameters, a part at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, assumed, require_instance
from cvxqueue.model.instance import require_type_order
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import number_array
from cvxqueue.solvers.batch_solution import parameter_label
from cvxqueue.solvers.variants import BY_LAW, BY_VARIANT, Variants
from cvxqueue.suggest import nearest
from cvxqueue.tables import Column

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
