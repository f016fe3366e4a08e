"""Newton's step for a convex function of a few multipliers that may not be negative."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

# The Hessian is zero where every type is at a bound; this share of the natural one stands in.
_REGULARIZATION = 1e-12
_NO_STEP = 4.0 * EPSILON


def multiplier_step(
    multipliers: FloatArray, excess: FloatArray, hessian: FloatArray, worth: float
) -> FloatArray | None:
    """Newton's step towards the minimum of a convex function over multipliers ≥ 0, shape (M,).

    `excess` is less the slopes there, and `hessian`, shape (M, M), zero where every type is at a
    bound; `worth`, the size of the function in seconds, stands for a second derivative of zero.
    ``None`` where nothing moves.
    """
    # Where all types are at bounds, the step on which a multiplier shows is that of the scale.
    natural = np.square(excess) / worth
    own = np.maximum(hessian.diagonal(), 0.0)
    own = np.where(own > 0.0, own * (1.0 + _REGULARIZATION), natural)
    active = np.flatnonzero(((multipliers > 0.0) | (excess > 0.0)) & (own > 0.0))
    if not (active.size and np.isfinite(own).all() and np.isfinite(hessian).all()):
        return None
    model = hessian.copy()
    model[np.diag_indices(own.size)] = own
    model = model[np.ix_(active, active)]
    # In units of its own for each multiplier: they may be dozens of decades apart.
    unit = 1.0 / np.sqrt(model.diagonal())
    scaled = model * unit * unit[:, np.newaxis]
    step = np.zeros_like(multipliers)
    start = multipliers[active] / unit
    step[active] = unit * nonnegative_step(scaled, excess[active] * unit, start)
    is_nothing = np.abs(step) <= _NO_STEP * multipliers
    return step if np.isfinite(step).all() and not is_nothing.all() else None


def nonnegative_step(
    hessian: FloatArray, excess: FloatArray, multipliers: FloatArray
) -> FloatArray:
    """Return the minimiser d of ½ dᵀHd − excess·d with multipliers + d ≥ 0, shape (M,).

    H is positive semidefinite, with a positive diagonal. By trying every active set: there are a
    handful of multipliers. Where it falls without end, as it may where H is singular, a short step
    downhill.
    """
    count = multipliers.size
    for size in range(count, -1, -1):
        for chosen in combinations(range(count), size):
            free = list(chosen)
            step: FloatArray = -multipliers
            step[free] = 0.0
            if free:
                right = excess[free] - hessian[free] @ step
                step[free] = np.linalg.lstsq(hessian[np.ix_(free, free)], right, rcond=None)[0]
            slope = hessian @ step - excess
            slope[free] = 0.0
            if (multipliers + step >= 0.0).all() and (slope >= 0.0).all():
                return step
    downhill: FloatArray = np.maximum(excess / hessian.diagonal().max(), -multipliers)
    return downhill
