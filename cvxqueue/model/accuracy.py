"""Accuracy curves: how likely a correct answer is, as a function of the thinking tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.model.law import LawData, turning_tokens
from cvxqueue.numerics.arrays import FloatArray, forwarded
from cvxqueue.numerics.float64 import EPSILON, LARGEST

Place = slice | NDArray[np.intp] | EllipsisType
"""Where in the last axis some types are."""
# A slope is some roundings of its own away from the formula's.
_SLOPE_ROUNDINGS = 16.0 * EPSILON


class AccuracyCurve(LawData, ABC):
    """What the rest of the package asks of an accuracy curve: nondecreasing and concave, by type.

    Four formulas make a curve, and the rest follows from them: what has no closed form is searched,
    and a bound of which nothing is known is infinite. Whoever knows better says so.

    A curve may have kinks. Its slope is the right derivative then, and where a price of tokens is
    the slope of a whole piece, the most tokens of the piece count as the answer to it.
    """

    _part = "accuracy"

    @abstractmethod
    def value(self, tokens: ArrayLike) -> FloatArray:
        """Probability p(l) of a correct answer."""

    @abstractmethod
    def slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative p′(l), per token; from the right at a kink."""

    @abstractmethod
    def curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative p″(l) ≤ 0, per token squared; zero at a kink."""

    @abstractmethod
    def difference(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """p(to) − p(tokens), without cancellation."""

    @property
    def is_smooth(self) -> bool:
        """Whether p′ is continuous for every type, and falls where it is positive; by default so.

        Where it stays, as over a straight piece, a price of tokens has more than one answer.
        """
        return True

    @property
    def ceiling(self) -> FloatArray:
        """Probability of a correct answer with unlimited tokens."""
        return self.value(LARGEST)

    @property
    def breakpoints(self) -> FloatArray:
        """Tokens at the kinks, as far as they are known, shape (C, ...), for pictures."""
        return np.empty((0, *self.shape))

    @property
    def groups(self) -> Iterable[tuple[Place, Any]]:
        """Where the types of each class of curves are, and their curve alone."""
        return ((slice(None), self),)

    def weighted(self, value: FloatArray) -> AccuracyCurve:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""
        return WeightedCurve(self, value)

    def inverse_value(self, accuracy: ArrayLike) -> FloatArray:
        """Least tokens ≥ 0 with p ≥ `accuracy`; infinite where there are none."""
        missing = np.asarray(accuracy, dtype=np.float64) - self.value(0.0)

        def excess(tokens: FloatArray) -> FloatArray:
            return self.difference(0.0, tokens) - missing

        # At a probability that is reached at once, or as a limit, there is no change of sign.
        found = turning_tokens(excess, np.broadcast_shapes(np.shape(missing), self.shape))[1]
        return np.where(missing <= 0.0, 0.0, found)

    def inverse_slope(self, slope: ArrayLike) -> FloatArray:
        """Most tokens v that maximise p(v) − slope · v, for a slope > 0: there p′ = slope.

        Negative, and finite, where p′ is below `slope` from 0 tokens on. numpy may warn of a
        division by zero there; callers leave the warning out.
        """
        price = np.asarray(slope, dtype=np.float64)
        shape = np.broadcast_shapes(price.shape, self.shape)
        found = turning_tokens(lambda tokens: price - self.slope(tokens), shape)[1]
        return np.where(price > self.slope(0.0), -1.0, np.minimum(found, LARGEST))

    def inverse_slope_sensitivity(self, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
        """Greatest ``|d inverse_slope / d ln slope|`` on the interval, in tokens.

        Infinite where inverse_slope jumps from one kink to another within the interval, or where
        nothing is known; at one point, p′/``|p″|``, and 0 where p′ is 0: no slope > 0 leads there.
        """
        slope = self.slope(lower)
        at_point = np.where(slope > 0.0, slope / np.abs(self.curvature(lower)), 0.0)
        return np.where(np.equal(lower, upper), at_point, np.inf)

    def inverse_slope_rounding(self, tokens: ArrayLike) -> FloatArray:
        """Bound on the rounding of `inverse_slope` at an answer, in tokens.

        Beyond what a change of the slope by some roundings does to it.
        """
        own: FloatArray = 4.0 * EPSILON * np.asarray(tokens, dtype=np.float64)
        if not self.is_smooth:
            return own
        return own + _SLOPE_ROUNDINGS * self.inverse_slope_sensitivity(tokens, tokens)

    def response_loss(
        self, slope: FloatArray, unclipped: FloatArray, response: FloatArray, error: FloatArray
    ) -> FloatArray:
        """Bound on what rounding takes from p(v) − slope · v, over `slope`: in tokens.

        A response to a slope that is off by a share ε maximises p(v) − (1 ± ε) slope · v, so that
        it loses at most ε times its distance from the right one. Both lie between the responses to
        (1 + ε) slope and (1 − ε) slope, and in the box. The slope, as its logarithm, may be off by
        a share of 16 · `error`; `response` is the `unclipped` inverse slope, clipped to the box.
        """
        share = 16.0 * error
        own = self.inverse_slope_rounding(response)
        most = self.inverse_slope(slope * (1.0 - share)) + own
        least = self.inverse_slope(slope * (1.0 + share)) - own
        most = np.where(unclipped > response, np.minimum(most, response), most)
        least = np.maximum(np.where(unclipped < response, np.maximum(least, response), least), 0.0)
        loss: FloatArray = share * np.maximum(most - least, 0.0)
        # Beside a kink, what it is away from there is lost as well.
        return loss if self.is_smooth else loss + own

    def curvature_range(self, lower: ArrayLike, upper: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on [lower, upper]; infinite where a kink is inside.

        By default 0 and infinity: nothing is known.
        """
        shape = np.broadcast_shapes(np.shape(lower), np.shape(upper), self.shape)
        return np.zeros(shape), np.full(shape, np.inf)


