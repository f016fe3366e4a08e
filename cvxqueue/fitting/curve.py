"""The saturating curve of a task type, by binomial maximum likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.columns import answers_from
from cvxqueue.fitting.goodness import Goodness, curve_warnings, goodness_of, merged
from cvxqueue.fitting.likelihood import PARAMETERS, Counts, intervals, standard_errors
from cvxqueue.fitting.records import Answers
from cvxqueue.fitting.units import require_token_counts
from cvxqueue.formatting import plural
from cvxqueue.json_values import JsonRecord
from cvxqueue.model import SaturatingExponential
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.statistics.estimate import FittedParameter, probability

# Accuracies are printed to some digits; nobody's residuals are exactly zero.
_LEAST_DISPERSION = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class CurveFit(JsonRecord, ReadOnlyArrays):
    """A saturating curve p(l) = floor + gain (1 − exp(−rate l)) fitted to answers.

    Attributes
    ----------
    floor, gain, rate : FittedParameter
        With profile-likelihood intervals; the standard errors come from the observed information.
    goodness : Goodness
        Deviance against the saturated model.
    tokens, observed, fitted : ndarray, shape (M,)
        The levels, the accuracy seen there and that of the curve.
    total : ndarray, shape (M,)
        Number of answers at each level; NaN where the data do not say.
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
    total: FloatArray
    method: str
    warnings: tuple[str, ...]

    _properties = ("answers", "residuals")

    @property
    def answers(self) -> float:
        """Number of answers; NaN where the data do not say."""
        return float(self.total.sum())

    def __repr__(self) -> str:
        return f"CurveFit(floor={self.floor}, gain={self.gain}, rate={self.rate})"

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


@quiet
def fit_curve(
    tokens: ArrayLike,
    correct: ArrayLike | None = None,
    total: ArrayLike | None = None,
    *,
    accuracy: ArrayLike | None = None,
    confidence: float = 0.95,
) -> CurveFit:
    """Fit a saturating curve to answers that were right or wrong.

    Counted answers have a binomial likelihood. Where `accuracy` comes without `total` nobody knows
    how precise it is: all rows then weigh the same, and their precision is estimated from their
    residuals (quasi-likelihood).

    Parameters
    ----------
    tokens : array_like, shape (M,)
        Tokens used, ≥ 0, with at least three different values.
    correct : array_like, shape (M,), optional
        Right answers, at most `total`; without it one answer a row, right (1) or wrong (0).
    total : array_like, shape () or (M,), optional
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
    >>> round(found.gain.value, 2), found.goodness.outcome
    (0.4, 'fits')
    """
    confidence = probability("confidence", confidence)
    given = {"tokens": tokens, "correct": correct, "total": total, "accuracy": accuracy}
    answers = answers_from({name: it for name, it in given.items() if it is not None}, where="")
    counts, is_counted = _counts(answers), answers.total is not None
    peak = counts.peak()
    fitted = counts.probabilities(peak.floor, peak.gain, peak.rate)
    dispersion = 1.0 if is_counted else _dispersion(counts, fitted)
    errors = standard_errors(counts, peak) * math.sqrt(dispersion)
    drop = _drop(confidence, dispersion, None if is_counted else counts.tokens.size - PARAMETERS)
    floor, gain, rate = (
        FittedParameter(value, float(error), interval, confidence)
        for value, error, interval in zip(
            (peak.floor, peak.gain, peak.rate), errors, intervals(counts, peak, drop), strict=True
        )
    )
    goodness = goodness_of(counts, peak, fitted) if is_counted else Goodness(math.nan, 0, math.nan)
    observed = counts.correct / counts.total
    return CurveFit(
        floor=floor,
        gain=gain,
        rate=rate,
        goodness=goodness,
        tokens=read_only(counts.tokens),
        observed=read_only(observed),
        fitted=read_only(fitted),
        total=read_only(counts.total if is_counted else np.full(counts.total.shape, math.nan)),
        method="binomial maximum likelihood"
        if is_counted
        else "binomial quasi-likelihood, rows of equal weight",
        warnings=tuple(
            curve_warnings(counts, peak, rate, goodness, dispersion, is_counted=is_counted)
        ),
    )


def _counts(answers: Answers) -> Counts:
    """Counts by level; one answer a row where their number is not known."""
    require_token_counts(answers.tokens)
    is_counted = answers.total is not None
    total = np.ones(answers.tokens.size) if answers.total is None else answers.total
    levels, correct, total = merged(answers.tokens, answers.accuracy * total, total)
    least = PARAMETERS if is_counted else PARAMETERS + 1
    if levels.size < least:
        raise InvalidInputError(
            f"tokens have {plural(levels.size, 'different value')}; a curve of "
            f"three parameters needs at least {least}"
            + ("" if is_counted else " where the number of answers (total) is not known")
        )
    return Counts(levels, np.clip(correct, 0.0, total), total)


def _dispersion(counts: Counts, fitted: FloatArray) -> float:
    """Pearson's estimate of the variance of an accuracy relative to p (1 − p)."""
    spread = counts.total * fitted * (1.0 - fitted)
    square = (counts.correct - counts.total * fitted) ** 2
    pearson = np.divide(square, spread, out=np.zeros_like(square), where=spread > 0).sum()
    return max(float(pearson) / (counts.tokens.size - PARAMETERS), _LEAST_DISPERSION)


def _drop(confidence: float, dispersion: float, freedom: int | None) -> float:
    """How far the log-likelihood may fall within the interval."""
    from scipy.special import chdtri, fdtri

    quantile = chdtri(1, 1.0 - confidence) if freedom is None else fdtri(1, freedom, confidence)
    return float(quantile) * dispersion / 2.0
