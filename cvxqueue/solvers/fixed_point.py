"""Best responses to the marginal costs, iterated.

F(l) is the best answer of each type to the marginal costs at l, and the optimum is its only fixed
point. The plain iteration l ← F(l) converges where F contracts, and loses stability or cycles
elsewhere. F(l) − l has in every type the sign of the gradient, so a step along it that is
short enough always increases J.
"""

from __future__ import annotations

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.differences import improvement
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import real_number
from cvxqueue.numerics.summation import accurate_sum
from cvxqueue.solvers.driver import Proposal, Proposals

# Largest part of the idle fraction that one step may consume.
_TO_THE_BOUNDARY = 0.99
# Share of the increase predicted by the slope that a step must achieve (Armijo).
_SUFFICIENT = 1e-4
# Slope of the objective behind its maximum, relative to that at the start, that a step may reach:
# a step far beyond the maximum, next to saturation, would cost many steps back.
_OVERSHOOT = 0.5
# Shorter steps than this change nothing that float64 can see.
_SHORTEST_STEP = 2.0**-50


def fixed_point(
    instance: Instance, start: FloatArray | None = None, damping: float | None = None
) -> Proposals:
    """Propose the iterates of the fixed-point method, by default from `min_tokens` on.

    A `damping` in (0, 1] is a fixed step along F(l) − l; 1 is the plain iteration, for which
    `certificates.contraction` says when it converges. By default the step is found by backtracking
    on the objective.
    """
    if damping is not None and not 0.0 < real_number("damping", damping) <= 1.0:
        raise InvalidInputError(f"damping = {shown(damping)} must lie in (0, 1]")
    point = instance.evaluate(instance.lower if start is None else start)
    while True:
        yield Proposal(point)
        if damping is None:
            moved = backtrack(point, point.response)
            if moved is None:
                return
            point = moved
        else:
            point = instance.evaluate(point.tokens + damping * (point.response - point.tokens))


def backtrack(point: Evaluation, target: FloatArray) -> Evaluation | None:
    """Return the first point on the way back from `target` that increases J enough.

    From a stable point in the box to another place in it, shape (N,). ``None`` where that is not
    finite, lies in no ascent direction, or no step that float64 can tell from none increases J.
    """
    if not np.all(np.isfinite(target)):
        return None
    step = target - point.tokens
    ascent = float(accurate_sum(point.gradient * step))
    if ascent <= 0.0:
        return None
    model = point.model
    moved = model.evaluate(target)
    length = 1.0
    consumed = float(point.idle - moved.idle)
    if consumed > _TO_THE_BOUNDARY * point.idle:
        length = _TO_THE_BOUNDARY * float(point.idle) / consumed
        moved = model.evaluate(point.tokens + length * step)
    while length > _SHORTEST_STEP:
        if (
            moved.is_stable
            and improvement(point, moved) >= _SUFFICIENT * length * ascent
            and accurate_sum(moved.gradient * step) >= -_OVERSHOOT * ascent
        ):
            return moved
        length *= 0.5
        moved = model.evaluate(point.tokens + length * step)
    return None
