"""The saturating curve of a task type, by binomial maximum likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.levels import fall, merged, merged_for_test, wrong_bend
from cvxqueue.fitting.likelihood import Counts, Peak
from cvxqueue.fitting.parameter import FittedParameter, require_confidence
from cvxqueue.fitting.precision import free_directions, intervals, standard_errors
from cvxqueue.model import SaturatingExponential
from cvxqueue.model.arrays import FloatArray, float_array, require

__all__ = ["CurveFit", "Goodness", "fit_curve"]

# Level of the tests behind the warnings.
_SIGNIFICANCE = 0.05
_PARAMETERS = 3
# A saturating curve of exponent x at the most tokens is off its chord by about x/8 of its rise: by
# 4 % where x is this, and nobody's data tell it from a straight line.
_STRAIGHT = 0.3
# Counts read from an accuracy of five decimals and a number of questions need not be whole.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Goodness:
    """How far the data are from the model, against the model that fits every level exactly.

    Attributes
    ----------
    deviance : float
        Twice the difference of the log-likelihoods, over levels merged until χ² describes it.
    degrees_of_freedom : int
        Levels minus parameters; 0 where there are too few levels to judge.
    p_value : float
        Probability of such a deviance if the model holds; NaN where it cannot be judged.
    """

    deviance: float
    degrees_of_freedom: int
    p_value: float

    @property
    def verdict(self) -> str:
        """``fits``, ``does not fit`` (at 5 %) or ``not tested``."""
        if math.isnan(self.p_value):
            return "not tested"
        return "fits" if self.p_value >= _SIGNIFICANCE else "does not fit"


@dataclass(frozen=True, eq=False)
class CurveFit:
    """A saturating curve p(l) = floor + gain (1 − exp(−rate l)) fitted to answers.

    Attributes
    ----------
    floor, gain, rate : FittedParameter
        With profile-likelihood intervals; the standard errors come from the observed information.
    goodness : Goodness
        Deviance against the saturated model.
    tokens, observed, fitted : ndarray, shape (M,)
        The levels, the accuracy seen there and that of the curve.
    answers : float
        Number of answers; NaN where the data do not say.
    method : str
        What was maximised.
    warnings : tuple of str
        What to know before the curve is used.
    """

    floor: FittedParameter
    gain: FittedParameter
    rate: FittedParameter
    goodness: Goodness
    tokens: FloatArray
    observed: FloatArray
    fitted: FloatArray
    answers: float
    method: str
    warnings: tuple[str, ...]

    @property
    def residuals(self) -> FloatArray:
        """Accuracy seen minus that of the curve, by level."""
        return self.observed - self.fitted

    @property
    def curve(self) -> SaturatingExponential:
        """The fitted curve, of one type."""
        return SaturatingExponential(
            floor=self.floor.value, gain=self.gain.value, rate=self.rate.value
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "floor": self.floor.to_dict(),
            "gain": self.gain.to_dict(),
            "rate": self.rate.to_dict(),
            "goodness": {
                "deviance": self.goodness.deviance,
                "degrees_of_freedom": self.goodness.degrees_of_freedom,
                "p_value": self.goodness.p_value,
                "verdict": self.goodness.verdict,
            },
            "tokens": self.tokens.tolist(),
            "observed": self.observed.tolist(),
            "fitted": self.fitted.tolist(),
            "residuals": self.residuals.tolist(),
            "answers": self.answers,
            "method": self.method,
            "warnings": list(self.warnings),
        }


def fit_curve(
    tokens: ArrayLike,
    correct: ArrayLike | None = None,
    total: ArrayLike | None = None,
    *,
    accuracy: ArrayLike | None = None,
    confidence: float = 0.95,
) -> CurveFit:
    """Fit a saturating curve to answers that were right or wrong.

    With `total`, the likelihood is binomial. Without it nobody knows how precise an accuracy is:
    all rows then weigh the same, and their precision is estimated from their residuals
    (quasi-likelihood).

    Parameters
    ----------
    tokens : array_like, shape (M,)
        Tokens used, ≥ 0, with at least three different values.
    correct : array_like, shape (M,), optional
        Right answers, at most `total`.
    total : array_like, shape (M,), optional
        Answers, > 0.
    accuracy : array_like, shape (M,), optional
        Instead of `correct`: the fraction of right answers, in [0, 1].
    confidence : float, default 0.95
        Of the intervals.

    Raises
    ------
    InvalidInputError
        If a value is not allowed, or fewer than three different numbers of tokens are given (four
        without `total`).

    Notes
    -----
    The intervals are right where the answers are independent. The same questions asked at every
    budget make them somewhat wide for differences and leave them right for single levels.

    Examples
    --------
    >>> from cvxqueue.fitting import fit_curve
    >>> found = fit_curve([0, 250, 500, 1000, 2000], [200, 288, 357, 453, 546], [1000] * 5)
    >>> round(found.gain.value, 2), found.goodness.verdict
    (0.4, 'fits')
    """
    confidence = require_confidence(confidence)
    counts, is_counted = _counts(tokens, correct, total, accuracy)
    peak = counts.peak()
    fitted = counts.probabilities(peak.floor, peak.gain, peak.rate)
    dispersion = 1.0 if is_counted else _dispersion(counts, fitted)
    errors = standard_errors(counts, peak) * math.sqrt(dispersion)
    drop = _drop(confidence, dispersion, None if is_counted else counts.tokens.size - _PARAMETERS)
    floor, gain, rate = (
        FittedParameter(value, error, interval, confidence)
        for value, error, interval in zip(
            (peak.floor, peak.gain, peak.rate), errors, intervals(counts, peak, drop), strict=True
        )
    )
    goodness = _goodness(counts, peak, fitted) if is_counted else Goodness(math.nan, 0, math.nan)
    observed = counts.correct / counts.total
    return CurveFit(
        floor=floor,
        gain=gain,
        rate=rate,
        goodness=goodness,
        tokens=_frozen(counts.tokens),
        observed=_frozen(observed),
        fitted=_frozen(fitted),
        answers=float(counts.total.sum()) if is_counted else math.nan,
        method="binomial maximum likelihood"
        if is_counted
        else "binomial quasi-likelihood, rows of equal weight",
        warnings=tuple(_warnings(counts, peak, rate, goodness, dispersion, is_counted=is_counted)),
    )


def _counts(
    tokens: ArrayLike,
    correct: ArrayLike | None,
    total: ArrayLike | None,
    accuracy: ArrayLike | None,
) -> tuple[Counts, bool]:
    """Checked counts by level, and whether the number of answers is known."""
    at = np.atleast_1d(float_array("tokens", tokens))
    require("tokens", at, at >= 0, "must be ≥ 0")
    if (correct is None) == (accuracy is None):
        raise InvalidInputError("give correct (a count) or accuracy (a fraction), and not both")
    if correct is not None and total is None:
        raise InvalidInputError("correct needs total, the number of answers")
    is_counted = total is not None
    n = np.ones(at.size) if total is None else np.atleast_1d(float_array("total", total))
    require("total", n, n > 0, "must be > 0")
    if accuracy is not None:
        share = np.atleast_1d(float_array("accuracy", accuracy))
        require("accuracy", share, (share >= 0) & (share <= 1), "must be in [0, 1] (a fraction)")
        _same_length(tokens=at, accuracy=share, total=n)
        right = share * n
    else:
        right = np.atleast_1d(float_array("correct", correct))  # type: ignore[arg-type]
        require("correct", right, right >= 0, "must be ≥ 0")
        _same_length(tokens=at, correct=right, total=n)
        require("correct", right, right <= n * (1.0 + _ROUNDING), "must be at most total")
    levels, k, m = merged(at, right, n)
    least = _PARAMETERS if is_counted else _PARAMETERS + 1
    if levels.size < least:
        raise InvalidInputError(
            f"tokens have {levels.size} different value{'s' * (levels.size != 1)}; a curve of "
            f"three parameters needs at least {least}"
            + ("" if is_counted else " where the number of answers (total) is not known")
        )
    return Counts(levels, np.clip(k, 0.0, m), m), is_counted


def _same_length(**arrays: FloatArray) -> None:
    lengths = {name: array.size for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidInputError(f"the arrays must be of one length: {listed}")


def _dispersion(counts: Counts, fitted: FloatArray) -> float:
    """Pearson's estimate of the variance of an accuracy relative to p (1 − p)."""
    spread = counts.total * fitted * (1.0 - fitted)
    square = (counts.correct - counts.total * fitted) ** 2
    pearson = np.divide(square, spread, out=np.zeros_like(square), where=spread > 0).sum()
    # Accuracies are printed to some digits; nobody's residuals are exactly zero.
    return max(float(pearson) / (counts.tokens.size - _PARAMETERS), _ROUNDING)


