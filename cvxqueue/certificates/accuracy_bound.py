"""How much accuracy the other constraints leave: the proof behind a floor that is out of reach.

Wherever λ m1 ≤ 1 and the constraints c ≤ 0 hold,

    Σ π p  ≤  Σ π p + η (1 − λ m1) − μ c

for any η, μ ≥ 0. The right side is concave, so that its separable gap at any stable tokens l proves

    Σ π p  ≤  Σ π p(l) + gap(l) + η (1 − λ m1(l)) − μ c(l)

of every allocation, whether l itself keeps the constraints or not. The mean system time is no part
of it: next to saturation that has no bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxqueue.certificates.lagrangian_gap import lagrangian_gap
from cvxqueue.deadline import Deadline
from cvxqueue.duality.multipliers import lowered
from cvxqueue.model import Evaluation
from cvxqueue.model.constraints import ROUNDINGS
from cvxqueue.model.limits import Stability
from cvxqueue.model.model import Model
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array, require, require_that


@dataclass(frozen=True, eq=False)
class AccuracyBound(ArrayData):
    """A bound on the mean accuracy of every allocation that keeps all constraints but floors.

    Parameters
    ----------
    model : Model
        That of the instance.
    tokens : ndarray, shape (N,)
        Stable tokens in the box.
    multipliers : ndarray
        One ≥ 0 for stability, and one for each coupling constraint that is no floor: the accuracy
        that a unit of its limit is worth. Any prove a bound, and good ones make it sharp.
    """

    model: Model
    tokens: FloatArray
    multipliers: FloatArray

    def __post_init__(self) -> None:
        model = self.model
        require_that(isinstance(model, Model), "model", model, "a Model")
        tokens = float_array("tokens", self.tokens, model.size)
        is_inside = (tokens >= model.lower) & (tokens <= model.upper)
        require("tokens", tokens, is_inside, "is not in the box, where the bound is one")
        count = 1 + sum(not coupling.is_floor for coupling in model.couplings)
        found = float_array("multipliers", self.multipliers, count, of="limits, stability first")
        require("multipliers", found, found >= 0.0, "must be ≥ 0: others prove nothing")
        vars(self).update(tokens=tokens, multipliers=found)

    @cached_property
    def value(self) -> float:
        """The bound, rounding included; infinite where nothing is proven."""
        point = self._point
        reached = (1.0 + 2.0 * ROUNDINGS) * float(point.mean_accuracy)
        return (1.0 + ROUNDINGS) * (reached + lagrangian_gap(point, self.multipliers))

    @cached_property
    def _point(self) -> Evaluation:
        return _Accuracy.of(self.model).evaluate(self.tokens)

    def sharpened(self, deadline: Deadline) -> AccuracyBound:
        """Return the bound that better multipliers prove of the same tokens."""
        point = self._point
        scale = float(point.mean_accuracy)
        better = lowered(point, self.multipliers, scale, deadline)
        return AccuracyBound(self.model, self.tokens, better.multipliers)


def accuracy_model(model: Model, worth: float) -> Model:
    """Return a model without floors, in which accuracy alone is worth so many seconds."""
    caps = tuple(coupling for coupling in model.couplings if not coupling.is_floor)
    ones = np.ones(model.size)
    return model.with_(accuracy_weight=worth, importance=ones, separable_costs=(), couplings=caps)


class _Accuracy(Model):
    """A model whose objective is the mean accuracy, and stability one of its constraints."""

    @classmethod
    def of(cls, model: Model) -> _Accuracy:
        model = accuracy_model(model, 1.0)
        return cls(**vars(model.with_(couplings=(Stability(), *model.couplings))))

    def priced(self, multipliers: Sequence[float] | FloatArray, of_time: float = 0.0) -> Model:
        """Return the Lagrangian, in which only constraints make time cost anything."""
        return super().priced(multipliers, of_time)
