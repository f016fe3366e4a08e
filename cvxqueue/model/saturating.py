"""What the smooth accuracy curves share: a floor, a gain, and how the gain saturates.

All have p(l) = floor + gain · (1 − exp(−H(l))), where H increases from H(0) = 0, is concave and
without bound.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import ZERO, FloatArray
from cvxqueue.numerics.checks import ROUNDING_OF_ONE, first_place
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
        share = rise / self.gain
        exponent = np.where(
            share < 0.5, -np.log1p(-share), -np.log(np.maximum(remaining, 0.0) / self.gain)
        )
        tokens = self._inverse_exponent(exponent)
        return np.where(rise <= 0.0, 0.0, np.where(remaining > 0.0, tokens, np.inf))

    def curvature_range(self, lower: ArrayLike, upper: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on [lower, upper]: those at the two ends."""
        return -self.curvature(upper), -self.curvature(lower)
