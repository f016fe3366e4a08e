"""Measured points: lists of any lengths as arrays, and their concave majorant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import first_place, float_array
from cvxqueue.numerics.frames import column_array
from cvxqueue.numerics.summation import Twofold, quotient, two_product, two_sum

# Slopes that agree to so many digits are those of one line.
_SAME_LINE = 1.0 - 1e-12


class Corners(NamedTuple):
    """The corners of the curves, along the first axis."""

    tokens: FloatArray
    values: FloatArray
    slopes: FloatArray


def filled_points(**values: Any) -> list[FloatArray]:
    """Return tokens and accuracies in their common shape, (..., M), short lists filled up."""
    filled = {f"accuracy.{name}": _filled(f"accuracy.{name}", v) for name, v in values.items()}
    (first, (places, counts)), (second, (heights, others)) = filled.items()
    try:
        is_unequal = np.not_equal(*np.broadcast_arrays(counts, others))
    except ValueError:
        raise InvalidInputError(
            Entry(first),
            " and ",
            Entry(second),
            " must have one list for all types or one for each of the same number, got shapes "
            f"{places.shape} and {heights.shape}",
        ) from None
    if is_unequal.any():
        place = first_place(is_unequal)
        mine, theirs = (
            np.broadcast_to(count, is_unequal.shape)[place] for count in (counts, others)
        )
        raise InvalidInputError(
            Entry(first, place),
            f" has length {mine} and ",
            Entry(second, place),
            f" has length {theirs}: every point needs both",
        )
    shape = np.broadcast_shapes(places.shape, heights.shape)
    return [read_only(np.broadcast_to(array, shape)) for array in (places, heights)]


def _filled(name: str, value: Any) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return lists as an array, whose rows repeat their last entry, and their lengths."""
    if hasattr(type(value), "__array__") and (rows := column_array(value)).dtype == object:
        # Lists in the rows of a column.
        value = rows.tolist()
    if isinstance(value, list | tuple):
        value = [column_array(it).tolist() if hasattr(it, "__array__") else it for it in value]
    is_ragged = isinstance(value, Sequence) and all(
        isinstance(row, Sequence) and not isinstance(row, str) for row in value
    )
    counts = np.fromiter(map(len, value), dtype=np.intp) if is_ragged else np.zeros(0, np.intp)
    if not is_ragged or not counts.size or (counts == counts[0]).all():
        array = float_array(name, value, axes=None)
        if array.ndim == 0:
            raise InvalidInputError(
                Entry(name), f" must be a list of numbers, got {float(array)!r}"
            )
        return array, np.full(array.shape[:-1], array.shape[-1])
    if not counts.all():
        place = int(np.argmin(counts))
        raise InvalidInputError(
            Entry(name, (place,)), " must have at least one entry, got an empty list"
        )
    flat = list(chain.from_iterable(value))
    numbers = float_array(name, flat)
    column = np.arange(counts.max())
    start = np.cumsum(counts) - counts
    return numbers[start[:, None] + np.minimum(column, counts[:, None] - 1)], counts


def concave_majorant(tokens: FloatArray, values: FloatArray) -> Corners:
    """Corners of the least nondecreasing concave curve above points along the first axis.

    The first corner is at 0 tokens, where the line from the first point to the next corner leads.
    From each corner the steepest line that leads up to a later point leads to the next one, the
    farthest if there are several; where none leads up, the curve is constant from there. All in
    twice the precision, in which only the results are rounded: a line continued far to the left
    may lose every digit of the accuracies, and one between points that lie close together most.
    """
    zero = np.zeros_like(tokens[0])
    here: FloatArray = zero
    height = _continued(tokens, values)
    corners, slopes = [(here, height[0])], [zero]
    for passed in range(tokens.shape[0]):
        # Every corner takes one point more at least.
        later, levels = tokens[passed:], values[passed:]
        steps = two_sum(later, -here)
        rises = two_sum(levels, -height[0])
        each = quotient((rises[0], rises[1] - height[1]), steps)
        is_ahead = later > here
        high = np.where(is_ahead, each[0], -1.0)
        most = high.max(axis=0)
        is_rising = most > 0.0
        if not is_rising.any():
            break
        low = np.where(high == most, each[1], -np.inf)
        farthest = later.shape[0] - 1 - np.argmax(low[::-1], axis=0)[np.newaxis]
        place, value = (np.take_along_axis(a, farthest, axis=0)[0] for a in (later, levels))
        slopes[-1] = np.where(is_rising, most, 0.0)
        here = np.where(is_rising, place, here)
        height = np.where(is_rising, value, height[0]), np.where(is_rising, 0.0, height[1])
        corners.append((here, height[0]))
        slopes.append(zero)
    places, heights = (np.stack(arrays) for arrays in zip(*corners, strict=True))
    # Each is right to one rounding; together they never rise.
    falling = np.minimum.accumulate(np.stack(slopes), axis=0)
    return Corners(*(read_only(array) for array in (places, heights, falling)))


def _continued(tokens: FloatArray, values: FloatArray) -> Twofold:
    """Where the line from the first point to the next corner of the curve is at 0 tokens.

    The accuracy of the first point itself, where no later one has more.
    """
    start, height = tokens[0], values[0]
    if tokens.shape[0] == 1:
        return height, np.zeros_like(height)
    slopes = quotient(two_sum(values[1:], -height), two_sum(tokens[1:], -start))[0]
    slopes = np.where(tokens[1:] > start, slopes, 0.0)
    most = slopes.max(axis=0)
    # Decimal fractions on one line are not on one in binary: the first of them draws it.
    nearest = np.argmax(slopes >= _SAME_LINE * most, axis=0)[np.newaxis]
    place, value = (np.take_along_axis(a[1:], nearest, axis=0)[0] for a in (tokens, values))
    (first, lost), (second, missing) = two_product(height, place), two_product(value, start)
    area, rest = two_sum(first, -second)
    at_zero = quotient(two_sum(area, rest + (lost - missing)), two_sum(place, -start))
    is_level = (most <= 0.0) | (start == 0.0)
    return np.where(is_level, height, at_zero[0]), np.where(is_level, 0.0, at_zero[1])
