"""Plain values, as JSON has them: what is not finite becomes ``None``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

__all__ = ["json_values"]

_Value = TypeVar("_Value")


def json_values(value: _Value) -> _Value:
    """Return plain Python values with ``None`` for every number that is not finite."""
    plain: Any = value
    if isinstance(value, Mapping):
        plain = {key: json_values(entry) for key, entry in value.items()}
    elif isinstance(value, (list, tuple)):
        plain = [json_values(entry) for entry in value]
    elif isinstance(value, float) and not math.isfinite(value):
        plain = None
    return cast(_Value, plain)
