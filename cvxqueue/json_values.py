"""Plain values, as JSON has them: what is not finite becomes ``None``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import clipped, printable, shown

_Value = TypeVar("_Value")

# A digest takes numbers for float64, which has every digit of whole ones up to here.
_LARGEST_EXACT = 2**53


def json_values(value: _Value) -> _Value:
    """Return plain Python values with ``None`` for every number that is not finite."""
    return cast(_Value, _finite(value))


def json_attributes(record: object, names: Iterable[str]) -> dict[str, Any]:
    """Return the named attributes as plain Python values, with ``None`` for what is not finite."""
    return json_values({name: getattr(record, name) for name in names})


class JsonRecord:
    """Base of dataclasses that are written as some of their properties and their fields.

    Of the fields those that a ``repr`` is to have.
    """

    _properties: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; ``None`` for what is not finite."""
        record: Any = self
        names = [it.name for it in fields(record) if it.repr]
        return json_attributes(self, [*names, *self._properties])


class Options(Mapping[str, Any]):
    """Settings by name, as a record of them: read-only, hashable, and the same from JSON.

    Numbers, true and false, ``None`` and up to 80 characters of text are kept, and a mapping of
    them; of anything else there is a text of at most 80 characters, of a function or a class its
    name.

    Raises
    ------
    InvalidInputError
        If two names are one, as text of at most 80 characters.
    """

    __slots__ = ("_values",)

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = {}
        for key, value in (given or {}).items():
            name = str(_record(key, is_inner=True))
            if name in self._values:
                raise InvalidInputError(f"two options are called {shown(name)}")
            self._values[name] = _record(value)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._values,)


def _record(value: Any, *, is_inner: bool = False) -> Any:
    try:
        return _plain(value, is_inner=is_inner)
    except InvalidInputError:  # two names of a mapping are one
        return _one_line(value)
    except Exception:  # noqa: BLE001 - anybody's class may raise anything, and costs no answer
        return f"<{type(value).__name__}>"


def _plain(value: Any, *, is_inner: bool) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    # Of a subclass, as an enumeration, the value itself, whatever the class prints.
    if isinstance(value, str):
        return clipped(printable(str.__str__(value)))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, int) and abs(int.__int__(value)) <= _LARGEST_EXACT:
        return int.__int__(value)
    if isinstance(value, Mapping) and not is_inner:
        return Options({name: _record(it, is_inner=True) for name, it in value.items()})
    name = getattr(value, "__name__", None)
    return clipped(printable(name)) if isinstance(name, str) else _one_line(value)


def _one_line(value: object) -> str:
    return " ".join(shown(value).split())


def _finite(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return _finite(value.to_dict())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
