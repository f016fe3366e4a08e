"""Plain values, as JSON has them: what is not finite becomes ``None``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, ClassVar, TypeVar, cast

_Value = TypeVar("_Value")


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
