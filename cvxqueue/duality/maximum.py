"""The maximum of a model without couplings, by the search for the two prices alone.

Where there are many types, the search first runs on a sample of them, which is worth the first
passes over all.
"""

from __future__ import annotations

import numpy as np

from cvxqueue.deadline import Deadline
from cvxqueue.duality.newton_on_prices import STILL, PriceSearch
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import separable_gap
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON

# From so many types on, a sample of them pays: about a thousand, or one in so many.
_MANY_TYPES, _SAMPLE, _SHARE = 4096, 1024, 64
# It is searched for so many passes at most.
_MOST_PASSES = 100
# At given multipliers, so many passes from a point that is good to 1e-4 reach rounding,
_FINAL_PASSES = 3
# and if that is not reached by then it is not to be had.
_LAST_PASS = 200
# A maximiser that is no better proven than this, relative to the scale, was not found.
_LOST_GAIN = 1e-9
# A candidate costs as much as many passes there.
_SELDOM = 10
# Share of the tightest tolerance that is good enough where curves have kinks.
_KINKED_SHARE = 0.1
# What a rounding of the marginal cost costs where curves have kinks, beside smooth ones.
_KINKED_TOLERANCE = 16.0


def tightest_tolerance(point: Evaluation) -> FloatArray:
    """The least relative gap that float64 can prove: near saturation rounding alone costs more.

    Above 1e-5, next to an idle fraction of 1e-10, it would say nothing. Where a type rests inside a
    straight piece of its curve, any of the piece is nearly as good, to rounding.
    """
    share = 1.0 if point.model.accuracy.is_smooth else _KINKED_TOLERANCE
    return share * np.minimum(np.maximum(1e-12, 16.0 * EPSILON / point.idle), 1e-5)


def started_search(
    model: Model, start: FloatArray | None = None, prices: tuple[float, float] | None = None
) -> PriceSearch:
    """Return a search for the two prices, as `newton` describes its arguments."""
    if prices is not None:
        tokens = model.lower if start is None else start
        idle, price = map(np.asarray, prices)
        return PriceSearch(model, tokens, idle, price)
    if start is not None:
        point = model.evaluate(start)
        return PriceSearch(model, start, point.idle, point.prices.mean)
    if model.size < _MANY_TYPES:
        return PriceSearch(model, model.lower)
    sample = _sample(model)
    if not sample.lowest.is_stable:
        return PriceSearch(model, model.lower)
    search = PriceSearch(sample, sample.lower)
    # A step leaves the square of it, and sampling one over the root of its size.
    rough = sample.size**-0.25
    while search.step > rough and search.passes < _MOST_PASSES:
        search.advance()
    return PriceSearch(model, model.lower, search.idle, search.price)


def maximize(model: Model, near: Evaluation | None, deadline: Deadline) -> Evaluation:
    """Return the maximiser of a feasible model without couplings, from a stable point if `near`."""
    search = started_search(model, None if near is None else near.tokens)
    if not model.accuracy.is_smooth:
        found = _between_corners(search, deadline)
        # Across a jump of the response, prices from the other side can mislead the search.
        is_lost = near is not None and not separable_gap(found) <= _LOST_GAIN * found.scale
        return maximize(model, None, deadline) if is_lost else found
    close = 0
    while search.step > STILL and close < _FINAL_PASSES and search.passes < _LAST_PASS:
        if deadline.is_over:
            break
        search.advance()
        close += bool(search.is_close)
    return search.candidate()


def _between_corners(search: PriceSearch, deadline: Deadline) -> Evaluation:
    """The candidate with the least gap: how near it is does not show on the prices."""
    best, best_gap = None, np.inf
    while search.step > STILL and search.passes < _LAST_PASS and not deadline.is_over:
        search.advance()
        is_due = search.passes % _SELDOM == 0 or search.step <= STILL
        if not (is_due and search.is_close):
            continue
        found = search.candidate()
        gap = float(separable_gap(found))
        if gap < best_gap:
            best, best_gap = found, gap
        if gap <= _KINKED_SHARE * float(tightest_tolerance(found)) * float(found.scale):
            break
    return search.candidate() if best is None else best


def _sample(model: Model) -> Model:
    """Every so many-th type, at probabilities that sum to one."""
    # Copies, because a view would touch a line of the cache for each number.
    step = max(1, min(model.size // _SAMPLE, _SHARE))
    sample = model.types(np.arange(0, model.size, step))
    return sample.with_(probabilities=sample.probabilities / sample.probabilities.sum())
