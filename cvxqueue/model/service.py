"""Service laws: how long a query occupies the server, as a function of its thinking tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.arrays import (
    ArrayData,
    FloatArray,
    common_arrays,
    float_array,
    read_only,
    require,
)

__all__ = ["AffineService", "Moments", "ServiceLaw"]

_ZERO = read_only(np.zeros(()))


class Moments(NamedTuple):
    """Moments of the service time by type, and what one more token adds to them."""

    mean: FloatArray
    second_moment: FloatArray
    mean_slope: FloatArray
    second_moment_slope: FloatArray


class ServiceLaw(Protocol):
    """What the rest of the package asks of a service law, type by type.

    Means are in seconds, second moments in seconds squared; slopes and curvatures are the first
    and second derivatives with respect to the tokens, and broadcast against them. The mean system
    time must be convex in the tokens.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays by type: (), (N,), or (B, N) for a batch."""

    def broadcast(self, length: int) -> Self:
        """Return the same law with one entry for each of `length` types."""

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same law with `function` applied to every array by type, unchecked."""

    def mean(self, tokens: FloatArray) -> FloatArray:
        """Mean service time."""

    def mean_slope(self, tokens: FloatArray) -> FloatArray:
        """First derivative of the mean."""

    def mean_curvature(self, tokens: FloatArray) -> FloatArray:
        """Second derivative of the mean."""

    def second_moment(self, tokens: FloatArray) -> FloatArray:
        """Second moment of the service time."""

    def second_moment_slope(self, tokens: FloatArray) -> FloatArray:
        """First derivative of the second moment."""

    def second_moment_curvature(self, tokens: FloatArray) -> FloatArray:
        """Second derivative of the second moment."""

    def moments(self, tokens: FloatArray) -> Moments:
        """Both moments and their first derivatives at once."""

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Price of one more token, P1 m1′ + P2 m2′, and its derivative; prices broadcast."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AffineService(ArrayData):
    """Service time t(l) = base + per_token · l, the same for every query of a type.

    Parameters
    ----------
    base : array_like, shape () or (N,), or (B, N) for a batch
        Seconds that a query takes without thinking, ≥ 0.
    per_token : array_like, of such a shape
        Seconds per thinking token, > 0.

    Raises
    ------
    InvalidInputError
        If an entry is not finite, out of range, or the lengths differ.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> service = cq.AffineService(base=0.5, per_token=[0.01, 0.02])
    >>> service.mean([100.0, 100.0]).tolist()
    [1.5, 2.5]
    """

    base: FloatArray
    per_token: FloatArray

    def __init__(self, *, base: ArrayLike, per_token: ArrayLike) -> None:
        base_array, per_token_array = common_arrays(
            service__base=base, service__per_token=per_token
        )
        require("service.base", base_array, base_array >= 0, "must be ≥ 0 (seconds)")
        require(
            "service.per_token", per_token_array, per_token_array > 0, "must be > 0 (seconds/token)"
        )
        object.__setattr__(self, "base", base_array)
        object.__setattr__(self, "per_token", per_token_array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays: (), (N,), or (B, N) for a batch."""
        return self.base.shape

    def broadcast(self, length: int) -> Self:
        """Return the same law with one entry for each of `length` types."""
        if self.base.shape[-1:] == (length,):
            return self
        return type(self)(
            base=float_array("service.base", self.base, length, axes=2),
            per_token=float_array("service.per_token", self.per_token, length, axes=2),
        )

    def mean(self, tokens: ArrayLike) -> FloatArray:
        """Service time t(l), in seconds."""
        times: FloatArray = self.base + self.per_token * np.asarray(tokens, dtype=np.float64)
        return times

    def mean_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative of the service time, in seconds per token."""
        return self.per_token

    def mean_curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative of the service time: zero."""
        return _ZERO

    def second_moment(self, tokens: ArrayLike) -> FloatArray:
        """Second moment t(l)², in seconds squared."""
        return np.square(self.mean(tokens))

    def second_moment_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative of the second moment, 2 t(l) per_token."""
        slope: FloatArray = 2.0 * self.mean(tokens) * self.per_token
        return slope

    def second_moment_curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative of the second moment, 2 per_token²."""
        return 2.0 * np.square(self.per_token)

    def moments(self, tokens: ArrayLike) -> Moments:
        """Both moments and their first derivatives at once."""
        times = self.mean(tokens)
        return Moments(times, times * times, self.per_token, (times + times) * self.per_token)

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Price of one more token, (P1 + 2 P2 t) per_token, and its derivative."""
        rise = 2.0 * second_price * self.per_token
        cost = mean_price * self.per_token + rise * self.mean(tokens)
        return cost, rise * self.per_token

    def __repr__(self) -> str:
        return f"AffineService({self.base.size} type{'s' * (self.base.size != 1)})"
