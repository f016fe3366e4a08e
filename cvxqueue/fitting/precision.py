"""What a fitted curve is worth: standard errors from the information, profile intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cvxqueue.fitting.likelihood import Counts, Peak
from cvxqueue.model.arrays import FloatArray

__all__ = ["free_directions", "intervals", "standard_errors"]

_PARAMETERS = 3
# A parameter so near to its bound is at the bound, where an observed information says nothing.
_AT_BOUND = 1e-7
# Ends of intervals are found to this in a probability, and in ln rate.
_TOLERANCE = 1e-5
# An information matrix of this condition determines nothing.
_SINGULAR = 1e-12


def standard_errors(counts: Counts, peak: Peak) -> FloatArray:
    """Roots of the diagonal of the inverse observed information, in the free directions."""
    k, n, exponent = counts.correct, counts.total, peak.rate * counts.tokens
    e = np.exp(-exponent)
    p = np.clip(counts.probabilities(peak.floor, peak.gain, peak.rate), 1e-15, 1.0 - 1e-15)
    slope, bend = k / p - (n - k) / (1.0 - p), k / p**2 + (n - k) / (1.0 - p) ** 2
    # In units of the estimated rate, so that the three are of one size.
    first = np.stack([np.ones_like(e), 1.0 - e, peak.gain * exponent * e])
    information = (first * bend) @ first.T
    mixed = (slope * exponent * e).sum()
    information[1, 2] -= mixed
    information[2, 1] -= mixed
    information[2, 2] += (slope * peak.gain * exponent**2 * e).sum()
    directions = free_directions(peak)
    errors = np.full(_PARAMETERS, math.nan)
    reduced = directions.T @ information @ directions
    eigenvalues = np.linalg.eigvalsh(reduced)
    if eigenvalues[0] > _SINGULAR * eigenvalues[-1]:
        variance = np.diag(directions @ np.linalg.inv(reduced) @ directions.T)
        errors = np.sqrt(np.where(variance > 0, variance, math.nan))
    errors[2] *= peak.rate
    return errors


def free_directions(peak: Peak) -> FloatArray:
    """Directions in (floor, gain, rate) that the bounds leave free, as columns."""
    directions = np.eye(_PARAMETERS)
    if peak.gain <= _AT_BOUND:
        # A flat curve has a level and nothing else.
        return directions[:, :1]
    is_full = peak.floor + peak.gain >= 1.0 - _AT_BOUND
    if peak.floor <= _AT_BOUND:
        return directions[:, 2:] if is_full else directions[:, 1:]
    if is_full:
        return np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    return directions


def intervals(counts: Counts, peak: Peak, drop: float) -> list[tuple[float, float]]:
    """Profile intervals of floor, gain and rate: the log-likelihood falls by `drop` at most."""
    lowest = peak.log_likelihood - drop

    # At no other rate can any curve be within the drop.
    inside = np.flatnonzero(counts.profile >= lowest)
    near = (
        counts.rates[max(inside[0] - 1, 0) : inside[-1] + 2]
        if inside.size
        else np.array([peak.rate])
    )

    def end(profile: Callable[[float], float], bound: float, value: float) -> float:
        from scipy.optimize import brentq

        if bound == value or profile(bound) >= lowest:
            return bound
        # The profile on the grid may miss the peak by a trifle.
        if profile(value) <= lowest:
            return value
        # −∞ has no place in a secant.
        root = brentq(lambda x: max(profile(x) - lowest, -1e6), bound, value, xtol=_TOLERANCE)
        return float(root)

    found = [
        (end(profile, 0.0, value), end(profile, 1.0, value))
        for profile, value in (
            (lambda x: counts.at_floor(x, near), peak.floor),
            (lambda x: counts.at_gain(x, near), peak.gain),
        )
    ]
    return [*found, _rate_interval(counts, inside, lowest, peak.rate)]


def _rate_interval(
    counts: Counts, inside: NDArray[np.intp], lowest: float, rate: float
) -> tuple[float, float]:
    """Outermost rates whose profile is within the drop; 0 or infinity where the grid ends."""
    from scipy.optimize import brentq

    log_rates = np.log(counts.rates)

    def excess(x: float) -> float:
        return max(float(counts.at_rate(np.exp([x]))[0][0]) - lowest, -1e6)

    here = float(np.log(rate))
    first = min(float(log_rates[inside[0]]), here) if inside.size else here
    last = max(float(log_rates[inside[-1]]), here) if inside.size else here
    low, high = 0.0, math.inf
    if first > log_rates[0]:
        outside = float(log_rates[log_rates < first][-1])
        low = math.exp(brentq(excess, outside, first, xtol=_TOLERANCE))
    if last < log_rates[-1]:
        outside = float(log_rates[log_rates > last][0])
        high = math.exp(brentq(excess, last, outside, xtol=_TOLERANCE))
    return low, high
