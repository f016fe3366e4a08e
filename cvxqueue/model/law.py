"""What service laws and accuracy curves have in common: data by type."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np

from cvxqueue.numerics.array_data import InputData, unchecked
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array

__all__ = ["LawData"]


class LawData(InputData):
    """Base of laws by type, of which the formulas take parts."""

    _part: ClassVar[str] = ""
    """What the law is of an instance, for messages."""
    _kept: ClassVar[tuple[str, ...]] = ()
    """What parts have in common with the whole, and need not compute again."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape by type: (), (N,), or (B, N) for a batch."""
        return np.broadcast_shapes(*(array.shape for array in self._fields().values()))

    def broadcast(self, length: int) -> Self:
        """Return the same law with one entry for each of `length` types."""
        if self.shape[-1:] == (length,):
            return self
        return type(self)(
            **{
                name: float_array(f"{self._part}.{name}", array, length, axes=2)
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
