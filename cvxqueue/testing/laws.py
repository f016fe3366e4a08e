"""What is asked of a service law, one promise after the other."""

from __future__ import annotations

import numpy as np

from cvxqueue.model import ServiceLaw
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.testing.promises import CLOSE, ROUNDING, Promises, jumps, separated

_JUMP = 1e-7


def check_law(
    law: ServiceLaw, points: FloatArray, rng: np.random.Generator, promises: Promises
) -> None:
    """Compare a service law with everything that is asked of one."""
    mean, slope = law.mean(points), law.mean_slope(points)
    for name, array in (("mean", mean), ("slope", slope), ("curvature", law.mean_curvature(points))):
        is_finite = np.isfinite(array)
        promises.compare("finite", f"{name} is a number", is_finite, "=", 1.0, 0.0, tokens=points)
    promises.compare("finite", "the mean is ≥ 0", mean, "≥", 0.0, 0.0, tokens=points)
    is_rising = np.asarray(slope) > 0.0
    promises.compare("increasing", "the slope is > 0", is_rising, "=", 1.0, 0.0, tokens=points)

    def whole(tokens: FloatArray) -> FloatArray:
        shape = np.broadcast_shapes(points.shape, law.shape)
        return np.broadcast_to(law.mean_slope(tokens), shape if tokens is points else tokens.shape)

    spread = np.broadcast_to(points, np.broadcast_shapes(points.shape, law.shape))
    corners, before, after = jumps(whole, spread)
    words = "the slope of the mean is continuous"
    promises.compare("smooth", words, after, "=", before, _JUMP * after, tokens=corners)
    for low, high in separated(points):
        _check_pairs(law, low, high, promises)
    _check_moments(law, points, rng, promises)
    _check_inverse(law, points, promises)


def _check_pairs(law: ServiceLaw, low: FloatArray, high: FloatArray, promises: Promises) -> None:
    """Two points: what a convex function and its derivatives do between them."""
    shape = np.broadcast_shapes(low.shape, high.shape, law.shape)
    low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
    step, at = high - low, {"tokens": low, "to": high}
    for name, value, slope in (
        ("slope", law.mean, law.mean_slope),
        ("second moment", law.second_moment, law.second_moment_slope),
        ("marginal time", law.marginal_time, law.marginal_time_slope),
    ):
        values, slopes = (value(low), value(high)), (slope(low), slope(high))
        subject = "convex" if name == "slope" else name
        words = f"{slope.__name__} does not fall"
        slack = ROUNDING * np.abs(slopes[1])
        promises.compare(subject, words, slopes[1], "≥", slopes[0], slack, **at)
        words = f"{slope.__name__} is the derivative of {value.__name__}"
        rise = values[1] - values[0]
        slack = ROUNDING * np.abs(values[1]) + CLOSE * slopes[1] * step
        promises.compare(name, words, rise, "≥", slopes[0] * step, slack, **at)
        promises.compare(name, words, rise, "≤", slopes[1] * step, slack, **at)
    slopes = law.mean_slope(low), law.mean_slope(high)
    middle = 0.5 * (low + high)
    bends = [law.mean_curvature(tokens) for tokens in (low, middle, high)]
    promises.compare("convex", "the curvature is ≥ 0", bends[1], "≥", 0.0, 0.0, **at)
    change = np.abs(bends[0] - bends[1]) + np.abs(bends[2] - bends[1])
    mean = (bends[0] + 4.0 * bends[1] + bends[2]) / 6.0
    rise = slopes[1] - slopes[0]
    noise = 10.0 * ROUNDING * slopes[1]
    words = "mean_curvature is the derivative of mean_slope"
    slack = change * step + CLOSE * mean * step + noise
    promises.compare("curvature", words, rise, "=", mean * step, slack, **at)
    bend = law.mean_bend(low, high)
    words = "mean_bend is what the mean rises by beyond its slope"
    exact = law.mean(high) - law.mean(low) - slopes[0] * step
    slack = ROUNDING * (law.mean(high) + slopes[0] * step)
    promises.compare("bend", words, bend, "=", exact, slack, **at)
    promises.compare("bend", words, bend, "≥", 0.0, 0.0, **at)
    words = "mean_bend keeps its digits however near the two are"
    expected, off = 0.5 * mean * step * step, change * step * step + noise * step
    off = off + CLOSE * expected
    promises.compare("no cancellation", words, bend, "=", expected, off, **at)


