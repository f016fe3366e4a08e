"""Types of arguments: numbers, each with what it may be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from cvxqueue.formatting import shown

__all__ = ["confidence", "fraction", "not_negative", "numbers", "positive", "whole"]


def positive(text: str) -> float:
    """Return a finite number > 0."""
    value = _number(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number > 0, got {shown(text)}")
    return value


def not_negative(text: str) -> float:
    """Return a finite number ≥ 0."""
    value = _number(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number ≥ 0, got {shown(text)}")
    return value


def confidence(text: str) -> float:
    """Return a number in (0, 1)."""
    value = _number(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number in (0, 1), got {shown(text)}")
    return value


def fraction(text: str) -> float:
    """Return a number in [0, 1]."""
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be a number in [0, 1], got {shown(text)}")
    return value


def numbers(text: str) -> list[float]:
    """Return numbers ≥ 0 with commas between them."""
    return [not_negative(part) for part in text.split(",")]


def whole(least: int) -> Callable[[str], int]:
    """Return a type of whole numbers from `least` on."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number ≥ {least}, got {shown(text)}")
        return value

    return convert


def _number(text: str) -> float:
    """Return the number that a text is, or one that lies in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan
