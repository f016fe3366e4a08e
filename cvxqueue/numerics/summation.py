"""Arithmetic in twice the working precision: sums of many terms, and what one rounding lost."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Twofold = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A number in two parts, of which the second is less than a rounding of the first."""


# So few terms are sooner added one by one than by a dozen calls of numpy.
_FEW_TERMS = 64


def accurate_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum along the last axis, as accurate as if done in twice the working precision.

    The idle fraction 1 − ρ subtracts a sum from one; near ρ = 1 every lost bit of the sum is
    magnified by 1/(1 − ρ), so a plain sum will not do. Terms have shape (..., N), and sums (...);
    one with terms that are not finite is the plain one.

    References
    ----------
    Rump, Ogita and Oishi, "Accurate floating-point summation part I: faithful rounding", SIAM
    Journal on Scientific Computing 31(1), 2008: ExtractVector (algorithm 3.3), applied once.
    """
    if values.ndim == 1 and values.size <= _FEW_TERMS:
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


def two_sum(first: NDArray[np.float64], second: NDArray[np.float64]) -> Twofold:
    """Return a sum and what its rounding lost, exactly (Knuth)."""
    total = first + second
    back = total - first
    return total, (first - (total - back)) + (second - back)


def two_product(first: NDArray[np.float64], second: NDArray[np.float64]) -> Twofold:
    """Return a product and what its rounding lost, exactly (Dekker), for factors below 1e299."""
    product = first * second
    (high, low), (above, below) = _halves(first), _halves(second)
    return product, low * below - (((product - high * above) - low * above) - high * below)


def _halves(number: NDArray[np.float64]) -> Twofold:
    """Split a number into two of half as many bits (Veltkamp)."""
    scaled = (2.0**27 + 1.0) * number
    high = scaled - (scaled - number)
    return high, number - high


def quotient(top: Twofold, bottom: Twofold) -> Twofold:
    """Return a ratio to twice the working precision."""
    first = top[0] / bottom[0]
    product, lost = two_product(first, bottom[0])
    rest = (((top[0] - product) - lost) + top[1]) - first * bottom[1]
    return two_sum(first, rest / bottom[0])
