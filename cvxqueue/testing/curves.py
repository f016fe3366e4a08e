"""What is asked of an accuracy curve, one promise after the other."""

from __future__ import annotations

import numpy as np

from cvxqueue.model import AccuracyCurve
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.testing.promises import CLOSE, ROUNDING, Promises, jumps, separated

# Between adjacent floats a continuous slope changes by no more than this share of the largest.
_JUMP = 1e-7
_LEAST_PRICE = 1e-200


def check_curve(
    curve: AccuracyCurve,
    points: FloatArray,
    most: float,
    rng: np.random.Generator,
    promises: Promises,
) -> None:
    """Compare a curve with everything that is asked of one."""
    first = curve.slope(points[:1])
    corners, before, after = jumps(curve.slope, np.broadcast_to(points, _shape(curve, points)))
    is_corner = np.abs(after - before) > _JUMP * first
    if is_corner.any():
        # On both sides of each kink, and on it.
        found = np.sort(np.where(is_corner, corners, 0.0), axis=0)[-64:]
        everywhere = [np.broadcast_to(points, _shape(curve, points))]
        everywhere += [found, found * (1.0 - 1e-9), found * (1.0 + 1e-9)]
        points = np.sort(np.concatenate(everywhere), axis=0)
    if curve.is_smooth:
        words = "where is_smooth says so the slope is continuous"
        promises.compare("smooth", words, after, "=", before, _JUMP * first, tokens=corners)
    _check_values(curve, points, most, promises)
    for low, high in separated(points):
        _check_pairs(curve, low, high, promises)
    _check_inverse_slope(curve, points, rng, promises)
    _check_inverse_value(curve, points, promises)
    _check_response_loss(curve, points, rng, promises)
    _check_weighted(curve, points, rng, promises)


def _shape(curve: AccuracyCurve, points: FloatArray) -> tuple[int, ...]:
    return np.broadcast_shapes(points.shape, curve.shape)


def _check_values(
    curve: AccuracyCurve, points: FloatArray, most: float, promises: Promises
) -> None:
    value, slope, bend = curve.value(points), curve.slope(points), curve.curvature(points)
    for name, array in (("value", value), ("slope", slope), ("curvature", bend)):
        is_finite = np.isfinite(array)
        promises.compare("finite", f"{name} is a number", is_finite, "=", 1.0, 0.0, tokens=points)
    inside = np.where(points <= most, value, 0.0)
    words = "the value is a probability up to max_tokens"
    promises.compare("a probability", words, inside, "≥", 0.0, ROUNDING, tokens=points)
    promises.compare("a probability", words, inside, "≤", 1.0, ROUNDING, tokens=points)
    promises.compare("nondecreasing", "the slope is ≥ 0", slope, "≥", 0.0, 0.0, tokens=points)
    promises.compare("concave", "the curvature is ≤ 0", bend, "≤", 0.0, 0.0, tokens=points)


def _check_pairs(
    curve: AccuracyCurve, low: FloatArray, high: FloatArray, promises: Promises
) -> None:
    """Two points: what a concave function and its derivatives do between them."""
    low, high = (np.broadcast_to(end, np.broadcast_shapes(low.shape, high.shape)) for end in (low, high))
    at = {"tokens": low, "to": high}
    step, first, last = high - low, curve.slope(low), curve.slope(high)
    rise, values = curve.difference(low, high), (curve.value(low), curve.value(high))
    size = np.abs(values[0]) + np.abs(values[1])
    words = "the slope does not rise"
    promises.compare("concave", words, last, "≤", first, ROUNDING * first, **at)
    words = "the difference is that of the two values"
    exact = values[1] - values[0]
    promises.compare("differences", words, rise, "=", exact, ROUNDING * size, **at)
    words = "the difference back is the same with the other sign"
    back = -curve.difference(high, low)
    promises.compare("differences", words, back, "=", rise, CLOSE * np.abs(rise), **at)
    # A concave function rises by no less than its last slope says, and no more than its first.
    near = CLOSE * first * step
    words = "the slope is the derivative: the difference lies between the slopes times the step"
    promises.compare("slope", words, exact, "≥", last * step, near + ROUNDING * size, **at)
    promises.compare("slope", words, exact, "≤", first * step, near + ROUNDING * size, **at)
    words = "the difference keeps its digits however near the two are"
    promises.compare("no cancellation", words, rise, "≥", last * step, near, **at)
    promises.compare("no cancellation", words, rise, "≤", first * step, near, **at)
    _check_bends(curve, low, high, first - last, promises)


