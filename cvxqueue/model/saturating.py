"""Accuracy that saturates: a floor, a gain, and how the gain saturates, exponentially or else.

All have p(l) = floor + gain · (1 − exp(−H(l))), where H increases from H(0) = 0, is concave and
without bound.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import ZERO, FloatArray
from cvxqueue.numerics.checks import ROUNDING_OF_ONE, first_place
from cvxqueue.numerics.float64 import EPSILON, SMALLEST_NORMAL
from cvxqueue.numerics.summation import two_sum

_PROBABILITY = "≥ 0 (a probability)"


class SaturatingCurve(AccuracyCurve):
    """A curve p(l) = floor + gain · (1 − exp(−H(l))) with parameters of H that are positive."""

    floor: FloatArray
    gain: FloatArray

    def _keep(self, conditions: Mapping[str, str], **values: ArrayLike) -> None:
        super()._keep({"floor": _PROBABILITY, "gain": _PROBABILITY, **conditions}, **values)
        floor, gain = self.floor, self.gain
        too_high = np.asarray(floor + gain > 1.0 + ROUNDING_OF_ONE)
        if too_high.any():
            place = first_place(too_high)
            raise InvalidInputError(
                Entry("accuracy.floor", place),
                " + ",
                Entry("accuracy.gain", place),
                f" = {float(floor[place])!r} + {float(gain[place])!r} must be ≤ 1 (a probability)",
            )

    @abstractmethod
    def _exponent(self, tokens: FloatArray) -> FloatArray:
        """H, at any tokens ≥ 0."""

    @abstractmethod
    def _exponent_rise(self, tokens: FloatArray, step: FloatArray) -> FloatArray:
        """H(tokens + step) − H(tokens) for a step ≥ 0, without cancellation."""

    @abstractmethod
    def _inverse_exponent(self, exponent: FloatArray) -> FloatArray:
        """Tokens at which H has a value ≥ 0."""

    @property
    def ceiling(self) -> FloatArray:
        """Probability of a correct answer with unlimited tokens, floor + gain."""
        return self.floor + self.gain

    def weighted(self, value: FloatArray) -> Self:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""
        return unchecked(type(self), **{**self._fields(), "floor": ZERO, "gain": value * self.gain})

    def value(self, tokens: ArrayLike) -> FloatArray:
        """Probability p(l) of a correct answer."""
        exponent = self._exponent(np.asarray(tokens, dtype=np.float64))
        return self.floor - self.gain * np.expm1(-exponent)

    def difference(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """p(to) − p(tokens), to full relative accuracy however near the two are."""
        start, end = np.asarray(tokens, dtype=np.float64), np.asarray(to, dtype=np.float64)
        step = end - start
        # Referred to the lower of the two ends, no factor can overflow.
        low = np.minimum(start, end)
        difference: FloatArray = self.gain * np.exp(-self._exponent(low))
        share = np.expm1(-self._exponent_rise(low, np.abs(step)))
        difference *= np.copysign(share, step)
        return difference

    def inverse_value(self, accuracy: ArrayLike) -> FloatArray:
        """Least tokens ≥ 0 with p ≥ `accuracy`; infinite where there are none."""
        target = np.asarray(accuracy, dtype=np.float64)
        # What the subtraction lost counts where little of the gain remains.
        rise, lost = two_sum(target, -self.floor)
        remaining = (self.gain - rise) - lost
        share, rest = rise / self.gain, np.maximum(remaining, 0.0) / self.gain
        exponent = -np.where(share < 0.5, np.log1p(-share), np.log(rest))
        tokens = self._inverse_exponent(exponent)
        return np.where(rise <= 0.0, 0.0, np.where(remaining > 0.0, tokens, np.inf))

    def curvature_range(self, lower: ArrayLike, upper: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on [lower, upper]: those at the two ends."""
        return -self.curvature(upper), -self.curvature(lower)


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
