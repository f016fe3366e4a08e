"""Newton's method on the two prices: a few passes over the types, whatever their number.

The search is that of `cvxqueue.solvers.price_search`. Where there are many types, it first runs on
a sample of them, which is worth the first passes over all. Along the way the types may want more
than the server can do; what is proposed then is drawn back towards the least tokens, so that every
iterate lies strictly inside the stability region.
"""

from __future__ import annotations

import numpy as np

from cvxqueue.certificates import certified_gap, coupled_gap, restored
from cvxqueue.errors import InfeasibleError
from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.data import ModelData
from cvxqueue.solvers.driver import Proposal, Proposals, tightest_tolerance
from cvxqueue.solvers.dual_search import dual_search
from cvxqueue.solvers.price_search import STILL, PriceSearch

__all__ = ["newton", "require_attainable"]

# From so many types on, a sample of them pays: about a thousand, or one in so many.
_MANY, _SAMPLE, _SHARE = 4096, 1024, 64
# It is searched for so many passes at most.
_MOST_PASSES = 100
# At given multipliers, so many passes from a point that is good to 1e-4 reach rounding,
_CLOSING = 3
# and if that is not reached by then it is not to be had.
_LAST_PASS = 200
# A maximiser that is no better proven than this, relative to the scale, was not found.
_LOST = 1e-9
# A candidate costs as much as many passes there.
_SELDOM = 10
# Share of the tightest tolerance that is good enough where curves have kinks.
_WITH_KINKS = 0.1
# What a unit of accuracy is worth where nothing else counts, in mean system times.
# Next to saturation the search may not reach the best of so much; less of it says less.
_NEARLY_EVERYTHING = (1e10, 1e7, 1e4)
_KNOWN = 1e-6


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
    if instance.couplings:
        yield from _with_couplings(instance)
        return
    search = _search(instance, start, prices)
    # The prices can stand still before the types have settled, where hardly any load is theirs.
    while search.step > STILL or not search.is_close:
        search.advance()
        if search.is_close:
            yield Proposal(search.candidate())
            # The proposal has the search's own array; go on with another.
            search.tokens = search.tokens.copy()
        else:
            yield Proposal(search.point, is_candidate=False)


def _with_couplings(instance: ModelData) -> Proposals:
    for place, found in enumerate(dual_search(instance, _maximize)):
        if place == 0 and (found.excess > 0.0).any():
            require_attainable(instance)
        point = instance.evaluate(found.point.tokens)
        yield Proposal(point, is_candidate=found.is_settled, multipliers=found.multipliers)


def require_attainable(instance: ModelData) -> None:
    """Raise an error if the other constraints leave too little for a floor on the accuracy.

    What they leave is that of an instance in which accuracy is worth nearly everything. With K the
    worth, and T its mean system time, more than about T/K beyond its accuracy is out of reach.

    Parameters
    ----------
    instance : ModelData
        Whose constraints hold at the least tokens, but for floors.

    Raises
    ------
    InfeasibleError
        With the floor that can be had.
    """
    if not any(coupling.is_floor for coupling in instance.couplings):
        return
    free = instance.priced(np.zeros(len(instance.couplings)))
    greatest = instance.evaluate(instance.upper)
    # A mean service time that many tokens take and a stable server can give; or the mean system
    # time of those that nobody limits, which is more close to saturation.
    time = min(float(greatest.mean_service_time), 1.0 / float(instance.arrival_rate))
    time = max(time, float(_maximize(free, None).mean_system_time))
    for floor in (coupling for coupling in instance.couplings if coupling.is_floor):
        best, reach = instance.lowest, float(greatest.mean_accuracy)
        for worth in _NEARLY_EVERYTHING:
            greedy = instance.priced(np.zeros(len(instance.couplings)))
            vars(greedy).update(
                importance=np.ones(instance.size),
                accuracy_weight=worth * time,
                couplings=tuple(c for c in instance.couplings if not c.is_floor),
            )
            for found in dual_search(greedy, _maximize):
                point = restored(greedy.evaluate(found.point.tokens))
                if point is None:
                    continue
                gap = coupled_gap(point, found.multipliers) + 2.0 * float(point.mean_system_time)
                reach = min(reach, float(point.mean_accuracy) + gap / (worth * time))
                if point.mean_accuracy > best.mean_accuracy:
                    best = instance.evaluate(point.tokens)
            if reach - float(best.mean_accuracy) <= _KNOWN:
                break
        beyond = max(reach - float(best.mean_accuracy), 0.0)
        if floor.excess(best) > floor.allowance(best) + beyond:
            others = "; ".join(c.label for c in greedy.couplings) or "a stable queue"
            raise InfeasibleError(
                f"constraints: no allocation has {floor.label} together with {others}; "
                f"{floor.remedy(best)}, or relax the others"
            )


def _maximize(data: ModelData, near: Evaluation | None) -> Evaluation:
    """The maximiser of a model without couplings, to rounding."""
    if near is None:
        search = _search(data, None, None)
    else:
        point = data.evaluate(near.tokens)
        search = PriceSearch(data, near.tokens, point.idle, point.prices.mean)
    if not data.accuracy.is_smooth:
        found = _maximize_between_corners(search)
        # Across a jump of what is wanted, prices from the other side can mislead the search.
        is_lost = near is not None and bool(certified_gap(found) > _LOST * found.scale)
        return _maximize(data, None) if is_lost else found
    close = 0
    while search.step > STILL and close < _CLOSING and search.passes < _LAST_PASS:
        search.advance()
        close += bool(search.is_close)
    return search.candidate()


def _maximize_between_corners(search: PriceSearch) -> Evaluation:
    """The candidate with the least gap: how near it is does not show on the prices."""
    best, best_gap = None, np.inf
    while search.step > STILL and search.passes < _LAST_PASS:
        search.advance()
        is_due = search.passes % _SELDOM == 0 or search.step <= STILL
        if not (is_due and search.is_close):
            continue
        found = search.candidate()
        gap = float(certified_gap(found))
        if gap < best_gap:
            best, best_gap = found, gap
        if gap <= _WITH_KINKS * float(tightest_tolerance(found)) * float(found.scale):
            break
    return search.candidate() if best is None else best


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
    # A step leaves the square of it, and sampling one over the root of its size.
    rough = sample.size**-0.25
    while search.step > rough and search.passes < _MOST_PASSES:
        search.advance()
    return PriceSearch(instance, instance.lower, search.idle, search.price)


def _sample(instance: ModelData) -> ModelData:
    """Every so many-th type, at probabilities that sum to one."""
    # Copies, because a view would touch a line of the cache for each number.
    step = max(1, min(instance.size // _SAMPLE, _SHARE))
    sample = instance.types(np.arange(0, instance.size, step))
    vars(sample)["probabilities"] = sample.probabilities / sample.probabilities.sum()
    return sample
