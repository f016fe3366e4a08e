"""The price response: the best tokens of the types when a second of service has a price.

At prices P1 of a second and P2 of a squared second the types decouple. Type k is best off
where its marginal benefit meets its marginal cost P1 m1′ + P2 m2′. In terms of the response R to a
marginal cost this reads l = R(cost(l)); the cost enters by its logarithm, so that Halley's method
needs one logarithm for each type and a step or two. A curve of straight pieces has no such R: a
type stops at a corner, or within the piece whose slope is its marginal cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cvxqueue.model.law import turning_tokens
from cvxqueue.model.model import BLOCK, Model
from cvxqueue.model.piecewise import PiecewiseLinear
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

# A type has settled when its last step changed its marginal cost by no more than this share: what
# remains is less than the square of it,
SETTLED = 0.1
# and for the exponential about a tenth of the cube. Another step costs a fraction of a pass, and
# what remains would cost the next pass its quadratic convergence.
_RESTING = 0.03
# Affine times take one; the exponential cost of a tail takes one for each factor e.
_CROSSING_STEPS = 60
_LAST_BITS = 4.0 * EPSILON
# Between adjacent floats a slope that is continuous changes by far less than this share.
_SAME_SLOPES = 1e-9


class PriceResponse(NamedTuple):
    """The best tokens at given prices, and how the moments of it answer to the prices."""

    tokens: FloatArray
    """The response, in the box, shape (..., N)."""
    change: FloatArray
    """Largest relative change of a marginal cost in the last step, shape (...)."""
    mean: FloatArray
    """First moment of the service time at these tokens, in seconds, shape (...)."""
    second_moment: FloatArray
    """Second moment, in seconds²."""
    mean_by_mean: FloatArray
    """−∂m1/∂P1, in seconds, at fixed active bounds."""
    mean_by_second: FloatArray
    """−∂m1/∂P2 = −∂m2/∂P1, in seconds²."""
    second_by_second: FloatArray
    """−∂m2/∂P2, in seconds³."""


def price_response(
    model: Model, tokens: FloatArray, prices: Prices, most_steps: int
) -> PriceResponse:
    """Return the best tokens at given prices, each of shape (...), in at most so many steps.

    They start from `tokens`, shape (..., N), in the box: overwritten where there are many types, as
    a fresh array of a million entries costs as much as a pass.
    """
    if model.size <= BLOCK:
        settled, answer, change = _settle(model, tokens, prices, most_steps)
        return PriceResponse(settled, change, *_moments(model, settled, answer))
    changes, totals = [], []
    for place, part in model.blocks:
        settled, answer, change = _settle(part, tokens[..., place], prices, most_steps)
        tokens[..., place] = settled
        changes.append(change)
        totals.append(_moments(part, settled, answer))
    change = np.max(changes, axis=0)
    return PriceResponse(
        tokens, change, *(np.sum(total, axis=0) for total in zip(*totals, strict=True))
    )


def response_tokens(
    model: Model, tokens: FloatArray, prices: Prices, most_steps: int
) -> FloatArray:
    """Return the tokens of `price_response` alone."""
    if model.size <= BLOCK:
        return _settle(model, tokens, prices, most_steps).tokens
    for place, part in model.blocks:
        tokens[..., place] = _settle(part, tokens[..., place], prices, most_steps).tokens
    return tokens


class _Step(NamedTuple):
    tokens: FloatArray
    answer: FloatArray
    """−∂l/∂cost, zero at a bound, shape (..., N)."""
    change: FloatArray


def _settle(model: Model, tokens: FloatArray, prices: Prices, most_steps: int) -> _Step:
    """Let the types of every class of curves settle."""
    mean, second = prices.by_type
    if model.accuracy.is_smooth:
        return _settle_smooth(model, tokens, mean, second, most_steps)
    tokens, answer, change = tokens.copy(), np.zeros_like(tokens), np.zeros_like(prices.mean)
    for place, part in model.groups:
        if part.accuracy.is_smooth:
            step = _settle_smooth(part, tokens[..., place], mean, second, most_steps)
            change = np.maximum(change, step.change)
        elif isinstance(part.accuracy, PiecewiseLinear):
            step = _settle_by_pieces(part, mean, second)
        else:
            step = _settle_by_search(part, mean, second)
        tokens[..., place], answer[..., place] = step.tokens, step.answer
    return _Step(tokens, answer, change)


def _settle_smooth(
    model: Model, tokens: FloatArray, mean: FloatArray, second: FloatArray, most_steps: int
) -> _Step:
    """Take steps until every instance has settled, each as if it were alone."""
    step = _step(model, tokens, mean, second)
    for _ in range(1, most_steps):
        is_moving = step.change > _RESTING
        if not is_moving.any():
            break
        moved = _step(model, step.tokens, mean, second)
        if is_moving.all():
            step = moved
            continue
        by_type = is_moving[..., np.newaxis]
        step = _Step(
            np.where(by_type, moved.tokens, step.tokens),
            np.where(by_type, moved.answer, step.answer),
            np.where(is_moving, moved.change, step.change),
        )
    return step


def _step(model: Model, tokens: FloatArray, mean: FloatArray, second: FloatArray) -> _Step:
    """One step of Halley's method on l = R(cost(l)), and the relative change of the cost in it.

    Newton's step takes the logarithm of the cost for linear; its second derivative is known where
    the cost is affine and R logarithmic, and saves a step in three. It is not trusted beyond a
    change of the cost by its own size.
    """
    cost, rise = model.marginal_cost(tokens, mean, second)
    response = model.benefit.inverse_slope(cost)
    sensitivity = model.benefit.inverse_slope_sensitivity(response, response)
    # In place, because arrays that are still in the cache are worth more than their names.
    response -= tokens
    bend = sensitivity * rise
    total = bend + cost
    share = response * rise
    share /= total
    share = share.clip(-1.0, 1.0, out=share)
    share *= bend
    share *= 0.5
    np.subtract(total, share, out=share)
    response *= cost
    response /= share
    response += tokens
    moved = model.boxed(response)
    shift = np.subtract(moved, tokens, out=share)
    shift *= rise
    shift /= cost
    change = np.maximum.reduce(np.abs(shift, out=shift), axis=-1)
    answer = np.divide(sensitivity, total, out=total)
    answer *= moved == response
    return _Step(moved, answer, change)


def _settle_by_pieces(model: Model, mean: FloatArray, second: FloatArray) -> _Step:
    """The response of types whose benefit is made of straight pieces: exact, from anywhere.

    A type goes on over every piece whose slope exceeds its marginal cost at the end of the piece.
    It enters the next one where the slope of that exceeds the cost as well, and stops in it where
    the slope is the cost.
    """
    curve: Any = model.benefit
    slopes, stops = curve.segment_slopes, [model.boxed(corner) for corner in curve.breakpoints[1:]]
    start, slope, end = model.lower, slopes[0], (*stops, model.upper)[0]
    is_inside = slope > model.marginal_cost(start, mean, second)[0]
    for place, stop in enumerate(stops):
        cost = model.marginal_cost(stop, mean, second)[0]
        is_passed = slopes[place] > cost
        start = np.where(is_passed, stop, start)
        slope = np.where(is_passed, slopes[place + 1], slope)
        end = np.where(is_passed, stops[min(place + 1, len(stops) - 1)], end)
        is_inside &= ~is_passed
        is_inside |= slopes[place + 1] > cost
    tokens = np.array(np.broadcast_to(start, is_inside.shape))
    answer = np.zeros_like(tokens)
    # Few types are inside a piece, and to find where is as much work again.
    which = np.flatnonzero(is_inside.any(axis=tuple(range(is_inside.ndim - 1))))
    if which.size:
        few = model.with_(service=model.service.mapped(lambda array: array[..., which]))
        ways = (np.broadcast_to(array, tokens.shape)[..., which] for array in (slope, start, end))
        slope, start, end = ways
        end = np.where(is_inside[..., which], end, start)
        found, rise = _crossing(few, slope, start, end, mean, second)
        tokens[..., which] = found
        is_free = (found > start) & (found < end)
        answer[..., which] = np.where(is_free, 1.0 / np.where(is_free, rise, 1.0), 0.0)
    return _Step(tokens, answer, np.zeros(tokens.shape[:-1]))


def _settle_by_search(model: Model, mean: FloatArray, second: FloatArray) -> _Step:
    """The response of types whose benefit has kinks, and anything between them: from anywhere."""

    def excess(tokens: FloatArray) -> FloatArray:
        # Far beyond the box, formulas overflow.
        tokens = model.boxed(tokens)
        return model.marginal_cost(tokens, mean, second)[0] - model.benefit.slope(tokens)

    shape = np.broadcast_shapes(mean.shape, (model.size,))
    found = turning_tokens(excess, shape)[1]
    tokens = model.boxed(found)
    cost, rise = model.marginal_cost(tokens, mean, second)
    # At a kink a type stays where it is while the cost is between the slopes of its two sides.
    is_level = np.abs(model.benefit.slope(tokens) - cost) <= _SAME_SLOPES * cost
    total = rise - model.benefit.curvature(tokens)
    is_free = is_level & (tokens == found) & (total > 0.0)
    answer = np.where(is_free, 1.0 / np.where(is_free, total, 1.0), 0.0)
    return _Step(tokens, answer, np.zeros(shape[:-1]))


def _crossing(
    model: Model,
    slope: FloatArray,
    low: FloatArray,
    high: FloatArray,
    mean: FloatArray,
    second: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Where the marginal cost, which rises and is convex, reaches a slope; and its rise there.

    Newton's method from above; a step that leaves the interval is halved back into it.
    """
    tokens = high
    for _ in range(_CROSSING_STEPS):
        cost, rise = model.marginal_cost(tokens, mean, second)
        low = np.where(cost < slope, np.maximum(low, tokens), low)
        high = np.where(cost > slope, np.minimum(high, tokens), high)
        moved = tokens - (cost - slope) / rise
        is_out = ~((moved >= low) & (moved <= high))
        moved = np.where(is_out, 0.5 * (low + high), moved)
        # At the rounding of the cost, a type may turn to and fro for ever.
        is_still = (moved == tokens) | (np.abs(cost - slope) <= _LAST_BITS * slope)
        tokens = moved
        if is_still.all():
            break
    return tokens, rise


def _moments(model: Model, tokens: FloatArray, answer: FloatArray) -> tuple[FloatArray, ...]:
    """The moments at `tokens`, and how they answer to the prices: all but the first two fields."""
    mix, moments = model.probabilities, model.service.moments(tokens)
    # dm = π m′ dl with dl = −answer (m1′ dP1 + m2′ dP2).
    weighted = mix * answer
    first, second = moments.mean_slope, moments.second_moment_slope
    weighted_second = weighted * second
    weighted *= first
    return (
        np.vecdot(mix, moments.mean),
        np.vecdot(mix, moments.second_moment),
        np.vecdot(weighted, first),
        np.vecdot(weighted, second),
        np.vecdot(weighted_second, second),
    )
