"""Newton's method on the two prices: a few passes over the types, whatever their number.

The search is that of `cvxqueue.duality.newton_on_prices`. Along the way the types may want more
than the server can do; what is proposed then is drawn back towards the least tokens, so that every
iterate lies strictly inside the stability region.
"""

from __future__ import annotations

from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality.dual_search import dual_search
from cvxqueue.duality.maximum import started_search
from cvxqueue.duality.newton_on_prices import STILL
from cvxqueue.model import Instance
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.attainable import require_attainable
from cvxqueue.solvers.driver import Limits, Proposal, Proposals


def newton(
    instance: Instance,
    start: FloatArray | None = None,
    prices: tuple[float, float] | None = None,
    limits: Limits | None = None,
) -> Proposals:
    """Propose the iterates of Newton's method on the two prices.

    It begins at the prices of `start`, by default those of the least tokens or, where there are
    many types, of a sample; or at the idle fraction and the price of a second in `prices`.
    """
    model = instance.model
    if model.couplings:
        yield from _with_couplings(model, NEVER if limits is None else limits.deadline)
        return
    search = started_search(model, start, prices)
    # The prices can stand still before the types have settled, where hardly any load is theirs.
    while search.step > STILL or not search.is_close:
        search.advance()
        if search.is_close:
            yield Proposal(search.candidate())
            # The proposal has the search's own array; go on with another.
            search.tokens = search.tokens.copy()
        else:
            yield Proposal(search.point, is_candidate=False)


def _with_couplings(model: Model, deadline: Deadline) -> Proposals:
    for place, found in enumerate(dual_search(model, deadline)):
        if place == 0 and (found.excess > 0.0).any():
            require_attainable(model, deadline)
        point = model.evaluate(found.point.tokens)
        yield Proposal(point, is_candidate=found.is_settled, multipliers=found.multipliers)
