"""Sums whose error does not grow with the number of terms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["accurate_sum"]

# So few terms are sooner added one by one than by a dozen calls of numpy.
_FEW = 64


def accurate_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum along the last axis, as accurate as if done in twice the working precision.

    The idle fraction 1 − ρ subtracts a sum from one; near ρ = 1 every lost bit of the sum is
    magnified by 1/(1 − ρ), so a plain sum will not do.

    Parameters
    ----------
    values : ndarray, shape (..., N)
        Terms; a sum with terms that are not finite is the plain one.

    Returns
    -------
    ndarray, shape (...)
        The sums.

    References
    ----------
    Rump, Ogita and Oishi, "Accurate floating-point summation part I: faithful rounding", SIAM
    Journal on Scientific Computing 31(1), 2008: ExtractVector (algorithm 3.3), applied once.
    """
    if values.ndim == 1 and values.size <= _FEW:
        try:
            return np.float64(math.fsum(values.tolist()))  # type: ignore[return-value]
        except (OverflowError, ValueError):
            pass
    largest = np.maximum.reduce(np.abs(values), axis=-1, keepdims=True)
    if not (largest < np.inf).all():
        plain: NDArray[np.float64] = values.sum(axis=-1)
        return plain
    # A power of two above (N + 2) max|x|: the parts of the terms above its last bit add exactly.
    exponent = np.frexp(largest * (values.shape[-1] + 2))[1]
    splitter = np.ldexp(1.0, exponent)
    high = splitter + values
    high -= splitter
    coarse = np.add.reduce(high, axis=-1)
    total: NDArray[np.float64] = coarse + np.add.reduce(
        np.subtract(values, high, out=high), axis=-1
    )
    return total
