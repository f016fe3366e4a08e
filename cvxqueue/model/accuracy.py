"""Accuracy curves: how likely a correct answer is, as a function of the thinking tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.arrays import (
    ArrayData,
    FloatArray,
    common_arrays,
    entry_name,
    first_place,
    float_array,
    kept,
    read_only,
    require,
)

__all__ = ["AccuracyCurve", "SaturatingExponential"]

# Published curves are printed to a few digits: floor + gain may exceed one by rounding alone.
_ROUNDING_OF_ONE = 1e-12

_ZERO = read_only(np.zeros(()))


class AccuracyCurve(Protocol):
    """What the rest of the package asks of an accuracy curve: increasing and concave, by type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays by type: (), (N,), or (B, N) for a batch."""

    def broadcast(self, length: int) -> Self:
        """Return the same curve with one entry for each of `length` types."""

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same curve with `function` applied to every array by type, unchecked."""

    def weighted(self, value: FloatArray) -> Self:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""

    def value(self, tokens: FloatArray) -> FloatArray:
        """Probability p(l) of a correct answer."""

    def slope(self, tokens: FloatArray) -> FloatArray:
        """First derivative p′(l), per token."""

    def curvature(self, tokens: FloatArray) -> FloatArray:
        """Second derivative p″(l) ≤ 0, per token squared."""

    def difference(self, tokens: FloatArray, to: FloatArray) -> FloatArray:
        """p(to) − p(tokens), without cancellation."""

    def inverse_slope(self, slope: FloatArray) -> FloatArray:
        """Tokens at which p′ has the value `slope`; −inf where p′ is below it everywhere.

        numpy may warn of a division by zero there; callers leave the warning out.
        """

    def curvature_range(
        self, lower: FloatArray, upper: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on the interval [lower, upper]."""

    def inverse_slope_sensitivity(self, lower: FloatArray, upper: FloatArray) -> FloatArray:
        """Greatest ``|d inverse_slope / d ln slope|`` on the interval, in tokens."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SaturatingExponential(ArrayData):
    """Accuracy p(l) = floor + gain · (1 − exp(−rate · l)).

    Parameters
    ----------
    floor : array_like, shape () or (N,), or (B, N) for a batch
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
        floor_array, gain_array, rate_array = common_arrays(
            accuracy__floor=floor, accuracy__gain=gain, accuracy__rate=rate
        )
        require("accuracy.floor", floor_array, floor_array >= 0, "must be ≥ 0 (a probability)")
        require("accuracy.gain", gain_array, gain_array >= 0, "must be ≥ 0 (a probability)")
        require("accuracy.rate", rate_array, rate_array > 0, "must be > 0 (per token)")
        too_high = np.asarray(floor_array + gain_array > 1.0 + _ROUNDING_OF_ONE)
        if too_high.any():
            place = first_place(too_high)
            raise InvalidInputError(
                f"{entry_name('accuracy.floor', place)} + {entry_name('accuracy.gain', place)} = "
                f"{float(floor_array[place])!r} + {float(gain_array[place])!r} must be ≤ 1 "
                "(a probability)"
            )
        object.__setattr__(self, "floor", floor_array)
        object.__setattr__(self, "gain", gain_array)
        object.__setattr__(self, "rate", rate_array)

    @kept
    def _scale(self) -> FloatArray:
        """Tokens in which p′ falls by a factor e."""
        scale: FloatArray = 1.0 / self.rate
        return scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays: (), (N,), or (B, N) for a batch."""
        return self.rate.shape

    def broadcast(self, length: int) -> Self:
        """Return the same curve with one entry for each of `length` types."""
        if self.rate.shape[-1:] == (length,):
            return self
        return type(self)(
            floor=float_array("accuracy.floor", self.floor, length, axes=2),
            gain=float_array("accuracy.gain", self.gain, length, axes=2),
            rate=float_array("accuracy.rate", self.rate, length, axes=2),
        )

    def weighted(self, value: FloatArray) -> Self:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""
        curve = object.__new__(type(self))
        curve.__dict__.update(floor=_ZERO, gain=value * self.gain, rate=self.rate)
        return curve

    def value(self, tokens: ArrayLike) -> FloatArray:
        """Probability p(l) of a correct answer."""
        exponent = -self.rate * np.asarray(tokens, dtype=np.float64)
        probability: FloatArray = self.floor - self.gain * np.expm1(exponent)
        return probability

    def slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative p′(l) = gain · rate · exp(−rate · l), per token."""
        exponent = -self.rate * np.asarray(tokens, dtype=np.float64)
        slope: FloatArray = self.gain * self.rate * np.exp(exponent)
        return slope

    def curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative p″(l) = −rate · p′(l), per token squared."""
        curvature: FloatArray = -self.rate * self.slope(tokens)
        return curvature

    def difference(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """p(to) − p(tokens), to full relative accuracy however near the two are."""
        start, end = np.asarray(tokens, dtype=np.float64), np.asarray(to, dtype=np.float64)
        step = end - start
        # Referred to the lower of the two ends, no factor can overflow.
        rise = self.gain * np.exp(-self.rate * np.minimum(start, end))
        difference: FloatArray = rise * -np.expm1(-self.rate * np.abs(step)) * np.sign(step)
        return difference

    def inverse_slope(self, slope: ArrayLike) -> FloatArray:
        """Tokens at which p′ equals `slope` > 0; negative where p′(0) < `slope`.

        Where the gain is zero, or `slope` is infinite, the answer is −inf, and numpy may warn of a
        division by zero.
        """
        tokens: FloatArray = np.log(self.gain * self.rate / np.asarray(slope)) * self._scale
        return tokens

    def curvature_range(self, lower: ArrayLike, upper: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on [lower, upper]: those at the two ends."""
        return -self.curvature(upper), -self.curvature(lower)

    def inverse_slope_sensitivity(self, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
        """``|d inverse_slope / d ln slope|`` = 1/rate tokens, on any interval."""
        return self._scale

    def __repr__(self) -> str:
        return f"SaturatingExponential({self.rate.size} type{'s' * (self.rate.size != 1)})"
