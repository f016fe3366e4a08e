"""Accuracy that saturates exponentially: every token has the same chance to settle the answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.saturating import SaturatingCurve
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON, SMALLEST_NORMAL


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SaturatingExponential(SaturatingCurve):
    """Accuracy p(l) = floor + gain · (1 − exp(−rate · l)).

    Parameters
    ----------
    floor : array_like, shape () or (N,), or (..., N) for a batch
        Probability of a correct answer without thinking, ≥ 0.
    gain : array_like, of such a shape
        What unlimited thinking adds, ≥ 0, with floor + gain ≤ 1.
    rate : array_like, of such a shape
        Rate of saturation, per token, > 0.

    Raises
    ------
    InvalidInputError
        If an entry is not finite, out of range, or the lengths differ.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> curve = cq.SaturatingExponential(floor=0.25, gain=0.5, rate=0.001)
    >>> round(float(curve.value(1000.0)), 6)
    0.56606
    """

    floor: FloatArray
    gain: FloatArray
    rate: FloatArray

    def __init__(self, *, floor: ArrayLike, gain: ArrayLike, rate: ArrayLike) -> None:
        self._keep({"rate": "> 0 (per token)"}, floor=floor, gain=gain, rate=rate)

    def _exponent(self, tokens: FloatArray) -> FloatArray:
        return self.rate * tokens

    def _exponent_rise(self, tokens: FloatArray, step: FloatArray) -> FloatArray:
        return self.rate * step

    def _inverse_exponent(self, exponent: FloatArray) -> FloatArray:
        return exponent / self.rate

    def slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative p′(l) = gain · rate · exp(−rate · l), per token."""
        exponent = -self.rate * np.asarray(tokens, dtype=np.float64)
        return self.gain * self.rate * np.exp(exponent)

    def curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative p″(l) = −rate · p′(l), per token squared."""
        return -self.rate * self.slope(tokens)

    def inverse_slope(self, slope: ArrayLike) -> FloatArray:
        """Tokens at which p′ equals `slope` > 0; negative where p′(0) < `slope`.

        Where the gain is zero, or `slope` is infinite, the answer is −708/rate.
        """
        tokens = np.asarray(self.gain * self.rate / np.asarray(slope))
        # Keeps the logarithm of a ratio finite, and is lost in any other.
        tokens += SMALLEST_NORMAL
        np.log(tokens, out=tokens)
        tokens /= self.rate
        return tokens

    def inverse_slope_sensitivity(self, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
        """``|d inverse_slope / d ln slope|`` = 1/rate tokens, on any interval."""
        return 1.0 / self.rate

    def inverse_slope_rounding(self, tokens: ArrayLike) -> FloatArray:
        """Four roundings of the tokens: a logarithm and a product."""
        return 4.0 * EPSILON * np.asarray(tokens, dtype=np.float64)

    def response_loss(
        self, slope: FloatArray, unclipped: FloatArray, response: FloatArray, error: FloatArray
    ) -> FloatArray:
        """Bound on what rounding takes from p(v) − slope · v, over `slope`: in tokens.

        Off the maximum, the loss is quadratic in the shift. A type whose response lies beyond its
        bound by more than that is not moved by rounding.
        """
        # The logarithms in a response are at most some tens, and as many roundings.
        shift = (16.0 * error) * (1.0 / self.rate + response)
        is_near = np.abs(unclipped - response) <= shift
        loss: FloatArray = np.square(shift)
        loss *= self.rate
        loss *= is_near
        return loss
