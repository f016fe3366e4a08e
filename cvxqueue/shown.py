"""Values and text as messages show them: bounded, and harmless to a terminal."""

from __future__ import annotations

from math import log10
from reprlib import Repr

__all__ = ["clipped", "printable", "shown"]

# Characters of a value that a message has room for.
_MOST_CHARACTERS = 80
# Of lists in lists six entries each are looked at; three levels of them fill the room.
_DEEPEST = 3
# Python may be set to print no whole number of more than 640 digits; this has 617.
_LONGEST_BITS = 2048


class _Bounded(Repr):
    """``repr`` that looks at the beginning of a value only, however long or deeply nested."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = _DEEPEST
        self.maxstring = self.maxother = self.maxlong = _MOST_CHARACTERS

    def repr_int(self, x: int, level: int) -> str:
        """Show a number, or how long it is."""
        if x.bit_length() > _LONGEST_BITS:
            return f"<a whole number of about {int(x.bit_length() * log10(2)) + 1} digits>"
        return super().repr_int(x, level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Show the first bytes alone."""
        return self.repr_instance(x[:_MOST_CHARACTERS], level)


_BOUNDED = _Bounded()


def shown(value: object) -> str:
    r"""Return a value as an error message shows it: like ``repr``, in at most 80 characters.

    Examples
    --------
    >>> from cvxqueue.shown import shown
    >>> shown("thirty\x1b[31m"), shown(16**4000)
    ("'thirty\\x1b[31m'", '<a whole number of about 4817 digits>')
    """
    return clipped(printable(_BOUNDED.repr(value)))


def clipped(text: str) -> str:
    """Return text, or its beginning where it has more than 80 characters."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."


def printable(text: str) -> str:
    r"""Return text with escapes for what moves a cursor, hides text, or has no bytes in UTF-8.

    Line breaks stay as they are.

    Examples
    --------
    >>> from cvxqueue.shown import printable
    >>> printable("red \x1b[31m"), printable("λ ≤ 1")
    ('red \\x1b[31m', 'λ ≤ 1')
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text
    )
