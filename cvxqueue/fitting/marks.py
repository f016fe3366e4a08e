"""Right answers: counts out of so many, or one mark a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import float_array

__all__ = ["NEEDS_TOTAL", "right_answers", "total_of_marks"]

NEEDS_TOTAL = (
    "correct needs total, the number of answers, unless each row is one answer that is right (1) "
    "or wrong (0)"
)


def right_answers(name: str, given: Any) -> FloatArray:
    """Return right answers as an array of numbers; true is one, false is none."""
    if isinstance(given, list | tuple):
        if all(isinstance(mark, bool | np.bool_) for mark in given):
            given = [float(mark) for mark in given]
    elif isinstance(given, np.ndarray) and given.dtype == np.bool_:
        # A mask stays, for the check of numbers to refuse.
        given = given.astype(np.float64)
    return float_array(name, given)


def total_of_marks(correct: FloatArray) -> FloatArray | None:
    """Return one answer for each row; ``None`` where a row has other right answers than 1 or 0."""
    if np.any((correct != 0.0) & (correct != 1.0)):
        return None
    return read_only(np.ones(correct.shape))
