"""Near misses: what the writer of an unknown name probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from cvxqueue.formatting import MOST_CHARACTERS, clipped, shown

__all__ = ["nearest"]

# Names that a message has room for.
_MOST_LISTED = 40
# Names that a near miss is looked for among: of 80 characters each, it takes 0.4 s.
_MOST_COMPARED = 1000


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known name in any case, and all of them."""
    given = name if isinstance(name, str) else shown(name)
    names = sorted(known)
    spelled = {
        each.lower(): each for each in islice(names, _MOST_COMPARED) if len(each) <= MOST_CHARACTERS
    }
    close = get_close_matches(given.lower(), spelled, n=1) if len(given) <= MOST_CHARACTERS else []
    hint = f"did you mean {shown(spelled[close[0]])}? " if close else ""
    listed = [clipped(each) for each in names[:_MOST_LISTED]]
    if len(names) > len(listed):
        listed.append(f"and {len(names) - len(listed):,} more")
    return f"{hint}known: {', '.join(listed)}"
