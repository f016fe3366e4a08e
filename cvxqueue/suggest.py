"""Near misses: what the writer of an unknown name probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from cvxqueue.formatting import MOST_CHARACTERS, one_line, shown

# Names that a message has room for.
_MOST_LISTED = 40
# Names that a near miss is looked for among: of 80 characters each, it takes 0.4 s.
_MOST_COMPARED = 1000


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known name in any case, and all of them."""
    names = sorted(known)
    near = near_miss(name if isinstance(name, str) else shown(name), names)
    hint = f"did you mean {shown(near)}? " if near else ""
    listed = [one_line(each) for each in names[:_MOST_LISTED]]
    if len(names) > len(listed):
        listed.append(f"and {len(names) - len(listed):,} more")
    return f"{hint}known: {', '.join(listed)}"


def near_miss(given: str, names: Iterable[str]) -> str | None:
    """Return the name that somebody probably meant, if there is one."""
    spelled = {
        each.lower(): each for each in islice(names, _MOST_COMPARED) if len(each) <= MOST_CHARACTERS
    }
    close = get_close_matches(given.lower(), spelled, n=1) if len(given) <= MOST_CHARACTERS else []
    return spelled[close[0]] if close else None
