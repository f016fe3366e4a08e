"""The best choice so far, and what is still to be proven of it."""

from __future__ import annotations

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.cells import Base
from cvxqueue.model import Evaluation
from cvxqueue.numerics.arrays import FloatArray


def target_of(point: Evaluation, tolerance: float) -> float:
    """Seconds within which a choice is as good as the best.

    Parameters
    ----------
    point : Evaluation
        Stable.
    tolerance : float
        Relative to the scale of the point.
    """
    allowance = float(rounding_allowance(point))
    # The allowance is part of the gap that is told. Bounds have it twice, those of choices that
    # are as good with more tokens somewhat more: no bound is sharper.
    return max(tolerance * float(point.scale) - 3.0 * allowance, 2.5 * allowance)


class Incumbent:
    """The best choice so far, and how much better any other can be.

    Parameters
    ----------
    base : Base
    target : float
        Seconds.
    deadline : Deadline
    """

    def __init__(self, base: Base, target: float, deadline: Deadline) -> None:
        self.base, self.target, self.deadline = base, target, deadline
        self.ahead, self.best = 0.0, base.point.tokens
        # Bound on what is in the cells that have been closed.
        self.closed = -np.inf

    def see(self, gain: float, point: FloatArray) -> None:
        """Note a choice and what it gains over the base."""
        if gain > self.ahead:
            self.ahead, self.best = gain, point

    def compare(self, point: FloatArray) -> None:
        """Note a choice that may be better."""
        base = self.base
        shift = base.choices.shift(base.point.tokens, point)
        self.see(float(base.gain(shift.totals())), point)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline.is_over
