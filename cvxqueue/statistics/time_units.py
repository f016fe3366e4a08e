"""Units of time, and times that cannot be in seconds."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array
from cvxqueue.numerics.frames import column_array

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


def seconds_array(name: str, value: Any, *, is_moment: bool) -> FloatArray:
    """Return durations or moments as checked numbers of seconds."""
    return float_array(name, in_seconds(name, value, is_moment=is_moment))


def in_seconds(name: str, value: Any, *, is_moment: bool) -> Any:
    """Return durations in seconds, moments in seconds after the first, and all else as it is.

    Of an array or a column of a frame, shape (M,), missing durations and moments stay missing: they
    are masked. Moments, where they are allowed, are dates with or without a time; those in no time
    zone are taken for UTC.

    Raises
    ------
    InvalidInputError
        If some moments are in a time zone and others in none.
    """
    raw = column_array(value)
    is_missing, times = np.ma.getmaskarray(raw), np.ma.getdata(raw)
    if times.dtype == object and times.ndim:
        times = _from_python(name, times, is_missing)
    # A month has no number of seconds, nor has a number without a unit.
    unit = np.datetime_data(times.dtype)[0] if times.dtype.kind == "m" else ""
    is_duration = times.dtype.kind == "m" and unit not in ("Y", "M", "generic")
    if not times.ndim or not (is_duration or (is_moment and times.dtype.kind == "M")):
        return value
    is_missing = is_missing | np.isnat(times)
    if not is_duration:
        # Finer than the clocks of servers, and no difference overflows: in nanoseconds one of 292
        # years would.
        times = times.astype("datetime64[us]")
        times = times - (np.min(times[~is_missing]) if not is_missing.all() else times[:1])
    return np.ma.masked_array(times / np.timedelta64(1, "s"), is_missing)


def _from_python(name: str, entries: NDArray[Any], is_missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Durations, or moments in UTC, as arrays have them; entries of other kinds as they are."""
    present = entries[~is_missing].tolist()
    kind = next(
        (kind for kind in (timedelta, date) if all(isinstance(it, kind) for it in present)), None
    )
    if kind is None:
        return entries
    if kind is date:
        zones = [getattr(it, "tzinfo", None) is not None for it in present]
        if len(set(zones)) > 1:
            place = np.flatnonzero(~is_missing)[zones.index(not zones[0])]
            told = "is in a time zone, and those before it in none"
            if zones[0]:
                told = "is in no time zone, and those before it are"
            raise InvalidInputError(f"{name}[{place}] = {shown(str(entries[place]))} {told}")
        if any(zones):
            present = [it.astimezone(UTC).replace(tzinfo=None) for it in present]
    found = np.full(entries.shape, "NaT", dtype="m8[us]" if kind is timedelta else "M8[us]")
    found[~is_missing] = present
    return found
