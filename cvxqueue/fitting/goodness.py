"""What to think of answers and of the curve fitted to them: levels, goodness, warnings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.fitting.likelihood import PARAMETERS, Counts, Peak, free_directions
from cvxqueue.json_values import JsonRecord
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics.estimate import SIGNIFICANCE, FittedParameter

# A saturating curve of exponent x at the most tokens is off its chord by about x/8 of its rise: by
# 4 % where x is this, and nobody's data tell it from a straight line.
_STRAIGHT = 0.3
# A fit of so many takes under half a second; pooled ones move it by hundredths of its errors.
_MOST_LEVELS = 500
# Contrasts are made between at most so many groups of neighbouring levels.
_MOST_GROUPS = 8
# The rule of thumb under which a χ² distribution describes a deviance: so many expected answers,
# right and wrong, in each group.
_LEAST_EXPECTED = 5.0

_Levels = tuple[FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class Goodness(JsonRecord):
    """How far the data are from the model, against the model that fits every level exactly."""

    deviance: float
    """Twice the difference of the log-likelihoods, over levels merged until χ² describes it."""
    degrees_of_freedom: int
    """Levels minus parameters; 0 where there are too few levels to judge."""
    p_value: float
    """Probability of such a deviance if the model holds; NaN where it cannot be judged."""

    _properties = ("outcome",)

    @property
    def outcome(self) -> str:
        """``fits``, ``does not fit`` (at 5 %) or ``not tested``."""
        if math.isnan(self.p_value):
            return "not tested"
        return "fits" if self.p_value >= SIGNIFICANCE else "does not fit"


def goodness_of(counts: Counts, peak: Peak, fitted: FloatArray) -> Goodness:
    """Compare the deviance with χ², over levels merged until that describes it."""
    from scipy.special import chdtrc, rel_entr

    k, n, expected = merged_for_test(counts.correct, counts.total, fitted)
    # A parameter on its bound was not free to follow the data.
    freedom = k.size - free_directions(peak).shape[1]
    terms = rel_entr(k, expected) + rel_entr(n - k, n - expected)
    deviance = max(2.0 * float(terms.sum()), 0.0)
    if freedom <= 0:
        return Goodness(deviance, 0, math.nan)
    return Goodness(deviance, freedom, float(chdtrc(freedom, deviance)))


def curve_warnings(
    counts: Counts,
    peak: Peak,
    rate: FittedParameter,
    goodness: Goodness,
    dispersion: float,
    *,
    is_counted: bool,
) -> list[str]:
    """Return what to know before a fitted curve is used, in plain sentences."""
    found = []
    # What an answer weighs where the number of answers is not known.
    levels = counts.tokens, counts.correct / dispersion, counts.total / dispersion
    if dip := wrong_bend(levels):
        found.append(
            f"not concave: at {dip[1]:g} tokens the accuracy is {dip[3]:.3f} below the line from "
            f"{dip[0]:g} to {dip[2]:g} tokens; a saturating curve cannot bend that way"
        )
    if drop := fall(levels):
        found.append(
            f"falling: from {drop[0]:g} to {drop[1]:g} tokens the accuracy falls by "
            f"{drop[2]:.3f}; a saturating curve never falls"
        )
    rise = 2.0 * (peak.log_likelihood - counts.flat[1]) / dispersion
    if _no_gain(counts, max(rise, 0.0), is_counted=is_counted) > SIGNIFICANCE:
        found.append(
            "flat: the gain is not significantly above zero; the data do not show that thinking "
            "helps, and do not say how fast"
        )
    else:
        found += _not_identified(counts.tokens, *rate.interval)
    if goodness.outcome == "does not fit":
        found.append(
            f"poor fit: the deviance {goodness.deviance:.1f} on {goodness.degrees_of_freedom} "
            f"degrees of freedom has p = {goodness.p_value:.2g}; the answers do not follow a "
            "saturating curve"
        )
    return found


def _not_identified(tokens: FloatArray, low: float, high: float) -> list[str]:
    """What the interval of the rate leaves open."""
    span = f"from {tokens[0]:g} to {tokens[-1]:g} tokens"
    if low * tokens[-1] <= _STRAIGHT:
        what = (
            f"{span} accuracy rises, but every rate fits; measure at more numbers of tokens, or "
            "more answers"
            if math.isinf(high)
            else f"{span} the rise may as well be a straight line, so that gain and rate are not "
            "told apart; measure at more tokens"
        )
    elif math.isinf(high):
        what = (
            f"the curve may have saturated before {tokens[1]:g} tokens, and every rate above "
            f"{low:.3g} fits; measure at fewer tokens"
        )
    else:
        return []
    return [f"not identified: {what}"]


def _no_gain(counts: Counts, rise: float, *, is_counted: bool) -> float:
    """p-value of a flat curve: without a gain there is no rate either, two parameters fewer."""
    from scipy.special import chdtrc, fdtrc

    if is_counted:
        return float(chdtrc(2, rise))
    return float(fdtrc(2, counts.tokens.size - PARAMETERS, rise / 2.0))


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
