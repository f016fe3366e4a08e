"""Newton's method on the two prices: a few passes over the types, whatever their number.

The search is that of `cvxqueue.solvers.price_search`. Where there are many types, it first runs on
a sample of them, which is worth the first passes over all. Along the way the types may want more
than the server can do; what is proposed then is drawn back towards the least tokens, so that every
iterate lies strictly inside the stability region.
"""

from __future__ import annotations

import numpy as np

from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.data import ModelData
from cvxqueue.solvers.driver import Proposal, Proposals
from cvxqueue.solvers.price_search import PriceSearch

__all__ = ["newton"]

# After a step so short in the logarithms of the prices, its square is left.
_CLOSE = 1e-4
# Shorter steps than this are rounding.
_STILL = 1e-14
# The sample, and the least number of types for which it pays.
_SAMPLE, _MANY = 1024, 8192
# What is proposed keeps this share of the idle fraction that the prices stand for.
_DRAWN_BACK = 0.5


def newton(instance: ModelData, start: FloatArray | None = None) -> Proposals:
    """Propose the iterates of Newton's method on the two prices.

    Parameters
    ----------
    instance : ModelData
        Feasible.
    start : ndarray, shape (N,), optional
        Stable tokens in the box, whose prices are the first; by default those of the least tokens
        or, where there are many types, of a sample.
    """
    search = _search(instance, start)
    while True:
        search.advance()
        if search.step > _CLOSE:
            idle = 1.0 - instance.arrival_rate * search.mean
            point = _inside(instance, search.tokens, idle, search.idle)
            yield Proposal(point, is_candidate=False)
            continue
        point = instance.evaluate(search.wanted())
        yield Proposal(_inside(instance, point.tokens, point.idle, search.idle))
        if search.step <= _STILL:
            return


def _search(instance: ModelData, start: FloatArray | None) -> PriceSearch:
    if start is not None:
        point = instance.evaluate(start)
        return PriceSearch(instance, start, point.idle, point.prices.mean)
    if instance.size < _MANY:
        return PriceSearch(instance, instance.min_tokens)
    sample = _sample(instance)
    if not sample.lowest.is_stable:
        return PriceSearch(instance, instance.min_tokens)
    search = PriceSearch(sample, sample.min_tokens)
    while search.step > _CLOSE and search.passes < _MANY:
        search.advance()
    return PriceSearch(instance, instance.min_tokens, search.idle, search.price)


def _sample(instance: ModelData) -> ModelData:
    """Every so many-th type, at probabilities that sum to one."""
    sample = instance.types(slice(None, None, instance.size // _SAMPLE))
    sample.probabilities = sample.probabilities / sample.probabilities.sum()
    return sample


def _inside(
    instance: ModelData, tokens: FloatArray, idle: FloatArray, wanted_idle: FloatArray
) -> Evaluation:
    """The tokens, drawn back towards the least ones where they leave too little time idle."""
    if idle < _DRAWN_BACK * wanted_idle:
        lowest = instance.lowest
        # The mean service time is convex in the tokens: the load falls at least in proportion.
        kept = (lowest.idle - _DRAWN_BACK * wanted_idle) / (lowest.idle - idle)
        tokens = lowest.tokens + kept * (tokens - lowest.tokens)
    return instance.evaluate(tokens)
