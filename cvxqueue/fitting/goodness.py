"""What to think of a fitted curve: the goodness of its fit, and the warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cvxqueue.fitting.likelihood import PARAMETERS, Counts, Peak
from cvxqueue.fitting.precision import free_directions
from cvxqueue.fitting.token_levels import fall, merged_for_test, wrong_bend
from cvxqueue.json_values import JsonRecord
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics.estimate import SIGNIFICANCE, FittedParameter

# A saturating curve of exponent x at the most tokens is off its chord by about x/8 of its rise: by
# 4 % where x is this, and nobody's data tell it from a straight line.
_STRAIGHT = 0.3


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
    dip = wrong_bend(levels)
    if dip is not None:
        found.append(
            f"not concave: at {dip[1]:g} tokens the accuracy is {dip[3]:.3f} below the line from "
            f"{dip[0]:g} to {dip[2]:g} tokens; a saturating curve cannot bend that way"
        )
    drop = fall(levels)
    if drop is not None:
        found.append(
            f"falling: from {drop[0]:g} to {drop[1]:g} tokens the accuracy falls by "
            f"{drop[2]:.3f}; a saturating curve never falls"
        )
    level = counts.correct.sum() / counts.total.sum()
    rise = 2.0 * (peak.log_likelihood - counts.log_likelihood(level, 0.0, 1.0)) / dispersion
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
