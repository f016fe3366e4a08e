"""What was measured, as arrays: requests and answers, and the file that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.statistics.poisson import FEWEST_ARRIVALS

# Times are printed to some digits; an overlap below this part of a service time is none.
_ROUNDING_OF_CLOCKS = 0.01
# The logs of three servers one after the other have a third.
_LEAST_ORDER = 0.3


@dataclass(frozen=True)
class Source:
    """Where measurements come from, and what was left out of them."""

    name: str
    """Name of the file."""
    format: str
    """What it was read as."""
    rows: int
    """Rows used."""
    malformed: int = 0
    """Rows left out because they hold what is not allowed."""
    first_malformed: str = ""
    """The first of them, with its line; empty if there is none."""
    failed: int = 0
    """Requests left out because they failed."""
    selection: str = ""
    """The rows that were asked for; empty for all."""
    not_arrivals: str = ""
    """Why the start times are a client's own, and no arrivals; empty where they are."""

    @property
    def sentence(self) -> str:
        """Return the provenance in one phrase."""
        parts = [self.format, plural(self.rows, "row")]
        if self.selection:
            parts.append(f"where {self.selection}")
        if self.malformed:
            parts.append(f"{self.malformed} malformed left out")
        if self.failed:
            parts.append(f"{self.failed} failed left out")
        return f"{self.name} ({', '.join(parts)})"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out, in plain sentences."""
        found = []
        if self.malformed:
            found.append(
                f"{self.name}: {plural(self.malformed, 'malformed row')} left "
                f"out, the first: {self.first_malformed}"
            )
        if self.failed:
            found.append(f"{self.name}: {plural(self.failed, 'failed request')} left out")
        return tuple(found)


class _Rows(ReadOnlyArrays):
    """Base of arrays of rows, some of which name the type of each."""

    types: tuple[str, ...] | None

    def by_type(self) -> dict[str, Self]:
        """Return the rows of each type, in order of appearance; under "" where none is named."""
        if self.types is None:
            return {"": self}
        parts = {}
        places = {name: place for place, name in enumerate(dict.fromkeys(self.types))}
        kinds = np.array([places[kind] for kind in self.types])
        for name, place in places.items():
            chosen = kinds == place
            fields = {
                field: value[chosen] if isinstance(value, np.ndarray) else value
                for field, value in self._fields().items()
            }
            fields["types"] = (name,) * int(chosen.sum())
            parts[name] = type(self)(**fields)
        return parts


@dataclass(frozen=True, eq=False)
class Requests(_Rows):
    """Requests to a server, one a row; what was not measured is ``None``.

    Attributes
    ----------
    source : Source
        The file.
    tokens : ndarray, shape (M,), or None
        Tokens generated.
    seconds : ndarray, shape (M,), or None
        Time from start to end.
    arrivals : ndarray, shape (M,), or None
        When each arrived or was sent, in seconds after the first of them.
    prompt_tokens, budgets, concurrency : ndarray, shape (M,), or None
        Length of the prompt, tokens allowed, and requests served at a time.
    types : tuple of str, or None
        Task types.
    """

    source: Source
    tokens: FloatArray | None = None
    seconds: FloatArray | None = None
    arrivals: FloatArray | None = None
    prompt_tokens: FloatArray | None = None
    budgets: FloatArray | None = None
    concurrency: FloatArray | None = None
    types: tuple[str, ...] | None = None

    def column(self, name: str) -> FloatArray:
        """Return one of the arrays.

        Raises
        ------
        InvalidInputError
            If it was not measured, or the start times are no arrivals.
        """
        if name == "arrivals" and self.source.not_arrivals:
            raise InvalidInputError(f"{self.source.name}: {self.source.not_arrivals}")
        value: FloatArray | None = getattr(self, name)
        if value is None:
            raise InvalidInputError(f"the requests of {self.source.name} have no {name}")
        return value

    @property
    def in_flight(self) -> FloatArray | None:
        """Requests under way as each begins, itself included; ``None`` where nothing says."""
        if self.arrivals is None or self.seconds is None:
            return self.concurrency
        starts = np.sort(self.arrivals)
        ends = np.sort(self.arrivals + (1.0 - _ROUNDING_OF_CLOCKS) * self.seconds)
        begun = np.searchsorted(starts, self.arrivals, side="right")
        over = np.searchsorted(ends, self.arrivals, side="right")
        return np.asarray(begun - over, dtype=np.float64)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out, and whether requests were served together."""
        return (*self.source.warnings, *self.disorder, *self._sharing())

    @property
    def disorder(self) -> tuple[str, ...]:
        """Warning of arrival times that do not go with the order of the rows."""
        if self.arrivals is None or self.arrivals.size < FEWEST_ARRIVALS:
            return ()
        ranks = np.argsort(np.argsort(self.arrivals, kind="stable"), kind="stable")
        correlation = float(np.corrcoef(ranks, np.arange(ranks.size))[0, 1])
        if abs(correlation) >= _LEAST_ORDER:
            return ()
        return (
            f"{self.source.name}: the arrival times are in no order (the rank correlation with "
            f"their rows is {correlation:.2f}); are they durations, or numbers of requests? Order "
            "the rows by time where they are not",
        )

    def _sharing(self) -> tuple[str, ...]:
        load = self.in_flight
        if load is None:
            return ()
        shared = int(np.count_nonzero(load > 1))
        if self.concurrency is not None:
            shared = max(shared, int(np.count_nonzero(self.concurrency > 1)))
            load = np.maximum(load, self.concurrency)
        if not shared:
            return ()
        return (
            f"{self.source.name}: {shared} of {load.size} requests were served at a concurrency "
            f"above 1 (up to {load.max():g}), but the model serves one query at a time: their "
            "times include waiting or sharing; use measurements at concurrency 1",
        )


@dataclass(frozen=True, eq=False)
class Answers(_Rows):
    """Answers that were right or wrong, counted by tokens and type.

    Attributes
    ----------
    source : Source
        The file.
    tokens : ndarray, shape (M,)
        Tokens used.
    accuracy : ndarray, shape (M,)
        Fraction of right answers.
    total : ndarray, shape (M,), or None
        Number of answers; ``None`` where the data do not say.
    types : tuple of str, or None
        Task types.
    """

    source: Source
    tokens: FloatArray
    accuracy: FloatArray
    total: FloatArray | None = None
    types: tuple[str, ...] | None = None


def one_answer_each(correct: FloatArray) -> FloatArray | None:
    """Return one answer for each row; ``None`` where a row has other right answers than 1 or 0."""
    if np.any((correct != 0.0) & (correct != 1.0)):
        return None
    return read_only(np.ones(correct.shape))
