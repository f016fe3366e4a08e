"""Numbers as people read them, rounded so that what is printed still holds."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

__all__ = ["at_least", "at_most", "duration", "fixed", "plural", "significant", "token_decimals"]

# Longer numbers are shown with an exponent.
_EXPONENT_FROM = 1e12
# Numbers of more digits than this are compared digit by digit, and keep their zeros.
_MOST_COMPARED_DIGITS = 7


def at_most(value: float, digits: int = 2) -> str:
    """Return a number rounded up to so many significant digits."""
    return significant(value, digits, ROUND_CEILING)


def at_least(value: float, digits: int = 2) -> str:
    """Return a number rounded down to so many significant digits."""
    return significant(value, digits, ROUND_FLOOR)


def significant(value: float, digits: int, rounding: str = ROUND_HALF_EVEN) -> str:
    """Return a number with so many significant digits; of long ones the last may be zeros."""
    if not math.isfinite(value):
        return str(value)
    rounded = Context(prec=digits, rounding=rounding).create_decimal_from_float(value)
    keep_zeros = "#" if digits > _MOST_COMPARED_DIGITS else ""
    return f"{float(rounded):{keep_zeros}.{digits}g}".rstrip(".")


def fixed(value: float, decimals: int, rounding: str | None = None) -> str:
    """Return a number with so many decimals, rounded to nearest unless told otherwise."""
    if abs(value) >= _EXPONENT_FROM:
        return significant(value, _MOST_COMPARED_DIGITS, rounding or ROUND_HALF_EVEN)
    if rounding is None:
        return f"{value:.{decimals}f}"
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), rounding):f}"


def token_decimals(largest: float) -> int:
    """Return how many decimals show tokens up to `largest` with seven digits, at most four."""
    return max(0, min(4, 7 - len(str(int(largest)))))


def duration(seconds: float) -> str:
    """Return seconds or milliseconds, to about two digits."""
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{1e3 * seconds:.{0 if seconds >= 0.00995 else 1}f} ms"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
