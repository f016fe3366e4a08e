"""Accuracy that saturates by a power of the tokens: ever slower, and never all of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.saturating import SaturatingCurve
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.float64 import EPSILON, LARGEST

_ONE = read_only(np.ones(()))


class _PowerCurve(SaturatingCurve):
    """A curve with H(l) = exponent · ln(1 + l/scale)."""

    @property
    @abstractmethod
    def _tail(self) -> tuple[FloatArray, FloatArray]:
        """The scale in tokens, and the exponent."""

    def _exponent(self, tokens: FloatArray) -> FloatArray:
        scale, exponent = self._tail
        return exponent * np.log1p(tokens / scale)

    def _exponent_rise(self, tokens: FloatArray, step: FloatArray) -> FloatArray:
        scale, exponent = self._tail
        return exponent * np.log1p(step / (scale + tokens))

    def _inverse_exponent(self, exponent: FloatArray) -> FloatArray:
        scale, power = self._tail
        return scale * np.expm1(exponent / power)

    def slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative gain · exponent/scale · (1 + l/scale)^(−exponent−1), per token."""
        return self._derivative(np.asarray(tokens, dtype=np.float64), 1.0)

    def curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative −(exponent + 1)/(scale + l) · p′(l), per token squared."""
        scale, exponent = self._tail
        fall = self._derivative(np.asarray(tokens, dtype=np.float64), 2.0)
        return -(exponent + 1.0) / scale * fall

    def _derivative(self, tokens: FloatArray, order: float) -> FloatArray:
        scale, exponent = self._tail
        fall = np.exp(-(exponent + order) * np.log1p(tokens / scale))
        return self.gain * exponent / scale * fall

    def inverse_slope(self, slope: ArrayLike) -> FloatArray:
        """Tokens at which p′ equals `slope` > 0; negative where p′(0) < `slope`.

        Where the gain is zero the answer is −scale, and numpy may warn of a division by zero.
        """
        scale, exponent = self._tail
        ratio = np.log(self.gain * exponent / scale / np.asarray(slope))
        tokens = scale * np.expm1(ratio / (exponent + 1.0))
        # No Newton step leads to an infinite response.
        finite: FloatArray = np.minimum(tokens, LARGEST)
        return finite

    def inverse_slope_sensitivity(self, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
        """``|d inverse_slope / d ln slope|`` = (scale + l)/(exponent + 1) at the larger end."""
        scale, exponent = self._tail
        return (scale + np.maximum(lower, upper)) / (exponent + 1.0)

    def inverse_slope_rounding(self, tokens: ArrayLike) -> FloatArray:
        """Roundings of the tokens, and of the logarithm y = ln(1 + l/scale) that they come from.

        Three of y, from a logarithm, a quotient and an exponential, which magnifies them by e^y.
        """
        scale, _ = self._tail
        count = np.asarray(tokens, dtype=np.float64)
        logarithm = (scale + count) * np.log1p(count / scale)
        return 4.0 * EPSILON * (count + logarithm)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PowerLaw(_PowerCurve):
    """Accuracy p(l) = floor + gain · (1 − (1 + l/scale)^(−exponent)).

    Parameters
    ----------
    floor : array_like, shape () or (N,), or (..., N) for a batch
        Probability of a correct answer without thinking, ≥ 0.
    gain : array_like, of such a shape
        What unlimited thinking adds, ≥ 0, with floor + gain ≤ 1.
    scale : array_like, of such a shape
        Tokens until the gain begins to saturate, > 0.
    exponent : array_like, of such a shape
        Power with which what is missing falls in the end, > 0.

    Raises
    ------
    InvalidInputError
        If an entry is not finite, out of range, or the lengths differ.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> curve = cq.PowerLaw(floor=0.25, gain=0.5, scale=1000.0, exponent=0.5)
    >>> round(float(curve.value(3000.0)), 6)
    0.5
    """

    floor: FloatArray
    gain: FloatArray
    scale: FloatArray
    exponent: FloatArray

    def __init__(
        self, *, floor: ArrayLike, gain: ArrayLike, scale: ArrayLike, exponent: ArrayLike
    ) -> None:
        conditions = {"scale": "> 0 (tokens)", "exponent": "> 0 (a power)"}
        self._keep(conditions, floor=floor, gain=gain, scale=scale, exponent=exponent)

    @property
    def _tail(self) -> tuple[FloatArray, FloatArray]:
        return self.scale, self.exponent


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MichaelisMenten(_PowerCurve):
    """Accuracy p(l) = floor + gain · l/(l + half_saturation).

    The power law of exponent 1, by the name that it has in biochemistry.

    Parameters
    ----------
    floor : array_like, shape () or (N,), or (..., N) for a batch
        Probability of a correct answer without thinking, ≥ 0.
    gain : array_like, of such a shape
        What unlimited thinking adds, ≥ 0, with floor + gain ≤ 1.
    half_saturation : array_like, of such a shape
        Tokens that add half of the gain, > 0.

    Raises
    ------
    InvalidInputError
        If an entry is not finite, out of range, or the lengths differ.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> curve = cq.MichaelisMenten(floor=0.25, gain=0.5, half_saturation=1000.0)
    >>> round(float(curve.value(1000.0)), 6)
    0.5
    """

    floor: FloatArray
    gain: FloatArray
    half_saturation: FloatArray

    def __init__(self, *, floor: ArrayLike, gain: ArrayLike, half_saturation: ArrayLike) -> None:
        conditions = {"half_saturation": "> 0 (tokens)"}
        self._keep(conditions, floor=floor, gain=gain, half_saturation=half_saturation)

    @property
    def _tail(self) -> tuple[FloatArray, FloatArray]:
        return self.half_saturation, _ONE