def _check_bends(
    curve: AccuracyCurve, low: FloatArray, high: FloatArray, fall: FloatArray, promises: Promises
) -> None:
    """What the slope falls by, against the curvature and the bounds on it."""
    at, step = {"tokens": low, "to": high}, high - low
    first = curve.slope(low)
    noise = ROUNDING * first
    least, greatest = curve.curvature_range(low, high)
    words = "curvature_range bounds the curvature between the two"
    most = np.where(step > 0.0, greatest, 0.0) * step
    most = np.where(np.isnan(most), np.inf, most)
    # A kink at the end is not inside.
    inner = first - curve.slope(np.maximum(np.nextafter(high, 0.0), low))
    promises.compare("curvature bounds", words, inner, "≤", most * (1.0 + CLOSE), noise, **at)
    promises.compare("curvature bounds", words, fall, "≥", least * step * (1.0 - CLOSE), noise, **at)
    middle = 0.5 * (low + high)
    bends = [-curve.curvature(tokens) for tokens in (low, middle, high)]
    if curve.is_smooth:
        for bend in bends:
            slack = CLOSE * np.abs(bend)
            promises.compare("curvature bounds", words, bend, "≤", greatest, slack, **at)
            promises.compare("curvature bounds", words, bend, "≥", least, slack, **at)
    # Simpson's rule, where it is one: the curvature hardly changes between the two.
    mean = (bends[0] + 4.0 * bends[1] + bends[2]) / 6.0
    spread = np.abs(bends[0] - bends[1]) + np.abs(bends[2] - bends[1])
    slack = 10.0 * noise + spread * step + CLOSE * mean * step
    words = "the curvature is the derivative of the slope"
    relation = "=" if curve.is_smooth else "≥"
    promises.compare("curvature", words, fall, relation, mean * step, slack, **at)  # type: ignore[arg-type]
    answers = [np.clip(curve.inverse_slope(end), low, high) for end in (first, first - fall)]
    apart, logarithm = answers[1] - answers[0], np.log(first) - np.log(first - fall)
    bound = curve.inverse_slope_sensitivity(low, high)
    reach = np.where(logarithm > 0.0, bound, 0.0) * logarithm
    own = curve.inverse_slope_rounding(low) + curve.inverse_slope_rounding(high)
    slack = own + 16.0 * EPSILON * np.where(np.isfinite(bound), bound, 0.0) + CLOSE * apart
    is_told = (first > fall) & np.isfinite(logarithm)
    words = "inverse_slope_sensitivity bounds how far the inverse of the slope moves"
    reach = np.where(is_told, reach, np.inf)
    apart, slack = np.where(is_told, apart, 0.0), np.where(is_told, slack, 0.0)
    promises.compare("sensitivity", words, apart, "≤", reach, slack, **at)


