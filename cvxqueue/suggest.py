"""Near misses: what the writer of an unknown name probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["nearest"]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known name in any case, and all of them."""
    names = sorted(known)
    spelled = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), spelled, n=1)
    hint = f"did you mean {spelled[close[0]]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
