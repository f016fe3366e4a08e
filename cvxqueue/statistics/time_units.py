"""Units of time, and times that cannot be in seconds."""

from __future__ import annotations

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.numerics.arrays import FloatArray

_SPELLINGS = {
    "seconds": (1.0, "s sec secs second seconds"),
    "milliseconds": (1e-3, "ms msec msecs milli millis millisecond milliseconds"),
    "microseconds": (1e-6, "us usec usecs micro micros microsecond microseconds"),
    "nanoseconds": (1e-9, "ns nsec nsecs nano nanos nanosecond nanoseconds"),
    "minutes": (60.0, "min mins minute minutes"),
    "hours": (3600.0, "h hr hrs hour hours"),
    "days": (86400.0, "d day days"),
}
SECONDS_IN = {
    spelling: seconds
    for seconds, spellings in _SPELLINGS.values()
    for spelling in spellings.split()
}
"""Seconds in a unit, by all its spellings."""
# Seconds after 1970 of the years 2000 and 2100: traces of this century.
_DATES = (946684800.0, 4102444800.0)
# Seconds after 1970 of the year 5138; milliseconds since then are more from 1973 on.
_LATEST = 1e11


def units_between(value: float, low: float, high: float, *, is_rate: bool = False) -> str:
    """Return the units in which a number that was read in seconds is in a range, as text.

    The number and the range are in seconds, or per second where it `is_rate`.
    """
    return " or ".join(
        name
        for name, (seconds, _) in _SPELLINGS.items()
        if seconds != 1.0 and low <= (value / seconds if is_rate else value * seconds) <= high
    )


def date_unit(times: FloatArray) -> str:
    """Return the unit, seconds or finer, in which times are dates of this century; "" if none."""
    low, high = _DATES
    for name, (seconds, _) in _SPELLINGS.items():
        if seconds <= 1.0 and low <= seconds * times.min() <= seconds * times.max() <= high:
            return name
    return ""


def require_dates(where: str, times: FloatArray) -> None:
    """Raise where arrival times cannot be in seconds, since 1970 or any other moment."""
    farthest = float(np.abs(times).max())
    if farthest > _LATEST:
        unit = date_unit(times)
        hint = f", and not {unit} since 1970; let the name of its column in a file end in _{unit}"
        raise InvalidInputError(
            f"{where}: an arrival at {farthest:.4g} s is later than any date; give seconds"
            + hint * bool(unit)
        )
