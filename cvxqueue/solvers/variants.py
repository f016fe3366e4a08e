"""Variants of an instance on a grid: what they share, and what each has of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.formatting import plural
from cvxqueue.model import Instance, require_instance
from cvxqueue.model.constraints import least_tokens
from cvxqueue.model.instance import require_type_order
from cvxqueue.model.model import Model
from cvxqueue.model.ranges import require_in_range
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray, frozen, kept
from cvxqueue.numerics.checks import common_shape, float_array, number_array, require_that

BY_VARIANT, BY_LAW = ("arrival_rate", "accuracy_weight"), ("service", "accuracy")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Variants(ArrayData):
    """Variants of an instance; what is left out they share.

    The parameters are those of `solve_batch`, and their leading axes broadcast with each other, as
    in numpy, to the shape of the grid.
    """

    instance: Instance
    arrival_rate: Any = None
    accuracy_weight: Any = None
    probabilities: Any = None
    service: Any = None
    accuracy: Any = None
    max_tokens: Any = None
    min_tokens: Any = None
    importance: Any = None

    def __post_init__(self) -> None:
        require_instance(self.instance)
        size = self.instance.size
        for name, value in self._given.items():
            if name in BY_LAW:
                kind = type(getattr(self.instance, name))
                allowed = f"{kind.__name__}, as in the instance"
                require_that(isinstance(value, kind), name, value, allowed)
                vars(self)[name] = value.broadcast(size)
            else:
                if name not in BY_VARIANT:
                    require_type_order(name, value, self.instance.names)
                vars(self)[name] = _array(name, value, None if name in BY_VARIANT else size)
        common_shape(self._leading)
        data = self._data
        weights = data.accuracy_weight, data.importance
        box = data.min_tokens, data.max_tokens
        require_in_range(data.arrival_rate, data.probabilities, *weights, *box)

    @property
    def _given(self) -> dict[str, Any]:
        fields = self._fields()
        del fields["instance"]
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def _data(self) -> SimpleNamespace:
        """All data by the names of `Instance`, arrays in place of what varies."""
        return SimpleNamespace(**(vars(self.instance) | self._given), size=self.instance.size)

    @property
    def _leading(self) -> dict[str, tuple[int, ...]]:
        return {
            name: value.shape if name in BY_VARIANT else value.shape[:-1]
            for name, value in self._given.items()
        }

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid: that of `BatchSolution.gap`."""
        return common_shape(self._leading)

    @property
    def count(self) -> int:
        """Number of variants."""
        return math.prod(self.shape)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """What `solve_batch` was given, by name: arrays or laws of shape (...) or (..., N)."""
        found = {name: self._taken(name, value, ()) for name, value in self._given.items()}
        return MappingProxyType(found)

    def _taken(self, name: str, value: Any, place: tuple[int, ...]) -> Any:
        """What was given of one variant, or of all where no place is."""
        types = (*self.shape, self.instance.size)
        if name not in BY_LAW:
            shape = self.shape if name in BY_VARIANT else types
            return np.broadcast_to(value, shape)[place]
        # A law without leading axes is that of any variant.
        is_common = len(value.shape) == 1 and (place or not self.shape)
        return value if is_common else value.mapped(lambda it: np.broadcast_to(it, types)[place])

    @kept
    def _floors(self) -> tuple[FloatArray, FloatArray | None, NDArray[np.bool_]]:
        """The least tokens, what rounding moved them by, and whether floors can be met."""
        data = self._data
        lower, rounding = least_tokens(data)
        is_met = (lower <= data.max_tokens).all(axis=-1)
        # Whether a queue is stable that no tokens serve well enough is asked without the floors.
        is_floored = is_met[..., np.newaxis]
        lower = np.where(is_floored, lower, data.min_tokens)
        return lower, None if rounding is None else np.where(is_floored, rounding, 0.0), is_met

    @cached_property
    def model(self) -> Model:
        """The data of the formulas, without constraints but the box; an arrival rate for each."""
        data, (lower, rounding, _) = self._data, self._floors
        return self.instance.model.with_(
            arrival_rate=np.broadcast_to(data.arrival_rate, self.shape),
            accuracy_weight=data.accuracy_weight,
            probabilities=data.probabilities,
            importance=data.importance,
            lower=lower,
            upper=data.max_tokens,
            lower_rounding=rounding,
            service=data.service,
            accuracy=data.accuracy,
            couplings=(),
        )

    @property
    def reaches_floors(self) -> NDArray[np.bool_]:
        """Whether tokens up to max_tokens reach the accuracy floors of types, shape (...)."""
        return np.broadcast_to(self._floors[2], self.shape)

    def at(self, place: tuple[int, ...]) -> Instance:
        """Return the instance that a variant is."""
        own = {name: self._taken(name, value, place) for name, value in self._given.items()}
        return self.instance.replace(**own)

    @property
    def label(self) -> str:
        """How many there are, of what, and on which grid."""
        of = f" of {', '.join(self._given)}" if self._given else ""
        grid = f" in a grid of shape {self.shape}" if len(self.shape) > 1 else ""
        return f"{plural(self.count, 'variant')}{of}{grid}"

    def __repr__(self) -> str:
        return f"Variants({self.label})"


def _array(name: str, value: ArrayLike, size: int | None) -> FloatArray:
    """Numbers of any shape, or with an entry for each type in the last axis."""
    raw = number_array(name, value, "a number or an array of numbers")
    if raw.size == 0 and (size is None or raw.shape[-1] == size):
        # A grid may be empty.
        return frozen(np.zeros(raw.shape))
    return float_array(name, raw, size, axes=None)
