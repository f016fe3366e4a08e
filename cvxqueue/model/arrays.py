"""Array-valued data: checked on the way in, read-only and comparable ever after."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import CvxqueueWarning, Entry, InvalidInputError
from cvxqueue.model.arithmetic import caller, quiet
from cvxqueue.shown import shown

__all__ = [
    "JENSEN_SLACK",
    "LARGEST_COUNT",
    "ROUNDING_OF_ONE",
    "ArrayData",
    "FloatArray",
    "InputData",
    "LawData",
    "ReadOnlyArrays",
    "common_arrays",
    "first_place",
    "float_array",
    "frozen",
    "frozen_tuple",
    "is_frozen",
    "kept",
    "nonnegative_number",
    "number_array",
    "positive_number",
    "read_only",
    "real_number",
    "require",
    "require_representable",
    "text_tuple",
    "whole_number",
]

LARGEST_COUNT = 2.0**53
"""From here on float64 skips whole numbers."""
JENSEN_SLACK = 1.0 - 1e-12
"""A second moment computed from the data that gave the mean may miss its square by rounding."""
# The tenth power of either end is within float64, and no formula has more factors.
_LEAST, _MOST = 1e-30, 1e30
ROUNDING_OF_ONE = 1e-12
"""What probabilities typed to a few digits, or their sum, may exceed one by."""

FloatArray = NDArray[np.float64]

_Owner = TypeVar("_Owner")
_Value = TypeVar("_Value")


class ReadOnlyArrays:
    """Base of frozen dataclasses whose arrays nobody can write to, and neither in a copy."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and not is_frozen(value):
                vars(self)[name] = frozen(value.copy())

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        quiet(cls)

    def _fields(self) -> dict[str, Any]:
        kind = type(self)
        names: Any = getattr(kind, "__dataclass_fields__", kind.__annotations__)
        return {name: getattr(self, name) for name in names}

    def __reduce__(self) -> tuple[Any, ...]:
        return _construct, (type(self), self._fields())


class ArrayData(ReadOnlyArrays):
    """Base of the frozen dataclasses that hold arrays, and are compared by them.

    Two objects are equal when they are of one class and all their fields are equal; equal objects
    have equal hashes. Copies and unpickled objects go through the constructor, so their fields are
    checked as new data are, and what is computed from them is computed again.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self._fields(), other._fields()
        return all(_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(value) for value in self._fields().values())))

    def __setstate__(self, state: object) -> None:
        raise InvalidInputError(
            f"a pickle sets the attributes of {type(self).__name__} past its constructor: nothing "
            "is proven of those; make the object anew"
        )


class InputData(ArrayData):
    """Base of what people make: a copy may have other data, checked like the first."""

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
                f"{type(self).__name__} has no field {shown(unknown[0])}; its fields are "
                f"{', '.join(self._fields())}"
            )
        return type(self)(**{**self._fields(), **changes})


class LawData(InputData):
    """Base of laws by type, of which the formulas take parts."""

    _part: ClassVar[str] = ""
    """What the law is of an instance, for messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape by type: (), (N,), or (B, N) for a batch."""
        return np.broadcast_shapes(*(array.shape for array in self._fields().values()))

    def broadcast(self, length: int) -> Self:
        """Return the same law with one entry for each of `length` types."""
        if self.shape[-1:] == (length,):
            return self
        return type(self)(
            **{
                name: float_array(f"{self._part}.{name}", array, length, axes=2)
                for name, array in self._fields().items()
            }
        )

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return an unchecked copy with `function` applied to every array."""
        copied = object.__new__(type(self))
        for name, value in self._fields().items():
            copied.__dict__[name] = (
                frozen(function(value)) if isinstance(value, np.ndarray) else value
            )
        return copied


def frozen_tuple(kind: Callable[..., Any], *parts: Any) -> Any:
    """Return what a pickle brings back as it was: of arrays that nobody can write to."""
    arrays = (frozen(part.copy()) if isinstance(part, np.ndarray) else part for part in parts)
    return kind(*arrays)


_Array = TypeVar("_Array")


def frozen(array: _Array) -> _Array:
    """Return the array itself, read-only from now on, and so is what it is a view of.

    What is no array is left alone.
    """
    part: Any = array
    while isinstance(part, np.ndarray):
        part.setflags(write=False)
        part = part.base
    return array


def is_frozen(array: NDArray[Any]) -> bool:
    """Whether nobody can write to the array, not even through what it is a view of."""
    part: Any = array
    while isinstance(part, np.ndarray):
        if part.flags.writeable:
            return False
        part = part.base
    return part is None


def read_only(array: FloatArray) -> FloatArray:
    """Return a read-only copy of an array that need not be finite."""
    return frozen(np.array(array, dtype=np.float64))