def _prices(curve: AccuracyCurve, points: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Slopes that the curve has, and some that it has not."""
    slope = np.broadcast_to(curve.slope(points), _shape(curve, points))
    first = slope[:1]
    low = np.maximum(slope[-1:], 1e-12 * first)
    share = rng.random((points.shape[0], *(1 for _ in curve.shape)))
    drawn = first ** (1.0 - share) * low**share
    found = np.concatenate([slope, drawn, 1.5 * first, 1e3 * first])
    # Beyond the range of float64 there is nothing to compare.
    return np.where(found > _LEAST_PRICE, found, 1.0)


def _check_inverse_slope(
    curve: AccuracyCurve, points: FloatArray, rng: np.random.Generator, promises: Promises
) -> None:
    price = _prices(curve, points, rng)
    answer = curve.inverse_slope(price)
    at = {"slope": price}
    is_finite = np.isfinite(answer)
    promises.compare("inverse slope", "it is finite", is_finite, "=", 1.0, 0.0, **at)
    below = curve.slope(np.zeros(())) < price * (1.0 - CLOSE)
    words = "it is negative where the slope is below from 0 tokens on"
    promises.compare("inverse slope", words, np.where(below, answer, -1.0), "≤", 0.0, 0.0, **at)
    inside = np.where(answer > 0.0, answer, 0.0)
    own = curve.inverse_slope_rounding(inside)
    own = np.where(np.isfinite(own), own, inside)
    # Off by its own rounding, and for a slope that is off by some.
    error = 64.0 * EPSILON
    words = "there the slope passes the given one, within inverse_slope_rounding"
    above = curve.slope(np.maximum(inside - own, 0.0) * (1.0 - 4.0 * EPSILON))
    above = np.where(answer > 0.0, above, np.inf)
    under = curve.slope((inside + own) * (1.0 + 4.0 * EPSILON))
    promises.compare("inverse slope", words, above, "≥", price * (1.0 - error), 0.0, **at)
    promises.compare("inverse slope", words, under, "≤", price * (1.0 + error), 0.0, **at)
    words = "no other tokens make p(v) − slope · v larger"
    for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0):
        other = inside * factor + (factor - 0.5 if factor != 0.5 else 0.0)
        gain, cost = curve.difference(inside, other), price * (other - inside)
        slack = ROUNDING * (np.abs(gain) + np.abs(cost)) + price * own
        promises.compare("inverse slope", words, gain, "≤", cost, slack, to=other, **at)


def _check_inverse_value(curve: AccuracyCurve, points: FloatArray, promises: Promises) -> None:
    target = np.broadcast_to(curve.value(points), _shape(curve, points))
    found = curve.inverse_value(target)
    words = "inverse_value is the least tokens that reach an accuracy"
    at = {"accuracy": target}
    reached = curve.value(np.where(np.isfinite(found), found, points))
    promises.compare("inverse value", words, reached, "≥", target, ROUNDING, **at)
    just_less = curve.value(np.where(np.isfinite(found), found, points) * (1.0 - 1e-6))
    promises.compare("inverse value", words, just_less, "≤", target, ROUNDING, **at)
    lost = np.where(np.isfinite(found), 0.0, target - curve.value(points[-1:]))
    promises.compare("inverse value", words, lost, "≥", 0.0, ROUNDING, **at)
    nothing = curve.inverse_value(curve.value(np.zeros(())) - 0.125)
    promises.compare("inverse value", "nothing less needs tokens", nothing, "=", 0.0, 0.0, tokens=0.0)


def _check_response_loss(
    curve: AccuracyCurve, points: FloatArray, rng: np.random.Generator, promises: Promises
) -> None:
    price = _prices(curve, points, rng)
    ends = np.sort(rng.choice(points.ravel(), (2, *price.shape)), axis=0)
    unclipped = curve.inverse_slope(price)
    response = np.clip(unclipped, *ends)
    words = "response_loss covers what a response to a slightly wrong slope loses"
    for error in (1e-15, 1e-11, 1e-7):
        bound = curve.response_loss(price, unclipped, response, np.full(price.shape, error))
        for factor in (-16.0, -5.0, 7.0, 16.0):
            right = price * (1.0 + factor * error)
            best = np.clip(curve.inverse_slope(right), *ends)
            loss = curve.difference(response, best) / right - (best - response)
            slack = 8.0 * EPSILON * (np.abs(best - response) + bound)
            slack = np.where(np.isfinite(bound), slack, 0.0)
            at = {"slope": price, "error": error, "tokens": response}
            promises.compare("response loss", words, loss, "≤", bound, slack, **at)


def _check_weighted(
    curve: AccuracyCurve, points: FloatArray, rng: np.random.Generator, promises: Promises
) -> None:
    worth = 10.0 ** rng.uniform(-3.0, 3.0, curve.shape)
    worth[..., -1] = 0.0
    weighted = curve.weighted(worth)
    words = "weighted is value · (p − p(0)), with its slope, curvature and inverse"
    rise = np.broadcast_to(worth * curve.difference(np.zeros(()), points), _shape(curve, points))
    slack, at = CLOSE * np.abs(rise), {"tokens": points}
    promises.compare("weighted", words, weighted.value(points), "=", rise, slack, **at)
    start = np.zeros(())
    promises.compare("weighted", words, weighted.difference(start, points), "=", rise, slack, **at)
    for name in ("slope", "curvature"):
        own = worth * getattr(curve, name)(points)
        found = getattr(weighted, name)(points)
        promises.compare("weighted", words, found, "=", own, ROUNDING * np.abs(own), **at)
    price = np.broadcast_to(curve.slope(points), _shape(curve, points))
    price = np.where(price > _LEAST_PRICE, price, 1.0)
    valued = np.where(worth > 0.0, worth, 1.0)
    found = weighted.inverse_slope(price * valued)
    asked = weighted.inverse_slope(np.nextafter(price * valued, 0.0))
    found, asked = np.maximum(found, 0.0), np.maximum(asked, 0.0)
    own = np.where(worth > 0.0, np.maximum(curve.inverse_slope(price), 0.0), 0.0)
    off = np.abs(asked - found) + curve.inverse_slope_rounding(own) + CLOSE * own
    off = np.where(curve.is_smooth, off, np.inf)
    promises.compare("weighted", words, found, "=", own, off, slope=price)
