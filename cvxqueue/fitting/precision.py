"""What a fitted curve is worth: standard errors from the information, profile intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cvxqueue.fitting.likelihood import PARAMETERS, STEP, Counts, Peak
from cvxqueue.numerics.arrays import FloatArray

# A parameter so near to its bound is at the bound, where an observed information says nothing.
_AT_BOUND = 1e-7
# Ends of intervals are found to this, which is a tenth of the interval of 1e16 answers.
_END_TOLERANCE = 1e-9
# The profile is looked at in so many steps at least, across the interval of the rate.
_LEAST_STEPS = 30
# −∞ has no place in a secant.
_FAR = 1e6
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
    errors = np.full(PARAMETERS, math.nan)
    reduced = directions.T @ information @ directions
    eigenvalues = np.linalg.eigvalsh(reduced)
    if eigenvalues[0] > _SINGULAR * eigenvalues[-1]:
        variance = np.diag(directions @ np.linalg.inv(reduced) @ directions.T)
        errors = np.sqrt(np.where(variance > 0, variance, math.nan))
    errors[2] *= peak.rate
    return errors


def free_directions(peak: Peak) -> FloatArray:
    """Directions in (floor, gain, rate) that the bounds leave free, as columns."""
    directions = np.eye(PARAMETERS)
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
    rate = _rate_interval(counts, peak, drop)
    # At no other rate can any curve be within the drop.
    low = math.log(max(rate[0], float(counts.rates[0])))
    high = math.log(min(rate[1], float(counts.rates[-1])))
    steps = max(_LEAST_STEPS, math.ceil((high - low) / STEP))
    near = np.exp(np.linspace(low, high, steps + 1))

    def ends(profile: Callable[[float, FloatArray], float], value: float) -> tuple[float, float]:
        def excess(x: float) -> float:
            return _excess(peak.log_likelihood - profile(x, near), drop)

        return _end(excess, value, 0.0), _end(excess, value, 1.0)

    return [ends(counts.at_floor, peak.floor), ends(counts.at_gain, peak.gain), rate]


def _end(excess: Callable[[float], float], value: float, bound: float) -> float:
    """End of an interval between an estimate and its bound."""
    return bound if bound == value or excess(bound) <= 0 else _root(excess, value, bound)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    # Of many answers the interval is a small part of a step, and so must be its tolerance.
    return float(brentq(excess, low, high, xtol=_END_TOLERANCE))


def _excess(fall: float, drop: float) -> float:
    """How far a fall of the log-likelihood is beyond the drop, on a scale that is almost linear."""
    return math.sqrt(min(max(fall, 0.0), _FAR)) - math.sqrt(drop)


def _rate_interval(counts: Counts, peak: Peak, drop: float) -> tuple[float, float]:
    """Outermost rates whose profile is within the drop; 0 or infinity where the grid ends."""
    log_rates = np.log(counts.rates)
    inside = np.flatnonzero(counts.profile >= peak.log_likelihood - drop)

    def excess(x: float) -> float:
        profile = float(counts.at_rate(np.exp([x]))[0][0])
        return _excess(peak.log_likelihood - profile, drop)

    here = math.log(peak.rate)
    first = min([here, *log_rates[inside[:1]].tolist()])
    last = max([here, *log_rates[inside[-1:]].tolist()])
    below, above = log_rates[log_rates < first], log_rates[log_rates > last]
    low = math.exp(_root(excess, float(below[-1]), first)) if below.size else 0.0
    high = math.exp(_root(excess, last, float(above[0]))) if above.size else math.inf
    return low, high
