"""What is asked of an accuracy curve, one promise after the other."""

from __future__ import annotations

import numpy as np

from cvxqueue.model import AccuracyCurve
from cvxqueue.numerics.arrays import ZERO, FloatArray
from cvxqueue.numerics.float64 import EPSILON, LARGEST
from cvxqueue.testing.promises import CLOSE, ROUNDING, Promises, bent, separated, smooth

# Beyond the range of float64 there is nothing to compare.
_LEAST_SLOPE = 1e-200
# Of the pairs of `separated`, those of 1e-4 and less: a curve may bend wherever it likes.
_SHORT_STEP = 2e-4


def check_curve(
    curve: AccuracyCurve,
    points: FloatArray,
    most: float,
    rng: np.random.Generator,
    promises: Promises,
) -> None:
    """Compare a curve with everything that is asked of one, at tokens of shape (P, ...)."""
    aside = Promises() if not curve.is_smooth else promises
    kinks = smooth(curve.slope, points, aside)
    # On both sides of each kink, and on it.
    kinks = kinks[kinks.reshape(kinks.shape[0], -1).any(axis=1)]
    points = np.concatenate([points, *(kinks * side for side in (1.0 - CLOSE, 1.0, 1.0 + CLOSE))])
    points = np.sort(points, axis=0)
    _check_values(curve, points, most, promises)
    for low, high in separated(points):
        _check_pairs(curve, low, high, promises)
        _check_bends(curve, low, high, promises)
    slope = curve.slope(points)
    share = rng.random(points.shape)
    drawn = slope[:1] ** share * np.maximum(slope[-1:], 1e-12 * slope[:1]) ** (1.0 - share)
    price = np.concatenate([slope, drawn, 1.5 * slope[:1], 1e3 * slope[:1]])
    price = np.where(price > _LEAST_SLOPE, price, 1.0)
    _check_inverse_slope(curve, price, promises)
    ends = np.sort(rng.choice(points.ravel(), (2, *price.shape)), axis=0)
    _check_response_loss(curve, price, (ends[0], ends[1]), promises)
    _check_inverse_value(curve, points, promises)
    worth = 10.0 ** rng.uniform(-3.0, 3.0, curve.shape)
    worth[..., -1] = 0.0
    _check_weighted(curve, points, worth, promises)


def _check_values(
    curve: AccuracyCurve, points: FloatArray, most: float, promises: Promises
) -> None:
    tell, value, slope = promises.on(tokens=points), curve.value(points), curve.slope(points)
    bend = curve.curvature(points)
    for name, array in (("value", value), ("slope", slope), ("curvature", bend)):
        tell("finite", f"the {name} is finite", array, -LARGEST, LARGEST)
    inside = np.where(points <= most, value, 0.5)
    words = "the value is a probability up to max_tokens"
    tell("a probability", words, inside, 0.0, 1.0, ROUNDING)
    tell("nondecreasing", "the slope is ≥ 0", slope, 0.0)
    tell("concave", "the curvature is ≤ 0", bend, most=0.0)


def _check_pairs(
    curve: AccuracyCurve, low: FloatArray, high: FloatArray, promises: Promises
) -> None:
    """Two points: between them the rise is no less than the last slope, nor more than the first."""
    tell, step = promises.on(tokens=low, to=high), high - low
    first, last, rise = curve.slope(low), curve.slope(high), curve.difference(low, high)
    values = curve.value(low), curve.value(high)
    exact, size = values[1] - values[0], ROUNDING * (np.abs(values[0]) + np.abs(values[1]))
    near = CLOSE * first * step
    tell("concave", "the slope does not rise", last, most=first, slack=ROUNDING * first)
    words = "the difference is that of the two values"
    tell("differences", words, rise, exact, exact, size)
    back = -curve.difference(high, low)
    words = "the difference back is the same with the other sign"
    tell("differences", words, back, rise, rise, CLOSE * np.abs(rise))
    words = "the slope is the derivative: the rise lies between the slopes times the step"
    tell("slope", words, exact, last * step, first * step, near + size)
    words = "the difference keeps its digits however near the two are"
    tell("no cancellation", words, rise, last * step, first * step, near)