def _check_moments(
    law: ServiceLaw, points: FloatArray, rng: np.random.Generator, promises: Promises
) -> None:
    """The moments against each other, at points and at random pairs of them."""
    shape = np.broadcast_shapes(points.shape, law.shape)
    low = np.broadcast_to(points, shape)
    high = rng.permutation(points).reshape(points.shape) + np.zeros(shape)
    at = {"tokens": low}
    mean, second = law.mean(low), law.second_moment(low)
    slope, bend = law.mean_slope(low), law.mean_curvature(low)
    tau, tau_slope = law.marginal_time(low), law.marginal_time_slope(low)
    square, unit = np.square(mean), law.mean_square_slope(low)
    relation = "≥" if law.is_random else "="
    words = f"the second moment is {relation} the square of the mean"
    promises.compare("second moment", words, second, relation, square, ROUNDING * square, **at)  # type: ignore[arg-type]
    words = f"mean_square_slope is {relation} the square of the slope, and does not fall"
    squared = np.square(slope)
    promises.compare("square slope", words, unit, relation, squared, ROUNDING * squared, **at)  # type: ignore[arg-type]
    later = np.broadcast_to(unit, shape)
    promises.compare("square slope", words, later[1:], "≥", later[:-1], ROUNDING * later[1:])
    half = law.second_moment_slope(low)
    words = "marginal_time is half the ratio of the slopes of the moments"
    promises.compare("marginal time", words, 2.0 * tau * slope, "=", half, CLOSE * half, **at)
    words = "moments are the four that the law has"
    for got, own in zip(law.moments(low), (mean, second, slope, half), strict=True):
        promises.compare("moments", words, got, "=", own, ROUNDING * np.abs(own), **at)
    words = "mean_square_distance is E[(t(to) − ratio · t(tokens))²]"
    apart = [law.mean_square_distance(low, high, np.full(shape, ratio)) for ratio in (0.0, 1.0, 2.0)]
    slack = 1e2 * ROUNDING * (apart[0] + second)
    promises.compare("distances", words, apart[0], "=", law.second_moment(high), slack, **at)
    square = apart[2] - 2.0 * apart[1] + apart[0]
    promises.compare("distances", words, square, "=", 2.0 * second, slack, **at)
    promises.compare("distances", words, apart[1], "≥", np.square(law.mean(high) - mean), slack, **at)
    step = 1e-4 * (low + 1.0)
    near = law.mean_square_distance(low, low + step, np.ones(shape)) / np.square(step)
    last = law.mean_square_slope(low + step)
    slack = 1e-6 * last + 1e-14 * (second + tau * mean) / np.square(step)
    promises.compare("distances", words, near, "≥", unit, slack, **at)
    promises.compare("distances", words, near, "≤", last, slack, **at)
    for prices in ((1.0, 0.0), (0.0, 1.0), (2.0, 0.75)):
        cost, rise = law.marginal_cost(low, *map(np.asarray, prices))
        words = "marginal_cost is P1 m1′ + P2 m2′, and its derivative"
        expected = prices[0] * slope + prices[1] * half
        promises.compare("marginal cost", words, cost, "=", expected, CLOSE * expected, **at)
        expected = prices[0] * bend + 2.0 * prices[1] * (tau * bend + tau_slope * slope)
        slack = CLOSE * expected
        promises.compare("marginal cost", words, rise, "=", expected, slack, **at)
        words = "bend is E[(P1 + 2 P2 t) e]"
        found = law.bend(low, high, *map(np.asarray, prices))
        expected = (prices[0] + 2.0 * prices[1] * mean) * law.mean_bend(low, high)
        promises.compare("bend", words, found, relation, expected, CLOSE * expected, **at)  # type: ignore[arg-type]


def _check_inverse(law: ServiceLaw, points: FloatArray, promises: Promises) -> None:
    mean = np.broadcast_to(law.mean(points), np.broadcast_shapes(points.shape, law.shape))
    found, at = law.inverse_mean(mean), {"time": mean}
    words = "inverse_mean is the tokens at which the mean has a value"
    again = law.mean(np.maximum(found, 0.0))
    promises.compare("inverse mean", words, again, "=", mean, ROUNDING * mean, **at)
    least = law.mean(np.zeros(()))
    below = law.inverse_mean(least - 0.5 * least - 1e-3)
    promises.compare("inverse mean", "it is negative below all", below, "≤", 0.0, 0.0, time=least)
