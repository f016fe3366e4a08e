"""Accuracy by tokens, before any curve: whether it falls, and whether it bends the wrong way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics.estimate import SIGNIFICANCE

# A fit of so many takes under half a second; pooled ones move it by hundredths of its errors.
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
    estimates by some hundredths of their standard errors (`test_curve`).
    """
    levels, place = np.unique(tokens, return_inverse=True)
    if levels.size > _MOST_LEVELS:
        place = place * _MOST_LEVELS // levels.size
        levels = _sums(place, total * tokens) / _sums(place, total)
    return levels, _sums(place, correct), _sums(place, total)


def merged_for_test(correct: FloatArray, total: FloatArray, fitted: FloatArray) -> _Levels:
    """Return correct, total and expected answers with neighbours merged until each is expected."""
    groups: list[FloatArray] = []
    current = np.zeros(3)
    for row in np.stack([correct, total, total * fitted], axis=1):
        current = current + row
        if min(current[2], current[1] - current[2]) >= _LEAST_EXPECTED:
            groups.append(current)
            current = np.zeros(3)
    # What is left over goes to the last group.
    groups[-1:] = [sum(groups[-1:], current)]
    k, n, expected = np.array(groups).T
    return k, n, expected


def fall(levels: _Levels) -> tuple[float, ...] | None:
    """Return the most significant fall: tokens before, tokens after and how much; or ``None``."""
    return _most_significant(levels, 2, lambda at: [1.0, -1.0])


def wrong_bend(levels: _Levels) -> tuple[float, ...] | None:
    """Return the most significant dip below a chord: three tokens and its depth; or ``None``.

    A concave curve lies on or above each of its chords.
    """

    def depth(at: FloatArray) -> list[float]:
        w = float((at[2] - at[1]) / (at[2] - at[0]))
        return [w, -1.0, 1.0 - w]

    return _most_significant(levels, 3, depth)


def _most_significant(
    levels: _Levels, size: int, weights: Callable[[FloatArray], list[float]]
) -> tuple[float, ...] | None:
    """Tokens and value of the contrast, of those between so many groups, that is most above 0."""
    from scipy.special import ndtri

    tokens, p, variance = _groups(levels)
    places = list(combinations(range(tokens.size), size))
    # The significance is shared by all (Bonferroni).
    threshold, found = -float(ndtri(SIGNIFICANCE / max(len(places), 1))), None
    for place in map(list, places):
        c = np.array(weights(tokens[place]))
        value = float(c @ p[place])
        z = value / float(np.sqrt(c**2 @ variance[place]))
        if z > threshold:
            threshold, found = z, (*tokens[place].tolist(), value)
    return found


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
