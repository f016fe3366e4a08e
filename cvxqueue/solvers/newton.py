"""Newton's method on the two prices: a few passes over the types, whatever their number.

The search is that of `cvxqueue.solvers.price_search`. Where there are many types, it first runs on
a sample of them, which is worth the first passes over all. Along the way the types may want more
than the server can do; what is proposed then is drawn back towards the least tokens, so that every
iterate lies strictly inside the stability region.
"""

from __future__ import annotations

import numpy as np

from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.data import ModelData
from cvxqueue.model.demand import SETTLED
from cvxqueue.solvers.driver import Proposal, Proposals
from cvxqueue.solvers.price_search import STILL, PriceSearch

__all__ = ["newton"]

# From so many types on, a sample of them pays: about a thousand, or one in so many.
_MANY, _SAMPLE, _SHARE = 4096, 1024, 64
# It is searched until a step is no longer than what sampling leaves open anyway,
_ROUGH = 0.1
# or for so many passes.
_MOST_PASSES = 100


def newton(
    instance: ModelData,
    start: FloatArray | None = None,
    prices: tuple[float, float] | None = None,
) -> Proposals:
    """Propose the iterates of Newton's method on the two prices.

    Parameters
    ----------
    instance : ModelData
        Feasible.
    start : ndarray, shape (N,), optional
        Stable tokens in the box, whose prices are the first; by default those of the least tokens
        or, where there are many types, of a sample.
    prices : tuple of float, optional
        Idle fraction and price of a second of service to begin with, in place of those at `start`.
    """
    search = _search(instance, start, prices)
    # The prices can stand still before the types have settled, where hardly any load is theirs.
    while search.step > STILL or search.change > SETTLED:
        search.advance()
        if search.is_close:
            yield Proposal(search.candidate())
            # The proposal has the search's own array; go on with another.
            search.tokens = search.tokens.copy()
        else:
            yield Proposal(search.point, is_candidate=False)


def _search(
    instance: ModelData, start: FloatArray | None, prices: tuple[float, float] | None
) -> PriceSearch:
    if prices is not None:
        tokens = instance.lower if start is None else start
        idle, price = map(np.asarray, prices)
        return PriceSearch(instance, tokens, idle, price)
    if start is not None:
        point = instance.evaluate(start)
        return PriceSearch(instance, start, point.idle, point.prices.mean)
    if instance.size < _MANY:
        return PriceSearch(instance, instance.lower)
    sample = _sample(instance)
    if not sample.lowest.is_stable:
        return PriceSearch(instance, instance.lower)
    search = PriceSearch(sample, sample.lower)
    while search.step > _ROUGH and search.passes < _MOST_PASSES:
        search.advance()
    return PriceSearch(instance, instance.lower, search.idle, search.price)


def _sample(instance: ModelData) -> ModelData:
    """Every so many-th type, at probabilities that sum to one."""
    sample = instance.types(slice(None, None, max(1, min(instance.size // _SAMPLE, _SHARE))))
    sample.probabilities = sample.probabilities / sample.probabilities.sum()
    return sample
