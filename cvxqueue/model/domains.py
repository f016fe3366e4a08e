"""Domains: the token counts, or the levels of effort, that a type may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.numerics.array_data import InputData
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.numerics.checks import (
    LARGEST_COUNT,
    ROUNDING_OF_ONE,
    float_array,
    require,
    require_that,
    whole_number,
)
from cvxqueue.numerics.float64 import JENSEN_SLACK


@dataclass(frozen=True)
class Integers:
    """Every whole number of tokens."""


@dataclass(frozen=True)
class Multiples:
    """Multiples of a step, zero among them.

    Parameters
    ----------
    step : int
        Whole number of tokens, from 1 to 2^53.

    Raises
    ------
    InvalidInputError
        If the step is not such a number.
    """

    step: int

    def __post_init__(self) -> None:
        vars(self).update(step=whole_number("domain.step", self.step, least=1, unit="tokens"))


@dataclass(frozen=True)
class ZeroOrAtLeast:
    """No tokens, or any whole number from a minimum on.

    Parameters
    ----------
    minimum : int
        Whole number of tokens, from 1 to 2^53.

    Raises
    ------
    InvalidInputError
        If the minimum is not such a number.
    """

    minimum: int

    def __post_init__(self) -> None:
        minimum = whole_number("domain.minimum", self.minimum, least=1, unit="tokens")
        vars(self).update(minimum=minimum)


@dataclass(frozen=True, eq=False)
class Menu(InputData):
    """A list of token counts to choose from.

    Parameters
    ----------
    tokens : array_like of int, shape (J,)
        Whole numbers ≥ 0, kept in ascending order and once each.

    Raises
    ------
    InvalidInputError
        If the list is empty or an entry is not a whole number ≥ 0.
    """

    tokens: FloatArray

    def __init__(self, tokens: ArrayLike) -> None:
        counts = np.atleast_1d(float_array("menu.tokens", tokens))
        is_count = (counts >= 0) & (counts == np.floor(counts)) & (counts <= LARGEST_COUNT)
        require("menu.tokens", counts, is_count, "must be a whole number from 0 to 2^53")
        vars(self).update(tokens=frozen(np.unique(counts)))


@dataclass(frozen=True, eq=False)
class LevelMenu(InputData):
    """Levels of effort with an accuracy and service moments of their own, as measured.

    A level has no token count: the accuracy curve, the service law and the box of its type in the
    instance are not used.

    Parameters
    ----------
    accuracy : array_like, shape (J,)
        Probability of a correct answer at each level, in [0, 1].
    mean_service_time : array_like, shape (J,)
        Mean service time at each level, ≥ 0, in seconds.
    second_moment : array_like, shape (J,), optional
        Second moment of the service time, at least the square of the mean, in seconds²; by default
        the square itself.

    Raises
    ------
    InvalidInputError
        If the lists differ in length, or an entry is out of range.
    """

    accuracy: FloatArray
    mean_service_time: FloatArray
    second_moment: FloatArray

    def __init__(
        self,
        accuracy: ArrayLike,
        mean_service_time: ArrayLike,
        second_moment: ArrayLike | None = None,
    ) -> None:
        chances = np.atleast_1d(float_array("levels.accuracy", accuracy))
        size = chances.size
        times = float_array("levels.mean_service_time", mean_service_time, size, of="levels")
        given = np.square(times) if second_moment is None else second_moment
        squares = float_array("levels.second_moment", given, size, of="levels")
        is_chance = (chances >= 0) & (chances <= 1.0 + ROUNDING_OF_ONE)
        require("levels.accuracy", chances, is_chance, "must be in [0, 1] (a probability)")
        require("levels.mean_service_time", times, times >= 0, "must be ≥ 0 (seconds)")
        is_moment = (squares >= JENSEN_SLACK * np.square(times)) & ((times > 0) | (squares == 0))
        require(
            "levels.second_moment",
            squares,
            is_moment,
            "must be at least the square of the mean service time, and zero with it (seconds²)",
        )
        vars(self).update(accuracy=chances, mean_service_time=times, second_moment=squares)

    @property
    def size(self) -> int:
        """Number of levels, J."""
        return int(self.accuracy.size)


Domain: TypeAlias = Integers | Multiples | ZeroOrAtLeast | Menu | LevelMenu


@dataclass(frozen=True)
class Domains:
    """The domain of every type.

    Parameters
    ----------
    each : tuple of Domain
        One domain for each type, in the order of the types.

    Raises
    ------
    InvalidInputError
        If it is no list, or an entry is no domain.
    """

    each: tuple[Domain, ...]

    def __post_init__(self) -> None:
        # Whatever people pass: the annotation binds the type checker only.
        given: Any = self.each
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        require_that(is_list, "domains", given, "a domain such as Integers(), or one for each type")
        allowed = "Integers(), Multiples(...), ZeroOrAtLeast(...), Menu(...) or LevelMenu(...)"
        for position, domain in enumerate(given):
            require_that(isinstance(domain, Domain), f"domains[{position}]", domain, allowed)
        vars(self).update(each=tuple(given))

    @classmethod
    def of(cls, domains: Domains | Domain | Sequence[Domain] | None, size: int) -> Domains:
        """Return a domain for each of `size` types, from one for all, or whole numbers for none."""
        each: Any = Integers() if domains is None else domains
        if isinstance(each, Domain):
            each = (each,) * size
        found = each if isinstance(each, Domains) else cls(each)
        if len(found) != size:
            raise InvalidInputError(
                f"domains must have one entry for each of the {size} types, got {len(found)}"
            )
        return found

    def __len__(self) -> int:
        return len(self.each)

    def __iter__(self) -> Iterator[Domain]:
        return iter(self.each)

    def __getitem__(self, position: int) -> Domain:
        return self.each[position]

    @property
    def has_levels(self) -> bool:
        """Whether any type has levels of effort in place of tokens."""
        return any(isinstance(domain, LevelMenu) for domain in self.each)
