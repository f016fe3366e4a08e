"""Frozen dataclasses of arrays: read-only and comparable, and so are their copies."""

from __future__ import annotations

import warnings
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Self, TypeVar

import numpy as np

from cvxqueue.errors import CvxqueueWarning, InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arithmetic import Quiet
from cvxqueue.numerics.arrays import frozen, is_frozen

_Kind = TypeVar("_Kind")


@cache
def field_names(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass: what makes a copy of it.

    Raises
    ------
    InvalidInputError
        If the class is no dataclass.
    """
    if not is_dataclass(kind):
        raise InvalidInputError(
            f"{kind.__module__}.{kind.__qualname__} must be a dataclass, as by "
            "@dataclass(frozen=True, eq=False): its fields are what is copied and compared"
        )
    return tuple(field.name for field in fields(kind))


class ReadOnlyArrays(Quiet):
    """Base of frozen dataclasses whose arrays nobody can write to, and neither in a copy."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and not is_frozen(value):
                vars(self)[name] = frozen(value.copy())

    def _fields(self) -> dict[str, Any]:
        # mypy takes the hash of an object for that of its class.
        kind: Any = type(self)
        return {name: getattr(self, name) for name in field_names(kind)}

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
        return all(is_equal(mine[name], theirs[name]) for name in mine)

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


def unchecked(kind: type[_Kind], **values: Any) -> _Kind:
    """Return an object past its constructor, from its fields and what else is known of it.

    For parts of what was checked, and for answers that were just proven: to check or to prove them
    again would take as long as the work itself. Arrays become read-only.
    """
    made = object.__new__(kind)
    for value in values.values():
        frozen(value)
    vars(made).update(values)
    return made


def _construct(kind: type[Any], data: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # What there is to warn of was said of the first.
        warnings.simplefilter("ignore", CvxqueueWarning)
        return kind(**data)


def is_equal(mine: Any, theirs: Any) -> bool:
    """Whether two fields are equal; arrays by their entries, of which NaN equals NaN."""
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
