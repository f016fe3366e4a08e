"""Robust regression: Huber's coefficients and what they are worth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cvxqueue.numerics.arrays import FloatArray

# Huber's loss is quadratic within so many standard deviations: 95 % as efficient as least squares
# on normal residuals (Huber, Robust Statistics, 1981).
HUBER = 1.345
# Median absolute deviation of a standard normal variable.
_NORMAL_MAD = 0.6744897501960817
# The scale of the residuals is estimated and the line fitted in turn until neither moves by this
# part of the scale: 1 to 25 rounds in 300 data sets, 6 in the median.
_MOST_ROUNDS, _SCALE_TOLERANCE = 30, 1e-6
# Residuals below this part of the largest time are rounding.
_LEAST_SPREAD = 1e-12
# Of the fit at a scale, in the units of the data over that scale.
_SOLVER_TOLERANCE = 1e-12
# Rows in the quadratic zone from which their own information is trusted. Of fewer, without the line
# through it, noise of 15 % of the times at 20 rows is covered in 0.90 instead of 0.94.
_MANY_ROWS = 50
# Of few rows, the least probability of the quadratic zone: a line through zeros and ones falls
# below zero where the tokens of some rows are several times those of most.
_LEAST_INSIDE = 0.2
# A row with a leverage of one is met by the line whatever it says, and has no residual to correct.
_LEAST_FREE = 1e-6
# Leverages from which the error of a row is taken from the other rows too, and from them alone.
_FREE, _FOLLOWED = 0.25, 0.5


class RobustLine(NamedTuple):
    """Huber's coefficients and what they are worth, shape (P,) each."""

    coefficients: FloatArray
    errors: FloatArray
    """Their standard errors."""
    freedom: FloatArray
    """Degrees of freedom of these, at most M − P."""
    scale: float
    """Robust standard deviation of the residuals."""


def robust_line(design: FloatArray, y: FloatArray) -> RobustLine:
    """Return Huber's coefficients with sandwich standard errors and their degrees of freedom.

    The design, shape (M, P), has one column for each coefficient; y, shape (M,), is what they add
    up to.

    Notes
    -----
    `scipy.stats.theilslopes` covers the slope of benign data as well, but in 0.88 at three levels
    of three rows, and in 0.15 where one row of 21 is far from the others; this in 0.94 and 0.95 of
    the same (docs/fitting.md).

    The covariance is B (Σ c² x xᵀ) B. B inverts the information Σ p x xᵀ, where p is the
    probability that a row is within the quadratic zone: which rows are, where they are many, and a
    line in the fitted values through that, where they are few. Noise that grows with the times
    leaves the rows that set the slope mostly outside, and one share for all rows would call their
    information more than it is. c is the residual, winsorized, over one less the leverage (HC3).

    The degrees of freedom of Σ (B x)² c² are Satterthwaite's for normal residuals whose variances
    are a line in the fitted values: a few rows of much noise know their variance badly.

    References
    ----------
    Huber and Ronchetti, Robust Statistics (2009), section 7.6. MacKinnon and White, Journal of
    Econometrics 29 (1985), for HC3. Bell and McCaffrey, Survey Methodology 28 (2002), for the
    degrees of freedom.
    """
    # The solver's tolerances know no unit.
    unit = float(np.abs(y).max()) or 1.0
    theta, scale = _huber(design, y / unit)
    errors, freedom = _precision(design, y / unit, theta, scale)
    return RobustLine(unit * theta, unit * errors, freedom, unit * scale)


