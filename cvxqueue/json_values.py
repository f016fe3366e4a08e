"""Plain values, as JSON has them: what is not finite becomes ``None``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, ClassVar, TypeVar, cast

from cvxqueue.formatting import printable, shown

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
    """Base of dataclasses that are written as their fields, and some of their properties."""

    _properties: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; ``None`` for what is not finite."""
        record: Any = self
        return json_attributes(self, [*(it.name for it in fields(record)), *self._properties])


class Options(Mapping[str, Any]):
    """Settings by name, as a record of them: read-only, hashable, and the same from JSON.

    Numbers, true and false, ``None`` and text are kept, and a mapping of them; of anything else
    there is a text of at most 80 characters, of a function or a class its name.
    """

    __slots__ = ("_values",)

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._values = {printable(str(name)): _record(it) for name, it in (given or {}).items()}

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

    def __reduce__(self) -> tuple[type[Options], tuple[dict[str, Any]]]:
        return type(self), (self._values,)


def _record(value: Any, *, is_inner: bool = False) -> Any:
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, str):
        return printable(value)
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST_EXACT:
        return value
    if isinstance(value, Mapping) and not is_inner:
        return Options({name: _record(it, is_inner=True) for name, it in value.items()})
    name = getattr(value, "__name__", None)
    return printable(name) if isinstance(name, str) else " ".join(shown(value).split())


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
