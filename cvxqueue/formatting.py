"""Values as people read them.

Of any value a bounded text that is harmless to a terminal; numbers rounded so that what is printed
still holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from reprlib import Repr
from typing import Any

import numpy as np

MOST_CHARACTERS = 80
"""Characters of a value that a message has room for: a line of a terminal."""
TYPES_SHOWN = 20
"""Lines of a table for people; the arrays hold the rest."""
# Of lists in lists six entries each are looked at; three levels of them fill the room.
_DEEPEST = 3
# Python may be set to print no whole number of more than 640 digits; this has 617.
_LONGEST_BITS = 2048
# Longer numbers are shown with an exponent: with four decimals this has the 17 digits of float64.
_EXPONENT_FROM = 1e12
# Kinds of the entries of an array that Python has, too: numbers and texts; no dates.
_ENTRIES = "biufcU"
# Digits that tokens are shown with; longer numbers are compared digit by digit, and keep zeros.
_TOKEN_DIGITS = 7


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
    keep_zeros = "#" if digits > _TOKEN_DIGITS else ""
    return f"{float(rounded):{keep_zeros}.{digits}g}".rstrip(".")


def fixed(value: float, decimals: int, rounding: str | None = None) -> str:
    """Return a number with so many decimals, rounded to nearest unless told otherwise."""
    if not abs(value) < _EXPONENT_FROM:
        return significant(value, _TOKEN_DIGITS, rounding or ROUND_HALF_EVEN)
    if rounding is None:
        return f"{value:.{decimals}f}"
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), rounding):f}"


def enclosing(interval: Sequence[float], decimals: int) -> str:
    """Return an interval with so many decimals, its ends rounded outwards."""
    low, high = interval
    return f"[{fixed(low, decimals, ROUND_FLOOR)}, {fixed(high, decimals, ROUND_CEILING)}]"


def token_decimals(largest: float) -> int:
    """Return how many decimals show tokens up to `largest` with seven digits, at most four."""
    whole = len(str(int(largest))) if math.isfinite(largest) else _TOKEN_DIGITS
    return max(0, min(4, _TOKEN_DIGITS - whole))


def plain(value: Any) -> str:
    """Return a value, or an interval, as a table shows it where nothing else is said."""
    if isinstance(value, str):
        return value
    if hasattr(value, "__len__"):
        return f"[{', '.join(map(plain, value))}]"
    if value is None or value != value:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return seconds or milliseconds, to about two digits."""
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{1e3 * seconds:.{0 if seconds >= 0.00995 else 1}f} ms"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


class _Bounded(Repr):
    """``repr`` that looks at the beginning of a value only, however long or deeply nested."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = _DEEPEST
        self.maxstring = self.maxother = self.maxlong = MOST_CHARACTERS

    def repr1(self, x: Any, level: int) -> str:
        """Show an entry of an array as the number or the text that it is."""
        is_entry = isinstance(x, np.generic) and x.dtype.kind in _ENTRIES
        return super().repr1(x.item() if is_entry else x, level)

    def repr_int(self, x: int, level: int) -> str:
        """Show a number, or how long it is."""
        if x.bit_length() > _LONGEST_BITS:
            return f"<a whole number of about {int(x.bit_length() * math.log10(2)) + 1} digits>"
        return super().repr_int(x, level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Show the first bytes alone."""
        return self.repr_instance(x[:MOST_CHARACTERS], level)


_BOUNDED = _Bounded()


def shown(value: object) -> str:
    """Return a value as an error message shows it: like ``repr``, in at most 80 characters."""
    return clipped(printable(_BOUNDED.repr(value)))


def clipped(text: str) -> str:
    """Return text, or its beginning where it has more than 80 characters."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def one_line(name: str) -> str:
    """Return somebody's name as a sentence shows it without quotes, in at most 80 characters."""
    return clipped(name.replace("\n", r"\n"))


def printable(text: str) -> str:
    """Return text with escapes for what moves a cursor, hides text, or has no bytes in UTF-8.

    Line breaks stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text
    )
