"""What the numbers of a model may be."""

from __future__ import annotations

import numpy as np

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.numerics.arrays import FloatArray, Numbers
from cvxqueue.numerics.checks import first_place, require, require_representable
from cvxqueue.numerics.summation import accurate_sum

# Mixes are typed by hand to a few digits; more than this is a mistake, not a rounding.
_MIX_TOLERANCE = 1e-9


def require_in_range(
    arrival_rate: Numbers,
    probabilities: FloatArray,
    accuracy_weight: Numbers,
    importance: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
) -> None:
    """Raise an `InvalidInputError` that names the first number of a model that is out of range."""
    rate, weight = np.asarray(arrival_rate), np.asarray(accuracy_weight)
    require("arrival_rate", rate, rate > 0, "must be > 0 (per second)")
    require("accuracy_weight", weight, weight >= 0, "must be ≥ 0 (seconds)")
    require("probabilities", probabilities, probabilities > 0, "must be > 0")
    total = np.asarray(accurate_sum(probabilities))
    is_off = np.abs(total - 1.0) > _MIX_TOLERANCE
    if is_off.any():
        place = first_place(is_off)
        raise InvalidInputError(
            Entry("probabilities", place),
            f" sum to {float(total[place])!r}, and must sum to 1 within {_MIX_TOLERANCE:g}",
        )
    require("min_tokens", lower, lower >= 0, "must be ≥ 0")
    require("max_tokens", upper, upper >= 0, "must be ≥ 0")
    is_above = np.asarray(lower > upper)
    if is_above.any():
        place = first_place(is_above)
        lowest, highest = (np.broadcast_to(a, is_above.shape)[place] for a in (lower, upper))
        raise InvalidInputError(
            Entry("min_tokens", place),
            f" = {float(lowest)!r} must be ≤ ",
            Entry("max_tokens", place),
            f" = {float(highest)!r}",
        )
    require("importance", importance, importance >= 0, "must be ≥ 0")
    arrays = {"arrival_rate": rate, "accuracy_weight": weight, "probabilities": probabilities}
    arrays |= {"min_tokens": lower, "max_tokens": upper, "importance": importance}
    for name, array in arrays.items():
        require_representable(name, array)
