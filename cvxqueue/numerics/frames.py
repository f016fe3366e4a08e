"""Columns and frames, whoever's they are, as arrays: by what they can do, without their package."""

from __future__ import annotations

import re
from decimal import Decimal
from numbers import Real
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown

# What pandas calls a date and time in a time zone, in its own and in Arrow's memory.
_ZONED = re.compile(r"(?:datetime64|timestamp)\[(s|ms|us|ns), ")


class Frame(Protocol):
    """A table whose columns have names, as those of pandas, polars and Arrow."""

    def __getitem__(self, name: str, /) -> Any: ...


def column_names(value: Any) -> list[Any]:
    """Return the names of a frame's columns, each of which is ``value[name]``; [] where it is none.

    Raises
    ------
    InvalidInputError
        If two columns have one name.
    """
    # Of the class: entries of a Series are attributes of the object, by the labels of its index.
    kind = type(value)
    place = next((each for each in ("column_names", "columns") if hasattr(kind, each)), None)
    if place is None or not hasattr(kind, "__array__"):
        return []
    names = list(getattr(value, place))
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"a frame has more than one column {shown(repeated)}")
    return names


def column_array(value: Any) -> NDArray[Any]:
    """Return a column of any kind, or lists, as an array in the order of its rows.

    A masked one where entries are missing: masked, ``None``, NaT, null, and NaN where the package
    of the column takes that for missing. Whole and real numbers of Python become float64, and true
    and false bool; of what else has no type of numpy, and of ragged lists, entries stay objects.
    """
    kind = type(value)
    ask = next((each for each in ("is_null", "isna") if hasattr(kind, each)), None)
    if hasattr(kind, "nlevels") and value.nlevels > 1:
        # Of pandas' index of several levels that method only raises; its entries are tuples.
        ask = None
    # Not left to conversion: Arrow fills nulls of dictionaries in chunks with the first entry.
    is_missing = np.ma.getmask(value) if ask is None else np.asarray(getattr(value, ask)())
    zoned = None if ask is None else _ZONED.match(str(getattr(value, "dtype", "")))
    try:
        raw = np.asarray(value, dtype=f"datetime64[{zoned[1]}]" if zoned else None)
        if raw.dtype.kind in "iuf" and isinstance(value, list | tuple) and _has_truth(value):
            # Of true beside numbers numpy makes one.
            raw = np.asarray(value, dtype=object)
    except ValueError:
        return np.fromiter(value, dtype=object)
    if raw.dtype == object:
        # A single None is no entry of a column, and left to be refused.
        if ask is None and raw.ndim:
            without = np.array([_is_missing(entry) for entry in raw.flat], dtype=bool)
            is_missing = is_missing | without.reshape(raw.shape)
        raw = _plain(raw, is_missing)
    return np.ma.masked_array(raw, is_missing) if np.any(is_missing) else raw


def _plain(raw: NDArray[Any], is_missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Objects as numbers or as true and false, where all of them are; otherwise as they are."""
    present = raw[~is_missing]
    if present.size and all(isinstance(it, bool | np.bool_) for it in present):
        return np.where(is_missing, False, raw).astype(np.bool_)
    if any(isinstance(it, bool) or not isinstance(it, Real | Decimal) for it in present):
        return raw
    try:
        return np.where(is_missing, np.nan, raw).astype(np.float64)
    except (OverflowError, ValueError):
        return raw


def _has_truth(entries: list[Any] | tuple[Any, ...]) -> bool:
    kinds = set(map(type, entries))
    if kinds & {bool, np.bool_}:
        return True
    return bool(kinds & {list, tuple}) and any(
        _has_truth(it) for it in entries if isinstance(it, list | tuple)
    )


def _is_missing(entry: Any) -> bool:
    if entry is None:
        return True
    try:
        return bool(entry != entry)
    except TypeError:
        # The answer of pandas.NA to any comparison is neither true nor false.
        return True
    except (ValueError, ArithmeticError):
        return False
