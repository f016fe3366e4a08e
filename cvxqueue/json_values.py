"""Plain values, as JSON has them: what is not finite becomes ``None``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

__all__ = ["json_values"]

_Value = TypeVar("_Value")


def json_values(value: _Value) -> _Value:
    """Return plain Python values with ``None`` for every number that is not finite."""
    return cast(_Value, _finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
