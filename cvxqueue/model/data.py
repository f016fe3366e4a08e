"""What the formulas need of an instance, of some of its types, or of a batch of instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.formatting import plural
from cvxqueue.model.accuracy import AccuracyCurve, Place
from cvxqueue.model.constraints import CouplingConstraint
from cvxqueue.model.evaluation import Evaluation
from cvxqueue.model.queue import Queue
from cvxqueue.model.separable_costs import SeparableCost, marginal_cost_at
from cvxqueue.model.service import ServiceLaw
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray, frozen, kept
from cvxqueue.numerics.checks import first_place, require, require_representable
from cvxqueue.numerics.summation import accurate_sum

__all__ = ["BLOCK", "ModelData", "take_rows"]

# Types that are worked on at a time: a dozen arrays of so many floats stay in the cache, and a dot
# product of more of them would wake the threads of OpenBLAS.
BLOCK = 10_000
# Mixes are typed by hand to a few digits; more than this is a mistake, not a rounding.
_MIX_TOLERANCE = 1e-9


def take_rows(array: FloatArray, which: NDArray[np.intp]) -> FloatArray:
    """Return some rows of an array, laid out by columns: sums over a few types are fast then."""
    rows: FloatArray = np.take(array.T, which, axis=-1).T
    return rows


class ModelData(ArrayData):
    """The data of a model, unchecked; `Instance` is the one that people make.

    Nothing has a default here, so that nothing is forgotten.

    Parameters
    ----------
    arrival_rate, accuracy_weight : float or ndarray, shape (...)
        One for each instance of a batch.
    probabilities, importance : ndarray, shape (..., N)
        One for each type.
    lower, upper : ndarray, shape (..., N)
        The box that the tokens must lie in.
    service, accuracy : ServiceLaw, AccuracyCurve
        Of the same types.
    queue : Queue
        Common to all.
    separable_costs : tuple of SeparableCost
        What the types pay for tokens besides, as in a Lagrangian; usually nothing.
    couplings : tuple of CouplingConstraint
        Constraints on all types together; each has a multiplier.
    """

    arrival_rate: float | FloatArray
    accuracy_weight: float | FloatArray
    probabilities: FloatArray
    importance: FloatArray
    lower: FloatArray
    upper: FloatArray
    service: ServiceLaw
    accuracy: AccuracyCurve
    queue: Queue
    separable_costs: tuple[SeparableCost, ...]
    couplings: tuple[CouplingConstraint, ...]

    def __init__(
        self,
        *,
        arrival_rate: float | FloatArray,
        accuracy_weight: float | FloatArray,
        probabilities: FloatArray,
        importance: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        service: ServiceLaw,
        accuracy: AccuracyCurve,
        queue: Queue,
        separable_costs: tuple[SeparableCost, ...],
        couplings: tuple[CouplingConstraint, ...],
    ) -> None:
        vars(self).update(
            arrival_rate=arrival_rate,
            accuracy_weight=accuracy_weight,
            probabilities=probabilities,
            importance=importance,
            lower=lower,
            upper=upper,
            service=service,
            accuracy=accuracy,
            queue=queue,
            separable_costs=separable_costs,
            couplings=couplings,
        )
        for value in vars(self).values():
            frozen(value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of a model cannot be assigned: make another model")

    def require_allowed(self) -> None:
        """Raise an error that names the first entry of the arrays that is out of range.

        Raises
        ------
        InvalidInputError
            If a probability is not > 0, a mix does not sum to 1 within 1e-9, the arrival rate is
            not > 0, a weight or a bound is < 0, a lower bound exceeds the upper one, or a number is
            neither 0 nor between 1e-30 and 1e30.
        """
        rate, weight = np.asarray(self.arrival_rate), np.asarray(self.accuracy_weight)
        require("arrival_rate", rate, rate > 0, "must be > 0 (per second)")
        require("accuracy_weight", weight, weight >= 0, "must be ≥ 0 (seconds)")
        mix, lower, upper = self.probabilities, self.lower, self.upper
        require("probabilities", mix, mix > 0, "must be > 0")
        total = np.asarray(accurate_sum(mix))
        is_off = np.abs(total - 1.0) > _MIX_TOLERANCE
        if is_off.any():
            place = first_place(is_off)
            raise InvalidInputError(
                Entry("probabilities", place),
                f" sum to {float(total[place])!r}, and must sum to 1 within {_MIX_TOLERANCE:g}",
            )
        require("min_tokens", lower, lower >= 0, "must be ≥ 0")
        require("max_tokens", upper, upper >= 0, "must be ≥ 0")
        is_above = np.asarray(lower > upper)
        if is_above.any():
            place = first_place(is_above)
            lowest, highest = (np.broadcast_to(a, is_above.shape)[place] for a in (lower, upper))
            raise InvalidInputError(
                Entry("min_tokens", place),
                f" = {float(lowest)!r} must be ≤ ",
                Entry("max_tokens", place),
                f" = {float(highest)!r}",
            )
        require("importance", self.importance, self.importance >= 0, "must be ≥ 0")
        arrays = {"arrival_rate": rate, "accuracy_weight": weight, "probabilities": mix}
        arrays |= {"min_tokens": lower, "max_tokens": upper, "importance": self.importance}
        for name, array in arrays.items():
            require_representable(name, array)

    @property
    def size(self) -> int:
        """Number of task types, N."""
        return int(self.probabilities.shape[-1])

    @property
    def accuracy_value(self) -> FloatArray:
        """α w_k: seconds that one unit of type k's accuracy is worth, shape (..., N)."""
        weight = np.asarray(self.accuracy_weight)[..., np.newaxis]
        value: FloatArray = weight * self.importance
        return value

    @kept
    def benefit(self) -> AccuracyCurve:
        """α w (p − p(0)): what the thinking of each type is worth, in seconds."""
        return self.accuracy.weighted(self.accuracy_value)

    def __repr__(self) -> str:
        many = f"{np.size(self.arrival_rate)} instances of " if np.ndim(self.arrival_rate) else ""
        return f"ModelData({many}{plural(self.size, 'type')})"

    @kept
    def most_benefit(self) -> FloatArray:
        """α Σ π w, in seconds, shape (...): more than tokens can add to the benefit."""
        most: FloatArray = np.vecdot(self.probabilities, self.accuracy_value)
        return most

    @cached_property
    def added_benefit(self) -> FloatArray:
        """What the most tokens add to the benefit of the least, in seconds, shape (...)."""
        return self.evaluate(self.upper).benefit - self.lowest.benefit

    @kept
    def shortfall(self) -> FloatArray:
        """What accuracies below zero cost, α Σ π w max(−p(0), 0), in seconds, shape (...).

        Only a curve that is continued to 0 tokens may have them, by rounding.
        """
        if self.accuracy.is_smooth:
            return np.zeros(())
        below = np.maximum(-self.accuracy.value(np.zeros(self.size)), 0.0)
        shortfall: FloatArray = np.vecdot(self.probabilities * self.accuracy_value, below)
        return shortfall

    def boxed(self, tokens: FloatArray) -> FloatArray:
        """Return the nearest tokens in the box; NaN stays."""
        return tokens.clip(self.lower, self.upper)

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Cost of one more token of each type at given prices, per π, and its derivative."""
        return marginal_cost_at(
            self.service, self.separable_costs, tokens, mean_price, second_price
        )

    def priced(self, multipliers: Sequence[float] | FloatArray, of_time: float = 1.0) -> ModelData:
        """Return the Lagrangian at multipliers ≥ 0, a model without the couplings.

        Its objective is J less the multipliers times the excesses, up to a constant.

        Parameters
        ----------
        multipliers : array_like, one for each of `couplings`
        of_time : float, default 1
            What a second of mean system time counts in J.
        """
        pairs = zip(self.couplings, multipliers, strict=True)
        rate = float(self.arrival_rate)
        terms = [coupling.terms(float(multiplier), rate) for coupling, multiplier in pairs]
        time = of_time + sum(term.time for term in terms)
        waiting = sum(term.waiting for term in terms)
        is_priced = time != 1.0 or waiting != 0.0
        return self.altered(
            # The prices of accuracy are seconds already.
            accuracy_weight=1.0,
            importance=self.accuracy_value + sum(term.accuracy for term in terms),
            queue=self.queue.priced(time, waiting) if is_priced else self.queue,
            separable_costs=tuple(cost for term in terms for cost in term.separable_costs),
            couplings=(),
        )

    def altered(self, **changes: Any) -> ModelData:
        """Return the data with some of them replaced, unchecked."""
        same = {name: getattr(self, name) for name in ModelData.__annotations__}
        return ModelData(**{**same, **changes})

    def evaluate(self, tokens: FloatArray) -> Evaluation:
        """Return all closed forms at `tokens`, shape (..., N), computed when asked for."""
        return Evaluation(self, tokens)

    @cached_property
    def lowest(self) -> Evaluation:
        """The closed forms at the least tokens: some allocation is stable iff this one is."""
        return Evaluation(self, self.lower)

    @property
    def blocks(self) -> tuple[tuple[slice, ModelData], ...]:
        """The types, some thousand at a time: where they are, and their data."""
        return ((slice(None), self),) if self.size <= BLOCK else self._views

    @kept
    def _views(self) -> tuple[tuple[slice, ModelData], ...]:
        """Kept, because what every pass needs of them is computed in the first."""
        places = [slice(start, start + BLOCK) for start in range(0, self.size, BLOCK)]
        return tuple((place, self.types(place)) for place in places)

    @property
    def groups(self) -> tuple[tuple[Place, ModelData], ...]:
        """The types of each class of curves: where they are, and their data."""
        (_, curve), *others = self.accuracy.groups
        is_one = curve is self.accuracy and not others
        return ((slice(None), self),) if is_one else self._groups

    @kept
    def _groups(self) -> tuple[tuple[Place, ModelData], ...]:
        groups = self.accuracy.groups
        return tuple((place, self.types(place, curve)) for place, curve in groups)

    def types(self, place: Place, accuracy: AccuracyCurve | None = None) -> ModelData:
        """Return the data of some types, whose probabilities do not sum to one.

        Parameters
        ----------
        place : slice or ndarray of int
            Which types; a slice gives views.
        accuracy : AccuracyCurve, optional
            Their curves, where these are at hand.
        """
        return self._view(lambda array: array[..., place], lambda value: value, accuracy)

    def rows(self, which: NDArray[np.intp]) -> ModelData:
        """Return the data of some instances of a batch, which has an arrival rate for each."""
        shape = np.shape(self.arrival_rate)
        types = (*shape, self.size)
        return self._view(
            lambda array: take_rows(np.broadcast_to(array, types), which),
            lambda value: np.broadcast_to(value, shape)[which],
        )

    def _view(
        self,
        each_type: Callable[[FloatArray], FloatArray],
        each_instance: Callable[[Any], Any],
        accuracy: AccuracyCurve | None = None,
    ) -> ModelData:
        """Return the data with one function applied to arrays by type, another to those without.

        The couplings are left out, because they are constraints on the whole.
        """
        return self.altered(
            arrival_rate=each_instance(self.arrival_rate),
            accuracy_weight=each_instance(self.accuracy_weight),
            probabilities=each_type(self.probabilities),
            importance=each_type(self.importance),
            lower=each_type(self.lower),
            upper=each_type(self.upper),
            service=self.service.mapped(each_type),
            accuracy=self.accuracy.mapped(each_type) if accuracy is None else accuracy,
            couplings=(),
        )
