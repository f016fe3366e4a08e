"""Service laws with a few coefficients for each type: the data that they share."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from cvxqueue.formatting import plural
from cvxqueue.model.law import LawData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import common_arrays, require, require_representable

__all__ = ["PolynomialService"]


class PolynomialService(LawData):
    """A law whose mean is a polynomial of the tokens that rises from 0 on: none is negative."""

    base: FloatArray
    per_token: FloatArray
    _part = "service"

    def _keep(self, units: Mapping[str, str], **values: ArrayLike) -> None:
        """Check the coefficients, some of which have units, and keep them."""
        arrays = common_arrays(**{f"service__{name}": value for name, value in values.items()})
        for name, array in zip(values, arrays, strict=True):
            is_allowed, sign = (array > 0, ">") if name == "per_token" else (array >= 0, "≥")
            unit = f" ({units[name]})" if name in units else ""
            require(f"service.{name}", array, is_allowed, f"must be {sign} 0{unit}")
            require_representable(f"service.{name}", array)
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({plural(self.base.size, 'type')})"