def _check_bends(
    curve: AccuracyCurve, low: FloatArray, high: FloatArray, promises: Promises
) -> None:
    """What the slope falls by, against the curvature and the bounds on it."""
    tell, step = promises.on(tokens=low, to=high), high - low
    first = curve.slope(low)
    # A kink at the end is not inside.
    last = curve.slope(np.maximum(np.nextafter(high, 0.0), low))
    bends = [-curve.curvature(tokens) for tokens in (low, 0.5 * (low + high), high)]
    least, greatest = curve.curvature_range(low, high)
    words, noise = "curvature_range bounds the curvature between the two", ROUNDING * first
    most = np.where(step > 0.0, greatest, 0.0) * step * (1.0 + CLOSE)
    most = np.where(np.isnan(most), np.inf, most)
    tell("curvature bounds", words, first - last, least * step * (1.0 - CLOSE), most, noise)
    if curve.is_smooth:
        for bend in bends:
            tell("curvature bounds", words, bend, least, greatest, CLOSE * np.abs(bend))
        words = "the slope falls wherever it is positive (or is_smooth says that it does not)"
        is_straight = (bends[0] == 0.0) & (bends[1] == 0.0) & (bends[2] == 0.0)
        is_straight &= (step > 0.0) & (last > _LEAST_SLOPE)
        tell("smooth", words, np.where(is_straight, last, 0.0), most=0.0)
    # Over a longer step all of the fall may lie between the three points; and where it is not the
    # same over both halves of a short one, it may be a kink's.
    middle = curve.slope(0.5 * (low + high))
    uneven = np.abs(first - 2.0 * middle + last)
    is_told = (step <= _SHORT_STEP * (low + 1.0)) & (
        curve.is_smooth | (uneven <= 0.1 * (first - last) + noise)
    )
    bent(tell, (-first, np.where(is_told, -last, -first)), bends, np.where(is_told, step, 0.0))
    answers = [np.clip(curve.inverse_slope(end), low, high) for end in (first, last)]
    ratio = np.log(first) - np.log(last)
    is_told = np.isfinite(ratio) & (last > _LEAST_SLOPE)
    bound = curve.inverse_slope_sensitivity(low, high)
    reach = np.where(is_told & (ratio > 0.0), bound, 0.0) * np.where(is_told, ratio, 0.0)
    apart = np.where(is_told, answers[1] - answers[0], 0.0)
    own = curve.inverse_slope_rounding(low) + curve.inverse_slope_rounding(high)
    # Of an interval of which nothing is known, nothing is asked.
    slack = np.where(np.isinf(bound), np.inf, own + 16.0 * EPSILON * bound + CLOSE * apart)
    words = "inverse_slope_sensitivity bounds how far the inverse of the slope moves"
    tell("sensitivity", words, apart, most=reach, slack=np.where(np.isnan(slack), 0.0, slack))


