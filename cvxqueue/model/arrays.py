"""Array-valued data: checked on the way in, read-only and comparable ever after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import InvalidInputError

__all__ = [
    "ArrayData",
    "FloatArray",
    "common_length",
    "float_array",
    "kept",
    "read_only",
    "real_number",
    "require",
    "text_tuple",
]

FloatArray = NDArray[np.float64]

_Owner = TypeVar("_Owner")
_Value = TypeVar("_Value")


class ArrayData:
    """Base of the frozen dataclasses that hold arrays.

    Two objects are equal when they are of one class and all their fields are equal; equal objects
    have equal hashes. Copies and unpickled objects go through the constructor, so their arrays are
    checked and read-only as well.
    """

    def _fields(self) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self._fields(), other._fields()
        return all(_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(value) for value in self._fields().values())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _construct, (type(self), self._fields())

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return an unchecked copy with `function` applied to every array."""
        copied = object.__new__(type(self))
        for name, value in self._fields().items():
            new = function(value) if isinstance(value, np.ndarray) else value
            object.__setattr__(copied, name, new)
        return copied

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields replaced; everything is checked again.

        Parameters
        ----------
        **changes
            New values, by field name.

        Raises
        ------
        InvalidInputError
            If a name is not a field, or a new value is not allowed.
        """
        unknown = sorted(set(changes) - set(self._fields()))
        if unknown:
            raise InvalidInputError(
                f"{type(self).__name__} has no field {unknown[0]!r}; its fields are "
                f"{', '.join(self._fields())}"
            )
        return type(self)(**{**self._fields(), **changes})


def read_only(array: FloatArray) -> FloatArray:
    """Return a read-only copy of an array that need not be finite."""
    copied = np.array(array, dtype=np.float64)
    copied.flags.writeable = False
    return copied


class kept(Generic[_Owner, _Value]):  # noqa: N801 - a decorator, like property
    """Turn a method into a property that is computed once, and read-only where it is an array.

    What two threads compute at a time is the same, so that there is no lock to pay for.
    """

    def __init__(self, function: Callable[[_Owner], _Value]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type[_Owner], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type[_Owner]) -> Self: ...

    @overload
    def __get__(self, owner: _Owner, kind: type[_Owner]) -> _Value: ...

    def __get__(self, owner: _Owner | None, kind: type[_Owner]) -> Self | _Value:
        if owner is None:
            return self
        value = self._function(owner)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        owner.__dict__[self._name] = value
        return value


def _construct(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**fields)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, np.ndarray):
        return np.array_equal(mine, theirs)
    return bool(mine == theirs)


def _hashable(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def float_array(name: str, value: ArrayLike, length: int | None = None) -> FloatArray:
    """Return a checked, read-only copy of a scalar or of a vector of finite numbers.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    value : array_like, shape () or (N,)
        The data.
    length : int, optional
        Broadcast to ``(length,)``, and refuse a vector of another length.

    Raises
    ------
    InvalidInputError
        If `value` is not numeric, not finite, has more than one axis, is empty, or has another
        length.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError(f"{name} must not be a masked array: fill in or drop its entries")
    try:
        raw = np.asarray(value)
    except ValueError:
        raise InvalidInputError(
            f"{name} must be a number or a flat list of numbers, got a ragged list: {value!r:.80}"
        ) from None
    if raw.dtype.kind not in "iuf":
        raise InvalidInputError(
            f"{name} must be a number or a flat list of numbers, got {value!r:.80}"
        )
    if raw.ndim > 1:
        raise InvalidInputError(
            f"{name} must be a number or a flat list of numbers, got an array of shape {raw.shape}"
        )
    if raw.size == 0:
        raise InvalidInputError(f"{name} must have at least one entry, got an empty list")
    # Adding zero turns −0.0 into 0.0, so that equal arrays have equal bytes.
    array = raw.astype(np.float64) + 0.0
    require(name, array, np.isfinite(array), "must be finite")
    if length is not None:
        if array.ndim == 1 and array.shape != (length,):
            raise InvalidInputError(
                f"{name} must be a number or have one entry for each of the {length} types, "
                f"got {array.size} entries"
            )
        array = np.full(length, array) if array.ndim == 0 else array
    array = np.asarray(array)
    array.flags.writeable = False
    return array


def require(name: str, array: FloatArray, allowed: NDArray[np.bool_], condition: str) -> None:
    """Raise an error that names the first entry of `array` that is not allowed."""
    if not np.all(allowed):
        position = int(np.argmin(np.ravel(allowed)))
        entry = f"{name}[{position}]" if array.ndim else name
        raise InvalidInputError(f"{entry} = {float(np.ravel(array)[position])!r} {condition}")


def real_number(name: str, value: Any) -> float:
    """Return one finite number as a float, or raise an error that names it."""
    array = float_array(name, value)
    if array.ndim:
        raise InvalidInputError(f"{name} must be one number, got a list of {array.size}")
    return float(array)


def text_tuple(name: str, value: Sequence[str]) -> tuple[str, ...]:
    """Return a list of strings as a tuple, or raise an error that names the entry."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise InvalidInputError(f"{name} must be a list of strings, got {value!r:.80}")
    for position, entry in enumerate(value):
        if not isinstance(entry, str):
            raise InvalidInputError(f"{name}[{position}] must be a string, got {entry!r:.80}")
    return tuple(str(entry) for entry in value)


def common_length(arrays: dict[str, FloatArray]) -> int | None:
    """Return the length that several scalars and vectors share, ``None`` if all are scalars.

    Raises
    ------
    InvalidInputError
        If two vectors have different lengths.
    """
    lengths = {name: array.size for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} has {size}" for name, size in lengths.items())
        raise InvalidInputError(f"the lists must have one length for all types: {listing}")
    return next(iter(lengths.values()), None)
