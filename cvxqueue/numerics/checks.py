"""Numbers and texts from people: checked on the way in, with errors that name the entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray, frozen, read_only
from cvxqueue.numerics.frames import column_array, column_names

LARGEST_COUNT = 2.0**53
"""From here on float64 skips whole numbers."""
ROUNDING_OF_ONE = 1e-12
"""What probabilities typed to a few digits, or their sum, may exceed one by."""
# The tenth power of either end is within float64, and no formula has more factors.
_LEAST, _MOST = 1e-30, 1e30


def number_array(name: str, value: Any, allowed: str) -> NDArray[Any]:
    """Return whole or real numbers of any shape, finite or not, as the array that they are.

    Or raise an error that names the argument, and says what is allowed. Of a frame each column is a
    column of the array.
    """
    if columns := column_names(value):
        parts = (number_array(f"{name}: {each}", value[each], allowed) for each in columns)
        return np.stack(list(parts), axis=-1)
    raw = column_array(value)
    if isinstance(raw, np.ma.MaskedArray):
        place = first_place(np.ma.getmaskarray(raw))
        raise InvalidInputError(Entry(name, place), " is missing: fill in or drop such entries")
    if raw.dtype.kind not in "iuf":
        is_ragged = raw.ndim and any(isinstance(it, list | tuple | np.ndarray) for it in raw)
        # Others print columns on several lines.
        got = raw.tolist() if hasattr(type(value), "__array__") else value
        raise InvalidInputError(
            Entry(name),
            f" must be {allowed}, got {'a ragged list: ' if is_ragged else ''}{shown(got)}",
        )
    return raw


def float_array(
    name: str, value: ArrayLike, length: int | None = None, axes: int | None = 1, of: str = "types"
) -> FloatArray:
    """Return a checked, read-only copy of a scalar or of an array of finite numbers.

    A scalar becomes one entry for each of `length` things, of which `of` is the name; any other
    length of the last axis is refused, and so are more axes than `axes`, none where it is ``None``.
    """
    kinds = {0: "one number", None: "a number or an array of numbers"}
    numbers = kinds.get(axes, "a number or a flat list of numbers")
    raw = number_array(name, value, numbers)
    if axes is not None and raw.ndim > axes:
        allowed = numbers if axes <= 1 else f"of at most {axes} axes"
        got = f"an array of shape {raw.shape}" if axes else f"a list of {raw.size}"
        raise InvalidInputError(Entry(name), f" must be {allowed}, got {got}")
    if raw.size == 0:
        raise InvalidInputError(Entry(name), " must have at least one entry, got an empty list")
    if raw.ndim == 1 and raw.strides == (0,) and raw.size == length:
        raw = raw[0]
    # Adding zero turns −0.0 into 0.0, so that equal arrays have equal bytes.
    array = frozen(np.asarray(raw.astype(np.float64) + 0.0))
    require(name, array, np.isfinite(array), "must be finite")
    if length is not None:
        if array.ndim and array.shape[-1] != length:
            raise InvalidInputError(
                Entry(name),
                f" must be a number or have one entry for each of the {length} {of}, got "
                f"{array.shape[-1]}",
            )
        if array.ndim == 0:
            # One number, however many types there are.
            return frozen(np.broadcast_to(array, (length,)))
    return array


def require_that(is_allowed: object, name: str, value: object, allowed: str) -> None:
    """Raise an error that says what an argument must be, where it is not."""
    if not is_allowed:
        raise InvalidInputError(f"{name} must be {allowed}, got {shown(value)}")


def require(name: str, array: FloatArray, allowed: NDArray[np.bool_], condition: str) -> None:
    """Raise an error that names the first entry of `array` that is not allowed."""
    if not np.all(allowed):
        place = first_place(~np.asarray(allowed))
        raise InvalidInputError(Entry(name, place), f" = {float(array[place])!r} {condition}")


def require_size(name: str, array: FloatArray, condition: str = "≥ 0") -> None:
    """Raise an error where data are not ≥ 0, or > 0 if the condition begins so, or out of range."""
    is_allowed = array > 0.0 if condition.startswith(">") else array >= 0.0
    require(name, array, is_allowed, f"must be {condition}")
    require_representable(name, array)


def require_representable(name: str, array: FloatArray) -> None:
    """Raise an error where data ≥ 0 are so small or large that products of them may not be."""
    is_within = (array <= _MOST) & ((array >= _LEAST) | (array == 0.0))
    require(name, array, is_within, f"must be 0 or between {_LEAST:g} and {_MOST:g}")


def first_place(found: NDArray[np.bool_]) -> tuple[int, ...]:
    """Index of the first true entry."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(found)), found.shape))


def real_number(name: str, value: Any) -> float:
    """Return one finite number as a float, or raise an error that names it."""
    return float(float_array(name, value, axes=0))


def positive_number(name: str, value: Any, unit: str = "") -> float:
    """Return one number > 0 as a float, or raise an error that names it."""
    number = real_number(name, value)
    if number <= 0.0:
        raise InvalidInputError(f"{name} = {number!r} must be > 0" + (f" ({unit})" if unit else ""))
    return number


def whole_number(name: str, value: Any, *, least: int, unit: str = "") -> int:
    """Return a whole number from `least` to 2^53 as an int, or raise an error that names it."""
    number = real_number(name, value)
    if number != np.floor(number) or not least <= number <= LARGEST_COUNT:
        raise InvalidInputError(
            f"{name} = {shown(value)} must be a whole number from {least} to 2^53"
            + (f" ({unit})" if unit else "")
        )
    return int(number)


def text_tuple(name: str, value: Sequence[str]) -> tuple[str, ...]:
    """Return a list or column of strings as a tuple, or raise an error that names the entry."""
    given: Any = value
    if hasattr(type(value), "__array__") and not isinstance(value, str):
        given = column_array(value).tolist()
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    require_that(is_list, name, given, "a list of strings")
    for position, entry in enumerate(given):
        if not isinstance(entry, str):
            place = Entry(name, (position,))
            raise InvalidInputError(place, f" must be a string, got {shown(entry)}")
    return tuple(map(str, given))


def common_arrays(part: str, **values: ArrayLike) -> dict[str, FloatArray]:
    """Return data by type, checked, in their common shape: (), (N,), or (..., N) for a batch."""
    arrays = {
        name: float_array(f"{part}.{name}", value, axes=None) for name, value in values.items()
    }
    lengths = {name: array.shape[-1] for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        found = _listing({f"{part}.{name}": size for name, size in lengths.items()})
        raise InvalidInputError("the lists must have one length for all types: ", *found)
    leading = common_shape({f"{part}.{name}": array.shape[:-1] for name, array in arrays.items()})
    shape = (*leading, *list(lengths.values())[:1])
    return {
        name: array if array.shape == shape else read_only(np.broadcast_to(array, shape))
        for name, array in arrays.items()
    }


def common_shape(leading: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a grid of instances from the leading axes of its data, by name."""
    try:
        return np.broadcast_shapes(*leading.values())
    except ValueError:
        raise InvalidInputError(
            "the leading axes must broadcast with each other, as in numpy, for all instances: ",
            *_listing({name: shape for name, shape in leading.items() if shape}),
        ) from None


def _listing(sizes: dict[str, Any]) -> list[str | Entry]:
    """What each of some arguments has, for a message."""
    return [it for name, has in sizes.items() for it in (", ", Entry(name), f" has {has}")][1:]
