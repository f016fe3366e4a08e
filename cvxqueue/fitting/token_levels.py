"""Accuracy by tokens, before any curve: whether it falls, and whether it bends the wrong way."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray

__all__ = ["fall", "merged", "merged_for_test", "wrong_bend"]

_MOST_LEVELS = 500
# Contrasts are made between at most so many groups of neighbouring levels.
_MOST_GROUPS = 8
# The rule of thumb under which a χ² distribution describes a deviance: so many expected answers,
# right and wrong, in each group.
_LEAST_EXPECTED = 5.0

_Levels = tuple[FloatArray, FloatArray, FloatArray]


def merged(tokens: FloatArray, correct: FloatArray, total: FloatArray) -> _Levels:
    """Return the counts with one row for each different number of tokens, in their order.

    Of more than 500 different numbers, neighbours are pooled at their mean, which moves the
    estimates by some hundredths of their standard errors (`test_fitting_curve`).
    """
    levels, place = np.unique(tokens, return_inverse=True)
    if levels.size > _MOST_LEVELS:
        place = place * _MOST_LEVELS // levels.size
        levels = _sums(place, total * tokens) / _sums(place, total)
    return levels, _sums(place, correct), _sums(place, total)


def merged_for_test(
    correct: FloatArray, total: FloatArray, fitted: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return correct, total and expected answers with neighbours merged until each is expected.

    Parameters
    ----------
    correct, total, fitted : ndarray, shape (M,)
        Counts and fitted probabilities, in the order of the tokens.
    """
    groups: list[list[float]] = []
    current = [0.0, 0.0, 0.0]
    for k, n, p in zip(correct, total, fitted, strict=True):
        current = [current[0] + float(k), current[1] + float(n), current[2] + float(n * p)]
        if min(current[2], current[1] - current[2]) >= _LEAST_EXPECTED:
            groups.append(current)
            current = [0.0, 0.0, 0.0]
    if current[1] > 0:
        if groups:
            groups[-1] = [a + b for a, b in zip(groups[-1], current, strict=True)]
        else:
            groups.append(current)
    table = np.array(groups, dtype=np.float64).T
    return table[0], table[1], table[2]


def fall(levels: _Levels, significance: float) -> tuple[float, float, float] | None:
    """Return the most significant fall: tokens before, tokens after and how much; or ``None``."""
    tokens, p, variance = _groups(levels)
    worst = None
    threshold = _threshold(significance, tokens.size * (tokens.size - 1) // 2)
    for i, j in combinations(range(tokens.size), 2):
        z = (p[i] - p[j]) / np.sqrt(variance[i] + variance[j])
        if z > threshold:
            threshold, worst = z, (float(tokens[i]), float(tokens[j]), float(p[i] - p[j]))
    return worst


def wrong_bend(levels: _Levels, significance: float) -> tuple[float, float, float, float] | None:
    """Return the most significant dip below a chord: three tokens and its depth; or ``None``.

    A concave curve lies on or above each of its chords.
    """
    tokens, p, variance = _groups(levels)
    m = tokens.size
    threshold, worst = _threshold(significance, m * (m - 1) * (m - 2) // 6), None
    for i, j, k in combinations(range(m), 3):
        w = (tokens[k] - tokens[j]) / (tokens[k] - tokens[i])
        depth = w * p[i] + (1.0 - w) * p[k] - p[j]
        spread = w**2 * variance[i] + (1.0 - w) ** 2 * variance[k] + variance[j]
        z = depth / np.sqrt(spread)
        if z > threshold:
            threshold = z
            worst = (float(tokens[i]), float(tokens[j]), float(tokens[k]), float(depth))
    return worst


def _threshold(significance: float, contrasts: int) -> float:
    """Standard deviations that one of so many contrasts must reach (Bonferroni)."""
    from scipy.special import ndtri

    return -float(ndtri(significance / max(contrasts, 1)))


def _groups(levels: _Levels) -> _Levels:
    """Tokens, observed accuracy and its variance, of at most eight groups of levels."""
    tokens, correct, total = levels
    groups = min(tokens.size, _MOST_GROUPS)
    # Neighbours are merged to about equal numbers of answers.
    middle = (np.cumsum(total) - total / 2.0) / total.sum()
    place = np.arange(groups) if groups == tokens.size else (middle * groups).astype(np.intp)
    place = np.unique(place, return_inverse=True)[1]
    n, k = _sums(place, total), _sums(place, correct)
    at = _sums(place, total * tokens) / n
    # Half an answer is added to each side, so that 0 of 30 is not taken for certainty.
    p = (k + 0.5) / (n + 1.0)
    return at, k / n, p * (1.0 - p) / n


def _sums(place: NDArray[np.intp], values: FloatArray) -> FloatArray:
    """Sum of the values at each place."""
    return np.asarray(np.bincount(place, values), dtype=np.float64)
