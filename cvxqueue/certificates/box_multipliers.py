"""What the bounds of the box are worth at a point: the multipliers of its two sides."""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray


@quiet
def lower_multipliers(point: Evaluation) -> FloatArray:
    """Multipliers ≥ 0 of tokens ≥ lower at stable points, in seconds per token, shape (..., N)."""
    at_bound = point.response <= point.model.lower
    return np.where(at_bound, np.maximum(-point.gradient, 0.0), 0.0)


@quiet
def upper_multipliers(point: Evaluation) -> FloatArray:
    """Multipliers ≥ 0 of tokens ≤ upper at stable points, in seconds per token, shape (..., N)."""
    at_bound = point.response >= point.model.upper
    return np.where(at_bound, np.maximum(point.gradient, 0.0), 0.0)