def _huber(design: FloatArray, y: FloatArray) -> tuple[FloatArray, float]:
    """Huber's coefficients and the scale of the residuals, the largest of `y` being one."""
    from scipy.optimize import least_squares

    settings: dict[str, Any] = {
        "fun": lambda theta, x, y: x @ theta - y,
        # SciPy 1.15 weighs what it is given in place.
        "jac": lambda theta, x, y: x.copy(),
        "loss": "huber",
        "f_scale": HUBER,
        "x_scale": "jac",
        **dict.fromkeys(("ftol", "xtol", "gtol"), _SOLVER_TOLERANCE),
    }
    theta = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=np.float64)
    scale = _scale(y - design @ theta, design.shape[1])
    for _ in range(_MOST_ROUNDS):
        found = least_squares(x0=theta, args=(design / scale, y / scale), **settings)
        moved = float(np.abs(design @ (found.x - theta)).max())
        theta, before = found.x, scale
        scale = _scale(y - design @ theta, design.shape[1])
        if max(abs(scale - before), moved) <= _SCALE_TOLERANCE * before:
            break
    return theta, scale


def _precision(
    design: FloatArray, y: FloatArray, theta: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Standard errors of the coefficients and their degrees of freedom."""
    rows, parameters = design.shape
    fitted = design @ theta
    # Huber's ψ of the residuals, times their scale.
    winsorized = np.clip(y - fitted, -HUBER * scale, HUBER * scale)
    # Huber's ψ' is 1 within the quadratic zone and 0 beyond.
    inside = (np.abs(y - fitted) <= HUBER * scale).astype(np.float64)
    squares = np.square(winsorized)
    # Both as lines in the fitted values, by least squares.
    line = np.stack([np.ones(rows), fitted], axis=1)
    lines = np.linalg.lstsq(line, np.stack([inside, squares], axis=1), rcond=None)[0]
    smooth_inside, smooth_squares = (line @ lines).T
    if np.count_nonzero(inside) < _MANY_ROWS:
        inside = np.clip(smooth_inside, _LEAST_INSIDE, 1.0)
    bread = np.linalg.pinv((design.T * inside) @ design)
    leverage = np.einsum("ij,jk,ik->i", design, np.linalg.pinv(design.T @ design), design)
    free = np.maximum(1.0 - leverage, _LEAST_FREE)
    # Where the line follows a row, what is left of its error says little.
    followed = np.clip((leverage - _FREE) / (_FOLLOWED - _FREE), 0.0, 1.0)
    expected = followed * _expected_squares(winsorized, y, parameters)
    influence = np.square(design @ bread)
    variance = influence.T @ np.maximum(squares / free**2, expected)
    # A variance on a line may fall below zero; no row's is nought.
    smooth_squares = np.maximum(smooth_squares, squares.mean() / rows)
    own = influence * ((1.0 - followed) * smooth_squares / free**2)[:, np.newaxis]
    pooled = influence.T @ expected
    spread = np.square(own).sum(axis=0) + np.square(pooled) / max(rows - parameters, 1)
    total = np.square(own.sum(axis=0) + pooled)
    most = np.full(parameters, float(max(rows - parameters, 1)))
    freedom = np.divide(total, spread, out=most.copy(), where=spread > 0)
    return np.sqrt(variance), np.minimum(freedom, most)


def _expected_squares(winsorized: FloatArray, y: FloatArray, parameters: int) -> FloatArray:
    """Squared error to expect of a row whose residual says nothing, after those of the others.

    The greater of one error for all and one in proportion to the times, as measured times have it.
    Errors relative to the times are those of the shortest where the noise is even, so that their
    median stands for them.
    """
    equal = float(winsorized @ winsorized) / max(y.size - parameters, 1)
    share = _scale(winsorized / np.where(y == 0.0, 1.0, y), parameters)
    return np.asarray(np.maximum(equal, np.square(share * y)), dtype=np.float64)


def _scale(residuals: FloatArray, parameters: int) -> float:
    """Robust standard deviation; `parameters` of the residuals are zero by the fit alone."""
    absolute = np.sort(np.abs(residuals))[min(parameters, residuals.size - 1) :]
    return max(float(np.median(absolute)) / _NORMAL_MAD, _LEAST_SPREAD)
