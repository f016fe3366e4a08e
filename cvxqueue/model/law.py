"""What service laws and accuracy curves have in common: data by type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.formatting import plural
from cvxqueue.numerics.array_data import InputData, unchecked
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import common_arrays, float_array, require_size
from cvxqueue.numerics.roots import bracketed_root

# ln(1 + l) of a hundred times more tokens than float64 can count.
_FARTHEST = 42.0
# In ln(1 + l), from where the tokens themselves are searched.
_NEAR = 1e-3


class LawData(InputData):
    """Base of laws by type: dataclasses of arrays, checked and kept read-only in one shape."""

    _part: ClassVar[str] = ""
    """What the law is of an instance, for messages."""
    _kept: ClassVar[tuple[str, ...]] = ()
    """What parts have in common with the whole, and need not compute again."""

    def __post_init__(self) -> None:
        vars(self).update(common_arrays(self._part, **self._fields()))

    def _keep(self, conditions: Mapping[str, str], **values: ArrayLike) -> None:
        """Check the data, ≥ 0 or as their conditions say, and keep them in their common shape."""
        arrays = common_arrays(self._part, **values)
        for name, array in arrays.items():
            require_size(f"{self._part}.{name}", array, conditions.get(name, "≥ 0"))
        vars(self).update(arrays)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape by type: (), (N,), or (..., N) for a batch."""
        return np.broadcast_shapes(*(array.shape for array in self._fields().values()))

    def broadcast(self, length: int) -> Self:
        """Return the same law with one entry for each of `length` types."""
        if self.shape[-1:] == (length,):
            return self
        return type(self)(
            **{
                name: float_array(f"{self._part}.{name}", array, length, axes=None)
                for name, array in self._fields().items()
            }
        )

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return an unchecked copy with `function` applied to every array."""
        fields = {
            name: function(value) if isinstance(value, np.ndarray) else value
            for name, value in self._fields().items()
        }
        return unchecked(type(self), **fields, **{name: getattr(self, name) for name in self._kept})

    def __repr__(self) -> str:
        size = math.prod(self.shape)
        return f"{type(self).__name__}({plural(size, 'type')})"


def turning_tokens(
    excess: Callable[[FloatArray], FloatArray], shape: tuple[int, ...]
) -> tuple[FloatArray, FloatArray]:
    """Enclose the tokens ≥ 0 at which a function turns positive, to the rounding of float64.

    Both ends are 0 where it is positive there, and infinite where it is positive nowhere.
    """
    farthest = np.full(shape, _FARTHEST)
    near = bracketed_root(lambda u: excess(np.expm1(u)), np.zeros(shape), farthest, _NEAR)
    low, high = bracketed_root(excess, np.expm1(near[0]), np.expm1(near[1]))
    is_first = excess(np.zeros(shape)) > 0.0
    is_never = ~(is_first | (excess(np.expm1(farthest)) > 0.0))
    low, high = (np.where(is_first, 0.0, np.where(is_never, np.inf, end)) for end in (low, high))
    return low, high
