"""What the arguments of the commands may be."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import numpy as np

from cvxqueue.formatting import shown
from cvxqueue.numerics.checks import LARGEST_COUNT

_Value = TypeVar("_Value")


def _type(
    convert: Callable[[str], _Value], allows: Callable[[_Value], bool], what: str
) -> Callable[[str], _Value]:
    """Return a type of argument, and say what may be one of any other."""

    def read(text: str) -> _Value:
        with suppress(ValueError):
            if allows(value := convert(text)):
                return value
        raise ArgumentTypeError(f"must be {what}, got {shown(text)}")

    return read


positive = _type(float, lambda value: 0.0 < value < math.inf, "a finite number > 0")
not_negative = _type(float, lambda value: 0.0 <= value < math.inf, "a finite number ≥ 0")
confidence = _type(float, lambda value: 0.0 < value < 1.0, "a number in (0, 1)")
fraction = _type(float, lambda value: 0.0 <= value <= 1.0, "a number in [0, 1]")


def _whole_number(text: str) -> int:
    """Read a whole number that may be written as a float, such as 1e5."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= LARGEST_COUNT else int(text)


def whole(least: int) -> Callable[[str], int]:
    """Return a type of whole numbers from `least` on."""
    return _type(_whole_number, lambda value: value >= least, f"a whole number ≥ {least}")


def setting(form: str) -> Callable[[str], tuple[str, str]]:
    """Return a type of texts with an equals sign, as names and values."""
    return _type(lambda text: text.partition("=")[::2], all, f"of the form {form}")


def _parts(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    return int(part), int(parts)


shard = _type(_parts, lambda parts: 1 <= parts[0] <= parts[1], "I/N with 1 ≤ I ≤ N, such as 2/8")


def _share(text: str) -> tuple[str, float]:
    # A name may hold an equals sign; a probability does not.
    name, _, value = text.rpartition("=")
    return name, float(value)


share = _type(_share, lambda share: share[0] != "", "of the form TYPE=PROBABILITY")


def numbers(text: str) -> list[float]:
    """Return numbers ≥ 0 with commas between them."""
    return [not_negative(part) for part in text.split(",")]


SWEPT = {
    "arrival_rate": "queries per second",
    "accuracy_weight": "seconds per unit of accuracy",
    "max_tokens": "maximum tokens of all types",
    "min_tokens": "minimum tokens of all types",
}
"""What `cvxqueue sweep` takes values of, in words."""
# Ten million rows take a minute or two; more values of one parameter are a slip.
_MOST_VALUES = 10_000_000


def _spaced(text: str) -> list[float]:
    """Return numbers with commas between them, or evenly spaced ones: START:STOP:COUNT[:log]."""
    first, *rest = text.split(":")
    if not rest:
        return numbers(text)
    last, many, *how = rest
    count = _whole_number(many)
    low, high = float(first), float(last)
    if not (1 <= count <= _MOST_VALUES and 0.0 <= low < math.inf and 0.0 <= high < math.inf):
        raise ValueError
    if how == ["log"] and min(low, high) > 0.0:
        return list(map(float, np.geomspace(low, high, count)))
    if how:
        raise ValueError
    return list(map(float, np.linspace(low, high, count)))


values = _type(
    _spaced,
    bool,
    "numbers ≥ 0 as A,B,C or START:STOP:COUNT[:log], COUNT from 1 to 10⁷, log above 0",
)
