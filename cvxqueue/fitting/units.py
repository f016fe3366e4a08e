"""Figures that no server has, and columns whose unit is not stated."""

from __future__ import annotations

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.statistics.poisson import FEWEST_ARRIVALS
from cvxqueue.statistics.time_units import date_unit, require_dates, units_between

# The model's server takes one query at a time: from one or two a day to a thousand a second. The
# largest public trace, of all servers of a cloud together (Azure LLM inference, May 2024: 44
# million in a week), has 73 on average.
_ARRIVAL_RATES = (1e-5, 1e3)
# From 100,000 tokens a second, beyond all decoding of a single query, to one a second, of a large
# model on a small processor.
_PER_TOKEN = (1e-5, 1.0)
# Days after 1900 of the years 2000 and 2100.
_SPREADSHEET_DAYS = (36526.0, 73051.0)
# Gaps that are equal to this part: of a counter, or sent by the clock.
_EQUAL_GAPS = 1e-6
# Fewer tokens are no thinking; parts of a token are none at all.
_FEW_TOKENS = 32.0


class UnitError(InvalidInputError):
    """Measurements are in no unit that was stated, or cannot be in the one that was."""


def require_unit(field: str, column: str, values: FloatArray, *, is_moment: bool) -> None:
    """Raise where a column of times states no unit and its numbers do not tell either.

    Whole numbers may be seconds, a finer unit, or no times at all; seconds since 1970 are known by
    their size, and parts of one are taken for what this package takes times to be, seconds.
    """
    date = date_unit(values) if is_moment else ""
    first, last = _SPREADSHEET_DAYS
    if date == "seconds":
        return
    if date:
        what, ending = f"numbers of {date} since 1970?", date
    elif is_moment and first <= values.min() and values.max() < last:
        what, ending = "seconds, or days since 1900 as a spreadsheet has them?", "days or _s"
    elif np.array_equal(values, np.rint(values)):
        what, ending = "whole numbers: seconds, milliseconds, or rows?", "ms, _s or another"
    else:
        return
    raise UnitError(
        f"column {shown(column)} for {field} states no unit and holds {what} Put the unit behind "
        f"the name: {field}={column:.80}_{ending} (columns; --column, in fit with PART. before it; "
        "of a frame, rename the column)"
    )


def since_first(where: str, times: FloatArray) -> FloatArray:
    """Return times since the first of them; where a clock begins does not matter to a rate."""
    require_dates(where, times)
    return read_only(times - times.min())


def require_arrivals(where: str, times: FloatArray) -> None:
    """Raise where sorted arrival times are those of no server that takes one query at a time."""
    require_dates(where, times)
    duration = float(times[-1] - times[0])
    low, high = _ARRIVAL_RATES
    if duration > 0 and not low <= (rate := (times.size - 1) / duration) <= high:
        units = units_between(rate, low, high, is_rate=True)
        raise UnitError(
            f"{where}: {times.size} in {duration:.4g} s are {rate:.4g} a second, and must be "
            f"between {low:g} and {high:g}: are they the arrivals of one server, and in seconds"
            f"{f', not in {units}' if units else ''}? Give seconds, or put the unit behind the "
            f"name of their column ({_renamed('arrivals', units, 'trace')})"
        )
    gaps = np.diff(times)
    if times.size >= FEWEST_ARRIVALS and np.ptp(gaps) <= _EQUAL_GAPS * gaps.mean():
        raise UnitError(
            f"{where}: all {gaps.size} gaps are {gaps.mean():.6g} s, as those of numbered rows, "
            "or of a client that sends by the clock; give the times at which queries arrived"
        )


def _renamed(field: str, units: str, part: str) -> str:
    """Return how the command is told the unit of a column, by the likeliest of some."""
    name = f"{field}=NAME_{units.split()[0] if units else 'ms'}"
    return f"--column {name}; in fit, {part}.{name}"


def require_per_token(per_token: float) -> None:
    """Raise where no server takes so many seconds per token."""
    low, high = _PER_TOKEN
    if low <= per_token <= high:
        return
    units = units_between(per_token, low, high)
    others = "the tokens in thousands" if per_token > high else "the times those of whole answers"
    raise UnitError(
        f"service times: the fitted line has {per_token:.4g} seconds per token, and must have "
        f"between {low:g} and {high:g}: are "
        + (f"the times in {units}, or " if units else "")
        + f"{others}? Give seconds and tokens, or put the unit behind the name of the column of "
        f"times ({_renamed('seconds', units, 'service')})"
    )


def require_token_counts(tokens: FloatArray) -> None:
    """Raise where numbers of tokens are so small and broken that they count thousands."""
    if tokens.max() < _FEW_TOKENS and np.any(tokens != np.rint(tokens)):
        raise UnitError(
            f"tokens: at most {tokens.max():g}, and not whole: are they in thousands? Give tokens"
        )