@dataclass(frozen=True, eq=False, repr=False)
class WeightedCurve(AccuracyCurve):
    """The curve value · (p − p(0)) of any curve, where value ≥ 0 is of each type."""

    curve: AccuracyCurve
    worth: FloatArray

    def __post_init__(self) -> None:
        """Leave the data as they are: the curve was checked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape by type, of the curve and of what it is worth."""
        return np.broadcast_shapes(self.curve.shape, np.shape(self.worth))

    is_smooth = forwarded("curve", AccuracyCurve.is_smooth)

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same curve with `function` applied to every array by type."""
        return type(self)(self.curve.mapped(function), function(self.worth))

    def value(self, tokens: ArrayLike) -> FloatArray:
        """What the tokens are worth."""
        return self.difference(0.0, tokens)

    def slope(self, tokens: ArrayLike) -> FloatArray:
        """What a further token is worth."""
        return self.worth * self.curve.slope(tokens)

    def curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative, ≤ 0."""
        return self.worth * self.curve.curvature(tokens)

    def difference(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """What moving from some tokens to others is worth."""
        return self.worth * self.curve.difference(tokens, to)

    def _relative(self, slope: ArrayLike) -> FloatArray:
        """The slope of the curve that is worth `slope`, where the curve is worth anything."""
        return np.asarray(slope) / np.where(self.worth > 0.0, self.worth, 1.0)

    def inverse_slope(self, slope: ArrayLike) -> FloatArray:
        """Most tokens that are worth the price of each; −1 where none are worth anything."""
        return np.where(self.worth > 0.0, self.curve.inverse_slope(self._relative(slope)), -1.0)

    def inverse_slope_sensitivity(self, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
        """That of the curve."""
        return self.curve.inverse_slope_sensitivity(lower, upper)

    def inverse_slope_rounding(self, tokens: ArrayLike) -> FloatArray:
        """That of the curve."""
        return self.curve.inverse_slope_rounding(tokens)

    def response_loss(
        self, slope: FloatArray, unclipped: FloatArray, response: FloatArray, error: FloatArray
    ) -> FloatArray:
        """That of the curve, where it is worth anything."""
        loss = self.curve.response_loss(self._relative(slope), unclipped, response, error)
        return np.where(self.worth > 0.0, loss, 0.0)

    def curvature_range(self, lower: ArrayLike, upper: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """That of the curve, at its worth."""
        ends = self.curve.curvature_range(lower, upper)
        least, greatest = (np.where(self.worth > 0.0, self.worth * end, 0.0) for end in ends)
        return least, greatest
