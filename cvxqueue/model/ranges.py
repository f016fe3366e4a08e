"""What the numbers of a model may be."""

from __future__ import annotations

import numpy as np

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.numerics.arrays import FloatArray, Numbers
from cvxqueue.numerics.checks import first_place, require_size
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
    require_size("arrival_rate", np.asarray(arrival_rate), "> 0 (per second)")
    require_size("accuracy_weight", np.asarray(accuracy_weight), "≥ 0 (seconds)")
    require_size("probabilities", probabilities, "> 0")
    for name, array in (("min_tokens", lower), ("max_tokens", upper), ("importance", importance)):
        require_size(name, array)
    total = np.asarray(accurate_sum(probabilities))
    is_off = np.abs(total - 1.0) > _MIX_TOLERANCE
    if is_off.any():
        place = first_place(is_off)
        raise InvalidInputError(
            Entry("probabilities", place),
            f" sum to {float(total[place])!r}, and must sum to 1 within {_MIX_TOLERANCE:g}",
        )
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