def _drop(confidence: float, dispersion: float, freedom: int | None) -> float:
    """How far the log-likelihood may fall within the interval."""
    from scipy.special import chdtri, fdtri

    quantile = chdtri(1, 1.0 - confidence) if freedom is None else fdtri(1, freedom, confidence)
    return float(quantile) * dispersion / 2.0


def _goodness(counts: Counts, peak: Peak, fitted: FloatArray) -> Goodness:
    from scipy.special import chdtrc, xlogy

    k, n, expected = merged_for_test(counts.correct, counts.total, fitted)
    # A parameter on its bound was not free to follow the data.
    freedom = k.size - free_directions(peak).shape[1]
    wrong, wrong_expected = n - k, n - expected
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(k > 0, xlogy(k, k / expected), 0.0)
        terms += np.where(wrong > 0, xlogy(wrong, wrong / wrong_expected), 0.0)
    deviance = max(2.0 * float(terms.sum()), 0.0)
    if freedom <= 0:
        return Goodness(deviance, 0, math.nan)
    return Goodness(deviance, freedom, float(chdtrc(freedom, deviance)))


def _warnings(
    counts: Counts,
    peak: Peak,
    rate: FittedParameter,
    goodness: Goodness,
    dispersion: float,
    *,
    is_counted: bool,
) -> list[str]:
    found = []
    # What an answer weighs where the number of answers is not known.
    levels = counts.tokens, counts.correct / dispersion, counts.total / dispersion
    dip = wrong_bend(levels, _SIGNIFICANCE)
    if dip is not None:
        found.append(
            f"not concave: at {dip[1]:g} tokens the accuracy is {dip[3]:.3f} below the line from "
            f"{dip[0]:g} to {dip[2]:g} tokens; a saturating curve cannot bend that way"
        )
    drop = fall(levels, _SIGNIFICANCE)
    if drop is not None:
        found.append(
            f"falling: from {drop[0]:g} to {drop[1]:g} tokens the accuracy falls by "
            f"{drop[2]:.3f}; a saturating curve never falls"
        )
    level = counts.correct.sum() / counts.total.sum()
    rise = 2.0 * (peak.log_likelihood - counts.log_likelihood(level, 0.0, 1.0)) / dispersion
    if _no_gain(counts, max(rise, 0.0), is_counted=is_counted) > _SIGNIFICANCE:
        found.append(
            "flat: the gain is not significantly above zero; the data do not show that thinking "
            "helps, and do not say how fast"
        )
    else:
        low, high = rate.interval
        span = f"{counts.tokens[0]:g} to {counts.tokens[-1]:g} tokens"
        is_straight = low * counts.tokens[-1] <= _STRAIGHT
        if is_straight and math.isinf(high):
            found.append(
                f"not identified: from {span} accuracy rises, but every rate fits; measure at more "
                "numbers of tokens, or more answers"
            )
        elif is_straight:
            found.append(
                f"not identified: from {span} the rise may as well be a straight line, so that "
                "gain and rate are not told apart; measure at more tokens"
            )
        elif math.isinf(high):
            found.append(
                f"not identified: the curve may have saturated before {counts.tokens[1]:g} tokens, "
                f"and every rate above {low:.3g} fits; measure at fewer tokens"
            )
    if goodness.verdict == "does not fit":
        found.append(
            f"poor fit: the deviance {goodness.deviance:.1f} on {goodness.degrees_of_freedom} "
            f"degrees of freedom has p = {goodness.p_value:.2g}; the answers do not follow a "
            "saturating curve"
        )
    return found


def _no_gain(counts: Counts, rise: float, *, is_counted: bool) -> float:
    """p-value of a flat curve: without a gain there is no rate either, two parameters fewer."""
    from scipy.special import chdtrc, fdtrc

    if is_counted:
        return float(chdtrc(2, rise))
    return float(fdtrc(2, counts.tokens.size - _PARAMETERS, rise / 2.0))


def _frozen(array: FloatArray) -> FloatArray:
    copied = np.array(array, dtype=np.float64)
    copied.flags.writeable = False
    return copied
