"""The constraints that couple the types, at a point; and the Lagrangian, which has them priced."""

from __future__ import annotations

import numpy as np

from cvxqueue.model.model import Evaluation
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray


@quiet
def excesses(point: Evaluation) -> FloatArray:
    """Value of c for each coupling constraint of the instance, positive where it is violated."""
    return np.array([coupling.excess(point) for coupling in point.model.couplings])


@quiet
def allowances(point: Evaluation) -> FloatArray:
    """What rounding can have done to each constraint, and to the least tokens that it takes.

    Twice what these do to it, because it is convex.
    """
    model = point.model
    found = [coupling.allowance(point) for coupling in model.couplings]
    if (moved := model.counted_rounding) is not None:
        gradients = [coupling.gradient(point) for coupling in model.couplings]
        moves = (2.0 * float(np.abs(gradient) @ moved) for gradient in gradients)
        found = [a + b for a, b in zip(found, moves, strict=True)]
    return np.array(found)


def is_satisfied(point: Evaluation) -> bool:
    """Whether a point in the box is stable and no constraint is violated beyond rounding."""
    return point.is_stable and bool((excesses(point) <= allowances(point)).all())


@quiet
def lagrangian(point: Evaluation, multipliers: FloatArray) -> Evaluation:
    """The same point, as one of the Lagrangian at these multipliers."""
    return point.model.priced(multipliers).evaluate(point.tokens)
