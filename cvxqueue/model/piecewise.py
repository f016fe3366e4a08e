"""Accuracy as measured: straight lines between points, made concave where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import CvxqueueWarning, Entry, InvalidInputError
from cvxqueue.formatting import plural
from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.concave_majorant import Corners, concave_majorant, filled_points
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import ZERO, FloatArray, frozen, kept, read_only
from cvxqueue.numerics.checks import first_place, require, require_representable, require_size
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.summation import two_sum

# A line between two probabilities is right to some roundings of one.
_ROUNDING = 8.0 * EPSILON
# Accuracies are printed to a few digits: a line may miss zero by rounding alone.
_ROUNDING_OF_ZERO = 1e-12
# One answer in a hundred: the scatter of ten thousand answers is half of it.
_MUCH = 0.01


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PiecewiseLinear(AccuracyCurve):
    """Accuracy between measured points: their least nondecreasing concave majorant.

    Measured accuracies scatter, and the least concave curve that is nowhere below them is what the
    optimum needs; `largest_change` says how far it is from them, and more than 0.01 is warned of
    (`CvxqueueWarning`). Beyond the last point the curve is constant. To the left of the first one
    the line is continued to 0 tokens that leads from it to the next corner, which is the nearest
    point to which the slope is greatest, to 12 digits; what this line has at 0 tokens counts as a
    point. Certificates are of the curve that the binary numbers stand for, exactly.

    Parameters
    ----------
    tokens : array_like, shape (M,) or (N, M), or (..., N, M) for a batch, or N lists of any length
        Tokens ≥ 0 of the points, increasing; one list stands for all types. Lists that are shorter
        than others are filled up by repeating their last point.
    accuracy : array_like, of such a shape
        Probability of a correct answer at each of them, in [0, 1].

    Raises
    ------
    InvalidInputError
        If an entry is not finite, out of range or out of order, the lengths differ, or the curve of
        a type is negative at 0 tokens.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> curve = cq.PiecewiseLinear(tokens=[0, 1000, 2000, 4000], accuracy=[0.2, 0.4, 0.46, 0.6])
    >>> round(float(curve.value(2000.0)), 6), round(curve.largest_change, 6)
    (0.466667, 0.006667)
    """

    tokens: FloatArray
    accuracy: FloatArray

    def __init__(self, *, tokens: Any, accuracy: Any) -> None:
        places, heights = filled_points(tokens=tokens, accuracy=accuracy)
        require_size("accuracy.tokens", places)
        require_representable("accuracy.accuracy", heights)
        is_chance = (heights >= 0) & (heights <= 1)
        require("accuracy.accuracy", heights, is_chance, "must be between 0 and 1 (a probability)")
        steps, rises = np.diff(places), np.diff(heights)
        is_repeated = (steps == 0) & (rises == 0)
        is_filling = np.logical_and.accumulate(is_repeated[..., ::-1], axis=-1)[..., ::-1]
        is_first = np.ones((*places.shape[:-1], 1), dtype=bool)
        in_order = np.concatenate([is_first, (steps > 0) | is_filling], axis=-1)
        require("accuracy.tokens", places, in_order, "must be more than the entry before it")
        # What fills up every list is no point.
        filling = np.flatnonzero(is_filling.all(axis=tuple(range(steps.ndim - 1))))
        count = filling[0] + 1 if filling.size else places.shape[-1]
        vars(self).update(
            tokens=read_only(places[..., :count]), accuracy=read_only(heights[..., :count])
        )
        start = self.breakpoint_values[0]
        is_negative = start < -_ROUNDING_OF_ZERO
        if is_negative.any():
            place = first_place(is_negative)
            raise InvalidInputError(
                Entry("accuracy.accuracy", place),
                f" continues to {float(start[place]):.6g} at 0 tokens, and must be ≥ 0 (a "
                "probability) there: give a point at 0 tokens",
            )
        if self.largest_change > _MUCH:
            worst = first_place(self._changes == self._changes.max())
            entry = Entry("accuracy.accuracy", worst)
            warnings.warn(
                f"{entry} = {self.accuracy[worst]:.4g}: the curve, the least concave one that is "
                f"nowhere below the points, is {self.largest_change:.2g} higher there; measure "
                "more answers, or fit a curve to them (fit_curve)",
                CvxqueueWarning,
                # Past the frame of `quiet`.
                stacklevel=3,
            )

    @kept
    def _corners(self) -> Corners:
        return concave_majorant(np.moveaxis(self.tokens, -1, 0), np.moveaxis(self.accuracy, -1, 0))

    @kept
    def breakpoints(self) -> FloatArray:
        """Tokens at the corners of the curve, shape (C, ...), from 0 on, increasing.

        A type with fewer corners than others repeats its last one, from which on it is constant.
        """
        return self._corners.tokens

    @kept
    def breakpoint_values(self) -> FloatArray:
        """Accuracy at the corners, shape (C, ...)."""
        return self._corners.values

    @kept
    def segment_slopes(self) -> FloatArray:
        """Slope from each corner to the next, shape (C, ...), never rising; zero at the last."""
        return self._corners.slopes

    @property
    def _pieces(self) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
        """Start, end and slope of each piece but the constant last one."""
        corners, slopes = self.breakpoints, self.segment_slopes
        return zip(corners[:-1], corners[1:], slopes[:-1], strict=True)

    @kept
    def largest_change(self) -> float:
        """Largest change that made the points nondecreasing and concave; 0.0 if they were so."""
        change = float(self._changes.max())
        return change if change > _ROUNDING else 0.0

    @kept
    def _changes(self) -> FloatArray:
        """How far the curve is above each of the points, shape (..., M)."""
        values = self.value(np.moveaxis(self.tokens, -1, 0))
        return np.moveaxis(values, 0, -1) - self.accuracy

    @kept
    def point_counts(self) -> NDArray[np.intp]:
        """Number of points of each type, without those that fill up its list, shape (...)."""
        is_new = (np.diff(self.tokens) > 0).sum(axis=-1, dtype=np.intp)
        return np.asarray(1 + is_new)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape by type: (), (N,), or (..., N) for a batch."""
        return self.segment_slopes.shape[1:]

    @property
    def is_smooth(self) -> bool:
        """Whether p′ is continuous for every type: only where all are constant."""
        return not self.segment_slopes[0].any()

    @property
    def ceiling(self) -> FloatArray:
        """Probability of a correct answer with unlimited tokens, that at the last corner."""
        ceiling: FloatArray = self.breakpoint_values[-1]
        return ceiling

    def broadcast(self, length: int) -> Self:
        """Return the same curve with one entry for each of `length` types."""
        if self.shape[-1:] == (length,):
            return self
        if self.shape:
            raise InvalidInputError(
                "accuracy.tokens must be one list or have one list for each of the "
                f"{length} types, got {self.shape[-1]} lists"
            )
        return self.mapped(lambda array: np.broadcast_to(array, (length,)))

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same curve with `function` applied to every array by type, unchecked."""

        def each(array: FloatArray) -> FloatArray:
            first = function(array[0])
            if array.ndim == 2 and first.ndim == 1:
                # What leaves one axis one acts on the last axis: no row needs copying.
                return function(array)
            return np.stack([first, *(function(row) for row in array[1:])])

        tokens, accuracy = (
            np.moveaxis(each(np.moveaxis(points, -1, 0)), 0, -1)
            for points in (self.tokens, self.accuracy)
        )
        corners = Corners(*(frozen(each(part)) for part in self._corners))
        return unchecked(type(self), tokens=tokens, accuracy=accuracy, _corners=corners)

    def weighted(self, value: FloatArray) -> PiecewiseLinear:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""
        return _Weighted(self, value)

    def value(self, tokens: ArrayLike) -> FloatArray:
        """Probability p(l) of a correct answer: that at the last corner passed, and the rise."""
        count = np.asarray(tokens, dtype=np.float64)
        lines = zip(self.breakpoints, self.breakpoint_values, self.segment_slopes, strict=True)
        start, height, slope = next(lines)
        value: FloatArray = height + slope * count
        for start, height, slope in lines:
            value = np.where(count >= start, height + slope * (count - start), value)
        return value

    def slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative from the right, per token."""
        count = np.asarray(tokens, dtype=np.float64)
        slope: FloatArray = self.segment_slopes[0] + np.zeros_like(count)
        for start, following in zip(self.breakpoints[1:], self.segment_slopes[1:], strict=True):
            slope = np.where(count >= start, following, slope)
        return slope

    def curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative: zero, and none at a kink."""
        return np.zeros(np.broadcast_shapes(np.shape(tokens), self.shape))

    def difference(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """p(to) − p(tokens): what lies between the two of each piece, times its slope."""
        first, last = np.asarray(tokens, dtype=np.float64), np.asarray(to, dtype=np.float64)
        difference = np.zeros(np.broadcast_shapes(first.shape, last.shape, self.shape))
        lost = np.zeros_like(difference)
        for start, end, slope in self._pieces:
            inside = np.clip(last, start, end) - np.clip(first, start, end)
            # However many pieces, their sum is rounded once.
            difference, rest = two_sum(difference, slope * inside)
            lost += rest
        difference += lost
        return difference

    def inverse_value(self, accuracy: ArrayLike) -> FloatArray:
        """Least tokens ≥ 0 with p ≥ `accuracy`; infinite where there are none."""
        target = np.asarray(accuracy, dtype=np.float64)
        tokens = np.zeros(np.broadcast_shapes(target.shape, self.shape))
        for (start, end, slope), value in zip(self._pieces, self.breakpoint_values, strict=False):
            is_on = (target > value) & (slope > 0.0)
            reached = start + (target - value) / np.where(is_on, slope, 1.0)
            tokens = np.where(is_on, np.minimum(reached, end), tokens)
        return np.where(target > self.ceiling, np.inf, tokens)

    def inverse_slope(self, slope: ArrayLike) -> FloatArray:
        """Most tokens v that maximise p(v) − slope · v, for a slope > 0: a corner, or −1.

        Those of the last corner that a piece of at least this slope leads to.
        """
        price = np.asarray(slope, dtype=np.float64)
        tokens = np.full(np.broadcast_shapes(price.shape, self.shape), -1.0)
        for _, end, rise in self._pieces:
            tokens = np.where((rise >= price) & (rise > 0), end, tokens)
        return tokens

    def inverse_slope_sensitivity(self, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
        """Infinite where inverse_slope jumps from one kink to another within the interval, or 0."""
        low, high = np.minimum(lower, upper), np.maximum(lower, upper)
        end = np.where(self.segment_slopes[0] > 0, self.breakpoints[-1], 0.0)
        on_pieces = np.minimum(high, end) - np.maximum(low, 0.0)
        return np.where(on_pieces > 0.0, np.inf, 0.0)

    def inverse_slope_rounding(self, tokens: ArrayLike) -> FloatArray:
        """Zero: what `inverse_slope` answers is a corner to its last bit."""
        return ZERO

    def curvature_range(self, lower: ArrayLike, upper: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Least and greatest ``|p″|`` on [lower, upper]: 0, and infinite where a kink is inside."""
        low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        shape = np.broadcast_shapes(low.shape, high.shape, self.shape)
        has_kink = np.zeros(shape, dtype=bool)
        for (_, corner, slope), after in zip(self._pieces, self.segment_slopes[1:], strict=True):
            has_kink |= (slope > after) & (low < corner) & (corner < high)
        return np.zeros(shape), np.where(has_kink, np.inf, 0.0)

    def __repr__(self) -> str:
        size, most = self.segment_slopes[0].size, self.tokens.shape[-1]
        return f"PiecewiseLinear({plural(size, 'type')}, at most {most} point{'s' * (most != 1)})"


class _Weighted(PiecewiseLinear):
    """The curve value · (p − p(0)): its slopes are computed at once, the rest when asked for."""

    _curve: PiecewiseLinear
    _value: FloatArray

    def __init__(self, curve: PiecewiseLinear, value: FloatArray) -> None:
        self.__dict__.update(
            _curve=curve,
            _value=frozen(value),
            breakpoints=curve.breakpoints,
            segment_slopes=frozen(value * curve.segment_slopes),
        )

    @kept
    def breakpoint_values(self) -> FloatArray:
        """What the accuracy at the corners is worth, shape (C, ...)."""
        curve, values = self._curve, self._curve.breakpoint_values
        # Along the first piece the rise is known to all its digits, the accuracy at 0 is not.
        rises = curve.segment_slopes[0] * self.breakpoints[1:2] + (values[1:] - values[1:2])
        return np.concatenate([np.zeros_like(self.segment_slopes[:1]), self._value * rises])

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same curve with `function` applied to every array by type, unchecked."""
        return type(self)(self._curve.mapped(function), function(self._value))

    def __repr__(self) -> str:
        return f"{self._curve!r} in seconds"
