"""Service that slows down as the answer grows: attention looks back at every token so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.affine_service import AFFINE_CONDITIONS
from cvxqueue.model.service_law import ServiceLaw
from cvxqueue.numerics.arrays import FloatArray

_QUADRATIC_CONDITIONS = AFFINE_CONDITIONS | {"per_squared_token": "≥ 0 (seconds/token²)"}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class QuadraticService(ServiceLaw):
    """Service time t(l) = base + per_token · l + per_squared_token · l².

    Convex in the tokens, the same for every query of a type.

    Parameters
    ----------
    base : array_like, shape () or (N,), or (..., N) for a batch
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

    def mean_bend(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """Return per_squared_token · (to − tokens)², in seconds."""
        return self.per_squared_token * np.square(np.subtract(to, tokens))