class kept(Generic[_Owner, _Value]):  # noqa: N801 - a decorator, like property
    """Turn a method into a property that is computed once, and read-only where it is an array.

    What two threads compute at a time is the same, so that there is no lock to pay for.
    """

    def __init__(self, function: Callable[[_Owner], _Value]) -> None:
        self._function, self._quiet_function = function, quiet(function)
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
        # Inside, a call less: most of what is computed passes here.
        value = (self._quiet_function if caller() is None else self._function)(owner)
        for part in value if isinstance(value, tuple) else (value,):
            frozen(part)
        owner.__dict__[self._name] = value
        return value


def _construct(kind: type[Any], fields: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # What there is to warn of was said of the first.
        warnings.simplefilter("ignore", CvxqueueWarning)
        return kind(**fields)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, np.ndarray):
        return np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
    return bool(mine == theirs)


def _hashable(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "f":
        # One zero and one NaN, whatever their signs.
        value = np.where(np.isnan(value), np.nan, value + 0.0)
    return value.shape, value.tobytes()


def number_array(name: str, value: ArrayLike, wanted: str) -> NDArray[Any]:
    """Return whole or real numbers as the array that they are, or raise an error that names it.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    value : array_like
        The data, of any shape, finite or not.
    wanted : str
        What is allowed, for messages.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError(
            Entry(name), " must not be a masked array: fill in or drop its entries"
        )
    try:
        raw = np.asarray(value)
    except ValueError:
        raise InvalidInputError(
            Entry(name), f" must be {wanted}, got a ragged list: {shown(value)}"
        ) from None
    if raw.dtype.kind not in "iuf":
        raise InvalidInputError(Entry(name), f" must be {wanted}, got {shown(value)}")
    return raw


def float_array(
    name: str, value: ArrayLike, length: int | None = None, axes: int = 1, of: str = "types"
) -> FloatArray:
    """Return a checked, read-only copy of a scalar or of an array of finite numbers.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    value : array_like, shape () or (N,), or (B, N) with two axes
        The data.
    length : int, optional
        Broadcast a scalar to ``(length,)``, and refuse any other length of the last axis.
    axes : int, default 1
        Most axes that are allowed.
    of : str, default "types"
        What there is one entry for, for messages.

    Raises
    ------
    InvalidInputError
        If `value` is not numeric, not finite, has too many axes, is empty, or has another length.
    """
    numbers = "a number or a flat list of numbers" if axes else "one number"
    raw = number_array(name, value, numbers)
    if raw.ndim > axes:
        wanted = numbers if axes <= 1 else f"of at most {axes} axes"
        got = f"an array of shape {raw.shape}" if axes else f"a list of {raw.size}"
        raise InvalidInputError(Entry(name), f" must be {wanted}, got {got}")
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


def require(name: str, array: FloatArray, allowed: NDArray[np.bool_], condition: str) -> None:
    """Raise an error that names the first entry of `array` that is not allowed."""
    if not np.all(allowed):
        place = first_place(~np.asarray(allowed))
        raise InvalidInputError(Entry(name, place), f" = {float(array[place])!r} {condition}")


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


def nonnegative_number(name: str, value: Any) -> float:
    """Return one number ≥ 0 as a float, or raise an error that names it."""
    number = real_number(name, value)
    if number < 0.0:
        raise InvalidInputError(f"{name} = {number!r} must be ≥ 0")
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
    """Return a list of strings as a tuple, or raise an error that names the entry."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise InvalidInputError(f"{name} must be a list of strings, got {shown(value)}")
    for position, entry in enumerate(value):
        if not isinstance(entry, str):
            raise InvalidInputError(
                Entry(name, (position,)), f" must be a string, got {shown(entry)}"
            )
    return tuple(str(entry) for entry in value)


def common_arrays(**values: ArrayLike) -> list[FloatArray]:
    """Return arrays of data by type in their common shape: (), (N,), or (B, N) for a batch.

    Raises
    ------
    InvalidInputError
        If one is not what `float_array` takes, or if two have different lengths.
    """
    arrays = {
        name.replace("__", "."): float_array(name.replace("__", "."), value, axes=2)
        for name, value in values.items()
    }
    for axis, what in ((-1, "all types"), (-2, "all instances")):
        lengths = {n: a.shape[axis] for n, a in arrays.items() if a.ndim >= -axis}
        if len(set(lengths.values())) > 1:
            listing: list[str | Entry] = []
            for name, size in lengths.items():
                listing += [", " if listing else "", Entry(name), f" has {size}"]
            raise InvalidInputError(f"the lists must have one length for {what}: ", *listing)
    shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    return [
        array if array.shape == shape else read_only(np.broadcast_to(array, shape))
        for array in arrays.values()
    ]
