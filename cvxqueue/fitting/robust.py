"""Robust regression: Huber's coefficients and what they are worth."""

from __future__ import annotations

import numpy as np

from cvxqueue.model.arrays import FloatArray

__all__ = ["HUBER", "robust_line"]

# Huber's loss is quadratic within so many standard deviations: 95 % as efficient as least squares
# on normal residuals (Huber, Robust Statistics, 1981).
HUBER = 1.345
# Median absolute deviation of a standard normal variable.
_NORMAL_MAD = 0.6744897501960817
# The scale of the residuals is estimated and the line fitted in turn until neither moves.
_MOST_ROUNDS = 30
_SETTLED = 1e-6
# Residuals below this part of the largest time are rounding.
_ROUNDING = 1e-12
# Rows in the quadratic zone from which their own information is trusted.
_MANY = 50
# A row with a leverage of one is met by the line whatever it says, and has no residual to correct.
_LEAST_FREE = 1e-6
# Leverages from which the error of a row is taken from the other rows too, and from them alone.
_FREE, _FOLLOWED = 0.25, 0.5


def robust_line(design: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return Huber's coefficients, their sandwich standard errors and the scale of the residuals.

    Parameters
    ----------
    design : ndarray, shape (M, P)
        One column for each coefficient.
    y : ndarray, shape (M,)
        What they add up to.
    """
    from scipy.optimize import least_squares

    # Where nothing is to be added up to, any scale does.
    least = _ROUNDING * (float(np.abs(y).max()) or 1.0)
    theta = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=np.float64)
    scale = _scale(y - design @ theta, design.shape[1], least)
    for _ in range(_MOST_ROUNDS):
        found = least_squares(
            _residuals,
            theta,
            jac=_jacobian,
            loss="huber",
            f_scale=HUBER,
            x_scale="jac",
            args=(design / scale, y / scale),
        )
        moved = float(np.abs(design @ (found.x - theta)).max())
        theta = found.x
        new = _scale(y - design @ theta, design.shape[1], least)
        is_settled = abs(new - scale) <= _SETTLED * scale and moved <= _SETTLED * scale
        scale = new
        if is_settled:
            break
    residuals = y - design @ theta
    pulled = np.clip(residuals, -HUBER * scale, HUBER * scale)
    # Huber's ψ' is 1 within the quadratic zone and 0 beyond: the information is that of the rows
    # within. Of few rows that matrix is noise, and the share of the rows within stands for it.
    is_inside = np.abs(residuals) <= HUBER * scale
    if np.count_nonzero(is_inside) >= _MANY:
        information = design[is_inside].T @ design[is_inside]
    else:
        information = max(float(is_inside.mean()), 1.0 / y.size) * design.T @ design
    bread = np.linalg.pinv(information)
    leverage = np.einsum("ij,jk,ik->i", design, np.linalg.pinv(design.T @ design), design)
    corrected = np.abs(pulled) / np.maximum(1.0 - leverage, _LEAST_FREE)
    # Signs do not enter. Where the line follows a row, what is left of its error says little.
    followed = np.clip((leverage - _FREE) / (_FOLLOWED - _FREE), 0.0, 1.0)
    if followed.any():
        unseen = np.sqrt(followed) * _unseen(pulled, y, design.shape[1])
        corrected = np.maximum(corrected, unseen)
    meat_rows = design * corrected[:, np.newaxis]
    covariance = bread @ (meat_rows.T @ meat_rows) @ bread
    errors: FloatArray = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return theta, errors, scale


def _unseen(residuals: FloatArray, y: FloatArray, parameters: int) -> FloatArray:
    """Error to expect of a row whose residual says nothing, after those of the other rows.

    The greater of one error for all and one in proportion to the times, as measured times have it.
    """
    freedom = max(y.size - parameters, 1)
    equal = np.sqrt(float(residuals @ residuals) / freedom)
    relative = residuals / np.where(y == 0.0, 1.0, y)
    share = np.sqrt(float(relative @ relative) / freedom)
    error: FloatArray = np.maximum(equal, share * np.abs(y))
    return error


def _residuals(theta: FloatArray, design: FloatArray, y: FloatArray) -> FloatArray:
    residuals: FloatArray = design @ theta - y
    return residuals


def _jacobian(theta: FloatArray, design: FloatArray, y: FloatArray) -> FloatArray:
    return design


def _scale(residuals: FloatArray, parameters: int, least: float) -> float:
    """Robust standard deviation; `parameters` of the residuals are zero by the fit alone."""
    absolute = np.sort(np.abs(residuals))[min(parameters, residuals.size - 1) :]
    return max(float(np.median(absolute)) / _NORMAL_MAD, least)
