"""What the formulas need of an instance, of some of its types, or of a batch of instances."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.arrays import FloatArray, kept
from cvxqueue.model.evaluation import Evaluation
from cvxqueue.model.queue import Queue
from cvxqueue.model.service import ServiceLaw

__all__ = ["ModelData"]

# Types that are worked on at a time: some twenty arrays of so many floats stay in the cache.
_BLOCK = 8192


class ModelData:
    """The data of a model, unchecked; `Instance` is the one that people make.

    Attributes
    ----------
    arrival_rate, accuracy_weight : float or ndarray, shape (...)
        One for each instance of a batch.
    probabilities, importance, min_tokens, max_tokens : ndarray, shape (..., N)
        One for each type.
    service, accuracy : ServiceLaw, AccuracyCurve
        Of the same types.
    queue : Queue
        Common to all.
    """

    arrival_rate: float | FloatArray
    accuracy_weight: float | FloatArray
    probabilities: FloatArray
    importance: FloatArray
    min_tokens: FloatArray
    max_tokens: FloatArray
    service: ServiceLaw
    accuracy: AccuracyCurve
    queue: Queue

    @property
    def size(self) -> int:
        """Number of task types, N."""
        return int(self.probabilities.shape[-1])

    @kept
    def accuracy_value(self) -> FloatArray:
        """α w_k: seconds that one unit of type k's accuracy is worth, shape (..., N)."""
        weight = self.accuracy_weight
        value: FloatArray = (
            weight if isinstance(weight, float) else weight[..., None]
        ) * self.importance
        return value

    def boxed(self, tokens: FloatArray) -> FloatArray:
        """Return the nearest tokens in the box; NaN stays."""
        return np.minimum(np.maximum(tokens, self.min_tokens), self.max_tokens)

    def evaluate(self, tokens: FloatArray) -> Evaluation:
        """Return all closed forms at `tokens`, shape (..., N), computed when asked for."""
        return Evaluation(self, tokens)

    @cached_property
    def lowest(self) -> Evaluation:
        """The closed forms at `min_tokens`: some allocation is stable iff this one is."""
        return Evaluation(self, self.min_tokens)

    @cached_property
    def blocks(self) -> tuple[tuple[slice, ModelData], ...]:
        """The types, a few thousand at a time: where they are, and their data."""
        if self.size <= _BLOCK:
            return ((slice(None), self),)
        places = (slice(start, start + _BLOCK) for start in range(0, self.size, _BLOCK))
        return tuple((place, self.types(place)) for place in places)

    def types(self, place: slice) -> ModelData:
        """Return the data of some types: views, whose probabilities do not sum to one."""
        return self._view(lambda array: array[..., place], lambda value: value)

    def rows(self, which: NDArray[np.intp]) -> ModelData:
        """Return the data of some instances of a batch."""
        shape = np.broadcast_shapes(np.shape(self.arrival_rate), self.probabilities.shape[:-1])
        types = (*shape, self.size)
        return self._view(
            lambda array: np.broadcast_to(array, types)[which],
            lambda value: np.broadcast_to(value, shape)[which],
        )

    def _view(
        self,
        each_type: Callable[[FloatArray], FloatArray],
        each_instance: Callable[[Any], Any],
    ) -> ModelData:
        """Return the data with one function applied to arrays by type, another to those without."""
        view = ModelData()
        view.arrival_rate = each_instance(self.arrival_rate)
        view.accuracy_weight = each_instance(self.accuracy_weight)
        for name in ("probabilities", "importance", "min_tokens", "max_tokens"):
            setattr(view, name, each_type(getattr(self, name)))
        view.service = self.service.mapped(each_type)
        view.accuracy = self.accuracy.mapped(each_type)
        view.queue = self.queue
        return view
