"""Measured points: lists of any lengths as arrays, and their concave majorant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.model.arrays import FloatArray, first_place, float_array, read_only

__all__ = ["Corners", "concave_majorant", "filled_points"]


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
    is_ragged = isinstance(value, Sequence) and all(
        isinstance(row, Sequence | np.ndarray) and not isinstance(row, str) for row in value
    )
    counts = np.fromiter(map(len, value), dtype=np.intp) if is_ragged else np.zeros(0, np.intp)
    if not is_ragged or not counts.size or (counts == counts[0]).all():
        array = float_array(name, value, axes=3)
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
    """Corners of the least nondecreasing concave majorant of points along the first axis.

    From each corner the steepest line that leads up to a later point leads to the next one, the
    farthest if there are several; where none leads up, the curve is constant from there.
    """
    corners = [(tokens[0], values[0])]
    for _ in range(tokens.shape[0] - 1):
        here, height = corners[-1]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slopes = np.where(tokens > here, (values - height) / (tokens - here), -1.0)
        is_rising = slopes.max(axis=0) > 0
        if not is_rising.any():
            break
        farthest = tokens.shape[0] - 1 - np.argmax(slopes[::-1], axis=0)
        following = (
            np.take_along_axis(array, farthest[np.newaxis], axis=0)[0] for array in (tokens, values)
        )
        corners.append(
            tuple(
                np.where(is_rising, new, old)
                for new, old in zip(following, corners[-1], strict=True)
            )
        )
    places, heights = (np.stack(arrays) for arrays in zip(*corners, strict=True))
    steps, rises = np.diff(places, axis=0), np.diff(heights, axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slopes = np.where(steps > 0, rises / steps, 0.0)
    slopes = np.concatenate([slopes, np.zeros_like(places[:1])])
    # Each is right to two roundings; together they never rise.
    slopes = np.minimum.accumulate(slopes, axis=0)
    return Corners(*(read_only(array) for array in (places, heights, slopes)))
