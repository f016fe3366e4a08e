"""The options of a simulation, checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arithmetic import outside
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import first_place, positive_number, real_number, whole_number
from cvxqueue.statistics.estimate import probability
from cvxqueue.statistics.time_units import require_dates, seconds_array

ProgressCallback = Callable[[float], object]
"""Called with the fraction of the queries that are done."""


class Options:
    """What `simulate` and `compare_allocations` are asked for, apart from the allocations.

    The parameters are those of `simulate`; an error names the first that is not allowed. Of the
    arrivals, `scv` is the squared coefficient of variation of the gaps, 1 with a `trace` of
    times.
    """

    def __init__(
        self,
        *,
        queries: float | None,
        seed: int | np.random.Generator,
        confidence: float,
        arrivals: float | ArrayLike | None,
        relative_half_width: float | None,
        quantiles: float | Iterable[float],
        thresholds: float | Iterable[float],
        warm_up: int | None,
        batches: int | None,
        progress: ProgressCallback | None,
        threads: int | None,
    ) -> None:
        self.scv, self.trace = _arrivals(arrivals)
        self.queries = None if queries is None else whole_number("queries", queries, least=2)
        if self.trace is not None:
            self.trace = _beginning(self.trace, self.queries)
            self.queries = len(self.trace)
        if relative_half_width is not None:
            relative_half_width = positive_number("relative_half_width", relative_half_width)
        self.relative_half_width = relative_half_width
        if progress is not None and not callable(progress):
            raise InvalidInputError(f"progress must be a callable, got {shown(progress)}")
        self.progress = None if progress is None else outside(progress)
        self.warm_up = None if warm_up is None else whole_number("warm_up", warm_up, least=0)
        if self.trace is not None and (self.warm_up or 0) > len(self.trace) - 2:
            raise InvalidInputError(
                f"warm_up = {self.warm_up} must leave two of the {len(self.trace)} arrivals of the "
                "trace"
            )
        self.seed = _seed(seed)
        self.confidence = probability("confidence", confidence)
        self.quantiles = tuple(probability(*named) for named in _named("quantiles", quantiles))
        self.thresholds = tuple(real_number(*named) for named in _named("thresholds", thresholds))
        self.batches = None if batches is None else whole_number("batches", batches, least=2)
        if threads is None:
            threads = os.cpu_count() or 1
        self.threads = whole_number("threads", threads, least=1)

    @property
    def arrivals(self) -> str:
        """Kind of the arrivals, by name."""
        if self.trace is not None:
            return "trace"
        return "poisson" if self.scv == 1.0 else "renewal"


def _arrivals(given: float | ArrayLike | None) -> tuple[float, FloatArray | None]:
    """Squared coefficient of variation of the gaps, and the trace where there is one."""
    if given is None:
        return 1.0, None
    array = seconds_array("arrivals", given, is_moment=True)
    if array.ndim == 0:
        if array < 0:
            raise InvalidInputError(
                f"arrivals = {float(array)!r} must be ≥ 0: a squared "
                "coefficient of variation, or else an array of times"
            )
        return float(array), None
    if len(array) < 2:
        raise InvalidInputError("arrivals must have at least two times, got one")
    require_dates("arrivals", array)
    is_back = np.concatenate(([False], np.diff(array) < 0))
    if is_back.any():
        place = first_place(is_back)[0]
        raise InvalidInputError(
            f"arrivals[{place}] = {float(array[place])!r} must be ≥ the time before it, "
            f"{float(array[place - 1])!r} (seconds)"
        )
    return 1.0, array


def _beginning(trace: FloatArray, queries: int | None) -> FloatArray:
    """Return so many arrivals of a trace, or all."""
    if queries is not None and queries > len(trace):
        raise InvalidInputError(
            f"queries = {queries} must be at most {len(trace)}, the arrivals of the trace"
        )
    trace = trace[:queries]
    if trace[-1] <= trace[0]:
        raise InvalidInputError("arrivals must not all be at one time")
    return trace


def _named(name: str, given: float | Iterable[float]) -> list[tuple[str, float]]:
    """Each of several numbers, or the only one, with its name for messages."""
    is_one = not isinstance(given, Iterable) or (isinstance(given, np.ndarray) and not given.ndim)
    if is_one:
        return [(name, given)]  # type: ignore[list-item]
    return [(f"{name}[{i}]", value) for i, value in enumerate(given)]  # type: ignore[arg-type]


def _seed(seed: object) -> np.random.SeedSequence:
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(0, 1 << 32, size=4).tolist())
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InvalidInputError(
            f"seed = {shown(seed)} must be a whole number ≥ 0 or a numpy.random.Generator"
        )
    return np.random.SeedSequence(int(seed))
