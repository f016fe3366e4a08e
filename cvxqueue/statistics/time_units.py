"""Times that cannot be in seconds, and the units in which they could be."""

from __future__ import annotations

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.numerics.arrays import FloatArray

__all__ = ["date_unit", "require_dates", "units_between"]

_UNITS = {
    "milliseconds": 1e-3,
    "microseconds": 1e-6,
    "nanoseconds": 1e-9,
    "minutes": 60.0,
    "hours": 3600.0,
    "days": 86400.0,
}
# Seconds after 1970 of the years 2000 and 2100: traces of this century.
_DATES = (946684800.0, 4102444800.0)
# Seconds after 1970 of the year 5138; milliseconds since then are more from 1973 on.
_LATEST = 1e11


def units_between(value: float, low: float, high: float, *, is_rate: bool = False) -> str:
    """Return the units in which a number that was read in seconds is in a range, as text.

    Parameters
    ----------
    value : float
        Of times in seconds; per second where `is_rate`.
    low, high : float
        Ends of the range, in seconds or per second.
    """
    found = [
        name
        for name, seconds in _UNITS.items()
        if low <= (value / seconds if is_rate else value * seconds) <= high
    ]
    return " or ".join(found)


def date_unit(times: FloatArray) -> str:
    """Return the unit, seconds or finer, in which times are dates of this century; "" if none."""
    low, high = _DATES
    for name, seconds in {"seconds": 1.0, **_UNITS}.items():
        if seconds <= 1.0 and low <= seconds * times.min() <= seconds * times.max() <= high:
            return name
    return ""


def require_dates(where: str, times: FloatArray) -> None:
    """Raise where arrival times cannot be in seconds, since 1970 or any other moment."""
    farthest = float(np.abs(times).max())
    if farthest > _LATEST:
        unit = date_unit(times)
        raise InvalidInputError(
            f"{where}: an arrival at {farthest:.4g} s is later than any date; give seconds"
            + (
                f", and not {unit} since 1970; let the name of its column in a file end in _{unit}"
                if unit
                else ""
            )
        )
