"""Service that slows down as the answer grows: attention looks back at every token so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.affine_service import AFFINE_CONDITIONS
from cvxqueue.model.law import LawData
from cvxqueue.model.service_law import Moments
from cvxqueue.numerics.arrays import FloatArray

_QUADRATIC_CONDITIONS = AFFINE_CONDITIONS | {"per_squared_token": "≥ 0 (seconds/token²)"}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class QuadraticService(LawData):
    """Service time t(l) = base + per_token · l + per_squared_token · l².

    Convex in the tokens, the same for every query of a type.

    Parameters
    ----------
    base : array_like, shape () or (N,), or (B, N) for a batch
        Seconds that a query takes without thinking, ≥ 0.
    per_token : array_like, of such a shape
        Seconds of the first thinking token, > 0.
    per_squared_token : array_like, of such a shape
        Half of what each further token takes longer than the one before, in seconds, ≥ 0.

    Raises
    ------
    InvalidInputError
        If an entry is not finite, out of range, or the lengths differ.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> service = cq.QuadraticService(base=0.5, per_token=0.01, per_squared_token=1e-6)
    >>> float(service.mean(1000.0))
    11.5
    """

    base: FloatArray
    per_token: FloatArray
    per_squared_token: FloatArray
    _part = "service"

    def __init__(
        self, *, base: ArrayLike, per_token: ArrayLike, per_squared_token: ArrayLike
    ) -> None:
        self._keep(
            _QUADRATIC_CONDITIONS,
            base=base,
            per_token=per_token,
            per_squared_token=per_squared_token,
        )

    def mean(self, tokens: ArrayLike) -> FloatArray:
        """Service time t(l), in seconds."""
        count = np.asarray(tokens, dtype=np.float64)
        return self.base + (self.per_token + self.per_squared_token * count) * count

    @property
    def is_random(self) -> bool:
        """No: queries of a type that use the same tokens take the same time."""
        return False

    def inverse_mean(self, times: ArrayLike) -> FloatArray:
        """Tokens at which the service time has the value `times`; negative below `base`."""
        beyond = np.asarray(times, dtype=np.float64) - self.base
        half = 0.5 * self.per_token
        root = np.sqrt(np.maximum(half * half + self.per_squared_token * beyond, 0.0))
        return beyond / (half + root)

    def mean_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative per_token + 2 per_squared_token · l, in seconds per token."""
        count = np.asarray(tokens, dtype=np.float64)
        return self.per_token + 2.0 * self.per_squared_token * count

    def mean_curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative 2 per_squared_token, in seconds per token squared."""
        return 2.0 * self.per_squared_token

    def second_moment(self, tokens: ArrayLike) -> FloatArray:
        """Second moment t(l)², in seconds squared."""
        return np.square(self.mean(tokens))

    def second_moment_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative of the second moment, 2 t t′."""
        return 2.0 * self.mean(tokens) * self.mean_slope(tokens)

    def moments(self, tokens: ArrayLike) -> Moments:
        """Both moments and their first derivatives at once."""
        times, slope = self.mean(tokens), self.mean_slope(tokens)
        return Moments(times, times * times, slope, (times + times) * slope)

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Price of one more token, (P1 + 2 P2 t) t′, and its derivative."""
        slope = self.mean_slope(tokens)
        price = mean_price + 2.0 * second_price * self.mean(tokens)
        rise = price * self.mean_curvature(tokens) + 2.0 * second_price * slope * slope
        return price * slope, rise

    def mean_square_slope(self, tokens: ArrayLike) -> FloatArray:
        """Square of t′, in seconds squared per token squared."""
        return np.square(self.mean_slope(tokens))

    def mean_square_distance(
        self, tokens: FloatArray, to: FloatArray, ratio: FloatArray
    ) -> FloatArray:
        """Square of t(to) − ratio · t(tokens), in seconds squared."""
        return np.square(self.mean(to) - ratio * self.mean(tokens))

    def bend(
        self, tokens: FloatArray, to: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> FloatArray:
        """Return (P1 + 2 P2 t) · per_squared_token · (to − tokens)², in seconds."""
        price = mean_price + 2.0 * second_price * self.mean(tokens)
        return price * self.per_squared_token * np.square(to - tokens)

    def marginal_time(self, tokens: ArrayLike) -> FloatArray:
        """Half the ratio of the slopes of the two moments: t itself."""
        return self.mean(tokens)

    def marginal_time_slope(self, tokens: ArrayLike) -> FloatArray:
        """Derivative of t."""
        return self.mean_slope(tokens)
