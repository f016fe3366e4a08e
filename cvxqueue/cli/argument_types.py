"""Types of arguments: numbers, each with what it may be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

__all__ = ["not_negative", "numbers", "positive", "whole"]


def positive(text: str) -> float:
    """Return a finite number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number > 0, got {text!r}")
    return value


def not_negative(text: str) -> float:
    """Return a finite number ≥ 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number ≥ 0, got {text!r}")
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
            raise argparse.ArgumentTypeError(f"must be a whole number ≥ {least}, got {text!r}")
        return value

    return convert
