"""The data of an instance in which some types choose a level of effort in place of tokens.

Such a type's "tokens" are the position of its level, and the laws below look its accuracy and its
service moments up; for all other types they ask the instance's own laws. Only what a choice needs
is here: levels have no slopes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.model import Instance
from cvxqueue.model.domains import Domains, LevelMenu
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray, frozen


class _Levels:
    """A law by type, of which some types have tables, shape (J, N), in place of its own values."""

    def __init__(self, law: Any, is_level: NDArray[np.bool_], **tables: FloatArray) -> None:
        self.law, self.is_level = law, frozen(is_level)
        self.tables = {name: frozen(table) for name, table in tables.items()}

    @property
    def is_smooth(self) -> bool:
        return bool(self.law.is_smooth)

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Any:
        """Return the same law with `function` applied to every array by type."""
        tables = {name: function(table) for name, table in self.tables.items()}
        is_level: Any = function(self.is_level)  # type: ignore[arg-type]
        return type(self)(self.law.mapped(function), is_level, **tables)

    def looked_up(self, name: str, at: FloatArray) -> FloatArray:
        level = np.where(self.is_level, at, 0.0).astype(np.intp)
        return self.tables[name][level, np.arange(self.is_level.size)]

    def joined(self, name: str, at: FloatArray) -> FloatArray:
        """What the tables say, and the law of that name for the other types."""
        own = getattr(self.law, name)(np.where(self.is_level, 0.0, at))
        return np.where(self.is_level, self.looked_up(name, at), own)


class _LevelService(_Levels):
    def mean(self, tokens: FloatArray) -> FloatArray:
        return self.joined("mean", tokens)

    def second_moment(self, tokens: FloatArray) -> FloatArray:
        return self.joined("second_moment", tokens)


class _LevelAccuracy(_Levels):
    def value(self, tokens: FloatArray) -> FloatArray:
        return self.joined("value", tokens)

    def weighted(self, value: FloatArray) -> Any:
        return _WeightedLevels(self.law.weighted(value), self.is_level, weight=value, **self.tables)


class _WeightedLevels(_Levels):
    def difference(self, tokens: FloatArray, to: FloatArray) -> FloatArray:
        change = self.looked_up("value", to) - self.looked_up("value", tokens)
        own = self.law.difference(*(np.where(self.is_level, 0.0, at) for at in (tokens, to)))
        return np.where(self.is_level, self.tables["weight"] * change, own)


def level_model(instance: Instance, domains: Domains) -> Model:
    """Return the model in which a type with a `LevelMenu` has its table in place of its laws."""
    if not domains.has_levels:
        return instance.model
    is_level = np.array([isinstance(domain, LevelMenu) for domain in domains])
    last = [domain.size - 1.0 if isinstance(domain, LevelMenu) else 0.0 for domain in domains]
    mean, second, value = np.zeros((3, int(max(last)) + 1, instance.size))
    for k, domain in enumerate(domains):
        if isinstance(domain, LevelMenu):
            mean[: domain.size, k] = domain.mean_service_time
            second[: domain.size, k] = domain.second_moment
            value[: domain.size, k] = domain.accuracy
    service: Any = _LevelService(instance.service, is_level, mean=mean, second_moment=second)
    accuracy: Any = _LevelAccuracy(instance.accuracy, is_level, value=value)
    return instance.model.with_(
        lower=np.where(is_level, 0.0, instance.lower),
        upper=np.where(is_level, last, instance.upper),
        service=service,
        accuracy=accuracy,
    )
