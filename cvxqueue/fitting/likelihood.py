"""Binomial likelihood of the saturating curve, maximised over all but one of its parameters.

At a given rate the probability p = u e + v (1 − e), with e = exp(−rate · tokens), is linear in the
accuracy u without thinking (the floor) and the accuracy v with unlimited thinking (floor + gain),
so the log-likelihood is concave in (u, v), and its maximum over a box is found by Newton. What
remains is one search over the rate, on a grid first: no local maximum can hide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray

__all__ = ["STEP", "Counts", "Peak"]

# Rates between those that move the curve by a thousandth of its gain over all the measured tokens
# and those that leave less than e^-40 of it at the fewest: beyond, nothing changes in the data.
_LEAST_EXPONENT = 1e-3
_GREATEST_EXPONENT = 40.0
# Steps in ln rate, over which the profile is smooth: a parabola through three points then gives its
# peak to about 1e-3 of a unit of deviance.
STEP = 0.08
_MOST_STEPS = 60
_SHORTEST_STEP = 1e-10
# A probability below this divides no count to infinity.
_TINY = 1e-290
# Newton has converged when the predicted increase of the log-likelihood is below this.
_NEGLIGIBLE = 1e-12
# The peak is found to this in ln rate.
_PEAK_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Peak:
    """A maximum of the likelihood over some of the parameters."""

    log_likelihood: float
    floor: float
    gain: float
    rate: float


@dataclass(frozen=True, eq=False)
class Counts(ReadOnlyArrays):
    """Correct answers out of so many, by tokens; the counts need not be whole numbers."""

    tokens: FloatArray
    correct: FloatArray
    total: FloatArray

    @cached_property
    def rates(self) -> FloatArray:
        """Grid of rates, from almost a straight line to a step."""
        positive = self.tokens[self.tokens > 0]
        low = np.log(_LEAST_EXPONENT / positive.max())
        high = np.log(_GREATEST_EXPONENT / positive.min())
        count = int(np.ceil((high - low) / STEP)) + 1
        grid: FloatArray = np.exp(np.linspace(low, high, count))
        return grid

    @cached_property
    def profile(self) -> FloatArray:
        """Greatest log-likelihood at each rate of the grid."""
        return self.at_rate(self.rates)[0]

    def probabilities(self, floor: float, gain: float, rate: float) -> FloatArray:
        """The curve at the tokens of the rows."""
        curve: FloatArray = floor - gain * np.expm1(-rate * self.tokens)
        return curve

    def log_likelihood(self, floor: float, gain: float, rate: float) -> float:
        """Log-likelihood without the binomial coefficients."""
        return float(self._terms(self.probabilities(floor, gain, rate)).sum())

    def at_rate(self, rates: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the greatest log-likelihood, the floor and the gain at each of some rates."""
        e = np.exp(-np.multiply.outer(rates, self.tokens))
        zero, one = np.zeros(rates.size), np.ones(rates.size)
        value, u, v = self._maximum(np.zeros_like(e), e, 1.0 - e, (zero, one), (zero, one))
        # Concave, with its peak where accuracy falls: the best that does not fall is constant.
        falls = u > v
        if falls.any():
            level = self.correct.sum() / self.total.sum()
            value[falls] = self._terms(np.full(self.tokens.size, level)).sum()
            u[falls] = v[falls] = level
        return value, u, v - u

    def at_floor(self, floor: float, rates: FloatArray) -> float:
        """Return the greatest log-likelihood among curves of one floor, over rates of the grid."""
        e, fixed = np.exp(-np.multiply.outer(rates, self.tokens)), np.zeros(rates.size)
        free = np.full(rates.size, floor), np.ones(rates.size)
        value, _, _ = self._maximum(floor * e, np.zeros_like(e), 1.0 - e, (fixed, fixed), free)
        return _parabola_peak(value)

    def at_gain(self, gain: float, rates: FloatArray) -> float:
        """Return the greatest log-likelihood among curves of one gain, over rates of the grid."""
        e, fixed = np.exp(-np.multiply.outer(rates, self.tokens)), np.zeros(rates.size)
        free = fixed, np.full(rates.size, 1.0 - gain)
        value, _, _ = self._maximum(
            gain * (1.0 - e), np.ones_like(e), np.zeros_like(e), free, (fixed, fixed)
        )
        return _parabola_peak(value)

    def peak(self) -> Peak:
        """Return the maximum of the likelihood over all three parameters."""
        from scipy.optimize import minimize_scalar

        values = self.profile
        best = int(np.argmax(values))
        low, high = (self.rates[min(max(best + k, 0), self.rates.size - 1)] for k in (-1, 1))

        def loss(log_rate: float) -> float:
            return -float(self.at_rate(np.exp([log_rate]))[0][0])

        found = minimize_scalar(
            loss,
            bounds=(float(np.log(low)), float(np.log(high))),
            method="bounded",
            options={"xatol": _PEAK_TOLERANCE},
        )
        rate = float(np.exp(found.x)) if -found.fun >= values[best] else float(self.rates[best])
        value, floor, gain = self.at_rate(np.array([rate]))
        return Peak(float(value[0]), float(floor[0]), float(gain[0]), rate)

    def _terms(self, p: FloatArray) -> FloatArray:
        terms = xlogy(self.correct, p) + xlogy(self.total - self.correct, 1.0 - p)
        return np.asarray(terms, dtype=np.float64)

    def _maximum(
        self,
        offset: FloatArray,
        z1: FloatArray,
        z2: FloatArray,
        first: tuple[FloatArray, FloatArray],
        second: tuple[FloatArray, FloatArray],
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Maximise over a box where p = offset + x1 z1 + x2 z2, by projected Newton, row by row."""
        low, high = (np.stack([first[end], second[end]]) for end in (0, 1))
        x = np.asarray((low + high) / 2.0, dtype=np.float64)
        value = self._value(offset, z1, z2, x)
        active: NDArray[np.bool_] = np.ones(value.size, dtype=bool)
        for _ in range(_MOST_STEPS):
            step, increase = self._newton(offset, z1, z2, x, low, high)
            active &= increase > _NEGLIGIBLE
            if not active.any():
                break
            size = np.where(active, 1.0, 0.0)
            moving = active.copy()
            while moving.any():
                tried = np.clip(x + size * step, low, high)
                new = self._value(offset, z1, z2, tried)
                better = moving & (new > value)
                x[:, better], value[better] = tried[:, better], new[better]
                moving &= ~better
                size[moving] /= 2.0
                # Where even a tiny step gains nothing, rounding has the last word.
                exhausted = moving & (size < _SHORTEST_STEP)
                active &= ~exhausted
                moving &= ~exhausted
        return value, x[0], x[1]

    def _value(
        self, offset: FloatArray, z1: FloatArray, z2: FloatArray, x: FloatArray
    ) -> FloatArray:
        p = np.clip(offset + x[0][:, np.newaxis] * z1 + x[1][:, np.newaxis] * z2, 0.0, 1.0)
        value: FloatArray = self._terms(p).sum(axis=-1)
        return value

    def _newton(
        self,
        offset: FloatArray,
        z1: FloatArray,
        z2: FloatArray,
        x: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Newton's step on the parameters that are free to move, and what it promises."""
        p = np.clip(offset + x[0][:, np.newaxis] * z1 + x[1][:, np.newaxis] * z2, 0.0, 1.0)
        wrong = self.total - self.correct
        up = np.where(self.correct > 0, self.correct / np.maximum(p, _TINY), 0.0)
        down = np.where(wrong > 0, wrong / np.maximum(1.0 - p, _TINY), 0.0)
        # Beyond this a square would overflow; such a row is at the edge of what has a likelihood.
        up, down = np.minimum(up, 1e150), np.minimum(down, 1e150)
        slope = up - down
        bend = up**2 / np.maximum(self.correct, _TINY) + down**2 / np.maximum(wrong, _TINY)
        g = np.stack([(slope * z1).sum(axis=-1), (slope * z2).sum(axis=-1)])
        h11, h22 = ((bend * z**2).sum(axis=-1) for z in (z1, z2))
        h12 = (bend * z1 * z2).sum(axis=-1)
        held = ((x <= low) & (g <= 0)) | ((x >= high) & (g >= 0))
        g = np.where(held, 0.0, g)
        h11 = np.where(held[0] | (h11 <= 0), 1.0, h11)
        h22 = np.where(held[1] | (h22 <= 0), 1.0, h22)
        h12 = np.where(held.any(axis=0), 0.0, h12)
        # A little more curvature keeps the system regular where e is constant over the rows.
        h11, h22 = h11 * (1.0 + 1e-12), h22 * (1.0 + 1e-12)
        # Scaled to a unit diagonal, so that nothing overflows.
        d1, d2 = np.sqrt(h11), np.sqrt(h22)
        c = h12 / (d1 * d2)
        g1, g2 = g[0] / d1, g[1] / d2
        determinant = np.maximum((1.0 - c) * (1.0 + c), 1e-14)
        s1, s2 = (g1 - c * g2) / determinant, (g2 - c * g1) / determinant
        step = np.stack([s1 / d1, s2 / d2])
        return step, g1 * s1 + g2 * s2


def _parabola_peak(values: FloatArray) -> float:
    """Peak of a smooth function through its values at even steps."""
    best = int(np.argmax(values))
    top = float(values[best])
    if not 0 < best < values.size - 1:
        return top
    before, after = top - float(values[best - 1]), top - float(values[best + 1])
    # −∞ on a side, or a plateau: there is no parabola.
    if not np.isfinite(before + after) or before + after <= 0:
        return top
    return top + (before - after) ** 2 / (8.0 * (before + after))
