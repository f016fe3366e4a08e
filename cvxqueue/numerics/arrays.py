"""Arrays that nobody can write to, and properties that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arithmetic import caller, quiet

FloatArray = NDArray[np.float64]
Numbers = float | FloatArray

_Array = TypeVar("_Array")
_Owner = TypeVar("_Owner")
_Value = TypeVar("_Value")


def frozen(array: _Array) -> _Array:
    """Return the array itself, read-only from now on as what it is a view of, or what is none."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.setflags(write=False)
        part = part.base
    return array


def frozen_tuple(kind: Callable[..., Any], *parts: Any) -> Any:
    """Return what a pickle brings back as it was: of arrays that nobody can write to."""
    arrays = (frozen(part.copy()) if isinstance(part, np.ndarray) else part for part in parts)
    return kind(*arrays)


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


ZERO = read_only(np.zeros(()))
"""For what is zero everywhere."""


class kept(Generic[_Owner, _Value]):  # noqa: N801 - a decorator, like property
    """Turn a method into a property that is computed once, and read-only where it is an array.

    What two threads compute at a time is the same, so that there is no lock to pay for.
    """

    def __init__(self, function: Callable[[_Owner], _Value]) -> None:
        self._function, self._quiet_function = function, quiet(function)
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type[_Owner], name: str) -> None:
        self.attrname = name

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
        owner.__dict__[self.attrname] = value
        return value


def forwarded(
    part: str, of: Callable[[Any], _Value] | cached_property[_Value] | kept[Any, _Value]
) -> cached_property[_Value]:
    """Return a property of a part as one of the whole, with its docstring."""
    known: Any = of
    name = known.attrname if hasattr(known, "attrname") else known.fget.__name__
    found: Any = property(attrgetter(f"{part}.{name}"), doc=known.__doc__)
    return found  # type: ignore[no-any-return]
