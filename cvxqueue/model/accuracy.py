"""Accuracy curves: how likely a correct answer is, as a function of the thinking tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray

__all__ = ["AccuracyCurve", "Place"]

Place = slice | NDArray[np.intp] | EllipsisType
"""Where in the last axis some types are."""


class AccuracyCurve(Protocol):
    """What the rest of the package asks of an accuracy curve: nondecreasing and concave, by type.

    A curve may have kinks. Its slope is the right derivative then, and where a price of tokens is
    the slope of a whole piece, the most tokens of the piece count as the answer to it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays by type: (), (N,), or (B, N) for a batch."""

    @property
    def is_smooth(self) -> bool:
        """Whether p′ is continuous for every type."""

    @property
    def ceiling(self) -> FloatArray:
        """Probability of a correct answer with unlimited tokens."""

    @property
    def groups(self) -> Iterable[tuple[Place, Any]]:
        """Where the types of each class of curves are, and their curve alone."""

    def broadcast(self, length: int) -> Self:
        """Return the same curve with one entry for each of `length` types."""

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same curve with `function` applied to every array by type, unchecked."""

    def weighted(self, value: FloatArray) -> Self:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""

    def value(self, tokens: FloatArray) -> FloatArray:
        """Probability p(l) of a correct answer."""

    def slope(self, tokens: FloatArray) -> FloatArray:
        """First derivative p′(l), per token; from the right at a kink."""

    def curvature(self, tokens: FloatArray) -> FloatArray:
        """Second derivative p″(l) ≤ 0, per token squared; zero at a kink."""

    def difference(self, tokens: FloatArray, to: FloatArray) -> FloatArray:
        """p(to) − p(tokens), without cancellation."""

    def inverse_value(self, accuracy: FloatArray) -> FloatArray:
        """Least tokens ≥ 0 with p ≥ `accuracy`; infinite where there are none."""

    def inverse_slope(self, slope: FloatArray) -> FloatArray:
        """Most tokens v that maximise p(v) − slope · v, for a slope > 0: there p′ = slope.

        Negative, and finite, where p′ is below `slope` from 0 tokens on. numpy may warn of a
        division by zero there; callers leave the warning out.
        """

    def inverse_slope_sensitivity(self, lower: FloatArray, upper: FloatArray) -> FloatArray:
        """Greatest ``|d inverse_slope / d ln slope|`` on the interval, in tokens.

        Infinite where inverse_slope jumps from one kink to another within the interval.
        """

    def inverse_slope_rounding(self, tokens: FloatArray) -> FloatArray:
        """Bound on the rounding of `inverse_slope` at an answer, in tokens.

        Beyond what a change of the slope by some roundings does to it.
        """

    def response_loss(
        self, slope: FloatArray, unclipped: FloatArray, response: FloatArray, error: FloatArray
    ) -> FloatArray:
        """Bound on what rounding takes from p(v) − slope · v, over `slope`: in tokens.

        Parameters
        ----------
        slope : ndarray, shape (..., N)
            Slope asked for, which may be off by a share of 16 · `error`, as may its logarithm.
        unclipped : ndarray, shape (..., N)
            The inverse slope as it was computed.
        response : ndarray, shape (..., N)
            The same, clipped to the box.
        error : ndarray, shape (..., N) or (..., 1)
            A few roundings, relative.
        """

    def curvature_range(
        self, lower: FloatArray, upper: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on [lower, upper]; infinite where a kink is inside."""