def _check_inverse_slope(curve: AccuracyCurve, price: FloatArray, promises: Promises) -> None:
    tell, answer = promises.on(slope=price), curve.inverse_slope(price)
    tell("finite", "inverse_slope is finite", answer, -LARGEST, LARGEST)
    words = "it is negative where the slope is below from 0 tokens on"
    is_below = curve.slope(ZERO) < price * (1.0 - CLOSE)
    tell("inverse slope", words, np.where(is_below, answer, -1.0), most=0.0)
    inside = np.maximum(answer, 0.0)
    own = curve.inverse_slope_rounding(inside)
    own = np.where(np.isfinite(own), own, inside)
    words = "there the slope passes the given one, within inverse_slope_rounding"
    # For a slope that is off by some roundings itself.
    error, last_bits = 64.0 * EPSILON, 4.0 * EPSILON
    before = curve.slope(np.maximum(inside - own, 0.0) * (1.0 - last_bits))
    before = np.where(answer > 0.0, before, np.inf)
    tell("inverse slope", words, before, price * (1.0 - error))
    after = curve.slope((inside + own) * (1.0 + last_bits))
    tell("inverse slope", words, after, most=price * (1.0 + error))
    words = "no other tokens make p(v) − slope · v larger"
    for factor in (0.0, 0.5, 0.9, 0.999, 1.001, 1.1, 2.0):
        other = inside * factor + (factor > 1.0) * (factor - 1.0)
        gain, cost = curve.difference(inside, other), price * (other - inside)
        slack = ROUNDING * (np.abs(gain) + np.abs(cost)) + price * own
        tell("inverse slope", words, gain, most=cost, slack=slack)


def _check_inverse_value(curve: AccuracyCurve, points: FloatArray, promises: Promises) -> None:
    target = curve.value(points)
    tell, found = promises.on(accuracy=target), curve.inverse_value(target)
    words = "inverse_value is the least tokens that reach an accuracy"
    # What is the last accuracy to its last bit may count as out of reach.
    found = np.where(np.isinf(found) & (target >= target[-1:] - ROUNDING), points, found)
    tell("inverse value", words, curve.value(found), target, slack=ROUNDING)
    tell("inverse value", words, curve.value(found * (1.0 - 1e-6)), most=target, slack=ROUNDING)
    nothing = curve.inverse_value(curve.value(ZERO) - 0.125)
    tell("inverse value", "nothing less needs tokens", nothing, 0.0, 0.0)


def _check_response_loss(
    curve: AccuracyCurve, price: FloatArray, ends: tuple[FloatArray, FloatArray], promises: Promises
) -> None:
    unclipped = curve.inverse_slope(price)
    response = np.clip(unclipped, *ends)
    words = "response_loss covers what a response to a slightly wrong slope loses"
    for error in (1e-15, 1e-11, 1e-7):
        bound = curve.response_loss(price, unclipped, response, np.full(price.shape, error))
        for factor in (-16.0, -5.0, 7.0, 16.0):
            right = price * (1.0 + factor * error)
            best = np.clip(curve.inverse_slope(right), *ends)
            gain = curve.difference(response, best) - right * (best - response)
            slack = 8.0 * EPSILON * np.abs(best - response) + EPSILON * response
            tell = promises.on(slope=price, error=error, tokens=response)
            tell("response loss", words, gain / price, most=bound, slack=slack)


def _check_weighted(
    curve: AccuracyCurve, points: FloatArray, worth: FloatArray, promises: Promises
) -> None:
    tell, weighted = promises.on(tokens=points), curve.weighted(worth)
    words = "weighted is value · (p − p(0)), with its slope, curvature and inverse"
    rise = worth * curve.difference(ZERO, points)
    for found in (weighted.value(points), weighted.difference(ZERO, points)):
        tell("weighted", words, found, rise, rise, CLOSE * np.abs(rise))
    for name in ("slope", "curvature"):
        own, found = worth * getattr(curve, name)(points), getattr(weighted, name)(points)
        tell("weighted", words, found, own, own, ROUNDING * np.abs(own))
    price = np.maximum(curve.slope(points), _LEAST_SLOPE)
    valued = price * np.where(worth > 0.0, worth, 1.0)
    # A rounding of the price may be the step to the next kink.
    sides = 1.0 + 4.0 * EPSILON, 1.0 - 4.0 * EPSILON
    around = [weighted.inverse_slope(valued * side) for side in sides]
    own = np.where(worth > 0.0, np.maximum(curve.inverse_slope(price), 0.0), 0.0)
    slack = curve.inverse_slope_rounding(own) + CLOSE * own
    tell("weighted", words, own, *(np.maximum(end, 0.0) for end in around), slack)
