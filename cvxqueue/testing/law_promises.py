"""What is asked of a service law, one promise after the other."""

from __future__ import annotations

import numpy as np

from cvxqueue.model import ServiceLaw
from cvxqueue.numerics.arrays import ZERO, FloatArray
from cvxqueue.numerics.float64 import LARGEST
from cvxqueue.testing.promises import CLOSE, ROUNDING, Promises, bent, separated, smooth


def check_law(
    law: ServiceLaw, points: FloatArray, rng: np.random.Generator, promises: Promises
) -> None:
    """Compare a service law with everything that is asked of one, at tokens of shape (P, ...)."""
    tell, mean, slope = promises.on(tokens=points), law.mean(points), law.mean_slope(points)
    tell("finite", "the mean is finite and ≥ 0", mean, 0.0, LARGEST)
    # Of a slope of zero no inverse is known.
    tell("increasing", "the slope is > 0, and finite", slope, 1e-200, LARGEST)
    smooth(lambda tokens: law.mean_slope(tokens) + 0.0 * tokens, points, promises)
    for low, high in separated(points):
        _check_pairs(law, low, high, promises)
    _check_moments(law, points, rng.permutation(points), promises)
    tell, found = promises.on(time=mean), np.maximum(law.inverse_mean(mean), 0.0)
    words = "inverse_mean is the tokens at which the mean has a value"
    tell("inverse mean", words, law.mean(found), mean, mean, ROUNDING * mean)
    below = law.inverse_mean(0.5 * law.mean(ZERO) - 1e-3)
    tell("inverse mean", "it is negative below all", below, most=0.0)


def _check_pairs(law: ServiceLaw, low: FloatArray, high: FloatArray, promises: Promises) -> None:
    """Two points: between them the rise is no less than the first slope, nor more than the last."""
    tell, step = promises.on(tokens=low, to=high), high - low
    for subject, value, slope in (
        ("slope", law.mean, law.mean_slope),
        ("second moment", law.second_moment, law.second_moment_slope),
        ("marginal time", law.marginal_time, law.marginal_time_slope),
    ):
        first, last = (np.asarray(slope(tokens)) for tokens in (low, high))
        words = "the slope of the mean does not fall, nor do those of m2 and of marginal_time"
        tell("convex", words, last, first, slack=ROUNDING * last)
        words, slack = "the slope is the derivative", ROUNDING * value(high) + CLOSE * last * step
        tell(subject, words, value(high) - value(low), first * step, last * step, slack)
    slopes = np.asarray(law.mean_slope(low)), np.asarray(law.mean_slope(high))
    bends = [np.asarray(law.mean_curvature(at)) for at in (low, 0.5 * (low + high), high)]
    tell("convex", "the curvature is ≥ 0", bends[1], 0.0)
    words = "the curvature does not fall"
    tell("convex marginal cost", words, bends[2], bends[0], slack=CLOSE * np.abs(bends[0]))
    mean, spread = bent(tell, slopes, bends, step)
    bend, tangent = law.mean_bend(low, high), slopes[0] * step
    exact, slack = law.mean(high) - law.mean(low) - tangent, ROUNDING * (law.mean(high) + tangent)
    tell("bend", "mean_bend is what the mean rises by beyond its slope", bend, exact, exact, slack)
    back = law.mean_bend(high, low)
    tangent = slopes[1] * step
    exact, slack = tangent - (law.mean(high) - law.mean(low)), slack + ROUNDING * tangent
    words = "mean_bend is the same towards fewer tokens"
    tell("bend", words, back, exact, exact, slack)
    words = "mean_bend is ≥ 0, and keeps its digits however near the two are"
    half, slack = 0.5 * mean * step * step, (spread + ROUNDING * slopes[1]) * step * step
    for found in (bend, back):
        tell("no cancellation", words, found, np.maximum(half - slack, 0.0), half + slack)


def _check_moments(law: ServiceLaw, low: FloatArray, high: FloatArray, promises: Promises) -> None:
    """The moments against each other, at points and at random pairs of them."""
    tell, more = promises.on(tokens=low, to=high), np.inf if law.is_random else 0.0
    mean, second, half = law.mean(low), law.second_moment(low), law.second_moment_slope(low)
    slope, bend, tau = law.mean_slope(low), law.mean_curvature(low), law.marginal_time(low)
    square, unit = np.square(mean), law.mean_square_slope(low) + 0.0 * low
    words = "the second moment is the square of the mean, or more where times are random"
    tell("second moment", words, second, square, square + more, ROUNDING * square)
    words = "mean_square_slope is the square of the slope, or more, and does not fall"
    squared = np.square(slope)
    tell("square slope", words, unit, squared, squared + more, ROUNDING * squared)
    later = np.append(unit[1:], unit[-1:], axis=0)
    tell("square slope", words, unit, most=later, slack=ROUNDING * later)
    words, twice = "marginal_time is half the ratio of the slopes of the moments", 2.0 * tau * slope
    tell("marginal time", words, twice, half, half, CLOSE * half)
    for got, own in zip(law.moments(low), (mean, second, slope, half), strict=True):
        tell("moments", "moments are the four of the law", got, own, own, ROUNDING * np.abs(own))
    words, ones = "mean_square_distance is E[(t(to) − ratio · t(tokens))²]", np.ones(low.shape)
    apart = [law.mean_square_distance(low, high, ratio * ones) for ratio in (0.0, 1.0, 2.0)]
    expected = law.second_moment(high)
    slack = 1e2 * ROUNDING * (expected + second)
    tell("distances", words, apart[0], expected, expected, slack)
    curved = apart[2] - 2.0 * apart[1] + apart[0]
    tell("distances", words, curved, 2.0 * second, 2.0 * second, slack)
    tell("distances", words, apart[1], np.square(law.mean(high) - mean), slack=slack)
    step = 1e-4 * (low + 1.0)
    near = law.mean_square_distance(low, low + step, ones) / np.square(step)
    last = law.mean_square_slope(low + step)
    slack = 1e-6 * last + 1e-14 * (second + tau * mean) / np.square(step)
    tell("distances", words, near, unit, last, slack)
    for of_mean, of_second in ((1.0, 0.0), (0.0, 1.0), (2.0, 0.75)):
        prices = np.asarray(of_mean), np.asarray(of_second)
        cost, rise = law.marginal_cost(low, *prices)
        words = "marginal_cost is P1 m1′ + P2 m2′, and its derivative"
        expected = of_mean * slope + of_second * half
        tell("marginal cost", words, cost, expected, expected, CLOSE * expected)
        fall = tau * bend + law.marginal_time_slope(low) * slope
        expected = of_mean * bend + 2.0 * of_second * fall
        tell("marginal cost", words, rise, expected, expected, CLOSE * expected)
        expected = (of_mean + 2.0 * of_second * mean) * law.mean_bend(low, high)
        words, found = "bend is E[(P1 + 2 P2 t) e]", law.bend(low, high, *prices)
        tell("bend", words, found, expected, expected + more, CLOSE * expected)
