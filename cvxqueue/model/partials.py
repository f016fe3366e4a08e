"""Derivatives of closed forms by the data that they are made of, class by class.

One mechanism for all classes, somebody's own included: a field gets an imaginary part h so small
that its square is lost, and the imaginary part of a formula is h times its derivative, to rounding,
because nothing is subtracted. Formulas must be analytic in the field; what they ask of the tokens
does not matter. A class whose formulas are not is refused by its name. Tables of points are made by
comparisons, and their derivatives are written down.

References
----------
Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review
40(1), 1998.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.assumed import is_own
from cvxqueue.model.piecewise import PiecewiseLinear
from cvxqueue.numerics.array_data import field_names, unchecked
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import ROUNDING_OF_ONE

Formulas = Callable[[Any], Sequence[Any]]
# Its square is lost beside any number that data may be, and no product with it leaves float64.
_STEP = 2.0**-200
# Of somebody else's class: the relative step of a difference, what its curvature may make it miss,
# and some hundred roundings of a formula.
_SIDE, _CURVED, _HUNDRED_ROUNDINGS = 1e-5, 1e-3, 1e-13


def number_partials(of: Any, name: str, value: float, formulas: Formulas, room: float) -> list[Any]:
    """Return the derivatives of formulas of one number, which are those of an object.

    They are held against differences that leave a share of the number, no more than 1, its `room`.

    Raises
    ------
    InvalidInputError
        As `field_partials`.
    """
    return _partials(of, name, value, formulas, formulas, _SIDE * room)


def field_partials(of: Any, formulas: Formulas) -> dict[str, list[Any]]:
    """Return the derivatives of formulas of an object by each of its fields that are numbers.

    Entries of arrays are by type, and so are the derivatives.

    Raises
    ------
    InvalidInputError
        If the class is not the package's, and a formula is not analytic in a field.
    """
    kind = type(of)
    data = {name: getattr(of, name) for name in field_names(kind)} if is_dataclass(kind) else {}
    numbers = {name: it for name, it in data.items() if _is_numeric(it)}

    def partials(name: str) -> list[Any]:
        def past_constructor(value: Any) -> Sequence[Any]:
            try:
                return formulas(unchecked(kind, **data | {name: value}))
            except TypeError:
                # A sum in place takes no complex term, unless it began as one.
                wide = {each: it + 0j for each, it in numbers.items()}
                return formulas(unchecked(kind, **data | wide | {name: value}))

        def constructed(value: Any) -> Sequence[Any]:
            return formulas(kind(**data | {name: value}))

        return _partials(of, name, numbers[name], past_constructor, constructed)

    return {name: partials(name) for name in numbers}


def _is_numeric(value: Any) -> bool:
    """Whether a field is a number or numbers by type, and no switch."""
    return isinstance(value, Real | np.ndarray) and np.asarray(value).dtype.kind in "iuf"


def _partials(
    of: Any, name: str, value: Any, at_complex: Formulas, at: Formulas, share: float = _SIDE
) -> list[Any]:
    """Derivatives by one number or array, of which the formulas are functions."""
    try:
        # Of numpy: one of Python takes the precision of what it meets, and a step is lost in less.
        there = np.asarray(value, dtype=np.complex128)[()] + 1j * _STEP
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            try:
                found = [np.imag(it) / _STEP for it in at_complex(there)]
            except (AttributeError, np.exceptions.ComplexWarning) as error:
                # What a constructor adds to the fields, and an imaginary part that is lost.
                raise TypeError(str(error)) from error
        is_near = is_own(type(of)) or _is_near(of, value, at, found, share)
    except (TypeError, ValueError, IndexError) as error:
        raise _refusal(of, name, str(error)) from error
    if not is_near:
        raise _refusal(of, name, "no difference shows that its formulas are analytic in it")
    return found


def _is_near(of: Any, value: Any, formulas: Formulas, found: list[Any], share: float) -> bool:
    """Whether derivatives are those of differences: an absolute value loses the imaginary part."""
    size = np.abs(value)
    step = share * np.where(size > 0.0, size, max(1.0, float(np.max(size))))
    here, agree = formulas(value), []
    for there in (value + step, value - step):
        try:
            moved = formulas(there[()])
        except ValueError:
            # At the end of what is allowed there is one side alone.
            continue
        side = there - value
        slopes = [(last - first) / side for first, last in zip(here, moved, strict=True)]
        agree.append(
            [
                np.abs(slope - derivative)
                <= _CURVED * np.maximum(np.abs(slope), np.abs(derivative))
                + _HUNDRED_ROUNDINGS * np.abs(first) / step
                for first, slope, derivative in zip(here, slopes, found, strict=True)
            ]
        )
    # With neither side nothing is known. Where a curve has a kink, and a field moves it, the
    # derivative is that of one side.
    is_enough = np.all if getattr(of, "is_smooth", True) else np.any
    return bool(agree) and all(is_enough(it, axis=0).all() for it in zip(*agree, strict=True))


def _refusal(of: Any, name: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"{type(of).__module__}.{type(of).__qualname__} has no derivative by {name}: {reason}; "
        "formulas must take complex numbers, without abs, float and arrays of floats, and the "
        "constructor each field, a little more of it or a little less"
    )


def curve_partials(curve: AccuracyCurve, tokens: FloatArray) -> dict[str, list[FloatArray]]:
    """Return the derivatives of p and p′ at given tokens by each field of a curve.

    From the right at a kink. NaN where a point of a table lies on the line between two others, or
    level with the last: there a curve changes one way up and another way down.
    """
    # One derived from it may compute anything.
    if type(curve) is PiecewiseLinear:
        return _table_partials(curve, tokens)
    # To the right of a kink that the field moves, and not on both sides of it.
    beside = tokens if curve.is_smooth else np.nextafter(tokens, np.inf)
    return field_partials(curve, lambda it: (it.value(beside), it.slope(beside)))


def kink_partials(curve: AccuracyCurve, kink: FloatArray) -> dict[str, FloatArray]:
    """Return the derivatives of the tokens of one kink of each type by each field of a curve."""
    rows = np.argmax(curve.breakpoints == kink, axis=0)[np.newaxis]
    if type(curve) is PiecewiseLinear:
        return {"tokens": 1.0 * (np.arange(curve.tokens.shape[-1]) == _points(curve, kink))}
    found = field_partials(curve, lambda it: list(np.take_along_axis(it.breakpoints, rows, 0)))
    return {name: moved for name, (moved,) in found.items()}


def _points(curve: PiecewiseLinear, tokens: FloatArray) -> NDArray[np.intp]:
    """Position of the first point of each type that is not to the left of tokens, (N, 1)."""
    passed = np.sum(curve.tokens < tokens[:, np.newaxis], axis=1, dtype=np.intp)
    return np.asarray(passed)[:, np.newaxis]


def _table_partials(curve: PiecewiseLinear, tokens: FloatArray) -> dict[str, list[FloatArray]]:
    """Weights of the two points that a piece leads through, which are its own and times −slope."""
    corners, slopes, last = curve.breakpoints, curve.segment_slopes, len(curve.breakpoints) - 1
    place = np.sum(corners <= tokens, axis=0)[np.newaxis] - 1

    def at(array: FloatArray, which: NDArray[np.intp]) -> FloatArray:
        row: FloatArray = np.take_along_axis(array, np.minimum(which, last), axis=0)[0]
        return row

    is_level = (at(slopes, place) == 0.0)[:, np.newaxis]
    first, end = (_points(curve, at(corners, place + ahead)) for ahead in (0, 1))
    # A line continued to 0 tokens may have been given a corner at the first point that it is of.
    end = np.where(end == first, _points(curve, at(corners, place + 2)), end)
    end = np.where(is_level, first, end)
    x, y = curve.tokens, curve.accuracy
    (low, bottom), (high, top) = (
        (np.take_along_axis(x, it, 1), np.take_along_axis(y, it, 1)) for it in (first, end)
    )
    width = np.where(is_level, 1.0, high - low)
    slope, share = (top - bottom) / width, (tokens[:, np.newaxis] - low) / width
    each = np.arange(x.shape[1])
    is_first, is_end = each == first, (each == end) & ~is_level
    weight = is_first * np.where(is_level, 1.0, 1.0 - share) + is_end * share
    tilt = (1.0 * is_end - is_first * ~is_level) / width
    is_on = y >= bottom + slope * (x - low) - ROUNDING_OF_ONE
    is_on &= ~(is_first | is_end) & (each < curve.point_counts[..., np.newaxis])
    # At the first point itself a line to the right of it changes the slope alone.
    found = []
    for by_accuracy, is_there in ((weight, is_on & ((share != 0.0) | (x < low))), (tilt, is_on)):
        unsure = is_there.any(axis=1, keepdims=True) & (is_there | is_first | is_end)
        found.append(np.where(unsure, np.nan, by_accuracy))
    # Along a level line a point may be anywhere.
    by_tokens = [np.where(slope == 0.0, 0.0, -slope * it) for it in found]
    return {"tokens": by_tokens, "accuracy": found}
