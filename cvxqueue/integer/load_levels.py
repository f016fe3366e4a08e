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


class _Lookup:
    """A law by type, of which some types have a table of values, shape (J, N)."""

    def __init__(self, law: Any, is_level: NDArray[np.bool_], **tables: FloatArray) -> None:
        self._law, self._is_level = law, frozen(is_level)
        self._tables = {name: frozen(table) for name, table in tables.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data by type, (N,)."""
        return self._is_level.shape

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Any:
        """Return the same law with `function` applied to every array by type."""
        tables = {name: function(table) for name, table in self._tables.items()}
        is_level: Any = function(self._is_level)  # type: ignore[arg-type]
        return type(self)(self._law.mapped(function), is_level, **tables)

    def _of(self, name: str, own: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
        table = self._tables[name]
        level = np.where(self._is_level, at, 0.0).astype(np.intp)
        looked_up = table[level, np.arange(table.shape[1])]
        return np.where(self._is_level, looked_up, own(np.where(self._is_level, 0.0, at)))


class _LevelService(_Lookup):
    def mean(self, tokens: FloatArray) -> FloatArray:
        return self._of("mean", self._law.mean, tokens)

    def second_moment(self, tokens: FloatArray) -> FloatArray:
        return self._of("second", self._law.second_moment, tokens)


class _LevelAccuracy(_Lookup):
    @property
    def is_smooth(self) -> bool:
        """Whether no type that has tokens has a kink."""
        return bool(self._law.is_smooth)

    def value(self, tokens: FloatArray) -> FloatArray:
        return self._of("value", self._law.value, tokens)


def level_model(instance: Instance, domains: Domains) -> Model:
    """Return the model in which a type with a `LevelMenu` has its table in place of its laws.

    An `Evaluation` of it has values, and no slopes.
    """
    is_level = np.array([isinstance(domain, LevelMenu) for domain in domains])
    last = [domain.size - 1.0 if isinstance(domain, LevelMenu) else 0.0 for domain in domains]
    most = max(domain.size for domain in domains if isinstance(domain, LevelMenu))
    tables = {name: np.zeros((most, instance.size)) for name in ("mean", "second", "value")}
    for k, domain in enumerate(domains):
        if isinstance(domain, LevelMenu):
            tables["mean"][: domain.size, k] = domain.mean_service_time
            tables["second"][: domain.size, k] = domain.second_moment
            tables["value"][: domain.size, k] = domain.accuracy
    service: Any = _LevelService(
        instance.service, is_level, mean=tables["mean"], second=tables["second"]
    )
    accuracy: Any = _LevelAccuracy(instance.accuracy, is_level, value=tables["value"])
    return instance.model.with_(
        lower=np.where(is_level, 0.0, instance.lower),
        upper=np.where(is_level, last, instance.upper),
        service=service,
        accuracy=accuracy,
    )
