"""Best responses to the marginal costs, iterated.

F(l) is the best answer of each type to the marginal costs at l, and the optimum is its only fixed
point. The plain iteration l ← F(l) converges where F contracts, and loses stability or cycles
elsewhere. F(l) − l has in every type the sign of the gradient, so a step along it that is
short enough always increases J.
"""

from __future__ import annotations

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import real_number
from cvxqueue.solvers.driver import Proposal, Proposals
from cvxqueue.solvers.line_search import backtrack

__all__ = ["fixed_point"]


def fixed_point(
    instance: Instance, start: FloatArray | None = None, damping: float | None = None
) -> Proposals:
    """Propose the iterates of the fixed-point method.

    Parameters
    ----------
    instance : Instance
        Feasible.
    start : ndarray, shape (N,), optional
        Stable tokens in the box; by default `min_tokens`.
    damping : float, optional
        Fixed step in (0, 1] along F(l) − l; 1 is the plain iteration, for which
        `certificates.contraction` says when it converges. By default the step is found by
        backtracking on the objective.

    Raises
    ------
    InvalidInputError
        If `damping` is not in (0, 1].
    """
    if damping is not None and not 0.0 < real_number("damping", damping) <= 1.0:
        raise InvalidInputError(f"damping = {shown(damping)} must lie in (0, 1]")
    return _iterates(instance, instance.lower if start is None else start, damping)


def _iterates(instance: Instance, tokens: FloatArray, damping: float | None) -> Proposals:
    point = instance.evaluate(tokens)
    while True:
        yield Proposal(point)
        step = point.response - point.tokens
        if damping is None:
            moved = backtrack(point, point.response)
            if moved is None:
                return
            point = moved
        else:
            point = instance.evaluate(point.tokens + damping * step)
