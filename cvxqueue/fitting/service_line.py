"""The service line of a server: seconds against tokens, by robust least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.robust_line import robust_line
from cvxqueue.fitting.units import require_per_token
from cvxqueue.formatting import plural
from cvxqueue.json_values import JsonRecord
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array, require
from cvxqueue.statistics.estimate import SIGNIFICANCE, FittedParameter, probability
from cvxqueue.statistics.time_units import seconds_array

# A nanosecond to thirty years: the squares of any two compare without overflow.
_ALLOWED_SECONDS = (1e-9, 1e9)
# Of times exactly on a line, a bend below this part of the mean time is rounding.
_EXACT = 1e-6
# A rise from the fewest to the most tokens below this part of the largest time is rounding.
_NO_RISE = 1e-12
# A bend that changes no time by more than this part does not matter to an allocation.
_NEGLIGIBLE_BEND = 0.05
# The model takes service times to follow from the tokens. Where the line leaves more than this part
# of their variance, or misses their mean by more than this part, the queue differs from the model.
_MOST_UNEXPLAINED = 0.1
_MOST_MISSED = 0.02
# A row of more leverage draws the line to itself; among fewer rows every one does.
_MOST_LEVERAGE = 0.25
_FEW_ROWS = 10


@dataclass(frozen=True)
class Linearity(JsonRecord):
    """Whether a bend improves on the line."""

    bend: float
    """Largest change that a quadratic term makes to a fitted time, relative to the mean time."""
    p_value: float
    """Of the quadratic term; NaN where the data cannot show one."""

    _properties = ("holds",)

    @property
    def holds(self) -> bool | None:
        """Whether the line will do; ``None`` where the data cannot say."""
        if math.isnan(self.p_value):
            return None
        return self.p_value >= SIGNIFICANCE or self.bend <= _NEGLIGIBLE_BEND


@dataclass(frozen=True, eq=False, repr=False)
class ServiceFit(JsonRecord, ReadOnlyArrays):
    """A line t = base + per_token · tokens fitted to service times.

    Attributes
    ----------
    base : FittedParameter
        Seconds without thinking, ≥ 0.
    per_token : FittedParameter
        Seconds per token, > 0.
    tokens, seconds : ndarray, shape (M,)
        The measurements, which `to_dict` leaves out.
    residual_scale : float
        Robust standard deviation of the residuals, in seconds.
    largest_residual : float
        Greatest absolute residual, in seconds.
    r_squared : float
        Fraction of the variance that the line explains.
    linearity : Linearity
        Test for a bend.
    method : str
        How the line was fitted.
    warnings : tuple of str
        What to know before the line is used.
    """

    base: FittedParameter
    per_token: FittedParameter
    tokens: FloatArray = field(repr=False)
    seconds: FloatArray = field(repr=False)
    residual_scale: float
    largest_residual: float
    r_squared: float
    linearity: Linearity
    method: str
    warnings: tuple[str, ...]

    _properties = ("rows",)

    @property
    def rows(self) -> int:
        """Measurements used."""
        return self.tokens.size

    def __repr__(self) -> str:
        return f"ServiceFit(base={self.base}, per_token={self.per_token})"


def fit_service(tokens: ArrayLike, seconds: ArrayLike, *, confidence: float = 0.95) -> ServiceFit:
    """Fit the service line to measured times.

    Huber's loss keeps a few stragglers from bending the line; its scale is the median absolute
    residual. Standard errors are of the sandwich kind (HC3), so that the spread of the times may
    grow with the tokens, and the degrees of freedom are fewer where few rows carry most of it. The
    line follows a row that is far from the others, and leaves no residual there: the error of such
    a row is taken from those of the others.

    Parameters
    ----------
    tokens : array_like, shape (M,)
        Tokens generated, ≥ 0.
    seconds : array_like, shape (M,)
        Service time of each, > 0, or the durations.
    confidence : float, default 0.95
        Of the intervals, which come from Student's distribution.

    Raises
    ------
    InvalidInputError
        If a value is not allowed, there are fewer than three rows or two different numbers of
        tokens, the times do not increase with the tokens, or the seconds per token are outside
        1e-5 to 1, as in another unit.

    Examples
    --------
    >>> from cvxqueue.fitting import fit_service
    >>> found = fit_service([128, 512, 1024, 2048], [1.88, 4.51, 8.02, 15.05])
    >>> round(found.per_token.value, 5), round(found.base.value, 2)
    (0.00686, 1.0)
    """
    from scipy.special import stdtrit

    confidence = probability("confidence", confidence)
    x, y = _checked(tokens, seconds)
    unit = float(x.max())
    design = np.stack([np.ones(x.size), x / unit], axis=1)
    line = robust_line(design, y)
    theta, errors, scale = line.coefficients, line.errors, line.scale
    reach = stdtrit(line.freedom, (1.0 + confidence) / 2.0) * errors
    lows, highs = theta - reach, theta + reach
    is_at_bound = bool(theta[0] < 0)
    if is_at_bound:
        # The best line that starts at zero; what the free line allows stays in the intervals.
        (slope,), (error,), (freedom,), scale = robust_line(design[:, 1:], y)
        theta, errors = np.array([0.0, slope]), np.array([math.nan, error])
        extent = stdtrit(freedom, (1.0 + confidence) / 2.0) * error
        lows[1], highs[1] = min(lows[1], slope - extent), max(highs[1], slope + extent)
    _require_rise(float(theta[1] / unit), x, y)
    require_per_token(float(theta[1] / unit))
    columns = np.stack([theta, errors, np.maximum(lows, 0.0), np.maximum(highs, 0.0)])
    base, per_token = (
        FittedParameter(value, error, (low, high), confidence)
        for value, error, low, high in (columns / [1.0, unit]).T.tolist()
    )
    residuals = y - design @ theta
    linearity = _linearity(x / unit, y)
    spread = float(np.square(y - y.mean()).sum())
    r_squared = 1.0 - float(np.square(residuals).sum()) / spread if spread > 0 else math.nan
    missed = float(residuals.mean() / y.mean())
    return ServiceFit(
        base=base,
        per_token=per_token,
        tokens=x,
        seconds=y,
        residual_scale=scale,
        largest_residual=float(np.abs(residuals).max()),
        r_squared=r_squared,
        linearity=linearity,
        method="least squares with Huber's loss, scale by the median absolute residual, "
        "sandwich (HC3) standard errors",
        warnings=_warnings(x, linearity, per_token, r_squared, missed, is_at_bound=is_at_bound),
    )


def _checked(tokens: ArrayLike, seconds: ArrayLike) -> tuple[FloatArray, FloatArray]:
    x = np.atleast_1d(float_array("tokens", tokens))
    y = np.atleast_1d(seconds_array("seconds", seconds, is_moment=False))
    require("tokens", x, x >= 0, "must be ≥ 0")
    shortest, longest = _ALLOWED_SECONDS
    allowed = f"must be > 0 (a service time), from {shortest:g} to {longest:g}"
    require("seconds", y, (shortest <= y) & (y <= longest), allowed)
    if x.size != y.size:
        raise InvalidInputError(
            f"tokens and seconds must be of one length, got {x.size} and {y.size}"
        )
    different = np.unique(x).size
    if x.size < 3 or different < 2:
        raise InvalidInputError(
            f"service times: {plural(x.size, 'row')} with {different} different "
            f"number{'s' * (different != 1)} of tokens; a line with its standard errors needs at "
            "least 3 rows and 2 different numbers"
        )
    return x, y


def _require_rise(slope: float, x: FloatArray, y: FloatArray) -> None:
    is_rounding = abs(slope) * float(x.max() - x.min()) <= _NO_RISE * float(y.max())
    if slope <= 0 or is_rounding:
        raise InvalidInputError(
            "seconds do not increase with tokens: the fitted line has "
            f"{0.0 if is_rounding else slope:.3g} seconds per token, and must have > 0; check the "
            "columns and their units"
        )


def _linearity(x: FloatArray, y: FloatArray) -> Linearity:
    """Test for a quadratic term, x being tokens over their maximum."""
    from scipy.special import stdtr

    if np.unique(x).size < 3 or x.size < 4:
        return Linearity(math.nan, math.nan)
    line = np.stack([np.ones(x.size), x], axis=1)
    square = np.square(x)
    # The part of the square that no line can follow.
    bent = square - line @ np.linalg.lstsq(line, square, rcond=None)[0]
    theta, errors, freedom, _ = robust_line(np.column_stack([line, bent]), y)
    bend = abs(float(theta[2])) * float(np.abs(bent).max() / y.mean())
    if errors[2] == 0.0:
        return Linearity(bend, 1.0 if bend <= _EXACT else 0.0)
    return Linearity(bend, 2.0 * float(stdtr(freedom[2], -abs(theta[2] / errors[2]))))


def _warnings(
    x: FloatArray,
    linearity: Linearity,
    per_token: FittedParameter,
    r_squared: float,
    missed: float,
    *,
    is_at_bound: bool,
) -> tuple[str, ...]:
    away = np.square(x - x.mean())
    heavy = int(np.count_nonzero(1.0 / x.size + away / away.sum() > _MOST_LEVERAGE))
    found = {
        f"leverage: {heavy} of {x.size} rows, far from the others in tokens, set the slope; how "
        "much such times vary is hardly seen, and the interval may be too narrow; measure more of "
        "them": heavy > 0 and x.size >= _FEW_ROWS,
        "not linear: a quadratic term changes the fitted times by up to "
        f"{100 * linearity.bend:.1f} % of their mean (p = {linearity.p_value:.2g}); consider "
        "QuadraticService": linearity.holds is False,
        "the base is at its bound 0: the free line would start below it; check that tokens count "
        "everything that was generated": is_at_bound,
        "not identified: the interval of the seconds per token reaches 0; measure more rows, or "
        "more different numbers of tokens": per_token.interval[0] <= 0,
        f"not explained: the tokens explain only {100 * r_squared:.0f} % of the variance of the "
        "times; is there another prompt length, load or machine among them? Fit them apart": (
            r_squared < 1.0 - _MOST_UNEXPLAINED
        ),
        f"stragglers: the mean time is {100 * missed:+.1f} % off the line, which gives few rows "
        "little say; the queue feels them in full": abs(missed) > _MOST_MISSED,
    }
    return tuple(text for text, is_so in found.items() if is_so)
