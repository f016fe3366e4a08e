"""Constraints beyond the box and stability: what they have in common.

A constraint is kept in the form c(l) ≤ 0 with c convex. At a multiplier μ ≥ 0 the Lagrangian
J − μ c is the objective of a model without the constraint: a price of time is one of the queue, a
price of accuracy one of the types, and a sum over the types a cost of each. So whatever solves and
certifies models without constraints does it for those with constraints.

The model holds constraints, and instances check them: what is called `point` here is an
`Evaluation`, `model` a `Model`, and `instance` an `Instance`, which the types cannot say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.separable_costs import SeparableCost
from cvxqueue.numerics.arithmetic import Quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import positive_number
from cvxqueue.numerics.float64 import EPSILON

ROUNDINGS = 4.0 * EPSILON
"""As in the certificates: no more than eight roundings reach the utilization, or a sum."""
ACCURACY_ROUNDINGS = 2.0 * ROUNDINGS
"""A curve is a sum of terms ≥ 0, each with an exponential or two of at most two ulp and two or
three products: seven ε at most, and the mean adds one."""


class Terms(NamedTuple):
    """What multipliers add to the objective."""

    time: float = 0.0
    """Further seconds that a second of mean system time costs."""
    waiting: float = 0.0
    """Seconds that a second of mean waiting time costs."""
    accuracy: float = 0.0
    """Further seconds that the accuracy of any query is worth."""
    separable_costs: tuple[SeparableCost, ...] = ()
    """What the types pay besides."""


class Constraint(Quiet):
    """What every constraint has."""

    _label: ClassVar[str] = ""
    """How a person would write it, with its fields."""

    def _keep_positive(self, *names: str) -> None:
        """Keep some fields as floats > 0, or raise an error that names the first that is none."""
        kind, data = type(self).__name__, vars(self)
        data.update({name: positive_number(f"{kind}: {name}", data[name]) for name in names})

    def require_allowed(self, instance: Any) -> None:
        """Raise an error where the constraint does not fit the instance."""

    @property
    def label(self) -> str:
        """The constraint as a person would write it."""
        return self._label.format(self)


class BoxConstraint(Constraint, ABC):
    """A constraint that is a lower bound on the tokens of some types."""

    @abstractmethod
    def least_tokens(self, instance: Any) -> FloatArray:
        """Tokens that satisfy the constraint and no fewer, shape (N,); infinite where none do."""

    @abstractmethod
    def least_rounding(self, instance: Any) -> FloatArray:
        """How far rounding can have moved them, shape (N,); zero where no tokens are enough."""

    @abstractmethod
    def shortfall(self, instance: Any, position: int) -> str:
        """What no tokens of a type reach, and the value that would do."""


def least_tokens(data: Any) -> tuple[FloatArray, FloatArray | None]:
    """Fewest tokens that the data of an instance, or of a batch, and their constraints allow.

    Shape (..., N), infinite where no tokens do; and how far rounding can have moved them, ``None``
    where nothing but `min_tokens` is asked.
    """
    lower, rounding = data.min_tokens, None
    for box in data.constraints:
        if isinstance(box, BoxConstraint):
            least, moved = box.least_tokens(data), box.least_rounding(data)
            lower = np.maximum(lower, least)
            moved = np.where(least + moved > data.min_tokens, moved, 0.0)
            rounding = moved if rounding is None else np.maximum(rounding, moved)
    return lower, rounding


class CouplingConstraint(Constraint, ABC):
    """A constraint c(l) ≤ 0 on all types together, c convex in the tokens."""

    is_floor = False
    """Whether more tokens satisfy it rather than fewer."""

    @abstractmethod
    def excess(self, point: Any) -> float:
        """Value of c at a stable point: positive where the constraint is violated."""

    @abstractmethod
    def allowance(self, point: Any) -> float:
        """What rounding can have done to `excess`, but for that of the subtraction of the limit.

        The subtraction is right to one rounding of its result, and so in its sign.
        """

    @abstractmethod
    def gradient(self, point: Any) -> FloatArray:
        """Gradient of c at a stable point, per token, shape (N,)."""

    @abstractmethod
    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """What −μ c adds to the objective, up to a constant."""

    def price(self, multiplier: float, point: Any) -> float:
        """What relaxing the limit by one unit gains, in seconds, from the multiplier of c.

        The multiplier itself, where the limit is subtracted as it is.
        """
        return multiplier

    def partials(self, point: Any) -> dict[str, tuple[float, float | FloatArray]]:
        """Derivatives of c and of its gradient by the numbers in it, at a stable point.

        By field, and by ``"arrival_rate"`` where c has it beside the time in the system.
        """
        raise InvalidInputError(
            f"{type(self).__module__}.{type(self).__qualname__} does not say how it changes with "
            "its numbers: give it `partials`"
        )

    @abstractmethod
    def remedy(self, point: Any) -> str:
        """The limit that the given point would satisfy, as a message says it."""

    def most_tokens(self, instance: Any) -> FloatArray:
        """Upper bound on the tokens of each type where the constraint holds, shape (N,)."""
        return np.full(instance.size, np.inf)
