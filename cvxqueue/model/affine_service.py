"""Service in proportion to the tokens: a base time, and so many seconds for each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.service_law import ServiceLaw
from cvxqueue.numerics.arrays import ZERO, FloatArray, kept

AFFINE_CONDITIONS = {"base": "≥ 0 (seconds)", "per_token": "> 0 (seconds/token)"}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class AffineService(ServiceLaw):
    """Service time base + per_token · (tokens used), of which a type uses l on average.

    The mean is t(l) = base + per_token · l. Where the use is random, with a squared coefficient of
    variation, the second moment is t² + token_scv · (per_token · l)²; by default every query of a
    type uses the same.

    Parameters
    ----------
    base : array_like, shape () or (N,), or (..., N) for a batch
        Seconds that a query takes without thinking, ≥ 0.
    per_token : array_like, of such a shape
        Seconds per thinking token, > 0.
    token_scv : array_like, of such a shape, default 0
        Squared coefficient of variation of the tokens used, ≥ 0.

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
    token_scv: FloatArray
    _kept = ("is_random",)

    def __init__(
        self, *, base: ArrayLike, per_token: ArrayLike, token_scv: ArrayLike = 0.0
    ) -> None:
        self._keep(AFFINE_CONDITIONS, base=base, per_token=per_token, token_scv=token_scv)

    def mean(self, tokens: ArrayLike) -> FloatArray:
        """Mean service time t(l), in seconds."""
        times: FloatArray = self.per_token * np.asarray(tokens, dtype=np.float64)
        times += self.base
        return times

    def inverse_mean(self, times: ArrayLike) -> FloatArray:
        """Tokens at which the mean service time has the value `times`; negative below `base`."""
        return (np.asarray(times, dtype=np.float64) - self.base) / self.per_token

    def mean_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative of the mean, in seconds per token."""
        return self.per_token

    def mean_curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative of the mean: zero."""
        return ZERO

    def second_moment(self, tokens: ArrayLike) -> FloatArray:
        """Second moment t² + token_scv · (per_token · l)², in seconds squared."""
        square = np.square(self.mean(tokens))
        return square + self._variance * np.square(tokens) if self.is_random else square

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Price of one more token, (P1 + 2 P2 τ) per_token, and its derivative."""
        cost = (2.0 * second_price) * self.marginal_time(tokens)
        cost += mean_price
        cost *= self.per_token
        rise = (2.0 * second_price) * self.per_token
        rise *= self.marginal_time_slope(tokens)
        return cost, rise

    def mean_square_slope(self, tokens: ArrayLike) -> FloatArray:
        """E[(dt/dl)²] = (1 + token_scv) per_token²."""
        return self.per_token * self.marginal_time_slope(tokens)

    def mean_square_distance(
        self, tokens: FloatArray, to: FloatArray, ratio: FloatArray
    ) -> FloatArray:
        """E[(t(to) − ratio · t(tokens))²], in seconds squared."""
        square = np.square(self.mean(to) - ratio * self.mean(tokens))
        if self.is_random:
            square = square + self._variance * np.square(to - ratio * tokens)
        return square

    def mean_bend(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """Zero: the service time is affine in the tokens."""
        return ZERO

    def marginal_time(self, tokens: ArrayLike) -> FloatArray:
        """Half the ratio of the slopes of the two moments, τ = t + token_scv · per_token · l."""
        if self.is_random:
            spread = 1.0 + self.token_scv
            return self.base + self.per_token * spread * np.asarray(tokens, dtype=np.float64)
        return self.mean(tokens)

    def marginal_time_slope(self, tokens: ArrayLike) -> FloatArray:
        """Derivative of τ, (1 + token_scv) per_token."""
        return self.per_token * (1.0 + self.token_scv) if self.is_random else self.per_token

    @kept
    def is_random(self) -> bool:
        """Whether any type uses a random number of tokens: where none does, less is computed."""
        return bool(self.token_scv.any())

    @property
    def _variance(self) -> FloatArray:
        """Variance of the service time per squared token."""
        return self.token_scv * np.square(self.per_token)
