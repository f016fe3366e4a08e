"""Floors on accuracies: of the mix, and of the types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.formatting import at_least, at_most, shown
from cvxqueue.model.constraints import ACCURACY_ROUNDINGS, BoxConstraint, CouplingConstraint, Terms
from cvxqueue.model.instance import Instance
from cvxqueue.model.model import Evaluation
from cvxqueue.numerics.array_data import InputData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array, require


@dataclass(frozen=True)
class MinMeanAccuracy(CouplingConstraint):
    """Mean accuracy of the mix Σ π p ≥ accuracy; importance does not enter.

    Parameters
    ----------
    accuracy : float
        The floor, in (0, 1].
    """

    accuracy: float
    is_floor = True

    def __post_init__(self) -> None:
        self._keep_positive("accuracy")
        if self.accuracy > 1.0:
            raise InvalidInputError(
                f"{type(self).__name__}: accuracy = {self.accuracy!r} must be ≤ 1 (a probability)"
            )

    _label = "mean accuracy ≥ {0.accuracy:g}"

    def excess(self, point: Evaluation) -> float:
        """The floor less the mean accuracy."""
        return self.accuracy - float(point.mean_accuracy)

    def allowance(self, point: Evaluation) -> float:
        """The rounding of accuracies and of their sum, relative to what they are."""
        return ACCURACY_ROUNDINGS * float(point.mean_accuracy)

    def gradient(self, point: Evaluation) -> FloatArray:
        """−π p′."""
        model = point.model
        return -model.probabilities * model.accuracy.slope(point.tokens)

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """The accuracy of any query is worth so much more."""
        return Terms(accuracy=multiplier)

    def partials(self, point: Evaluation) -> dict[str, tuple[float, float | FloatArray]]:
        """Of the floor, which the mean accuracy is subtracted from."""
        return {"accuracy": (1.0, 0.0)}

    def remedy(self, point: Evaluation) -> str:
        """The mean accuracy at the point."""
        reached = float(point.mean_accuracy)
        # A floor of zero would demand nothing, and is refused.
        return (
            f"lower accuracy to {at_least(reached, 6)} or less"
            if reached > 0.0
            else "remove it: no answer is ever correct"
        )


@dataclass(frozen=True, eq=False)
class MinAccuracy(InputData, BoxConstraint):
    """Accuracy p of a type, or of every type, ≥ accuracy: a lower bound on its tokens.

    Parameters
    ----------
    accuracy : float or array_like, shape (N,)
        The floor, in [0, 1]; one number for the type, or for all.
    type : str or int, optional
        Name or position of the one type that it is for; by default all.
    """

    accuracy: FloatArray
    type: str | int | None = None

    def __init__(
        self, accuracy: ArrayLike, type: str | int | np.integer[Any] | None = None
    ) -> None:
        array = float_array("MinAccuracy: accuracy", accuracy)
        is_chance = (array >= 0.0) & (array <= 1.0)
        require("MinAccuracy: accuracy", array, is_chance, "must lie in [0, 1] (a probability)")
        kinds = str | int | np.integer
        if type is not None and (isinstance(type, bool) or not isinstance(type, kinds)):
            raise InvalidInputError(
                f"MinAccuracy: type = {shown(type)} must be the name or the position of a type"
            )
        if type is not None and array.ndim:
            raise InvalidInputError("MinAccuracy: accuracy must be one number where type is given")
        vars(self).update(accuracy=array, type=int(type) if isinstance(type, np.integer) else type)

    @property
    def label(self) -> str:
        """As a person would write it."""
        of = "every type" if self.type is None else repr(self.type)
        floor = f"{float(self.accuracy):g}" if self.accuracy.ndim == 0 else "its floor"
        return f"accuracy of {of} ≥ {floor}"

    def require_allowed(self, instance: Instance) -> None:
        """Refuse a type that the instance does not have, or floors of another number of types."""
        self.floors(instance)

    def floors(self, instance: Instance) -> FloatArray:
        """The floor of each type, zero where there is none, shape (N,)."""
        if self.type is None:
            return float_array("constraints: MinAccuracy: accuracy", self.accuracy, instance.size)
        floors = np.zeros(instance.size)
        floors[_position(instance, self.type)] = float(self.accuracy)
        return floors

    def least_tokens(self, instance: Instance) -> FloatArray:
        """Where each accuracy reaches its floor."""
        floors, most = self.floors(instance), instance.max_tokens
        least = instance.accuracy.inverse_value(floors)
        # Where little of the gain remains, the inverse may be rounded beyond tokens that do; and
        # what max_tokens miss by no more than rounding explains nobody can say is out of reach.
        is_enough = instance.accuracy.value(most) * (1.0 + ACCURACY_ROUNDINGS) >= floors
        return np.where(is_enough, np.minimum(least, most), least)

    def least_rounding(self, instance: Instance) -> FloatArray:
        """The error of an accuracy over the slope that leads there, because they are an inverse."""
        floors, curve = self.floors(instance), instance.accuracy
        reached = np.minimum(self.least_tokens(instance), instance.max_tokens)
        slope = curve.slope(np.nextafter(reached, 0.0))
        moved = ACCURACY_ROUNDINGS * (curve.value(reached) / slope + reached)
        is_nothing = curve.value(np.zeros(instance.size)) * (1.0 - ACCURACY_ROUNDINGS) >= floors
        return np.where(is_nothing, 0.0, moved)

    def shortfall(self, instance: Instance, position: int) -> str:
        """What the type reaches at most."""
        floor = float(self.floors(instance)[position])
        most = float(instance.accuracy.value(instance.max_tokens)[position])
        return (
            f"{Entry('accuracy', (position,))} of {shown(instance.type_name(position))} must be "
            f"≥ {floor!r}, and is at most {at_most(most, 9)}, at max_tokens; lower the floor to "
            f"{at_least(most, 6)} or less, or raise max_tokens"
        )


def _position(instance: Instance, of: str | int) -> int:
    if isinstance(of, str):
        if instance.names is None or of not in instance.names:
            known = "no names" if instance.names is None else ", ".join(instance.names[:20])
            raise InvalidInputError(
                f"constraints: MinAccuracy: type = {shown(of)} is not the name of a type; the "
                f"instance has {known}"
            )
        return instance.names.index(of)
    if not 0 <= of < instance.size:
        raise InvalidInputError(
            f"constraints: MinAccuracy: type = {shown(of)} must be the position of one of the "
            f"{instance.size} types, from 0"
        )
    return int(of)
